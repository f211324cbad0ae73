//! The jobserver of GNU make, as its clients see it: a pipe with one byte, a token, for each job that may run
//! beside those that run already. Who wants to run more than one takes a token, and puts it back.
//!
//! Make names the pipe in `MAKEFLAGS` (manual of GNU make, "POSIX Jobserver Interaction"):
//! `--jobserver-auth=R,W` by two file descriptors that it hands on to rules with a `+` or `$(MAKE)`, or, since
//! 4.4, `--jobserver-auth=fifo:PATH` to all.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Stopwatch;

/// A token that was not there is not looked for again in this time.
const PAUSE: Duration = Duration::from_micros(200);

/// What `MAKEFLAGS` say of a jobserver.
#[derive(Clone)]
pub enum Jobserver {
    /// None is named: nobody else counts jobs.
    Absent,
    /// One is named, and this process was not given it: it runs one job.
    Shut,
    /// Further jobs need tokens of it.
    Open(Arc<Tokens>),
}

impl Jobserver {
    /// Opens the jobserver that `MAKEFLAGS` name. Call it before the process opens files of its own: a descriptor
    /// that make has closed would be one of them then.
    pub fn of(makeflags: &str) -> Self {
        match auth(makeflags) {
            None => Jobserver::Absent,
            Some(auth) => match open(&auth) {
                Some((reader, writer)) => {
                    let state = Mutex::new(State { held: Vec::new(), closed: false, missed: None });
                    Jobserver::Open(Arc::new(Tokens { reader, writer, state }))
                }
                None => Jobserver::Shut,
            },
        }
    }
}

/// Takes tokens and puts them back. The one job that every process may run needs none.
pub struct Tokens {
    reader: File,
    writer: File,
    state: Mutex<State>,
}

struct State {
    /// The bytes that were read and are to be written again.
    held: Vec<u8>,
    /// Nothing is taken any more.
    closed: bool,
    /// When there was no token the last time.
    missed: Option<Stopwatch>,
}

impl Tokens {
    /// Takes a token, if there is one and fewer than `most` are held. Never waits.
    pub fn take(self: &Arc<Self>, most: usize) -> Option<Token> {
        let mut state = self.state.try_lock().ok()?;
        let paused = state.missed.is_some_and(|missed| missed.elapsed() < PAUSE);
        if state.closed || paused || state.held.len() >= most {
            return None;
        }
        let mut byte = [0];
        match (&self.reader).read(&mut byte) {
            Ok(1) => {
                state.held.push(byte[0]);
                state.missed = None;
                Some(Token(self.clone()))
            }
            _ => {
                state.missed = Some(Stopwatch::start());
                None
            }
        }
    }

