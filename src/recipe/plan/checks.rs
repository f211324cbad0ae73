//! What a build must keep to, and what is tested of it.

use super::{Account, Origin};
use crate::base::{Bytes, ImagePath};

/// `budget { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetPlan {
    /// Of the files of the root filesystem and of what boots.
    pub max_size: Option<Bytes>,
    /// Files with a setuid or setgid bit or with capabilities.
    pub max_setuid: Option<u64>,
    /// Globs.
    pub forbid: Vec<String>,
    /// From power-on to health; for tests, not for builds.
    pub max_boot_seconds: Option<u32>,
    pub origin: Origin,
}

/// `test "NAME" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct TestPlan {
    pub name: String,
    pub files: Vec<FileTest>,
    pub http: Vec<HttpTest>,
    pub tcp: Vec<u16>,
    /// Texts that lines of the console hold.
    pub console: Vec<String>,
    pub timeout_seconds: u32,
    pub origin: Origin,
}

/// `file "/path" { … }` in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTest {
    pub path: ImagePath,
    /// Nothing may stand there; then nothing else is asked.
    pub absent: bool,
    /// As in the recipe: `device` stands for both kinds.
    pub kind: Option<String>,
    pub mode: Option<u16>,
    pub owner: Option<Account>,
    pub group: Option<Account>,
    pub target: Option<String>,
    pub contains: Option<String>,
    /// 64 hexadecimal digits in lower case.
    pub sha256: Option<String>,
    pub origin: Origin,
}

/// `http ":PORT/path" { … }` in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTest {
    pub port: u16,
    pub path: String,
    /// `None`: 200 to 399.
    pub status: Option<u16>,
    pub contains: Option<String>,
    pub origin: Origin,
}
