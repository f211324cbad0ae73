//! What can keep a machine from coming up, and the helper that says what was being done.

use std::io;

use mkimage::base::FileError;
use mkimage::boot::command_line::CommandLineError;
use mkimage::boot::slots::SlotError;

/// Says why the machine can't come up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {object}")]
    System { doing: &'static str, object: String, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the kernel command line is unsound")]
    CommandLine(#[from] CommandLineError),
    #[error(transparent)]
    Slots(#[from] SlotError),
    #[error("{path} in the initrd is not a service description of this version")]
    Service { path: &'static str, source: serde_json::Error },
    #[error(
        "no partition holds the tree with root hash {root_hash} after {seconds} s; partitions seen: {seen}"
    )]
    NoSlot { root_hash: String, seconds: u32, seen: String },
    #[error("the kernel answered the device mapper request without a device number")]
    NoDeviceNumber,
    #[error("the recipe requires metadata from {sources}, and none came that could be read")]
    NoMetadata { sources: String },
    #[error("the image names neither an app nor an init")]
    NothingToRun,
}

pub type Result<T> = std::result::Result<T, Error>;

/// Adds what was being done to an error of the system.
pub trait Doing<T> {
    fn doing(self, doing: &'static str, object: impl ToString) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: &'static str, object: impl ToString) -> Result<T> {
        self.map_err(|source| Error::System { doing, object: object.to_string(), source: source.into() })
    }
}

/// Writes an error and all that it was caused by, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
