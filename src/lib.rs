#![forbid(unsafe_code)]
#[cfg(feature = "tool")]
pub mod archive;
pub mod base;
pub mod boot;
#[cfg(feature = "tool")]
pub mod compose;
#[cfg(feature = "tool")]
pub mod disk;
#[cfg(feature = "tool")]
pub mod machine;
#[cfg(feature = "tool")]
pub mod packages;
#[cfg(feature = "tool")]
pub mod recipe;
#[cfg(feature = "tool")]
pub mod store;
pub mod tree;
