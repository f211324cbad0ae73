//! Garbage collection: what nothing leads to goes to the trash, and a later run empties that.
//!
//! In: [`GcRules`]. Out: a [`GcPlan`], which `--dry-run` shows and [`Store::run_gc`] carries out: no more than
//! it says, and less where a writer came to need something meanwhile.
//!
//! On disk: `trash/NUMBER/ID.{pack,idx}`, whole packs as they were; NUMBER is the odd generation during which
//! they went there. The packs that readers see are those in `packs/` with both files.
//!
//! # The protocol, with `generation`, `lease` and `publish`
//!
//! ```text
//! plan   G0  gc.lock, exclusive and without waiting: one collector or repacker
//!        G1  now = time of the file server (the time of a file just touched)
//!        G2  roots are read: refs, journals, moves after a limit, roots of living leases. Leases that have
//!            expired are noted. After that the census: all packs, all ids. In this order: what a root leads
//!            to was in a pack before the root was there, and nobody else takes packs away
//!        G3  mark from the roots; then from memos younger than a limit and from all members of packs
//!            younger than the grace
//!        G4  each pack: all dead → trash; some dead → its live members get a pack or an index of their own,
//!            then → trash; none dead → stays
//! run    G5  reachable objects that are in the trash only are copied into a pack; thinner packs are made
//!            and get their names. Everything that they lead to is live too
//!        G6  roots and new packs are looked at again and marked from: first without the lock, then under the
//!            lock of the refs, where nobody can publish or move. A new pack stays, with what it leads to. Where a
//!            lease names what lies in the trash, nothing is emptied this time; the next plan brings it back
//!        G7  still under the lock: expired leases are removed; generation := odd; each pack of G4 that is still
//!            as dead as it was gets a second name in trash/GENERATION/, pack before index, which is synced; then
//!            it loses its name in packs/, index before pack, which is synced (where there are no hard links,
//!            it is renamed); generation := even. The lock is given back
//!        G8  trash/N, the oldest first, is emptied if it is older than a limit, was there when the plan was
//!            made, and no living lease has a generation ≤ N. The first that must stay ends it. A lease with roots
//!            that came after G6 keeps all of it
//! ```
//!
//! Always true
//! - **What is in `packs/` has its closure in `packs/`** (a commit's parents are no part of it), whenever the
//!   lock of the refs is free. Writers keep it: they name children before or with parents, behind the
//!   fence. G4 keeps it: what stays was marked with all it leads to, or is young and was marked from.
//! - A ref never leads to something that is not in `packs/`: what went away since a writer saw it moved the
//!   generation, and the fence looks again under the lock that G7 holds.
//! - Packs never come back from the trash; what is needed is copied. So a parent is emptied no later than
//!   its children, and trash is read-only until it goes.
//! - Whatever the collector can't read or does not know (a ref, a journal, an index, a tree, a strange
//!   file among refs, leases or trash) ends it before G7 with [`StoreError::GcDoubt`]: it never goes on without.
//! - Stopped anywhere, nothing is lost: G5 leaves copies, G7 an odd generation (everybody looks again, and no packs
//!   are put together until another collection ends with an even one), G8 packs without indexes, which are not there.
//! - Memory is some 50 bytes an object, whatever the objects hold.
//!
//! Not here: which refs go (`refs`), damage (`check`), the number of packs (`repack`).
//!
//! Read first: this page, `plan`, `run`.

mod census;
mod mark;
mod plan;
mod roots;
mod run;
mod trash;

pub(super) use census::Member;
pub use plan::{GcPlan, GcSummary};
pub use run::GcOutcome;

#[cfg(doc)]
use super::error::StoreError;
#[cfg(doc)]
use super::store::Store;

/// What a collection keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GcRules {
    /// Packs younger than this stay, with what they lead to: work that is not finished yet.
    pub grace_seconds: u64,
    /// Moves of refs younger than this keep the commits that they led to.
    pub reflog_seconds: u64,
    /// Results of steps that were used in this time are kept with their objects.
    pub memo_seconds: u64,
    /// Trash younger than this is not emptied: readers without a lease still find there what they read.
    pub trash_seconds: u64,
    /// Generations of parents of each commit that are kept as well.
    pub parents: u32,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// The grace of a store that several machines write to.
const GRACE_SHARED_SECONDS: u64 = 7 * DAY;

impl Default for GcRules {
    fn default() -> Self {
        GcRules {
            grace_seconds: DAY,
            reflog_seconds: 90 * DAY,
            memo_seconds: 30 * DAY,
            trash_seconds: HOUR,
            parents: 0,
        }
    }
}

impl GcRules {
    /// Keeps nothing but what refs, leases and journals lead to, and empties the trash as soon as leases allow.
    pub fn strict() -> Self {
        GcRules { grace_seconds: 0, reflog_seconds: 0, memo_seconds: 0, trash_seconds: 0, parents: 0 }
    }
}
