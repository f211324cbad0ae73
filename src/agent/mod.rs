//! A machine updates itself: asks a site what it should run, fetches what it lacks, fills the other slot, and
//! reboots into it when it may.
//!
//! In: [`Settings`] and keys of the image, a site, the disk that the machine runs from. Out: the other slot on
//! trial; a history; status for people and programs.
//!
//! On disk: `settings` (in the verified root). Below the data partition's mount, in `.mkimage/agent/`: `history`
//! (what was tried, and what became of it), `seen` (the index of the site that was accepted last: an older one is
//! refused), `reboots` (for which slot the machine was rebooted), `store/` (what is being fetched; gone once it is
//! written).
//!
//! Always true
//! - What runs is not touched: only the other slot is written, and it is selectable when it was read back right.
//! - The running slot is the first source: its files are named by their content, so that what didn't change doesn't
//!   travel. Each block is held against the slot's verity tree here; what is damaged is fetched, and panics nobody.
//! - The disk is locked while it is written, not while an update is fetched; slots that somebody turned meanwhile stay
//!   as they are.
//! - Nothing that the far end says does harm: signatures before anything else, no older index, every byte by its
//!   digest, bounded memory. Whatever fails is tried again later, ever more rarely.
//! - A commit that fell back is not tried again until the ref moves, or somebody says so.
//! - A slot that is to boot next and does not is rebooted for three times, and then written anew or given up.
//! - Stopped at any point, the next start goes on from there.
//!
//! Not here: the order of writes (`slots/`), who blesses (PID 1), arguments and printing (`main`, the binary).
//!
//! Read first: `updater`, `policy`, `settings`.
#![forbid(unsafe_code)]

mod confine;
mod control;
mod error;
mod history;
mod kept;
mod place;
mod policy;
mod reboots;
mod running;
mod serve;
mod settings;
mod updater;

pub use confine::{Reach, confine};
pub use control::{Answered, Word, ask as ask_agent};
pub use error::{AgentError, Result};
pub use history::{Entry, History, What};
pub use place::Place;
pub use policy::{Facts, Policy, Verdict, When};
pub use serve::{REBOOT_STATUS, SOCKET_PATH, obey, serve, story};
pub use settings::{
    CERTIFICATES_PATH, KEYS_PATH, PROGRAM_PATH, Reboot, Ring, SETTINGS_PATH, STATE_FOLDER, Settings, Window,
    parse_keys,
};
pub use updater::{Outcome, Report, Updater};
