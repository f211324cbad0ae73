//! Debian's formats, one a file. Later distributions get a folder with the same file names.

pub mod archive;
pub mod control;
pub mod index;
pub mod name;
pub mod relation;
pub mod release;
pub mod scan;
pub mod version;
