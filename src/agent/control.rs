//! Words to an agent that runs, over a socket: one line in, one line of JSON out.
//!
//! ```text
//! → status | history | check | upgrade | rollback | reboot
//! ← {"ok":VALUE} | {"error":TEXT}
//! ```
//!
//! Everybody on the machine may ask how things are; root and the agent's own user may change them. Who asks is
//! what the kernel says (`SO_PEERCRED`).

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::error::{AgentError, Result};
use crate::base::Stopwatch;

/// Longest line that is read of a stranger, in bytes.
const LINE_BYTES_MAX: usize = 256;
/// Longest answer of an agent.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Who is slower than this to say what he wants is not heard.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an agent can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Status,
    History,
    /// Look at the site, and take nothing.
    Check,
    Upgrade,
    Rollback,
    /// Reboot into what waits.
    Reboot,
}

/// What an agent answers: a value, or why not.
pub type Answered = std::result::Result<Value, String>;

impl Word {
    /// Tells whether the word changes nothing.
    pub fn is_harmless(self) -> bool {
        matches!(self, Word::Status | Word::History)
    }

    fn text(self) -> &'static str {
        match self {
            Word::Status => "status",
            Word::History => "history",
            Word::Check => "check",
            Word::Upgrade => "upgrade",
            Word::Rollback => "rollback",
            Word::Reboot => "reboot",
        }
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let all = [Word::Status, Word::History, Word::Check, Word::Upgrade, Word::Rollback, Word::Reboot];
        let found = all.into_iter().find(|word| word.text() == text);
        found
            .ok_or_else(|| format!("{:?} is no word of the agent", text.chars().take(40).collect::<String>()))
    }
}

/// Asks the agent behind a socket. Waits as long as it works.
pub fn ask(socket: &Path, word: Word) -> Result<Answered> {
    let failed =
        |error: std::io::Error| AgentError::NoAgent { path: socket.to_owned(), problem: error.to_string() };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.write_all(format!("{}\n", word.text()).as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    let said: Value = serde_json::from_slice(&answer)
        .map_err(|error| AgentError::NoAgent { path: socket.to_owned(), problem: error.to_string() })?;
    Ok(match said {
        Value::Object(mut said) => match said.remove("ok") {
            Some(value) => Ok(value),
            None => {
                Err(said.remove("error").and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default())
            }
        },
        _ => Err(String::new()),
    })
}

/// Reads the word of somebody who connected, if he may say it.
pub fn hear(stream: &UnixStream) -> Result<Word> {
    let lost =
        |error: std::io::Error| AgentError::NoAgent { path: "socket".into(), problem: error.to_string() };
    stream.set_write_timeout(Some(PATIENCE)).map_err(lost)?;
    let line = line(stream).map_err(lost)?;
    let word: Word =
        line.trim().parse().map_err(|problem| AgentError::NoAgent { path: "socket".into(), problem })?;
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|error| lost(error.into()))?;
    let trusted = peer.uid.is_root() || peer.uid == rustix::process::getuid();
    match word.is_harmless() || trusted {
        true => Ok(word),
        false => Err(AgentError::NotAllowed { word: word.text().to_owned() }),
    }
}

/// Reads a line. Whoever says it letter by letter has no more time for that.
fn line(mut stream: &UnixStream) -> std::io::Result<String> {
    let (watch, mut line, mut letter) = (Stopwatch::start(), Vec::new(), [0]);
    while line.len() < LINE_BYTES_MAX && !line.ends_with(b"\n") {
        let left = PATIENCE.checked_sub(watch.elapsed()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(ErrorKind::TimedOut)?))?;
        match stream.read(&mut letter)? {
            0 => break,
            _ => line.push(letter[0]),
        }
    }
    String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into())
}

/// Answers. Who is gone by now misses it.
pub fn answer(mut stream: &UnixStream, answered: &Answered) {
    let value = match answered {
        Ok(value) => serde_json::json!({ "ok": value }),
        Err(text) => serde_json::json!({ "error": text }),
    };
    let _ = stream.write_all(format!("{value}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_few_and_only_two_of_them_are_for_everybody() {
        for text in ["status", "history", "check", "upgrade", "rollback", "reboot"] {
            let word: Word = text.parse().expect("a word");
            assert_eq!(word.text(), text);
            assert_eq!(word.is_harmless(), ["status", "history"].contains(&text));
        }
        assert!("".parse::<Word>().is_err() && "status ".parse::<Word>().is_err());
    }

    #[test]
    fn who_says_nothing_or_nonsense_is_not_heard() {
        for said in ["", "nonsense\n", "status"] {
            let (mut ours, theirs) = UnixStream::pair().expect("a pair");
            ours.write_all(said.as_bytes()).expect("written");
            ours.shutdown(std::net::Shutdown::Write).expect("shut");
            assert_eq!(hear(&theirs).is_ok(), said == "status", "{said:?}");
        }
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        ours.write_all(&[b'x'; 100_000]).expect("written");
        assert!(hear(&theirs).is_err(), "a line without an end");
    }

    #[test]
    fn who_speaks_letter_by_letter_keeps_nobody_waiting() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let workers = crate::base::parallel::Workers::new(2);
        let watch = Stopwatch::start();
        let slow = || {
            while ours.write_all(b"x").is_ok() && watch.elapsed() < 3 * PATIENCE {
                std::thread::sleep(PATIENCE / 8);
            }
        };
        let listen = || {
            let (refused, took) = (hear(&theirs).is_err(), watch.elapsed());
            theirs.shutdown(std::net::Shutdown::Both).expect("shut");
            (refused, took)
        };
        let ((refused, took), ()) = workers.join(listen, slow);
        assert!(refused && took < 2 * PATIENCE, "{took:?}");
    }

    #[test]
    fn an_answer_comes_back_as_it_was_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let workers = crate::base::parallel::Workers::new(2);
        let (said, heard) = workers.join(
            || ask(&path, Word::Status).expect("an agent"),
            || {
                let (stream, _) = listener.accept().expect("somebody");
                let word = hear(&stream).expect("a word");
                answer(&stream, &Ok(serde_json::json!({"a": 1})));
                word
            },
        );
        assert_eq!((said, heard), (Ok(serde_json::json!({"a": 1})), Word::Status));
        assert!(matches!(ask(&folder.path().join("none"), Word::Status), Err(AgentError::NoAgent { .. })));
    }
}
