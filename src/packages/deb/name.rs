//! Checks of the names that Debian's files carry, before they become part of a path, an address or a line.

/// Tells whether a text is a package name (Debian Policy 5.6.1), of at most 200 bytes.
pub fn is_package(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    (2..=200).contains(&text.len()) && text.bytes().all(rest) && !text.starts_with(['+', '-', '.'])
}

/// Tells whether a text is the name of an architecture, such as `amd64`.
pub fn is_architecture(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&text.len()) && text.bytes().all(rest) && !text.starts_with('-')
}

/// Tells whether a text is the name of a distribution: a word.
pub fn is_distribution(text: &str) -> bool {
    is_architecture(text)
}

/// Tells whether a text is the name of a suite or component: words with `/` between them, no `..`.
pub fn is_suite(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~".contains(&byte);
    let word = |word: &str| !word.is_empty() && !word.starts_with(['.', '-']) && word.bytes().all(plain);
    text.len() <= 100 && text.split('/').all(word)
}

/// Tells whether a text is a path below the root of an archive: relative, normal, printable ASCII.
pub fn is_archive_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>?#".contains(&byte);
    let word = |word: &str| !word.is_empty() && word != "." && word != ".." && word.bytes().all(plain);
    text.len() <= 1000 && text.split('/').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(is_package("libstdc++6") && is_package("0ad"));
        for wrong in ["", "a", "-a", "Aa", "a b", "a/b", "..", "a\n"] {
            assert!(!is_package(wrong), "{wrong:?}");
        }
        assert!(is_suite("bookworm") && is_suite("bookworm/updates") && is_suite("non-free-firmware"));
        for wrong in ["", "../x", "a//b", "/a", "a/", "a b", "a/.."] {
            assert!(!is_suite(wrong), "{wrong:?}");
        }
        assert!(is_archive_path("pool/main/l/linux/x_1%3a2+b1_amd64.deb"));
        for wrong in ["", "/pool", "pool/../x", "pool//x", "a b", "a?b", "é", "./a"] {
            assert!(!is_archive_path(wrong), "{wrong:?}");
        }
    }
}
