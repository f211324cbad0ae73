//! Recipe text becomes a [`Plan`].
//!
//! Stub card: the recipe room's author completes it.
#![forbid(unsafe_code)]

pub mod plan;

pub use plan::Plan;
