//! A plan's parts become contributions, and contributions, merged, a root filesystem.
//!
//! In: a [`Plan`](crate::recipe::Plan) and a sink for contents. Out: one
//! [`Contribution`](crate::tree::Contribution) a part, in recipe order; then, on the merged tree, accounts
//! and the places that every image has.
//!
//! The order of a run
//! 1. [`Accounts::of`]: who there is, so that owners given by name become numbers.
//! 2. [`prepare`], every part at once: digests what the part reads of the host; the key of a step that
//!    is worth remembering.
//! 3. [`contribute`] for each part whose key is not known yet, or [`remembered`] for one that is.
//! 4. `tree::merge`, in recipe order.
//! 5. [`write_accounts`], then [`finish`], on the merged tree; [`check_closures`] looks whether dynamic apps
//!    would start.
//!
//! Always true
//! - A step's key covers everything that its tree depends on: what the recipe says, what the host's files
//!   hold, owners as numbers, and the version of the code. Where the recipe stands and in which folder
//!   it lies is not part of it.
//! - What was digested is what was used: a host file that changes in between is an error.
//! - Modes and owners come from recipe or archive, so that any user's build gives the same bytes.
//! - Every error names the block of the recipe that asked for it, and all errors of a stage come at once.
//!
//! Not here: packages, kernel and boot files, the order of work, the memo of steps.
//!
//! Read first: [`prepare`], `source.rs`, `users.rs`.
#![forbid(unsafe_code)]

mod accounts;
mod app;
mod capability;
mod closure;
mod contribute;
mod error;
mod files;
mod finish;
mod lookup;
mod passwd;
mod source;
mod step;
mod tree;
mod users;

pub use accounts::{APP_ID, APP_USER, Accounts};
pub use closure::{Along, Taken};
pub use contribute::{Context, contribute, remembered};
pub use error::{ComposeError, Problem};
pub use finish::{check_closures, finish, forget_name};
pub use step::{Prepared, prepare, prepare_all};
pub use users::{Identities, Identity, write_accounts};
