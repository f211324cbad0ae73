use std::path::PathBuf;

use crate::base::{Cancelled, FileError};

/// Says why a machine can't be started, or did not do what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(
        "no program qemu-system-x86_64 on the PATH (the package is qemu-system-x86 on Debian, Ubuntu, Fedora \
         and Arch)"
    )]
    NoEmulator,
    #[error(
        "no UEFI firmware for virtual machines, looked for {} (the package is ovmf on Debian and Ubuntu, \
         edk2-ovmf on Fedora and Arch)",
        list(searched)
    )]
    NoFirmware { searched: Vec<PathBuf> },
    /// An option that the emulator can't be given.
    #[error("{option}: {problem}")]
    Option { option: String, problem: String },
    #[error("port {port} of this host can't be forwarded to the machine")]
    Port { port: u16, source: std::io::Error },
    #[error("starting {}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    /// KVM was asked for and does not work here.
    #[error("KVM was asked for, but {problem} (with \"auto\" the machine is emulated then)")]
    Kvm { problem: String },
    /// The emulator ended by itself with an error of its own.
    #[error("the emulator ended with {status}: {message}")]
    Ended { status: String, message: String },
    /// The machine's processor was stopped by a fault that it can't get over.
    #[error("the machine stands still ({status}); its last words:\n{last_words}")]
    Stopped { status: String, last_words: String },
    #[error("talking to the emulator: {problem}")]
    Control { problem: String },
    /// What was waited for did not come.
    #[error("{what} did not come within {seconds} s; the machine's last words:\n{last_words}")]
    Timeout { what: String, seconds: u64, last_words: String },
    /// The machine ended while something else was waited for.
    #[error("the machine ended before {what} came; its last words:\n{last_words}")]
    EndedEarly { what: String, last_words: String },
    #[error("reading from the machine")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
