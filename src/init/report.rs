//! Lines for the console, and the time that they tell: since the kernel started, as far as Linux knows.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Writes `mkimage: …` to the console.
macro_rules! say {
    ($($words:tt)*) => { $crate::report::line(format_args!($($words)*)) };
}
pub(crate) use say;

/// Writes one line in one piece. A console that is gone is no reason to stop.
pub fn line(words: fmt::Arguments<'_>) {
    let line = format!("mkimage: {words}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns the time since the kernel started.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Writes a time as people read it: `1.23 s`.
pub fn seconds(time: Duration) -> String {
    // In whole numbers: what prints others takes kilobytes of every image.
    let hundredths = time.as_secs() * 100 + u64::from((time.subsec_millis() + 5) / 10);
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}
