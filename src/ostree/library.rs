//! The other end of the pipe: a repository in the hands of `mkimage-ostree`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::error::{OstreeError, Result};
use super::name::{Checksum, ObjectName};
use super::wire::{self, Answer, Mode, Request};

/// Starts the helper, wherever it lies.
#[derive(Clone, Debug)]
pub struct Library {
    /// The program `mkimage-ostree`.
    pub program: PathBuf,
}

/// Longest tail of what the helper said on its standard error, in bytes.
const SAID_BYTES: u64 = 4096;

/// An open repository. Dropped with a transaction under way, it leaves the repository's refs as they were.
pub(super) struct Repository {
    program: PathBuf,
    path: PathBuf,
    /// As OSTree's tools call it.
    pub mode: String,
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
    said: File,
}

impl Library {
    /// Opens the repository in a directory.
    pub(super) fn open(&self, path: &Path) -> Result<Repository> {
        if !path.exists() {
            return Err(OstreeError::NoRepository { path: path.to_owned() });
        }
        self.start(path, None)
    }

    /// Opens the repository in a directory, or makes one where nothing stands yet.
    pub(super) fn open_or_create(&self, path: &Path, mode: Option<Mode>) -> Result<Repository> {
        if path.join("config").exists() {
            let repository = self.start(path, None)?;
            return match mode {
                Some(mode) if repository.mode != mode.name() => {
                    let (path, found) = (path.to_owned(), repository.mode.clone());
                    Err(OstreeError::Mode { path, found, wanted: mode.name() })
                }
                _ => Ok(repository),
            };
        }
        match crate::base::fs::list(path) {
            Err(error) if !error.is_missing() => return Err(error.into()),
            Ok(names) if !names.is_empty() => {
                let found = names[0].to_string_lossy().into_owned();
                return Err(OstreeError::NotARepository { path: path.to_owned(), found });
            }
            _ => {}
        }
        self.start(path, Some(mode.unwrap_or(Mode::Archive)))
    }

    fn start(&self, path: &Path, create: Option<Mode>) -> Result<Repository> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => OstreeError::NoHelper { path: self.program.clone() },
            _ => OstreeError::Start { path: self.program.clone(), source },
        };
        let said = rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC);
        let said = File::from(said.map_err(|error| failed(error.into()))?);
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(path).args(create.map(Mode::name));
        command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(said.try_clone().map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let input = child.stdin.take().expect("because it was asked to be a pipe");
        let output = child.stdout.take().expect("because it was asked to be a pipe");
        let mut repository = Repository {
            program: self.program.clone(),
            path: path.to_owned(),
            mode: String::new(),
            child,
            input: BufWriter::with_capacity(1 << 16, input),
            output: BufReader::with_capacity(1 << 16, output),
            said,
        };
        match repository.answer("open the repository")? {
            Answer::Ready { protocol: wire::PROTOCOL, mode } => repository.mode = mode,
            Answer::Ready { protocol, .. } => {
                let problem = format!("it speaks version {protocol}, and this mkimage {}", wire::PROTOCOL);
                return Err(repository.protocol("speak", problem));
            }
            other => return Err(repository.unexpected("open the repository", &other)),
        }
        Ok(repository)
    }
}

impl Repository {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the commit that a ref leads to.
    pub fn resolve(&mut self, name: &str) -> Result<Option<Checksum>> {
        let doing = "resolve a ref";
        match self.ask(doing, &Request::Resolve { name: name.to_owned() })? {
            Answer::Resolved { checksum } => Ok(checksum),
            other => Err(self.unexpected(doing, &other)),
        }
    }

    /// Returns which of some objects are not there, in their order.
    pub fn missing(&mut self, objects: Vec<ObjectName>) -> Result<Vec<ObjectName>> {
        const AT_ONCE: usize = 8192;
        let mut missing = Vec::new();
        for some in objects.chunks(AT_ONCE) {
            let doing = "look for objects";
            let places = match self.ask(doing, &Request::Missing { objects: some.to_vec() })? {
                Answer::Missing { places } => places,
                other => return Err(self.unexpected(doing, &other)),
            };
            for place in places {
                let object = some.get(place as usize).copied();
                let problem = || format!("it lacks object {place} of {}", some.len());
                missing.push(object.ok_or_else(|| self.protocol(doing, problem()))?);
            }
        }
        Ok(missing)
    }

    /// Begins a transaction, at whose end these refs will move.
    pub fn begin(&mut self, refs: &[&str]) -> Result<()> {
        let refs = refs.iter().map(|&name| name.to_owned()).collect();
        self.done("begin a transaction", &Request::Begin { refs })
    }

