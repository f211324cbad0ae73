//! The number under which OpenSSL looks a certificate up: SHA-1 of its subject in canonical form
//! (`X509_NAME_hash`; RFC 5280, 4.1; X.690 for the encoding).

use sha1::{Digest as _, Sha1};

/// Universal tags of strings that the canonical form compares without case and extra spaces.
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const T61: u8 = 0x14;
const IA5: u8 = 0x16;
const VISIBLE: u8 = 0x1a;
const UNIVERSAL: u8 = 0x1c;
const BMP: u8 = 0x1e;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
/// The version of a certificate, which may be left out.
const VERSION: u8 = 0xa0;

/// Returns the hash of a certificate's subject; `None` where the bytes are no certificate.
pub(super) fn subject_hash(certificate: &[u8]) -> Option<u32> {
    let digest = Sha1::digest(canonical(subject(certificate)?)?);
    Some(u32::from_le_bytes(digest[..4].try_into().expect("because SHA-1 has 20 bytes")))
}

/// One element: tag, content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == expected).then_some((content, rest))
}

/// Returns the content of the subject: its sets.
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = expect(certificate, SEQUENCE)?;
    let (mut rest, _) = expect(outer, SEQUENCE)?;
    if let Some((VERSION, _, behind)) = element(rest) {
        rest = behind;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    expect(rest, SEQUENCE).map(|found| found.0)
}

/// Returns the sets of a name with all strings in canonical form, without the sequence around them.
fn canonical(mut sets: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while !sets.is_empty() {
        let (mut set, rest) = expect(sets, SET)?;
        sets = rest;
        let mut entries = Vec::new();
        while !set.is_empty() {
            let (entry, rest) = expect(set, SEQUENCE)?;
            set = rest;
            let (object, value) = expect(entry, OBJECT)?;
            let (tag, value, _) = element(value)?;
            let value = match text(tag, value) {
                Some(text) => encode(UTF8, folded(&text).as_bytes()),
                None => encode(tag, value),
            };
            entries.push(encode(SEQUENCE, &[encode(OBJECT, object), value].concat()));
        }
        entries.sort();
        all.extend(encode(SET, &entries.concat()));
    }
    Some(all)
}

/// Returns a string's characters; `None` for a value of another kind.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        UTF8 => String::from_utf8(value.to_vec()).ok(),
        PRINTABLE | IA5 | VISIBLE | T61 => Some(value.iter().map(|byte| char::from(*byte)).collect()),
        BMP => {
            let units = value.chunks(2).map(|pair| Some(u32::from(pair[0]) << 8 | u32::from(*pair.get(1)?)));
            units.map(|unit| char::from_u32(unit?)).collect()
        }
        UNIVERSAL => {
            let units = value.chunks(4).map(|four| Some(u32::from_be_bytes(four.try_into().ok()?)));
            units.map(|unit| char::from_u32(unit?)).collect()
        }
        _ => None,
    }
}

/// Takes spaces off both ends, makes runs of them one, and ASCII letters small.
fn folded(text: &str) -> String {
    let is_space = |character: char| matches!(character, ' ' | '\t'..='\r');
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        bytes.push(0x80 | digits.len() as u8);
        bytes.extend(digits);
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate with nothing but what leads to its subject.
    fn certificate(sets: &[u8]) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = vec![
            encode(VERSION, &encode(2, &[2])),
            encode(2, &[1]),
            encode(SEQUENCE, &[]),
            encode(SEQUENCE, &[]),
            encode(SEQUENCE, &[]),
            encode(SEQUENCE, sets),
        ];
        encode(SEQUENCE, &encode(SEQUENCE, &parts.concat()))
    }

    fn name(tag: u8, text: &[u8]) -> Vec<u8> {
        encode(SET, &encode(SEQUENCE, &[encode(OBJECT, &[0x55, 4, 3]), encode(tag, text)].concat()))
    }

    #[test]
    fn spelling_does_not_count() {
        let hash = |tag, text: &[u8]| subject_hash(&certificate(&name(tag, text))).expect("a hash");
        let plain = hash(UTF8, b"example root ca");
        assert_eq!(plain, hash(PRINTABLE, b"  Example   ROOT CA "));
        assert_eq!(
            plain,
            hash(BMP, &"Example Root CA".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>())
        );
        assert_ne!(plain, hash(UTF8, b"example root cb"));
    }

    #[test]
    fn what_is_cut_or_wrong_has_no_hash() {
        let whole = certificate(&name(UTF8, b"example"));
        assert!(subject_hash(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(subject_hash(&whole[..length]), None, "{length}");
        }
        assert_eq!(subject_hash(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(subject_hash(&[0x30, 0x80, 0, 0]), None);
    }
}
