//! The program of the hidden verb: leaves the machine's namespaces, has the tree laid out, forks PID 1 and
//! answers for it.
//!
//! A process with threads can't be forked safely and can't leave a user namespace, so the caller runs
//! itself again; this process starts no thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::records::{self, Inode};
use super::supervisor::Supervisor;
use super::wire::{Failure, Kind, Link, Ready, Setup, invalid};
use super::{inside, sys};

/// As whom root's sandboxes run: nobody. What belongs to root on a machine is more than its files.
const NOBODY: u32 = 65534;

/// Runs the hidden verb: standard input is the conversation with the caller. Ends with 0 where the caller
/// was told all there is to tell.
pub fn stage() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    // Whatever else was inherited must not reach a command.
    sys::close_from(3)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    let link = Link::from_socket(socket);
    let Some(setup) = link.receive()?.filter(|frame| frame.kind == Kind::Setup) else {
        return Err(invalid("no setup"));
    };
    match supervise(&link, setup.value()?, setup.fd) {
        Ok(()) => Ok(()),
        Err(failure) => link.send_value(Kind::Failed, &failure, None),
    }
}

fn supervise(link: &Link, setup: Setup, folder: Option<OwnedFd>) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let processes = rustix::fs::open(c"/proc", flags, Mode::empty()).map_err(Failure::at("open /proc"))?;
    if let Some(folder) = &folder {
        rustix::process::fchdir(folder).map_err(Failure::at("enter the folder of the tree"))?;
    }
    let ready = leave()?;
    // The working directory has moved into the new namespace, where a descriptor stays behind.
    let here = || rustix::fs::open(c".", flags, Mode::empty());
    let files = match folder {
        Some(_) => here().map_err(Failure::at("enter the folder of the tree"))?,
        None => tree_in_memory(&setup)?,
    };
    rustix::process::chdir(c"/").map_err(Failure::at("enter /"))?;
    let talk = || "talk to the caller";
    let shared = setup.in_memory.then(|| files.as_fd());
    link.send_value(Kind::Ready, &ready, shared).map_err(Failure::at(talk()))?;
    let Some(go) = link.receive().map_err(Failure::at(talk()))?.filter(|frame| frame.kind == Kind::Go) else {
        // The caller has given up; there is nobody to tell.
        return Ok(());
    };
    let known = records::decode(&go.payload).map_err(Failure::at("read the records"))?;
    let (ours, theirs) = Link::pair().map_err(Failure::at("make a socket"))?;
    let Some(pid) = sys::fork().map_err(Failure::at("fork"))? else {
        drop((ours, processes, known));
        first(&setup, &files, &theirs)
    };
    drop(theirs);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(Failure::at("watch PID 1"))?;
    link.send(Kind::Started, b"", Some(pidfd.as_fd())).map_err(Failure::at(talk()))?;
    let device = Inode::of(
        &rustix::fs::statx(&files, c"", rustix::fs::AtFlags::EMPTY_PATH, records::WANTED)
            .map_err(Failure::at("look at the tree"))?,
    )
    .device;
    let mut watch =
        Watch { link, ours, pid, pidfd, processes: Some(processes), known: Some(known), supervisor: None };
    watch.until_the_end().map_err(Failure::at("watch over the commands"))?;
    watch.report(device).map_err(Failure::at(talk()))
}

/// Becomes PID 1; its failure goes to the caller through the supervisor.
fn first(setup: &Setup, files: &OwnedFd, link: &Link) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::process::setsid();
    if let Err(failure) = inside::run(setup, files, link) {
        let _ = link.send_value(Kind::Failed, &failure, None);
    }
    sys::exit(0)
}

