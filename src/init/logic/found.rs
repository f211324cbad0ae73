//! What the process that reads metadata tells PID 1, over a pipe: entries of one kind byte, then name and value,
//! each behind its length (32 bits, little-endian). PID 1 believes none of it more than what it came from: names
//! and values are checked where they are used.

/// Longest message, in bytes.
pub const MESSAGE_MAX_BYTES: usize = 4 << 20;
const ENTRIES_MAX: usize = 4096;

/// What metadata says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Where it was found; `None`: nowhere.
    pub source: Option<String>,
    pub instance_id: Option<String>,
    /// Later ones go before earlier ones.
    pub variables: Vec<(String, Vec<u8>)>,
    pub files: Vec<(String, Vec<u8>)>,
    pub log: Option<String>,
    /// There was user data for us, and a mistake in it.
    pub refused: bool,
}

const SOURCE: u8 = b'S';
const INSTANCE: u8 = b'I';
const VARIABLE: u8 = b'V';
const FILE: u8 = b'F';
const LOG: u8 = b'L';
const REFUSED: u8 = b'R';

impl Found {
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let mut put = |kind: u8, name: &str, value: &[u8]| {
            message.push(kind);
            for part in [name.as_bytes(), value] {
                message.extend_from_slice(&(part.len() as u32).to_le_bytes());
                message.extend_from_slice(part);
            }
        };
        for (kind, text) in [(SOURCE, &self.source), (INSTANCE, &self.instance_id), (LOG, &self.log)] {
            if let Some(text) = text {
                put(kind, text, b"");
            }
        }
        self.variables.iter().for_each(|(name, value)| put(VARIABLE, name, value));
        self.files.iter().for_each(|(name, value)| put(FILE, name, value));
        if self.refused {
            put(REFUSED, "", b"");
        }
        message
    }

    /// Reads a message. `None`: it is torn, or none.
    pub fn decode(mut message: &[u8]) -> Option<Found> {
        if message.len() > MESSAGE_MAX_BYTES {
            return None;
        }
        let mut found = Found::default();
        for _ in 0..ENTRIES_MAX {
            let Some((&kind, rest)) = message.split_first() else { return Some(found) };
            let (name, rest) = part(rest)?;
            let (value, rest) = part(rest)?;
            message = rest;
            let name = String::from_utf8(name.to_vec()).ok()?;
            match kind {
                SOURCE => found.source = Some(name),
                INSTANCE => found.instance_id = Some(name),
                LOG => found.log = Some(name),
                VARIABLE => found.variables.push((name, value.to_vec())),
                FILE => found.files.push((name, value.to_vec())),
                REFUSED => found.refused = true,
                _ => return None,
            }
        }
        None
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            source: Some("nocloud".to_owned()),
            instance_id: Some("i-1".to_owned()),
            variables: vec![("A".to_owned(), b"1".to_vec()), ("A".to_owned(), b"\xff\n".to_vec())],
            files: vec![("key".to_owned(), vec![0; 300])],
            log: Some("tcp://logs:1".to_owned()),
            refused: true,
        }
    }

    #[test]
    fn what_is_told_is_what_is_heard() {
        assert_eq!(Found::decode(&found().encode()), Some(found()));
        assert_eq!(Found::decode(b""), Some(Found::default()));
    }

    #[test]
    fn torn_and_endless_messages_are_none() {
        let whole = found().encode();
        let ends: Vec<usize> =
            (0..whole.len()).filter(|&cut| Found::decode(&whole[..cut]).is_some()).collect();
        assert!(ends.len() <= 8, "only whole entries may be taken: {ends:?}");
        assert_eq!(Found::decode(b"V\xff\xff\xff\xff"), None);
        assert_eq!(Found::decode(b"?\0\0\0\0\0\0\0\0"), None);
        assert_eq!(Found::decode(b"V\x01\0\0\0\xff\0\0\0\0"), None);
        assert_eq!(Found::decode(&b"R\0\0\0\0\0\0\0\0".repeat(ENTRIES_MAX + 1)), None);
    }
}
