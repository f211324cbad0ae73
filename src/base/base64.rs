//! Base64 (RFC 4648 §4).

/// Decodes base64 with or without its padding; `None` for anything else, spare bits that are not zero too:
/// bytes have one spelling.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let body = match text {
        [body @ .., b'=', b'='] | [body @ .., b'='] if text.len().is_multiple_of(4) => body,
        body => body,
    };
    if body.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3 + 2);
    for group in body.chunks(4) {
        let mut bits = 0;
        for &letter in group {
            bits = bits << 6 | sextet(letter)?;
        }
        let spare = 6 * group.len() % 8;
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let count = group.len() * 6 / 8;
        bytes.extend_from_slice(&(bits >> spare).to_be_bytes()[4 - count..]);
    }
    Some(bytes)
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn padding_is_optional_and_spelling_is_one() {
        assert_eq!(decode(b"aGk="), Some(b"hi".to_vec()));
        assert_eq!(decode(b"aGk"), Some(b"hi".to_vec()));
        assert_eq!(decode(b""), Some(Vec::new()));
        for wrong in [&b"aGl"[..], b"a", b"aGk==", b"a Gk", b"aG-_"] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }
}
