//! Starts an image in QEMU: the firmware, disk and network that a cloud gives it, on this host.
//!
//! In: a raw disk image, ports, environment, credentials, further disks. Out: a [`Running`] machine, whose console is read line by
//! line, which can be asked to power off, and which never outlives its value.
//!
//! Always true
//! - The disk is the user's: what the machine writes stays (boot counting needs that), unless a snapshot
//!   is asked for. The firmware's variables are a private copy.
//! - KVM is trusted only after this very image has come up with it, on a copy-on-write disk, within a
//!   few seconds: `/dev/kvm` may open and then hang. Nothing about it is remembered.
//! - Environment and credentials may be secrets: they reach the emulator in files that lie in memory alone,
//!   never on its command line or on a disk.
//! - One thread: console and control connection are polled while something is waited for. So somebody
//!   must wait, or the machine's console fills up and it stands still.
//!
//! Not here: printing (the caller is handed events), building images.
//!
//! Read first: [`options`], [`Running`].
#![forbid(unsafe_code)]

mod arguments;
mod console;
mod control;
mod error;
mod firmware;
mod http;
mod memory;
pub mod options;
mod probe;
mod running;
mod start;

pub use error::MachineError;
pub use firmware::Firmware;
pub use http::Answer;
pub use memory::MemoryFile;
pub use options::{Acceleration, Accelerator, Forward, MachineOptions};
pub use running::{End, Running};
pub use start::{Machine, MachineEvent};
