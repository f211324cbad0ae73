//! Messages between the three processes of a run: the caller, the supervisor, PID 1 of the sandbox.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// What a message is about. The number is its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Caller → supervisor: a [`Setup`]; with a folder's descriptor where the tree lies in one.
    Setup = 1,
    /// Supervisor → caller: a [`Ready`]; with the descriptor of the file system in memory.
    Ready,
    /// Caller → supervisor: the tree is written; the records of its inodes.
    Go,
    /// Supervisor → caller: PID 1 runs; with its descriptor.
    Started,
    /// PID 1 → supervisor: with the listener of the filter.
    Listener,
    /// To the caller: a [`Failure`] before the first command.
    Failed,
    /// To the caller: an [`Ended`].
    Ended,
    /// Supervisor → caller: the records of all inodes, after PID 1's end.
    Records,
    /// Supervisor → caller: a list of sentences that help to understand a failure.
    Notes,
}

const KINDS: [Kind; 9] = [
    Kind::Setup,
    Kind::Ready,
    Kind::Go,
    Kind::Started,
    Kind::Listener,
    Kind::Failed,
    Kind::Ended,
    Kind::Records,
    Kind::Notes,
];

/// Longest message, in bytes: the records of a few million inodes.
const PAYLOAD_BYTES_MAX: u32 = 1 << 29;

/// What the sandbox must know before it is built.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Setup {
    pub commands: Vec<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub working_directory: Vec<u8>,
    /// Where each input is laid.
    pub inputs: Vec<Vec<u8>>,
    /// Whether the tree lies in memory, else in the folder that comes along.
    pub in_memory: bool,
    pub tree_bytes: u64,
    pub inodes: u64,
    pub processes: u64,
    pub open_files: u64,
    pub address_space_bytes: Option<u64>,
}

/// As whom the sandbox runs, by the caller's numbers.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Ready {
    pub uid: u32,
    pub gid: u32,
}

/// What the kernel refused while the sandbox was built.
#[derive(serde::Serialize, serde::Deserialize, Debug)]
pub struct Failure {
    pub doing: String,
    pub errno: i32,
}

impl Failure {
    /// Makes a closure for `map_err`.
    pub fn at<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Failure {
        move |error| Failure { doing: doing.into(), errno: error.into().raw_os_error().unwrap_or(0) }
    }
}

/// How the commands ended.
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All of them with exit status 0.
    Well,
    /// The command at this place could not be started.
    NotStarted {
        command: usize,
        errno: i32,
    },
    Exit {
        command: usize,
        status: i32,
    },
    Signal {
        command: usize,
        signal: i32,
    },
}

/// One message.
pub struct Frame {
    pub kind: Kind,
    pub payload: Vec<u8>,
    pub fd: Option<OwnedFd>,
}

impl Frame {
    /// Reads the payload as a value.
    pub fn value<T: serde::de::DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.payload).map_err(|error| invalid(error.to_string()))
    }
}

/// One end of a conversation.
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Makes both ends.
    pub fn pair() -> io::Result<(Link, Link)> {
        let (one, two) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Link { socket: one }, Link { socket: two }))
    }

    pub fn from_socket(socket: OwnedFd) -> Link {
        Link { socket }
    }

    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub fn send_value(
        &self,
        kind: Kind,
        value: &impl serde::Serialize,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.send(kind, &serde_json::to_vec(value).map_err(io::Error::other)?, fd)
    }

    /// Sends a message: its kind, its length (four bytes, little-endian), the payload. The descriptor
    /// travels with the first byte.
    pub fn send(&self, kind: Kind, payload: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut head = [kind as u8; 5];
        head[1..].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let sent = sendmsg(&self.socket, &[IoSlice::new(&head)], &mut control, SendFlags::NOSIGNAL)?;
        let mut rest = Sender(self.socket.as_fd());
        rest.write_all(&head[sent..])?;
        rest.write_all(payload)
    }

    /// Waits for a message; `None` when the other end is closed.
    pub fn receive(&self) -> io::Result<Option<Frame>> {
        let mut head = [0; 5];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut head)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?.bytes,
            }
        };
        if got == 0 {
            return Ok(None);
        }
        let mut fd = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fd = fds.last();
            }
        }
        self.fill(&mut head[got..])?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let kind = KINDS.into_iter().find(|kind| *kind as u8 == head[0]);
        let kind = kind.ok_or_else(|| invalid(format!("a message of kind {}", head[0])))?;
        if length > PAYLOAD_BYTES_MAX {
            return Err(invalid(format!("a message of {length} bytes")));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        Ok(Some(Frame { kind, payload, fd }))
    }

    fn fill(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => buffer = &mut buffer[read?..],
            }
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Writes to a socket whose other end may be gone, without a signal.
struct Sender<'a>(BorrowedFd<'a>);

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}
