//! A content-addressed store in a directory, in the manner of git: blobs, trees, commits, and refs that
//! lead to them.
//!
//! In: bytes, [`SealedTree`](crate::tree::SealedTree)s, [`Commit`]s, put through a [`Transaction`].
//! Out: the same, checked against their ids, through [`Objects`] and
//! [`ContentSource`](crate::tree::ContentSource); host directories, through [`Store::checkout`].
//!
//! On disk: `format` (what lies where), `index`, `record` and `trailer` (packs), `directory` and `commit`
//! (objects), `refs`, `reflog`, `journal`, `memo`, `state` (marks of damage).
//!
//! Always true
//! - A file's id is the BLAKE3 of its plain bytes, what `b3sum` prints; trees and commits are hashed in
//!   domains of their own, and have one encoding each.
//! - Parents name a child's id and exact size. Nothing is decompressed before its frame's digest is right,
//!   nor into more than the size that its parent stated. What is read whole is held against its id.
//! - What has a name is complete and never changed: a pack is there when its index is, a ref when all that
//!   it leads to is durable. Stopped between any two system calls, a store is as before or as after.
//! - One build is one transaction: one pack, a few syncs, however many files. Nothing new, no sync.
//! - Damage is told by object, pack, ref and path, and told apart from what a power cut tears. Nothing that is
//!   put relies on a copy that somebody found damaged; a repair deletes nothing.
//! - Kernel locks only: they die with their process, and so does what it staged, at the next writer's start.
//!
//! Not here: what a tree means (`tree/`), how it gets onto a disk (`disk/`), who may be trusted (`trust/`),
//! how commits travel (`remote/`).
//!
//! Read first: `transaction`, `format`, `moves`, `gc`, `repair`.

#![forbid(unsafe_code)]

mod bisect;
mod check;
mod checkout;
mod chunk;
mod commit;
mod copy;
mod difference;
mod directory;
mod encode;
mod error;
mod find;
mod format;
mod gc;
mod generation;
mod incoming;
mod index;
mod journal;
mod lease;
mod lender;
mod line;
mod lock;
mod media;
mod memo;
mod move_id;
mod moves;
mod objects;
mod packs;
mod partial;
mod publish;
mod reach;
mod record;
mod reflog;
mod refs;
mod remotes;
mod repack;
mod repair;
mod reserve;
mod resolve;
mod revision;
mod rewrite;
mod scratch;
mod staging;
mod state;
#[allow(clippy::module_inception, reason = "the room is named after what stands in it")]
mod store;
mod trailer;
mod transaction;
mod trees;
mod undo;
mod whole;

pub use bisect::{Bisection, Finding, Verdict};
pub use check::{CheckReport, Damage, Fault, Reached, Spot};
pub use checkout::{CheckoutReport, Skipped, check_out, check_out_entry};
pub use commit::{Architecture, COMMIT_BYTES_MAX, Commit, DiskSpec, Filesystem, Input, InputDigest};
pub use difference::{Aspect, TreeChange};
pub use directory::{DIRECTORY_BYTES_MAX, StoredDirectory, StoredNode, TreeRef};
pub use encode::Malformed;
pub use error::{Kind, Result, StoreError};
pub use find::Found;
pub use gc::{GcOutcome, GcPlan, GcRules, GcSummary};
pub use incoming::FileInPieces;
pub use lease::Hold;
pub use lender::Lender;
pub use lock::Holder;
pub use media::{Change, Media, Watcher};
pub use memo::MEMO_BYTES_MAX;
pub use move_id::{MoveId, MoveIdError};
pub use objects::Objects;
pub use partial::{Held, Partial};
pub use reflog::LogEntry;
pub use refs::{Expected, RefChange, RefMove, RefName, RefNameError, RefUpdate, RefValue, TAGS};
pub use repack::RepackOutcome;
pub use repair::{FolderHealer, HealError, Healed, Healer, RepairReport};
pub use resolve::Named;
pub use revision::{Base, Place, Revision, RevisionError};
pub use store::Store;
pub use transaction::{Committed, Transaction};
pub use trees::{TREE_DEPTH_MAX, TREE_ENTRIES_MAX, tree_ref};
pub use undo::{JointMove, UndoPlan};
