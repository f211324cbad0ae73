//! Questions for the IPv4 addresses of a name (RFC 1035 §4): what a static program without a C library's resolver
//! asks the name servers of its lease.

use std::net::Ipv4Addr;

const HEADER_BYTES: usize = 12;
const ADDRESS_TYPE: u16 = 1;
const INTERNET: u16 = 1;
const IS_ANSWER: u16 = 0x8000;
const RECURSE: u16 = 0x0100;
const FAILURE: u16 = 0x000f;
/// Answers that are read of a message.
const RECORDS_MAX: u16 = 64;

/// Writes a question. `name` has labels of 1 to 63 bytes.
pub fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for value in [id, RECURSE, 1, 0, 0, 0] {
        message.extend_from_slice(&value.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&ADDRESS_TYPE.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// Reads the answer to a question. `None`: it answers another one, or is torn. Without addresses: there are
/// none, or the server has failed.
pub fn answer(message: &[u8], question: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let short = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let asked = message.get(HEADER_BYTES..question.len())?;
    let same = asked.eq_ignore_ascii_case(&question[HEADER_BYTES..]);
    let flags = short(2)?;
    if message[..2] != question[..2] || flags & IS_ANSWER == 0 || short(4)? != 1 || !same {
        return None;
    }
    if flags & FAILURE != 0 {
        return Some(Vec::new());
    }
    let mut at = question.len();
    let mut addresses = Vec::new();
    for _ in 0..short(6)?.min(RECORDS_MAX) {
        at = skip_name(message, at)?;
        let (kind, class, length) = (short(at)?, short(at + 2)?, usize::from(short(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if let (ADDRESS_TYPE, INTERNET, &[a, b, c, d]) = (kind, class, data) {
            addresses.push(Ipv4Addr::new(a, b, c, d));
        }
        at += 10 + length;
    }
    Some(addresses)
}

/// Returns where a name ends; a pointer ends it, so that none is followed.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// Returns the name servers of a `resolv.conf`.
pub fn servers(text: &str) -> Vec<Ipv4Addr> {
    text.lines().filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok()).collect()
}

/// Returns the names to ask for: a name without dots also below the domain of a `resolv.conf`.
pub fn names(host: &str, text: &str) -> Vec<String> {
    let domain = text.lines().find_map(|line| line.strip_prefix("search ")).map(str::trim);
    match domain.filter(|domain| !host.contains('.') && !domain.is_empty() && domain.len() < 128) {
        Some(domain) => vec![format!("{host}.{domain}"), host.to_owned()],
        None => vec![host.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with an alias, an address of another class, and two addresses.
    fn message(question: &[u8]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2] = 0x81;
        message[3] = 0x80;
        message[7] = 4;
        message.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x0c");
        message.extend_from_slice(b"\x01a\xc0\x0c\0\x01\0\x03\0\0\0\x3c\0\x04\x01\x02\x03\x04");
        message.extend_from_slice(b"\x01a\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\x02\x02");
        message.extend_from_slice(b"\x01a\x00\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\x02\x03");
        message
    }

    #[test]
    fn addresses_are_those_of_the_internet_class() {
        let asked = question(0x1234, "logs.example");
        assert_eq!(&asked[12..], b"\x04logs\x07example\0\0\x01\0\x01");
        let found = answer(&message(&asked), &asked).expect("an answer");
        assert_eq!(found, [Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3)]);
        let mut failed = message(&asked);
        failed[3] = 0x83;
        assert_eq!(answer(&failed, &asked), Some(Vec::new()));
    }

    #[test]
    fn foreign_and_torn_answers_are_none() {
        let asked = question(7, "logs");
        let whole = message(&asked);
        for cut in 0..whole.len() {
            assert_eq!(answer(&whole[..cut], &asked), None, "{cut}");
        }
        assert_eq!(answer(&whole, &question(8, "logs")), None);
        assert_eq!(answer(&whole, &question(7, "loga")), None);
        assert_eq!(answer(&asked, &asked), None, "a question is no answer");
        let mut strange = whole;
        strange[asked.len()] = 0x80;
        assert_eq!(answer(&strange, &asked), None);
    }

    #[test]
    fn short_names_are_looked_for_in_the_domain_first() {
        let text = "search lan.example\nnameserver 10.0.2.3\nnameserver ::1\nnameserver 10.0.2.4\n";
        assert_eq!(servers(text), [Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(10, 0, 2, 4)]);
        assert_eq!(names("logs", text), ["logs.lan.example", "logs"]);
        assert_eq!(names("logs.example", text), ["logs.example"]);
        assert_eq!(names("logs", ""), ["logs"]);
    }
}
