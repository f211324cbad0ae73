//! What `mkimage` and `mkimage-ostree` say to each other, over the helper's standard input and output.
//!
//! ```text
//! message = length u32, JSON            a Request or an Answer; integers are little-endian
//! write   = message Write, then exactly as many bytes as it says; no answer
//! load    = message Object, then pieces (length u32, bytes)* and a length of 0, then Done or Failed
//! ```
//!
//! The helper speaks first: `Ready`. Each request but `Write` has one answer. What fails in a `Write` is
//! answered to nobody in particular: the helper says `Failed` and ends, and what it had begun is undone.
//! Both sides are of one build; the version in `Ready` tells when they are not.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::name::{Checksum, ObjectName};

/// Version of what is said here. Changing the messages needs a new one.
pub const PROTOCOL: u32 = 1;

/// Longest JSON of a message, in bytes.
pub const MESSAGE_BYTES_MAX: u32 = 64 << 20;
/// Longest piece of an object, in bytes.
pub const PIECE_BYTES: usize = 1 << 16;

/// How an OSTree repository keeps its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Compressed, for serving over HTTP.
    Archive,
    /// As plain files of the user's, with owners and attributes kept beside them.
    BareUser,
    /// As files with their owners and attributes: only root can write one.
    Bare,
}

impl Mode {
    /// Returns the name that OSTree's tools know.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Archive => "archive",
            Mode::BareUser => "bare-user",
            Mode::Bare => "bare",
        }
    }
}

/// What mkimage asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Which commit a ref leads to.
    Resolve { name: String },
    /// Which of these objects are not there: their places in the list.
    Missing { objects: Vec<ObjectName> },
    /// Begin a transaction that will move these refs.
    Begin { refs: Vec<String> },
    /// Write an object; its bytes follow.
    Write { object: ObjectName, bytes: u64 },
    /// Move refs and end the transaction.
    Commit { refs: Vec<(String, Checksum)> },
    /// Send an object.
    Load { object: ObjectName },
}

/// What the helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ready {
        protocol: u32,
        mode: String,
    },
    Resolved {
        checksum: Option<Checksum>,
    },
    Missing {
        places: Vec<u32>,
    },
    /// The bytes of an object follow, so many as far as the repository tells.
    Object {
        bytes: u64,
    },
    NotThere,
    Done,
    Failed {
        doing: String,
        problem: String,
    },
}

/// Writes a message.
pub fn send(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&text)
}

/// Reads a message; `None` where the other side has ended between two of them.
pub fn receive<M: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match input.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => input.read_exact(&mut length[1..])?,
    }
    let length = u32::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    // Grows with the bytes that come, not with the number that was announced.
    let mut text = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut text)?;
    if text.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Writes a piece of an object; an empty one ends it.
pub fn send_piece(out: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    debug_assert!(piece.len() <= PIECE_BYTES);
    out.write_all(&(piece.len() as u32).to_le_bytes())?;
    out.write_all(piece)
}

/// Reads a piece of an object into `piece`, which is empty after the last one.
pub fn receive_piece(input: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > PIECE_BYTES {
        return Err(io::Error::other(format!("a piece of {length} bytes")));
    }
    piece.resize(length, 0);
    input.read_exact(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ostree::name::ObjectKind;

    #[test]
    fn messages_and_pieces_come_back() {
        let object = ObjectName { kind: ObjectKind::DirTree, checksum: Checksum([7; 32]) };
        let request = Request::Write { object, bytes: 5 };
        let mut line = Vec::new();
        send(&mut line, &request).expect("sent");
        send_piece(&mut line, b"hello").expect("sent");
        send_piece(&mut line, b"").expect("sent");
        let mut input = &line[..];
        assert_eq!(receive(&mut input).expect("received"), Some(request));
        let mut piece = Vec::new();
        receive_piece(&mut input, &mut piece).expect("received");
        assert_eq!(piece, b"hello");
        receive_piece(&mut input, &mut piece).expect("received");
        assert!(piece.is_empty());
        assert_eq!(receive::<Request>(&mut input).expect("the end"), None);
    }

    #[test]
    fn a_line_that_lies_about_lengths_costs_nothing() {
        let mut line = MESSAGE_BYTES_MAX.to_le_bytes().to_vec();
        line.extend_from_slice(b"\"NotThere\"");
        assert!(receive::<Answer>(&mut &line[..]).is_err());
        line[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(receive::<Answer>(&mut &line[..]).is_err());
        assert!(receive_piece(&mut &line[..], &mut Vec::new()).is_err());
    }
}