    /// Puts all tokens back and takes no more: for a process that ends at once.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        while let Some(byte) = state.held.pop() {
            self.put(byte);
        }
    }

    fn give_back(&self) {
        if let Some(byte) = self.state().held.pop() {
            self.put(byte);
        }
    }

    /// The pipe has room for what was taken out of it. Where make is gone nobody misses the token.
    fn put(&self, byte: u8) {
        let _ = (&self.writer).write_all(&[byte]);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets one more job run until it is dropped.
#[must_use = "a token that is dropped goes back at once"]
pub struct Token(Arc<Tokens>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Returns what follows the last `--jobserver-auth=`, or `--jobserver-fds=` as make up to 4.1 spelled it.
/// Behind `--` stand variables, which may hold anything.
fn auth(makeflags: &str) -> Option<String> {
    let mut found = None;
    for word in words(makeflags) {
        if word == "--" {
            break;
        }
        let auth = word.strip_prefix("--jobserver-auth=").or_else(|| word.strip_prefix("--jobserver-fds="));
        found = auth.map(str::to_owned).or(found);
    }
    found
}

/// Parts words at blanks; a backslash takes what follows as it is.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.push(String::new()),
            '\\' => words.last_mut().expect("because there is one from the start").extend(characters.next()),
            other => words.last_mut().expect("because there is one from the start").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Opens both ends anew, so that not waiting at them is no other client's setting.
fn open(auth: &str) -> Option<(File, File)> {
    if let Some(path) = auth.strip_prefix("fifo:") {
        let fifo = open_pipe(Path::new(path), OpenOptions::new().read(true).write(true))?;
        return Some((fifo.try_clone().ok()?, fifo));
    }
    let (read, write) = auth.split_once(',')?;
    let ends = [read, write].map(|number| number.parse::<u32>().map(|n| format!("/proc/self/fd/{n}")));
    let [read, write] = [PathBuf::from(ends[0].as_ref().ok()?), PathBuf::from(ends[1].as_ref().ok()?)];
    // Both lead to one pipe, or they are something else by now.
    if std::fs::read_link(&read).ok()? != std::fs::read_link(&write).ok()? {
        return None;
    }
    let reader = open_pipe(&read, OpenOptions::new().read(true))?;
    Some((reader, open_pipe(&write, OpenOptions::new().write(true))?))
}

fn open_pipe(path: &Path, options: &mut OpenOptions) -> Option<File> {
    let file = options.custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn opened(makeflags: &str) -> Arc<Tokens> {
        match Jobserver::of(makeflags) {
            Jobserver::Open(tokens) => tokens,
            Jobserver::Absent => panic!("{makeflags:?}: absent"),
            Jobserver::Shut => panic!("{makeflags:?}: shut"),
        }
    }

    fn is_shut(makeflags: &str) -> bool {
        matches!(Jobserver::of(makeflags), Jobserver::Shut)
    }

    #[test]
    fn flags_are_read_as_make_writes_them() {
        assert_eq!(auth("kw -j4 --jobserver-auth=3,4 -- X=--jobserver-auth=8,9").as_deref(), Some("3,4"));
        assert_eq!(auth(" -j --jobserver-fds=5,6").as_deref(), Some("5,6"));
        assert_eq!(auth("--jobserver-auth=1,2 --jobserver-auth=fifo:/a\\ b").as_deref(), Some("fifo:/a b"));
        assert_eq!(auth(""), None);
        assert_eq!(auth("-j2 -- A=b"), None);
        assert!(matches!(Jobserver::of("k -j"), Jobserver::Absent));
    }

    #[test]
    fn what_is_no_pipe_of_make_is_shut() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (other, _other) = std::io::pipe().expect("a pipe");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let [read, write, other, plain] =
            [reader.as_raw_fd(), writer.as_raw_fd(), other.as_raw_fd(), file.as_raw_fd()];
        for auth in [
            "-2,-2".to_owned(),
            "900,901".to_owned(),
            "3".to_owned(),
            "three,four".to_owned(),
            format!("{plain},{plain}"),
            format!("{other},{write}"),
            format!("fifo:{}", file.path().display()),
            "fifo:/nowhere/at/all".to_owned(),
        ] {
            assert!(is_shut(&format!("-j2 --jobserver-auth={auth}")), "{auth}");
        }
        opened(&format!("--jobserver-auth={read},{write}"));
    }

    #[test]
    fn tokens_are_taken_without_waiting_and_each_goes_back_as_it_was() {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        let tokens = opened(&format!("--jobserver-auth={},{}", reader.as_raw_fd(), writer.as_raw_fd()));
        assert!(tokens.take(9).is_none());
        std::thread::sleep(2 * PAUSE);
        writer.write_all(b"ab").expect("two tokens");
        let one = tokens.take(9).expect("the first");
        assert!(tokens.take(1).is_none(), "more than were asked for");
        let two = tokens.take(9).expect("the second");
        assert!(tokens.take(9).is_none());
        drop((one, two));
        // Without writers the pipe has an end: what is not back is not waited for.
        drop((tokens, writer));
        let mut back = [0; 2];
        reader.read_exact(&mut back).expect("both are back");
        back.sort_unstable();
        assert_eq!(&back, b"ab");
    }

    #[test]
    fn a_panic_returns_tokens_and_what_is_closed_takes_none() {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        let auth = format!("--jobserver-auth={},{}", reader.as_raw_fd(), writer.as_raw_fd());
        let (tokens, other) = (opened(&auth), opened(&auth));
        writer.write_all(b"+").expect("a token");
        let taken = tokens.clone();
        std::panic::catch_unwind(move || {
            let _token = taken.take(9).expect("there is one");
            panic!("as work may");
        })
        .expect_err("a panic");
        let token = tokens.take(9).expect("it is back");
        tokens.close();
        drop(other.take(9).expect("it is back"));
        assert!(tokens.take(9).is_none(), "a closed client takes none");
        drop(token);
        drop((tokens, other, writer));
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("the rest");
        assert_eq!(rest, b"+", "nothing goes back twice");
    }
}
