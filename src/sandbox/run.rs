//! One run, seen by the caller: start the stage, lay out the tree, listen, read the result.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::Signal;

use super::error::{SandboxError, hint};
use super::gather::Gatherer;
use super::lay::{Laid, Layer, Owner, bytes_of};
use super::log::Log;
use super::records::{self, Records, WANTED};
use super::wire::{Ended, Failure, Frame, Kind, Link, Ready, Setup};
use super::{Lies, Outcome, Request, inside, normalise};
use crate::base::job::Unit;
use crate::base::{ImagePath, Job, Stopwatch};
use crate::tree::{ContentSink, Directory, Node};

type Result<T> = std::result::Result<T, SandboxError>;

/// The word after the program's name that makes it the stage.
pub const STAGE_VERB: &str = "sandbox-stage";

/// How long the end of all processes may take after they were told to end.
const GRACE: Duration = Duration::from_secs(20);

/// Runs the commands on the tree, in order, and returns what they made of it. The first command that fails
/// ends the run; nothing of it is kept then.
pub fn run(request: &Request<'_>, sink: &dyn ContentSink, job: &Job) -> Result<Outcome> {
    job.check()?;
    let inputs: Vec<ImagePath> = request.inputs.iter().map(|(path, _)| path.clone()).collect();
    let scaffold = scaffold(request.tree, &inputs)?;
    let memory = Memory::plan(request);
    let folder = match memory {
        Some(_) => None,
        None => Some(Folder::create(request.scratch)?),
    };
    let mut stage = Stage::start(request)?;
    let setup = setup(request, memory.as_ref());
    stage.send(Kind::Setup, &setup, folder.as_ref())?;
    let (ready, files) = stage.ready(folder.as_ref())?;
    let owner = Owner { uid: ready.uid, gid: ready.gid };
    if let Some(folder) = &folder {
        folder.give(owner)?;
    }
    let laid = lay_out(request, &files, owner, job)?;
    stage.link.send(Kind::Go, &records::encode(laid.records.iter()), None).map_err(|_| stage.died())?;
    let (log, records) = stage.follow(request, job)?;
    drop(stage);
    let gatherer = Gatherer { root: &files, top: TREE, laid: &laid, records: &records, sink, job };
    let mut tree = gatherer.gather()?;
    remove_scaffold(&mut tree, &scaffold);
    normalise::normalise(&mut tree, request, &gatherer)?;
    Ok(Outcome::new(request.tree, tree, log.bytes()))
}

/// The directories in the file system that is laid out.
const TREE: &str = "tree";
const INPUTS: &str = "inputs";

fn setup(request: &Request<'_>, memory: Option<&Memory>) -> Setup {
    let mut environment = environment(request.epoch);
    environment.extend(request.environment.clone());
    Setup {
        commands: request.commands.clone(),
        environment,
        working_directory: request.working_directory.as_bytes().to_vec(),
        inputs: request.inputs.iter().map(|(path, _)| path.as_bytes().to_vec()).collect(),
        in_memory: memory.is_some(),
        tree_bytes: memory.map_or(request.limits.tree_bytes, |memory| memory.bytes),
        inodes: request.limits.inodes,
        processes: request.limits.processes,
        open_files: request.limits.open_files,
        address_space_bytes: request.limits.address_space_bytes,
    }
}

/// Returns the variables that every command has.
fn environment(epoch: u64) -> BTreeMap<String, String> {
    let fixed = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("LOGNAME", "root"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("PYTHONHASHSEED", "0"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
        ("USER", "root"),
    ];
    let mut variables: BTreeMap<_, _> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    variables.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string());
    variables
}

