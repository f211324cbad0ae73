//! Deltas of large files: a program of steps that makes a piece of the new file from the old one.
//!
//! Telling each byte by the model of `delta` takes seconds a mebibyte of memory and tenths of a second of time. Of a
//! file of hundreds of mebibytes nearly all is as it was, only elsewhere: so it is copied, and what lies between the
//! copies is told, each part from a window of the old file.
//!
//! 1. Both files are read once, in parallel, for **anchors** ([`anchor`]): places that their content alone chooses,
//!    one a kibibyte or so. The same content has the same anchors wherever it lies: an insertion moves nothing.
//! 2. Anchors that both have lead to copies, extended byte by byte to where the files part ([`lay`]).
//! 3. Between copies, single anchors choose the window of the old file that a part is told from; where there are
//!    none and nothing lies between, it is new, and packed as such.
//! 4. The steps are cut into pieces of which each is made alone, in memory that does not grow with the file
//!    ([`write`]); a receiver adds them in their order ([`patch`]).
//!
//! # Why so
//!
//! Chunks that content cuts, as casync, restic and borg have them, cost a chunk of tens of kibibytes on each side of
//! a change, and 32 bytes of index for every chunk of the file that did not change: half a mebibyte for 200 MiB and
//! one byte. A delta against what the receiver has costs the change. An index of every place of the old file
//! (bsdiff, `zstd --patch-from`) takes 16 or 3 times its length in memory on the sender's side, and its whole length on the
//! receiver's. rsync's fixed blocks need a rolling hash looked up at every byte; anchors are looked up once a kibibyte.
//!
//! Measured on noise, with two workers, in bytes of deltas and seconds of processor time to write and to receive:
//!
//! | change | 48 MiB | 200 MiB |
//! |---|---|---|
//! | one byte put before the first | 48; 0.37 s, 0.05 s | 77; 1.5 s, 0.42 s |
//! | 100 bytes in the middle | 174; 0.37 s, 0.06 s | 203; 1.5 s, 0.44 s |
//! | 1 MiB appended | 1 048 624; 0.35 s, 0.06 s | 1 048 654; 1.5 s, 0.38 s |
//!
//! The table adds 36 bytes for each 4 MiB of the file, in case somebody needs it whole: 2 kB for 200 MiB. A writer
//! held 109 MB at most, a receiver 18 MB. A program of 134 MB in which all code moved took 12 MB; 110 s of processor
//! time and 470 MB to write, 31 s and 52 MB to receive, since nearly all of it is told.

mod anchor;
mod lay;
mod patch;
mod write;

pub(super) use patch::apply;
pub(super) use write::Making;
