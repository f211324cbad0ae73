//! The only clock. It measures how long work took and stamps the reflog; it never reaches an image.
#![allow(clippy::disallowed_methods, reason = "the one file that may read the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Measures elapsed time from its creation.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Returns seconds since 1970-01-01 UTC, 0 where the clock is set before that. For logs only.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns nanoseconds since 1970-01-01 UTC, 0 where the clock is set before that. For logs only.
pub fn unix_nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    u64::try_from(since).unwrap_or(u64::MAX)
}
