//! The generation of a store: counts what collectors did, so that writers notice.
//!
//! ```text
//! gc-generation = "1 NUMBER FLOOR CHECK\n"     CHECK as in `line`, context `mkimage 2026 generation v1`
//! ```
//!
//! Missing is number 0. NUMBER is odd while packs go from `packs/` to the trash and even else: a lock of the
//! kind that readers only look at. It changes under the lock of the refs alone, and each change is durable
//! before anything relies on it:
//!
//! ```text
//! collector, under the refs lock:  number := next odd     (write, sync, rename, sync the directory)
//!                                  packs go to trash/NUMBER/; both directories are synced
//!                                  number := next even    (the same way)
//! ```
//!
//! Who noted an even number and finds the same one, holding the refs lock, knows that nothing went from
//! `packs/` in between. An NFS client that dies while it replaces the file may leave none: in a shared store the
//! numbers go on from the nanoseconds since 1970 then. Anything else, also an odd number that a dead collector left, means: look again.
//! Numbers never come back, so that trash bears the number under which it was filled.
//!
//! FLOOR, in seconds since 1970: moves in reflogs until then may lead to commits that were collected.

use super::error::{Result, StoreError};
use super::line;
use super::lock::Lock;
use super::store::Store;
use crate::base::{Job, clock};

const CONTEXT: &str = "mkimage 2026 generation v1";
const GENERATION_BYTES_MAX: u64 = 1024;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation {
    pub number: u64,
    /// Seconds since 1970.
    pub floor: u64,
}

/// Stands for a number that can't be read: odd, so that it never counts as unmoved.
pub(super) const UNKNOWN: u64 = u64::MAX;

impl Generation {
    fn encode(self) -> String {
        line::seal(CONTEXT, format!("1 {} {} ", self.number, self.floor))
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let body = line::of_file(CONTEXT, bytes)?;
        let fields: Vec<&str> = body.split(' ').collect();
        let value = || {
            let ["1", number, floor, ""] = fields[..] else { return None };
            Some(Generation { number: number.parse().ok()?, floor: floor.parse().ok()? })
        };
        value().ok_or_else(|| format!("{body:?} is no generation"))
    }
}

impl Store {
    /// Reads the generation; that of a store which was never collected is 0.
    pub(super) fn generation(&self) -> Result<Generation> {
        let path = self.layout.generation();
        self.look_afresh(&path);
        let bytes = match crate::base::fs::read_at_most(&path, GENERATION_BYTES_MAX) {
            Err(error) if error.is_missing() => return Ok(Generation::default()),
            bytes => bytes?,
        };
        Generation::decode(&bytes).map_err(|problem| StoreError::DamagedRef { path, problem })
    }

    /// Tells whether a collector died while packs went to the trash: until another one comes, packs may lack what
    /// they lead to. The caller holds the collectors' lock, so that nobody is at it now.
    pub(super) fn is_cut_short(&self) -> Result<bool> {
        Ok(!self.generation()?.number.is_multiple_of(2))
    }

    /// Counts what collectors did, some steps a collection: where it says the same twice, nothing went from
    /// the store in between.
    pub fn collections(&self) -> u64 {
        self.generation_number()
    }

    /// Returns the generation's number, for those who only compare it.
    pub(super) fn generation_number(&self) -> u64 {
        self.generation().map_or(UNKNOWN, |generation| generation.number)
    }

    /// Counts on to the next number of a parity, durably. The caller holds the lock of the refs.
    fn advance(&self, odd: bool, floor: u64) -> Result<u64> {
        let now = match self.generation()? {
            // The first collection, or one after a loss: then the trash tells of others.
            none if none == Generation::default() && self.is_shared() => {
                let (highest, next) = self.beyond_all();
                Generation { floor: if highest > 0 { next.floor } else { 0 }, ..next }
            }
            now => now,
        };
        let number = if (now.number % 2 == 1) == odd { now.number + 2 } else { now.number + 1 };
        let next = Generation { number, floor: floor.max(now.floor) };
        self.publish_file(&self.layout.generation(), next.encode().as_bytes())?;
        Ok(number)
    }

    /// Does what takes packs out of `packs/`, so that writers notice: the number is odd meanwhile. `work` gets
    /// it. Where it fails, the number stays odd and everybody looks again. The lock proves that it is held.
    pub(super) fn while_collecting<T>(
        &self,
        _alone: &Lock,
        floor: u64,
        work: impl FnOnce(u64) -> Result<T>,
    ) -> Result<T> {
        let number = self.advance(true, floor)?;
        let done = work(number)?;
        self.advance(false, floor)?;
        Ok(done)
    }

    /// Writes a generation in place of one that can't be read: higher than any number that there was, so that
    /// everybody looks again. The caller holds the lock of the refs.
    pub(super) fn renew_generation(&self) -> Result<()> {
        self.publish_file(&self.layout.generation(), self.beyond_all().1.encode().as_bytes())
    }

    /// Returns the highest number that the trash knows, 0 for none, and an even generation beyond all that there were:
    /// nobody collects as often as nanoseconds pass.
    fn beyond_all(&self) -> (u64, Generation) {
        let floor = clock::unix_seconds();
        let trash = crate::base::fs::list(&self.layout.trash()).unwrap_or_default();
        let highest = trash.iter().filter_map(|name| name.to_str()?.parse::<u64>().ok()).max().unwrap_or(0);
        let number = highest.max(clock::unix_nanoseconds()).saturating_add(2) & !1;
        (highest, Generation { number, floor })
    }

    /// Takes the lock of the refs: moves, the names of new packs, the generation and the end of leases are
    /// decided by its holder alone.
    pub(super) fn lock_refs(&self, job: &Job) -> Result<Lock> {
        loop {
            let shared = self.is_shared();
            let lock = Lock::wait(&self.media, &self.layout.refs_lock(), shared, job)?;
            // Who had the lock may have made the store shared.
            if shared || !self.is_shared() {
                return Ok(lock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_comes_back_and_a_changed_one_does_not() {
        let generation = Generation { number: 7, floor: 1_700_000_000 };
        let text = generation.encode();
        assert_eq!(Generation::decode(text.as_bytes()), Ok(generation));
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] ^= 1;
            assert!(Generation::decode(&changed).is_err(), "byte {index}");
        }
    }

    #[test]
    fn numbers_only_grow_and_a_failure_leaves_an_odd_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        store.prepare().expect("made");
        let lock = store.lock_refs(&Job::quiet(1)).expect("locked");
        assert_eq!(store.while_collecting(&lock, 5, Ok).expect("done"), 1);
        assert_eq!(store.generation().expect("read"), Generation { number: 2, floor: 5 });
        let failed = store.while_collecting(&lock, 0, |_| Err::<(), _>(StoreError::Expired));
        assert!(failed.is_err());
        assert_eq!(store.generation().expect("read"), Generation { number: 3, floor: 5 });
        assert_eq!(store.while_collecting(&lock, 4, Ok).expect("done"), 5);
        assert_eq!(store.generation_number(), 6);
    }
}
