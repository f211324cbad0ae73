//! Dates as Debian's archives and our lock write them, to and from seconds since 1970. UTC only.

/// Last second of the year 9999: dates that we print have four digits for the year.
pub const LATEST_SECONDS: u64 = 253_402_300_799;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Prints `2026-07-11T10:16:37Z`. Later dates than [`LATEST_SECONDS`] print as that.
pub fn print(seconds: u64) -> String {
    let seconds = seconds.min(LATEST_SECONDS);
    let (year, month, day) = civil(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Prints `20260711T101637Z`, as archives of old states name them.
pub fn compact(seconds: u64) -> String {
    print(seconds).replace(['-', ':'], "")
}

/// Reads what [`print`] writes, and nothing else.
pub fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let form = b"0000-00-00T00:00:00Z";
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if bytes.len() != form.len() || !bytes.iter().zip(form).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    seconds(
        (number(0, 4)?, number(5, 7)?, number(8, 10)?),
        (number(11, 13)?, number(14, 16)?, number(17, 19)?),
    )
}

/// Reads the date of a Release file: `Sat, 11 Jul 2026 10:16:37 UTC` (RFC 5322, but always UTC).
pub fn parse_release(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?;
    let day = if first.ends_with(',') { words.next()? } else { first };
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year = number(words.next()?, 4)?;
    let mut time = words.next()?.split(':');
    let time = (number(time.next()?, 2)?, number(time.next()?, 2)?, number(time.next()?, 2)?);
    let zone = words.next()?;
    if !["UTC", "GMT", "+0000", "Z"].contains(&zone) || words.next().is_some() {
        return None;
    }
    seconds((year, month, number(day, 2)?), time)
}

fn number(text: &str, digits_max: usize) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() <= digits_max && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Returns seconds since 1970; `None` for a date or time that does not exist, or before 1970.
fn seconds((year, month, day): (u64, u64, u64), (hour, minute, second): (u64, u64, u64)) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    if day == 0 || day > month_days(year, month) {
        return None;
    }
    let days_before: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days_this_year: u64 = (1..month).map(|month| month_days(year, month)).sum();
    let days = days_before + days_this_year + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= if is_leap(year) { 366 } else { 365 } {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_and_parse_to_themselves() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_783_764_997, "2026-07-11T10:16:37Z"),
            (LATEST_SECONDS, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(print(seconds), text);
            assert_eq!(parse(text), Some(seconds));
        }
        assert_eq!(parse_release("Sat, 11 Jul 2026 10:16:37 UTC"), Some(1_783_764_997));
        assert_eq!(parse_release("11 Jul 2026  9:05:01 +0000"), parse("2026-07-11T09:05:01Z"));
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for wrong in
            ["2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "+026-01-01T00:00:00Z"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for wrong in
            ["", "Sat, 31 Jun 2026 10:16:37 UTC", "Sat, 11 Jul 2026 10:16:37 CEST", "11 Jul 99999 1:1:1 UTC"]
        {
            assert_eq!(parse_release(wrong), None, "{wrong}");
        }
    }
}
