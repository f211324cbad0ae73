//! The emulator's control connection: QMP, one JSON object a line (QEMU, "QEMU Machine Protocol").

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::MachineError;
use crate::base::Stopwatch;

/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 22;
/// The emulator answers at once, unless the host stands still.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The client's end of a control connection.
pub struct Control {
    stream: UnixStream,
    buffer: Vec<u8>,
    stopped: bool,
}

impl Control {
    /// Takes an end of a socket pair whose other end is the emulator's.
    pub fn new(stream: UnixStream) -> Self {
        Control { stream, buffer: Vec::new(), stopped: false }
    }

    /// Waits for the greeting and leaves the negotiation. Fails where the emulator ends instead.
    pub fn negotiate(&mut self) -> Result<(), MachineError> {
        let started = Stopwatch::start();
        let greeting = self.message(started)?;
        if greeting.get("QMP").is_none() {
            return Err(MachineError::Control { problem: format!("it greets with {greeting}") });
        }
        self.execute("qmp_capabilities", json!({})).map(drop)
    }

    /// Runs a command and returns its answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, MachineError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string().into_bytes();
        line.push(b'\n');
        self.stream.write_all(&line)?;
        let started = Stopwatch::start();
        loop {
            let mut message = self.message(started)?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                return Err(MachineError::Control { problem: format!("{command} fails: {error}") });
            }
        }
    }

    /// Takes the events that have come. Returns false when the emulator hung up.
    pub fn drain(&mut self) -> Result<bool, MachineError> {
        self.stream.set_nonblocking(true)?;
        let mut piece = [0; 4096];
        let open = loop {
            match self.stream.read(&mut piece) {
                Ok(0) => break Ok(false),
                Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break Ok(true),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break Ok(false),
                Err(error) => break Err(error.into()),
            }
            if self.buffer.len() > MESSAGE_BYTES_MAX {
                break Err(MachineError::Control { problem: "it talks without end".into() });
            }
        };
        self.stream.set_nonblocking(false)?;
        while let Some(line) = self.take_line() {
            self.parse(&line)?;
        }
        open
    }

    /// Returns in what state the machine's processor stands, if it was stopped since the last question.
    pub fn why_stopped(&mut self) -> Result<Option<String>, MachineError> {
        if !std::mem::take(&mut self.stopped) {
            return Ok(None);
        }
        let status = self.execute("query-status", json!({}))?;
        Ok(status.get("status").and_then(Value::as_str).map(str::to_owned))
    }

    fn message(&mut self, started: Stopwatch) -> Result<Value, MachineError> {
        let line = self.line(started)?;
        self.parse(&line)
    }

    fn parse(&mut self, line: &[u8]) -> Result<Value, MachineError> {
        let message: Value = serde_json::from_slice(line).map_err(|error| MachineError::Control {
            problem: format!("it says {:?}: {error}", String::from_utf8_lossy(line)),
        })?;
        self.stopped |= message.get("event").and_then(Value::as_str) == Some("STOP");
        Ok(message)
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let rest = self.buffer.split_off(end + 1);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    fn line(&mut self, started: Stopwatch) -> Result<Vec<u8>, MachineError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            let left = ANSWER_WITHIN.saturating_sub(started.elapsed());
            if left.is_zero() || self.buffer.len() > MESSAGE_BYTES_MAX {
                return Err(MachineError::Control { problem: "it gives no answer".into() });
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(MachineError::Control { problem: "it hung up".into() }),
                Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(MachineError::Control { problem: error.to_string() }),
            }
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a client, and the other end with all that the emulator is to say already said.
    fn client(said: &str) -> (Control, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(said.as_bytes()).expect("written");
        (Control::new(ours), theirs)
    }

    #[test]
    fn answers_are_found_among_events() {
        let (mut control, _theirs) = client(
            "{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"RESUME\"}\r\n{\"return\": {\"status\": 1}}\r\n",
        );
        control.negotiate().expect("negotiated");
        assert_eq!(control.execute("query-status", json!({})).expect("answered"), json!({"status": 1}));
        assert_eq!(control.why_stopped().expect("not stopped"), None);
    }

    #[test]
    fn a_stop_is_noticed_in_whatever_pieces_it_comes() {
        let (mut control, mut theirs) = client("{\"event\": \"ST");
        assert!(control.drain().expect("open"));
        theirs.write_all(b"OP\"}\n{\"return\"").expect("written");
        assert!(control.drain().expect("open"));
        theirs.write_all(b": {\"status\": \"internal-error\"}}\n").expect("written");
        assert_eq!(control.why_stopped().expect("answered").as_deref(), Some("internal-error"));
        assert_eq!(control.why_stopped().expect("asked once"), None);
    }

    #[test]
    fn refusals_and_rubbish_are_errors() {
        let (mut control, _theirs) = client("{\"QMP\": {}}\n{\"error\": {\"desc\": \"no\"}}\nrubbish\n");
        assert!(control.negotiate().expect_err("refused").to_string().contains("no"));
        assert!(control.execute("x", json!({})).expect_err("rubbish").to_string().contains("rubbish"));
        let (mut control, theirs) = client("");
        drop(theirs);
        assert!(control.negotiate().expect_err("hung up").to_string().contains("hung up"));
        assert!(!control.drain().expect("drained"));
    }
}
