//! What updates the machine: one more process that is looked after, as a user of its own without any capability.
//!
//! It may write its own folder on the data partition and the node of the disk, which become its own; it can't mount,
//! signal others, load modules or reboot. For that it ends with a status of its own. It is started when the app is
//! healthy, and again, ever later, where it ends otherwise.

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mkimage::boot::service::Agent;
use rustix::process::{Gid, Pid, Resource, Rlimit, Uid, WaitStatus};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::disks::{Partition, node};
use crate::error::{Doing, Result, chain};
use crate::report::{now, say};
use crate::sys::{self, Fork};
use crate::word;

/// How long a confirmed slot's app may take to become healthy before the agent is started without.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(600);
/// One that ran so long begins with the first delay again.
const STEADY_AFTER: Duration = Duration::from_secs(600);
const NO_CORE: Rlimit = Rlimit { current: Some(0), maximum: Some(0) };
/// Its control group.
const GROUP: &str = "/sys/fs/cgroup/agent";
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CAN_NOT_RUN: i32 = 127;

/// The process that updates, as it is looked after.
pub struct Task {
    agent: Agent,
    pid: Option<Pid>,
    started: Duration,
    /// When it is started next; `None` while it runs, and on trial before the app is healthy.
    due: Option<Duration>,
    delay: Duration,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The machine is to be rebooted into what was written.
    WantsReboot,
    /// It is started again.
    Again,
}

impl Task {
    /// Makes ready what the agent needs, where the data partition is there. In a slot that is confirmed it is started
    /// after a while whatever the app does: an update may be what makes the app healthy again.
    pub fn prepare(agent: Agent, slot: &Partition, on_trial: bool) -> Result<Task> {
        make_folder(&agent.state_path, &agent)?;
        make_folder(&agent.socket_folder, &agent)?;
        let disk = node(&slot.disk);
        lchown(&disk, Some(agent.uid), Some(agent.gid)).doing("hand over to the agent", &disk)?;
        let due = (!on_trial).then(|| now() + PATIENCE);
        Ok(Task { agent, pid: None, started: Duration::ZERO, due, delay: FIRST_DELAY })
    }

    /// Says that the app is healthy: from now on the agent runs.
    pub fn allow(&mut self) {
        if self.pid.is_none() {
            self.due = Some(now());
        }
    }

    /// Starts the process, if it is time.
    pub fn start(&mut self) {
        if self.due.is_none_or(|due| now() < due) {
            return;
        }
        self.due = None;
        match sys::fork() {
            Ok(Fork::Parent(pid)) => (self.pid, self.started) = (Some(pid), now()),
            Ok(Fork::Child) => {
                let code = match self.become_agent() {
                    Ok(never) => match never {},
                    Err(error) => {
                        say!("agent: {}", chain(&error));
                        CAN_NOT_RUN
                    }
                };
                std::process::exit(code)
            }
            Err(error) => {
                say!("cannot start the agent: {error}");
                self.due = Some(now() + self.delay);
            }
        }
    }

    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Returns when it is to be started.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Notes that the process ended.
    pub fn ended(&mut self, status: WaitStatus) -> Ended {
        self.pid = None;
        if status.exit_status() == Some(self.agent.reboot_status.into()) {
            return Ended::WantsReboot;
        }
        if now() >= self.started + STEADY_AFTER {
            self.delay = FIRST_DELAY;
        }
        say!("the agent ended; it is started again in {} s", self.delay.as_secs());
        self.due = Some(now() + self.delay);
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        Ended::Again
    }

    fn become_agent(&self) -> Result<Infallible> {
        rustix::process::setsid().doing("begin", "a session")?;
        let _ = std::fs::create_dir(GROUP);
        let _ = std::fs::write(format!("{GROUP}/cgroup.procs"), "0");
        rustix::process::setrlimit(Resource::Core, NO_CORE).doing("limit", "core dumps")?;
        // Where memory is short the app is what the machine is for.
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
        let (uid, gid) = (Uid::from_raw(self.agent.uid), Gid::from_raw(self.agent.gid));
        rustix::thread::set_no_new_privs(true).doing("give up", "new privileges")?;
        for bit in 0..64 {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
                break;
            }
        }
        rustix::thread::set_thread_groups(&[]).doing("give up", "groups")?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).doing("take", "the agent's group")?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).doing("take", "the agent's user")?;
        let empty = CapabilitySet::empty();
        let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
        set_capabilities(None, none).doing("give up", "capabilities")?;
        let (program, arguments) = match self.agent.command.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", &[][..]),
        };
        let null = File::open("/dev/null").doing("open", "/dev/null")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", SEARCH_PATH).stdin(null).current_dir("/");
        Err(command.exec()).doing("execute", program)
    }
}

/// Leaves a word for the agent of the slot that runs next: why a trial is given up.
pub fn leave_word(data_path: &str, root_hash: &str, why: &str) {
    let (path, written) = word::leave(data_path, root_hash, why);
    if let Err(error) = written.doing("write", path.display()) {
        say!("{}", chain(&error));
    }
}

/// Makes a folder of the agent's, and no other's, in one of root's.
fn make_folder(path: &str, agent: &Agent) -> Result<()> {
    let path = Path::new(path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).doing("create", parent.display())?;
    }
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).doing("create", path.display());
        }
        _ => {}
    }
    lchown(path, Some(agent.uid), Some(agent.gid)).doing("hand over to the agent", path.display())
}