/// Returns the directories that the sandbox needs and the tree lacks, parents first.
fn scaffold(tree: &Directory, inputs: &[ImagePath]) -> Result<Vec<ImagePath>> {
    let own = ["/dev", "/proc", "/run", "/tmp"].map(|path| ImagePath::new(path.as_bytes()));
    let own: Vec<ImagePath> = own.into_iter().map(|path| path.expect("because these are paths")).collect();
    let mut missing = Vec::new();
    for path in own.iter().chain(inputs) {
        if own.iter().any(|above| path != above && path.is_within(above)) {
            continue;
        }
        if path.is_root() {
            let problem = "an input can't be laid over the whole tree".to_owned();
            return Err(SandboxError::Place { path: path.clone(), problem });
        }
        let mut at = ImagePath::root();
        for name in path.names() {
            at = at.join(&crate::base::Name::new(name).expect("because a path holds valid names"));
            match tree.get(&at) {
                Some(Node::Directory(_)) => {}
                Some(other) => {
                    let problem = format!("the sandbox needs a directory there, it is a {}", other.kind());
                    return Err(SandboxError::Place { path: at, problem });
                }
                None if missing.contains(&at) => {}
                None => missing.push(at.clone()),
            }
        }
    }
    Ok(missing)
}

/// Takes away what only the sandbox needed, and nobody has filled.
fn remove_scaffold(tree: &mut Directory, scaffold: &[ImagePath]) {
    for path in scaffold.iter().rev() {
        if tree.directory(path).is_some_and(|directory| directory.entries.is_empty()) {
            tree.remove(path);
        }
    }
}

/// How much memory the tree may take, where it lies in memory.
struct Memory {
    bytes: u64,
}

impl Memory {
    /// Chooses memory where tree and inputs take no more than a quarter of what is free of it.
    fn plan(request: &Request<'_>) -> Option<Memory> {
        let used = bytes_of(request.tree) + request.inputs.iter().map(|(_, one)| bytes_of(one)).sum::<u64>();
        let free = free_memory();
        let bytes = request.limits.tree_bytes;
        match request.limits.lies {
            Lies::InMemory => Some(Memory { bytes }),
            Lies::InFolder => None,
            Lies::WhereItFits if used <= free / 4 => Some(Memory { bytes: bytes.min(free / 2) }),
            Lies::WhereItFits => None,
        }
    }
}

