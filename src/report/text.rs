//! Small texts that the documents of others want in a form of their own.

use crate::base::ImagePath;

/// Writes seconds since 1970 as `2026-07-11T10:16:37Z` (RFC 3339).
pub fn time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Turns days since 1970-01-01 into a date, in years that begin in March: the leap day is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Writes a path as it is; one that is no UTF-8 as people see it.
pub fn path(path: &ImagePath) -> String {
    String::from_utf8(path.as_bytes().to_vec()).unwrap_or_else(|_| path.to_string())
}

/// Writes the 16 bytes of a UUID as `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub fn uuid(bytes: &[u8; 16]) -> String {
    let hex = crate::base::id::hex(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Splits `Name <address>`; the address only where it looks like one.
pub fn name_and_address(text: &str) -> (String, Option<String>) {
    let Some((name, rest)) = text.split_once('<') else { return (text.trim().to_owned(), None) };
    let address = rest.trim_end().trim_end_matches('>').trim();
    let is_plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    let is_address = address.split_once('@').is_some_and(|(user, host)| {
        is_plain(user) && is_plain(host) && host.contains('.') && !host.contains("..")
    });
    (name.trim().trim_matches('"').to_owned(), is_address.then(|| address.to_owned()))
}

/// Returns a web address where it is one that every reader takes: a scheme, a host of plain letters, no blanks.
pub fn web_address(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let top = host.rsplit('.').next().unwrap_or_default();
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(is_inner)
            && !label.contains("--")
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let fits = host.contains('.')
        && host.split('.').all(is_label)
        && (2..=5).contains(&top.len())
        && top.bytes().all(|byte| byte.is_ascii_lowercase())
        && rest.bytes().all(plain);
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (315_532_800, "1980-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_783_764_997, "2026-07-11T10:16:37Z"),
            (4_354_819_199, "2107-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn names_and_addresses_part() {
        let (name, address) = name_and_address("Debian GCC Maintainers <debian-gcc@lists.debian.org>");
        assert_eq!(
            (name.as_str(), address.as_deref()),
            ("Debian GCC Maintainers", Some("debian-gcc@lists.debian.org"))
        );
        assert_eq!(name_and_address("A. B. <nobody at example>"), ("A. B.".to_owned(), None));
        assert_eq!(name_and_address("Fedora Project"), ("Fedora Project".to_owned(), None));
    }

    #[test]
    fn only_plain_web_addresses_pass() {
        assert!(web_address("https://www.gnu.org/software/bash/").is_some());
        for wrong in
            ["gnu.org", "ftp://a.org", "https://a b.org", "https://A.org", "http://x", "https://a.org/\"", ""]
        {
            assert_eq!(web_address(wrong), None, "{wrong}");
        }
    }
}
