//! What PID 1 decides and encodes, without a system call: bytes or times in, values out.
//!
//! These modules stand on their own so that they can be tested off the machine: the binary's crate names
//! them here, and `tests/it/init.rs` includes the same files and runs their tests.

pub mod aside;
pub mod device_mapper;
pub mod dhcp;
pub mod dns;
pub mod ending;
pub mod fat;
pub mod found;
pub mod gpt;
pub mod http;
pub mod iso;
pub mod lines;
pub mod loader;
pub mod names;
pub mod nocloud;
pub mod policy;
pub mod ring;
pub mod smbios;
pub mod syslog;
pub mod volume;
