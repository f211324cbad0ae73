//! What firmware, loader and PID 1 see.
//!
//! In: the systemd stub, a kernel with its modules, the PID 1 binary, a service. Out: the initrd and the
//! unified kernel image (UKI) that firmware loads from the ESP; the loader that starts it ([`loader`]).
//!
//! Files that PID 1 shares (`service`, `slots`, `command_line`, `environment`, `user_data`) name only `base`; the
//! others stand behind the features `agent` (reading and making UKIs) and `tool`.
//!
//! Always true
//! - A UKI and an initrd follow from their parts alone: no clock, no host, no order of the host.
//! - Foreign bytes (PE images, kernel modules) never panic and never make us allocate by their numbers.
//!
//! Not here: where a UKI lies on a disk (`disk/`), what PID 1 does (`init/`).
//!
//! Read first: [`uki`], [`initrd`], [`service`].
#![forbid(unsafe_code)]

pub mod command_line;
#[cfg(feature = "tool")]
pub mod cpio;
#[cfg(feature = "tool")]
mod elf_to_pe;
pub mod environment;
#[cfg(feature = "agent")]
mod error;
#[cfg(feature = "tool")]
pub mod initrd;
#[cfg(feature = "tool")]
pub mod loader;
#[cfg(feature = "tool")]
mod module_info;
#[cfg(feature = "tool")]
pub mod modules;
#[cfg(feature = "agent")]
pub mod origin;
#[cfg(feature = "agent")]
pub mod pe;
pub mod service;
pub mod slots;
#[cfg(feature = "agent")]
pub mod uki;
pub mod user_data;

#[cfg(feature = "tool")]
pub use elf_to_pe::elf_to_pe;
#[cfg(feature = "agent")]
pub use error::{BootError, UnknownModule};
#[cfg(feature = "tool")]
pub use module_info::{ModuleInfo, parse as parse_module_info};
