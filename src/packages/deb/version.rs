//! Versions and their order (Debian Policy 5.6.12).

use std::cmp::Ordering;

/// Tells whether a text is a version that we can order and print in one word, of at most 200 bytes.
pub fn is_version(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(plain) && text.parse::<debversion::Version>().is_ok()
}

/// Orders two versions as dpkg does; a text that is none comes before every version.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<debversion::Version>(), b.parse::<debversion::Version>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (a, b) => a.is_ok().cmp(&b.is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_dpkg_orders_them() {
        let ascending = ["0:1~rc1-1", "1-1", "1-1+b1", "1.9", "1.10", "1:0.1"];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert!(!is_version("") && !is_version("a b") && !is_version("1\n") && is_version("6.1.176-1"));
    }
}
