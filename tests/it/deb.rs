//! Packages as they are unpacked and laid over each other: hostile ones, made ones, Debian's own.

#[path = "../../fixtures/deb/hostile/generate.rs"]
mod generate;

mod closure;
mod essential;
mod hostile;
mod lay;

use std::error::Error;

use mkimage::base::{ImagePath, Job};
use mkimage::packages::unpack::{self, Share, Unpacked};
use mkimage::tree::{ContentSink, MemoryContents};

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Writes an error with all that led to it.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn unpack(bytes: &[u8], sink: &dyn ContentSink) -> Result<Unpacked, String> {
    unpack::deb(bytes, Share::ONE, sink, &Job::quiet(1)).map_err(|error| whole(&error))
}
