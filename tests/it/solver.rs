//! Solutions against apt's.