/// Leaves the machine's namespaces for new ones, in which this user is root and nobody else exists.
fn leave() -> Result<Ready, Failure> {
    let _ = become_nobody();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(Failure::at("become dumpable"))?;
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    sys::unshare(namespaces).map_err(Failure::at("make namespaces"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Failure::at("tie this process to the caller"))?;
    let write = |file: &str, text: &str| {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(Failure::at(format!("write {path}")))
    };
    write("setgroups", "deny")?;
    write("uid_map", &format!("0 {uid} 1"))?;
    write("gid_map", &format!("0 {gid} 1"))?;
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", private).map_err(Failure::at("make the mounts private"))?;
    Ok(Ready { uid, gid })
}

/// Gives root's place up. Fails where that user doesn't exist, as in a container of one user; then root is
/// no more than that one.
fn become_nobody() -> rustix::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Makes the file system of the tree, and the two directories in it that the caller fills.
fn tree_in_memory(setup: &Setup) -> Result<OwnedFd, Failure> {
    let (size, inodes) = (setup.tree_bytes.to_string(), setup.inodes.to_string());
    let options = [("size", &*size), ("nr_inodes", &*inodes), ("mode", "0755")];
    inside::memory(&options).map_err(Failure::at("make a file system in memory"))
}

/// Watches over PID 1.
struct Watch<'a> {
    link: &'a Link,
    ours: Link,
    pid: Pid,
    pidfd: OwnedFd,
    processes: Option<OwnedFd>,
    known: Option<records::Records>,
    supervisor: Option<Supervisor>,
}

impl Watch<'_> {
    /// Serves until PID 1, and with it every process of the sandbox, is gone.
    fn until_the_end(&mut self) -> io::Result<()> {
        let mut open = true;
        loop {
            let [asked, said, gone, ended] = self.wait(open)?;
            if asked && let Some(supervisor) = &mut self.supervisor {
                supervisor.serve()?;
            }
            if said {
                open = self.hear()?;
            }
            if gone {
                // The caller is no more, or wants no more.
                let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            }
            if ended {
                while open {
                    open = self.hear()?;
                }
                rustix::process::waitpid(Some(self.pid), WaitOptions::empty())?;
                return Ok(());
            }
        }
    }

    fn wait(&self, open: bool) -> io::Result<[bool; 4]> {
        let ready = PollFlags::IN;
        let mut fds = vec![PollFd::new(&self.pidfd, ready), PollFd::new(self.link, PollFlags::empty())];
        if open {
            fds.push(PollFd::new(&self.ours, ready));
        }
        if let Some(supervisor) = &self.supervisor {
            fds.push(PollFd::new(supervisor.listener(), ready));
        }
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => return Ok([false; 4]),
            other => drop(other?),
        }
        let mut seen = fds.iter().map(PollFd::revents);
        let mut next = || seen.next().unwrap_or(PollFlags::empty());
        let (ended, gone) = (!next().is_empty(), !next().is_empty());
        let said = open && !next().is_empty();
        Ok([next().contains(ready), said, gone, ended])
    }

    /// Takes a message of PID 1; `false` when there will be no more.
    fn hear(&mut self) -> io::Result<bool> {
        let Some(frame) = self.ours.receive()? else { return Ok(false) };
        match (frame.kind, frame.fd) {
            (Kind::Listener, Some(listener)) => {
                if let (Some(processes), Some(known)) = (self.processes.take(), self.known.take()) {
                    self.supervisor = Some(Supervisor::new(listener, processes, known));
                }
            }
            (kind @ (Kind::Ended | Kind::Failed), None) => self.link.send(kind, &frame.payload, None)?,
            (kind, _) => return Err(invalid(format!("PID 1 sent {kind:?}"))),
        }
        Ok(true)
    }

    /// Tells the caller what the tree's inodes are.
    fn report(self, device: (u32, u32)) -> io::Result<()> {
        let Some(supervisor) = self.supervisor else { return Ok(()) };
        self.link.send_value(Kind::Notes, &supervisor.notes, None)?;
        let ours = supervisor.records.iter().filter(|(inode, _)| inode.device == device);
        self.link.send(Kind::Records, &records::encode(ours), None)
    }
}
