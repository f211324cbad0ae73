//! What firmware, loader and PID 1 see.
//!
//! Stub card: the boot room's authors complete it. Files that PID 1 shares (`service`, `slots`,
//! `command_line`) name only `base`; the others stand behind the feature `tool`.
#![forbid(unsafe_code)]

pub mod command_line;
pub mod environment;
pub mod service;
pub mod slots;
