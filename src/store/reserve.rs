//! Room that is kept for the day when the disk is full: whoever is about to free blocks needs a few first.
//!
//! It lies behind the end of `gc.lock`, which is empty. A collector, or who removes refs, gives it
//! up where the disk is full and goes on; the next collector takes it again. Where the file system can't set room
//! aside, there is none, and somebody has to make some by hand.

use super::media::Media;
use super::store::Store;

/// What the generation twice, a directory of trash, a journal and a line of a reflog take, and as much again.
const RESERVE_BYTES: u64 = 64 << 10;

impl Store {
    /// Sets the room aside, as far as that is possible.
    pub(super) fn keep_reserve(&self) {
        let path = self.layout.gc_lock();
        if let Ok(file) = self.media.open_or_create(&path) {
            Media::set_aside(&file, RESERVE_BYTES);
        }
    }

    /// Gives the room up. The caller has seen the disk full.
    pub(super) fn give_reserve(&self) {
        if let Ok(file) = self.media.open_or_create(&self.layout.gc_lock()) {
            Media::give_up(&file);
        }
    }
}
