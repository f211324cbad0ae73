use crate::base::Cancelled;
use crate::boot::BootError;

/// Says why something could not be verified at all. What is wrong *with* an image is a
/// [`Finding`](super::Finding), not an error.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The bytes are neither a disk, nor an ESP, nor a slot.
    #[error("{problem}")]
    NotAnImage { problem: String },
    #[error("cannot {doing} {bytes} bytes at {offset}")]
    Device {
        doing: &'static str,
        offset: u64,
        bytes: u64,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Verity(#[from] crate::disk::verity::VerityError),
    #[error("the image does not say where it came from: {problem}")]
    NoOrigin { problem: String },
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("{what} is no statement of ours: {problem}")]
    Statement { what: String, problem: String },
    /// Too few of the trusted keys have stated it.
    #[error("{found} of {needed} trusted keys state that {subject} was built so: {}", missing.join("; "))]
    Policy { needed: usize, found: usize, subject: String, missing: Vec<String> },
    #[error(transparent)]
    Trust(#[from] crate::trust::TrustError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

pub type Result<T> = std::result::Result<T, VerifyError>;
