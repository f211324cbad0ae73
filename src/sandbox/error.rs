use std::io;

use crate::base::{Cancelled, FileError, ImagePath};
use crate::tree::ContentError;

/// Says why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine makes no sandbox; the hint says which setting forbids it.
    #[error("this machine makes no sandbox: cannot {doing} ({source}); {hint}")]
    Unavailable { doing: String, source: io::Error, hint: String },
    /// The tree or an input stands where the sandbox can't be put together.
    #[error("{path}: {problem}")]
    Place { path: ImagePath, problem: String },
    #[error("cannot {doing} {path} for the sandbox")]
    Tree { doing: &'static str, path: ImagePath, source: io::Error },
    #[error("cannot read the content of {path}")]
    Content { path: ImagePath, source: ContentError },
    #[error("{label}: cannot start `{command}`: {source}{}", start_hint(source))]
    NotStarted { label: String, command: String, source: io::Error },
    /// A command ended with another exit status than 0, or by a signal.
    #[error("{label}: `{command}` ended with {how}{}{}", list(notes), tail(log))]
    Command { label: String, command: String, how: String, notes: Vec<String>, log: String },
    #[error("{label}: not done after {seconds} s, the time limit of a run{}", tail(log))]
    TimedOut { label: String, seconds: u64, log: String },
    /// The result can't be a tree.
    #[error("what the commands left at {path} can't be kept: {problem}")]
    Result { path: ImagePath, problem: String },
    #[error("the sandbox broke down: {problem}")]
    Broken { problem: String, source: Option<io::Error> },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl SandboxError {
    /// Makes a closure for `map_err`.
    pub(super) fn broken<E: Into<io::Error>>(problem: &str) -> impl FnOnce(E) -> SandboxError {
        move |source| SandboxError::Broken { problem: problem.to_owned(), source: Some(source.into()) }
    }

    /// Makes a closure for `map_err`.
    pub(super) fn tree<E: Into<io::Error>>(
        doing: &'static str,
        path: &ImagePath,
    ) -> impl FnOnce(E) -> SandboxError {
        move |source| SandboxError::Tree { doing, path: path.clone(), source: source.into() }
    }
}

fn tail(log: &str) -> String {
    if log.is_empty() { "; it said nothing".to_owned() } else { format!("; its last lines:\n{log}") }
}

fn list(notes: &[String]) -> String {
    notes.iter().map(|note| format!(" ({note})")).collect()
}

fn start_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT) => {
            " (in the tree there is no such program, or not its interpreter, or not the working directory)"
        }
        Some(libc::ENOEXEC) => {
            " (the program is for another processor; the sandbox runs what this machine can run)"
        }
        _ => "",
    }
}

/// Says which setting of this machine forbids what was refused.
pub(super) fn hint(errno: i32) -> String {
    let is = |file: &str, value: &str| {
        std::fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == value)
    };
    if is("kernel/unprivileged_userns_clone", "0") {
        return "set the sysctl kernel.unprivileged_userns_clone=1".to_owned();
    }
    if is("user/max_user_namespaces", "0") {
        return "set the sysctl user.max_user_namespaces to at least 1000".to_owned();
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "set the sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give mkimage an AppArmor \
                profile with the rule \"userns,\""
            .to_owned();
    }
    if is("kernel/yama/ptrace_scope", "3") {
        return "set the sysctl kernel.yama.ptrace_scope to 2 or less".to_owned();
    }
    match errno {
        libc::ENOSPC => "set the sysctls user.max_*_namespaces higher".to_owned(),
        libc::ENOSYS | libc::EINVAL => {
            "it takes Linux 5.9 with user namespaces and seccomp user notification".to_owned()
        }
        _ => "in a container, allow user namespaces and mounts in them (with Docker or Podman: \
              --security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
            .to_owned(),
    }
}