    /// Writes an object of so many bytes. What the library does not like of it comes up at the latest at the
    /// end of the transaction.
    pub fn write(&mut self, object: ObjectName, bytes: u64, body: &mut dyn Read) -> Result<()> {
        let doing = format!("write object {object}");
        let sent = wire::send(&mut self.input, &Request::Write { object, bytes });
        sent.map_err(|error| self.ended(&doing, error))?;
        let mut piece = vec![0; wire::PIECE_BYTES.min(bytes as usize)];
        let mut left = bytes;
        while left > 0 {
            let wanted = left.min(piece.len() as u64) as usize;
            body.read_exact(&mut piece[..wanted]).map_err(crate::tree::ContentError::Input)?;
            let sent = self.input.write_all(&piece[..wanted]);
            sent.map_err(|error| self.ended(&doing, error))?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// Makes everything that was written durable and moves the refs.
    pub fn commit(mut self, refs: Vec<(String, Checksum)>) -> Result<()> {
        self.done("end the transaction", &Request::Commit { refs })
    }

    /// Asks for an object. `None`: it is not there. The bytes that the library announced are returned; they
    /// follow in pieces, which must be taken to the end ([`Repository::piece`]).
    pub fn load(&mut self, object: ObjectName) -> Result<Option<u64>> {
        let doing = format!("read object {object}");
        match self.ask(&doing, &Request::Load { object })? {
            Answer::Object { bytes } => Ok(Some(bytes)),
            Answer::NotThere => Ok(None),
            other => Err(self.unexpected(&doing, &other)),
        }
    }

    /// Takes the next piece of the object that was asked for. The empty one is the last, and says that the
    /// library has read the object without a fault.
    pub fn piece(&mut self, object: ObjectName, piece: &mut Vec<u8>) -> Result<()> {
        let doing = || format!("read object {object}");
        let received = wire::receive_piece(&mut self.output, piece);
        received.map_err(|error| self.ended(&doing(), error))?;
        match piece.is_empty() {
            true => match self.answer(&doing())? {
                Answer::Done => Ok(()),
                other => Err(self.unexpected(&doing(), &other)),
            },
            false => Ok(()),
        }
    }

    fn done(&mut self, doing: &str, request: &Request) -> Result<()> {
        match self.ask(doing, request)? {
            Answer::Done => Ok(()),
            other => Err(self.unexpected(doing, &other)),
        }
    }

    fn ask(&mut self, doing: &str, request: &Request) -> Result<Answer> {
        let sent = wire::send(&mut self.input, request).and_then(|()| self.input.flush());
        sent.map_err(|error| self.ended(doing, error))?;
        self.answer(doing)
    }

    fn answer(&mut self, doing: &str) -> Result<Answer> {
        match wire::receive(&mut self.output) {
            Ok(Some(Answer::Failed { doing, problem })) => {
                Err(OstreeError::Library { repository: self.path.clone(), doing, problem })
            }
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.gone(doing)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.gone(doing)),
            Err(error) => Err(self.protocol(doing, error.to_string())),
        }
    }

    fn unexpected(&self, doing: &str, answer: &Answer) -> OstreeError {
        self.protocol(doing, format!("it answers {answer:?}"))
    }

    fn protocol(&self, doing: &str, problem: String) -> OstreeError {
        OstreeError::Protocol { path: self.program.clone(), doing: doing.to_owned(), problem }
    }

    /// Says why nobody takes what is sent, or sends what was promised: the helper's last words, if there are any.
    fn ended(&mut self, doing: &str, error: std::io::Error) -> OstreeError {
        use std::io::ErrorKind::{BrokenPipe, UnexpectedEof};
        if !matches!(error.kind(), BrokenPipe | UnexpectedEof) {
            return self.protocol(doing, error.to_string());
        }
        match self.answer(doing) {
            Err(error) => error,
            Ok(_) => self.gone(doing),
        }
    }

    fn gone(&mut self, doing: &str) -> OstreeError {
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let length = self.said.metadata().map_or(0, |metadata| metadata.len());
        let wanted = length.min(SAID_BYTES);
        let mut tail = vec![0; wanted as usize];
        let read = self.said.read_exact_at(&mut tail, length - wanted);
        let said =
            if read.is_ok() { String::from_utf8_lossy(&tail).trim().to_owned() } else { String::new() };
        OstreeError::Ended { path: self.program.clone(), doing: doing.to_owned(), status, said }
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        // One that has done its work ends by itself when nobody asks any more; it has nothing to undo.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