/// Returns how many bytes of memory may be used without swapping; 0 where the kernel doesn't say.
fn free_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|n| n.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// A folder for one run, removed with all that is in it.
struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    fn create(scratch: &Path) -> Result<Folder> {
        let path = scratch.join(format!("sandbox-{}", crate::base::publish::unique()));
        crate::base::fs::create_directories(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::open(&path, flags, Mode::empty());
        let fd = open.map_err(|error| crate::base::FileError::at("open", &path)(error.into()))?;
        let folder = Folder { path, fd };
        // So that the stage, who may be another user by then, can step into it.
        folder.chmod(0o711)?;
        Ok(folder)
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        let done = rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode));
        Ok(done.map_err(|error| crate::base::FileError::at("set the mode of", &self.path)(error.into()))?)
    }

    /// Makes the folder the owner's, and nobody else's.
    fn give(&self, owner: Owner) -> Result<()> {
        if rustix::process::geteuid().as_raw() != owner.uid {
            std::os::unix::fs::fchown(&self.fd, Some(owner.uid), Some(owner.gid))
                .map_err(crate::base::FileError::at("give away", &self.path))?;
        }
        self.chmod(0o700)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        super::remove::contents(&self.fd);
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Writes the tree and the inputs, and waits until a later change can be told from it by the clock.
fn lay_out(request: &Request<'_>, files: &OwnedFd, owner: Owner, job: &Job) -> Result<Laid> {
    let layer = Layer { root: files, owner, source: request.source, epoch: request.epoch, job };
    let mut laid = layer.lay(TREE, request.tree)?;
    for (index, (_, input)) in request.inputs.iter().enumerate() {
        let more = layer.lay(&format!("{INPUTS}/{index}"), input)?;
        laid.records.extend(more.records);
    }
    let last = laid.inodes.values().flatten().map(|(stamp, _)| stamp.changed).max();
    settle(files, owner, last)?;
    Ok(laid)
}

/// Waits until the file system's clock, which goes in ticks of a few milliseconds, is past a moment.
fn settle(files: &OwnedFd, owner: Owner, last: Option<(i64, u32)>) -> Result<()> {
    let Some(last) = last else { return Ok(()) };
    let broken = SandboxError::broken("its clock can't be read");
    let tick = || {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entered = owner.enter();
        let file = rustix::fs::openat(files, c"clock", flags, Mode::RUSR | Mode::WUSR)?;
        drop(entered);
        rustix::io::pwrite(&file, b".", 0)?;
        let seen = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, WANTED)?;
        Ok::<_, rustix::io::Errno>((seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec))
    };
    let waited = Stopwatch::start();
    loop {
        match tick() {
            Err(error) => return Err(broken(error)),
            Ok(now) if now > last || waited.elapsed() > Duration::from_secs(1) => return Ok(()),
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The process of the hidden verb. Dropped, it ends with all processes of the sandbox.
struct Stage {
    child: Child,
    link: Link,
    output: OwnedFd,
    /// PID 1 of the sandbox, once it runs.
    first: Option<OwnedFd>,
    label: String,
}

impl Stage {
    fn start(request: &Request<'_>) -> Result<Stage> {
        let (ours, theirs) = Link::pair().map_err(SandboxError::broken("no socket"))?;
        let (output, input) = io::pipe().map_err(SandboxError::broken("no pipe"))?;
        let program = request.program.clone().unwrap_or_else(|| "/proc/self/exe".into());
        let again = input.try_clone().map_err(SandboxError::broken("no pipe"))?;
        let mut command = Command::new(&program);
        command.arg(STAGE_VERB).env_clear().current_dir("/");
        command.stdin(theirs.into_socket()).stdout(input).stderr(again);
        let child = command.spawn().map_err(SandboxError::broken("the stage doesn't start"))?;
        Ok(Stage { child, link: ours, output: output.into(), first: None, label: request.label.clone() })
    }

    fn send(&self, kind: Kind, setup: &Setup, folder: Option<&Folder>) -> Result<()> {
        let fd = folder.map(|folder| folder.fd.as_fd());
        self.link.send_value(kind, setup, fd).map_err(|_| self.died())
    }

    fn died(&self) -> SandboxError {
        SandboxError::Broken { problem: "the stage ended before its time".to_owned(), source: None }
    }

    fn frame(&self) -> Result<Option<Frame>> {
        let frame = self.link.receive().map_err(SandboxError::broken("the stage talks nonsense"))?;
        match frame {
            Some(frame) if frame.kind == Kind::Failed => Err(unavailable(&frame)),
            other => Ok(other),
        }
    }

    /// Waits until the namespaces are there; returns as whom they run, and the tree's file system.
    fn ready(&self, folder: Option<&Folder>) -> Result<(Ready, OwnedFd)> {
        let frame = self.frame()?.filter(|frame| frame.kind == Kind::Ready).ok_or_else(|| self.died())?;
        let ready = frame.value().map_err(SandboxError::broken("the stage talks nonsense"))?;
        let files = match folder {
            Some(folder) => Some(folder.fd.try_clone().map_err(SandboxError::broken("no descriptor"))?),
            None => frame.fd,
        };
        Ok((ready, files.ok_or_else(|| self.died())?))
    }

    /// Follows the commands to their end; returns what they said and what is known of the inodes.
    fn follow(&mut self, request: &Request<'_>, job: &Job) -> Result<(Log, Records)> {
        let _step = job.step(format!("run {}", request.label), None, Unit::Items);
        let mut log = Log::new(request.limits.log_bytes);
        let watch = Stopwatch::start();
        let mut told = Told::default();
        loop {
            let stopped = job.check();
            if stopped.is_err() || watch.elapsed() >= request.limits.time {
                self.end();
                self.drain(&mut log, job);
                stopped?;
                let (label, seconds) = (self.label.clone(), request.limits.time.as_secs());
                return Err(SandboxError::TimedOut { label, seconds, log: log.last_lines() });
            }
            let left = request.limits.time.saturating_sub(watch.elapsed()).min(Duration::from_millis(50));
            let (said, talked) = self.wait(left).map_err(SandboxError::broken("can't wait"))?;
            if said {
                self.read(&mut log, job);
            }
            if talked && !self.take(&mut told)? {
                break;
            }
        }
        self.end();
        self.drain(&mut log, job);
        let records = told.records.ok_or_else(|| self.died())?;
        let ended = told.ended.ok_or_else(|| self.died())?;
        failure(request, &ended, told.notes, &log)?;
        Ok((log, records))
    }

    /// Takes one message; `false` when there will be no more.
    fn take(&mut self, told: &mut Told) -> Result<bool> {
        let Some(frame) = self.frame()? else { return Ok(false) };
        let nonsense = "the stage talks nonsense";
        match frame.kind {
            Kind::Started => self.first = frame.fd,
            Kind::Ended => told.ended = Some(frame.value().map_err(SandboxError::broken(nonsense))?),
            Kind::Notes => told.notes = frame.value().map_err(SandboxError::broken(nonsense))?,
            Kind::Records => {
                told.records = Some(records::decode(&frame.payload).map_err(SandboxError::broken(nonsense))?);
            }
            kind => {
                return Err(SandboxError::Broken {
                    problem: format!("the stage sent {kind:?}"),
                    source: None,
                });
            }
        }
        Ok(true)
    }

    fn wait(&self, longest: Duration) -> io::Result<(bool, bool)> {
        let mut fds = [PollFd::new(&self.output, PollFlags::IN), PollFd::new(&self.link, PollFlags::IN)];
        let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            other => drop(other?),
        }
        Ok((fds[0].revents().contains(PollFlags::IN), !fds[1].revents().is_empty()))
    }

    fn read(&self, log: &mut Log, job: &Job) -> bool {
        let mut buffer = vec![0; 65536];
        match rustix::io::read(&self.output, &mut buffer) {
            Ok(length) if length > 0 => {
                log.push(&buffer[..length], &self.label, job);
                true
            }
            _ => false,
        }
    }

    /// Reads what is left when nobody is left who could write.
    fn drain(&self, log: &mut Log, job: &Job) {
        while self.read(log, job) {}
    }

    /// Ends every process of the sandbox and waits until all are gone.
    fn end(&mut self) {
        if let Some(first) = &self.first {
            let _ = rustix::process::pidfd_send_signal(first, Signal::KILL);
            let mut fds = [PollFd::new(first, PollFlags::IN)];
            let timeout = Timespec { tv_sec: GRACE.as_secs() as i64, tv_nsec: 0 };
            let _ = rustix::event::poll(&mut fds, Some(&timeout));
        }
        // What is left of the stage has nothing to lose; the sandbox dies with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the stage has told.
#[derive(Default)]
struct Told {
    ended: Option<Ended>,
    records: Option<Records>,
    notes: Vec<String>,
}

fn unavailable(frame: &Frame) -> SandboxError {
    match frame.value::<Failure>() {
        Ok(Failure { doing, errno }) => {
            let source = io::Error::from_raw_os_error(errno);
            SandboxError::Unavailable { doing, source, hint: hint(errno) }
        }
        Err(source) => SandboxError::broken("the stage talks nonsense")(source),
    }
}

/// Turns an end that is not a good one into an error.
fn failure(request: &Request<'_>, ended: &Ended, notes: Vec<String>, log: &Log) -> Result<()> {
    let label = request.label.clone();
    let shown = |command: usize| request.commands.get(command).map_or_else(String::new, |words| shown(words));
    let (command, how) = match *ended {
        Ended::Well => return Ok(()),
        Ended::NotStarted { command, errno } => {
            let source = io::Error::from_raw_os_error(errno);
            return Err(SandboxError::NotStarted { label, command: shown(command), source });
        }
        Ended::Exit { command, status } => (command, format!("exit status {status}")),
        Ended::Signal { command, signal } => (command, format!("signal {signal}{}", meaning(signal))),
    };
    Err(SandboxError::Command { label, command: shown(command), how, notes, log: log.last_lines() })
}

fn meaning(signal: i32) -> &'static str {
    match signal {
        libc::SIGSYS => ", a system call that the sandbox forbids",
        libc::SIGXFSZ => ", a file larger than the limit of a run",
        libc::SIGSEGV => ", an address it may not use",
        libc::SIGKILL => ", from outside or for lack of memory",
        _ => "",
    }
}

/// Shows a command in one line.
fn shown(words: &[String]) -> String {
    const SHOWN: usize = 200;
    let (_, words) = inside::split(words);
    let line = crate::base::path::escaped(words.join(" ").as_bytes());
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
