use crate::base::Cancelled;

/// Says why a filesystem could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Ext4ReadError {
    #[error("this is no ext4 filesystem: the magic number at byte 1080 is {found:#06x} instead of 0xef53")]
    NotExt4 { found: u16 },
    #[error("this ext4 filesystem is of a kind that is not read here: {problem}")]
    Unsupported { problem: String },
    #[error("the ext4 filesystem is damaged: {what} {number}: {problem}")]
    Damaged { what: &'static str, number: u64, problem: String },
    #[error("reading {bytes} bytes of an ext4 filesystem at {offset}")]
    Device {
        offset: u64,
        bytes: usize,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

pub type Result<T> = std::result::Result<T, Ext4ReadError>;

/// Makes the error for a structure that contradicts the format, itself or its checksum.
pub fn damaged<T>(what: &'static str, number: impl Into<u64>, problem: impl Into<String>) -> Result<T> {
    Err(Ext4ReadError::Damaged { what, number: number.into(), problem: problem.into() })
}
