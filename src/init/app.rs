//! Runs the app, and commands on its behalf, as its own user with nothing but what the recipe grants.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use mkimage::boot::service::{App, Check, Health};
use rustix::process::{Gid, Pid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Doing, Result, chain};
use crate::inquiry;
use crate::report::say;
use crate::sys::{self, Fork};

/// Files that a process may have open: what most programs expect, and what they may raise it to.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(524_288) };
const NO_CORE: Rlimit = Rlimit { current: Some(0), maximum: None };
/// Exit status of a child that could not become the app, as shells have it.
const CAN_NOT_RUN: i32 = 127;
/// The app's control group; everything that it starts stays in it.
const GROUP: &str = "/sys/fs/cgroup/app";

/// The app, with its environment.
pub struct Runner {
    pub app: App,
    pub environment: BTreeMap<String, String>,
    /// As bits.
    pub capabilities: u64,
    /// Where its output goes; `None`: to the console, which PID 1's own output is.
    pub output: Option<OwnedFd>,
}

impl Runner {
    /// Starts the app in a session and control group of its own.
    pub fn start(&self) -> Result<Pid> {
        let _ = std::fs::create_dir(GROUP);
        self.fork(|| match self.become_app() {
            Ok(never) => match never {},
            Err(error) => {
                say!("app {}: {}", self.app.name, chain(&error));
                CAN_NOT_RUN
            }
        })
    }

    /// Starts a health check as the app's user, without capabilities. The child's status is the answer.
    pub fn check(&self, health: &Health) -> Result<Pid> {
        let timeout = Duration::from_secs(health.timeout_seconds.max(1).into());
        self.fork(|| match self.answer(&health.check, timeout) {
            Ok(healthy) => i32::from(!healthy),
            Err(error) => {
                say!("health check: {}", chain(&error));
                CAN_NOT_RUN
            }
        })
    }

    fn fork(&self, child: impl FnOnce() -> i32) -> Result<Pid> {
        match sys::fork().doing("start", &self.app.name)? {
            Fork::Parent(pid) => Ok(pid),
            Fork::Child => std::process::exit(child()),
        }
    }

    fn become_app(&self) -> Result<Infallible> {
        enter_session()?;
        let _ = std::fs::write(format!("{GROUP}/cgroup.procs"), "0");
        rustix::process::setrlimit(Resource::Nofile, OPEN_FILES).doing("limit", "open files")?;
        rustix::process::setrlimit(Resource::Core, NO_CORE).doing("limit", "core dumps")?;
        self.take_identity(CapabilitySet::from_bits_retain(self.capabilities))?;
        let folder = &self.app.working_directory;
        rustix::process::chdir(folder.as_str()).doing("enter", folder)?;
        self.execute(&self.app.command)
    }

    fn answer(&self, check: &Check, timeout: Duration) -> Result<bool> {
        enter_session()?;
        self.take_identity(CapabilitySet::empty())?;
        match check {
            Check::Command(command) => match self.execute(command)? {},
            check => Ok(inquiry::answers(check, timeout)),
        }
    }

    /// Becomes the app's user, for good: no privilege can be had back by executing something.
    fn take_identity(&self, granted: CapabilitySet) -> Result<()> {
        for bit in 0..64 {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            if !granted.contains(capability)
                && rustix::thread::remove_capability_from_bounding_set(capability).is_err()
            {
                break;
            }
        }
        let groups: Vec<Gid> = self.app.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
        let (uid, gid) = (Uid::from_raw(self.app.uid), Gid::from_raw(self.app.gid));
        rustix::thread::set_thread_groups(&groups).doing("take the groups of", &self.app.name)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).doing("take the group of", &self.app.name)?;
        rustix::thread::set_keep_capabilities(true).doing("keep", "capabilities")?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).doing("take the user of", &self.app.name)?;
        let sets = CapabilitySets { effective: granted, permitted: granted, inheritable: granted };
        rustix::thread::set_capabilities(None, sets).doing("take", "capabilities")?;
        for bit in 0..64 {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            if granted.contains(capability) {
                rustix::thread::configure_capability_in_ambient_set(capability, true)
                    .doing("take", "ambient capabilities")?;
            }
        }
        rustix::thread::set_no_new_privs(true).doing("give up", "new privileges")
    }

    fn execute(&self, command: &[String]) -> Result<Infallible> {
        let (program, arguments) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let null = File::open("/dev/null").doing("open", "/dev/null")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.environment).stdin(null);
        if let Some(output) = &self.output {
            let clone = || output.try_clone().doing("hand on", "the output");
            command.stdout(clone()?).stderr(clone()?);
        }
        Err(command.exec()).doing("execute", program)
    }
}

/// Lets the app's user open the console by its names, such as `/dev/stdout`.
pub fn own_console(uid: u32, gid: u32) {
    let _ = std::os::unix::fs::chown("/dev/console", Some(uid), Some(gid));
}

/// Kills what the app left behind.
pub fn clear_group() {
    let _ = std::fs::write(format!("{GROUP}/cgroup.kill"), "1");
}

fn enter_session() -> Result<()> {
    rustix::process::setsid().map(drop).doing("begin", "a session")
}
