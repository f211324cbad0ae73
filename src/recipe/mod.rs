//! Recipe text becomes a [`Plan`]: checked, with every default filled in.
//!
//! In: the name of a recipe, a [`Loader`] that reads texts, the user's [`Settings`]. Out: [`Loaded`], or
//! [`Diagnostics`] with every mistake of the recipe at once, each with its place and a hint.
//!
//! The language is a strict subset of HCL 2's native syntax: whatever this room reads, any HCL parser reads
//! to the same values (tests hold it against one). What it leaves out is refused, never read differently:
//! operators, `for`, template directives, `null`, fractions, carriage returns.
//!
//! The way of a text: `grammar` (one function a production, goes on after a mistake) → `resolve` (includes,
//! variables) → `evaluate` (references, functions) → `check` (the keyword table, then the rules that span
//! keys) → [`Plan`]. The table in `keywords` is the only list of blocks and keys: the checker, the
//! suggestions and the reference page ([`reference()`]) all read it.
//!
//! Always true
//! - Pure: the same texts, settings and answers of the loader give the same plan. Files and the environment
//!   come through the [`Loader`] only; a variable of the environment only where the recipe says `env("NAME")`.
//! - Bounded: texts of [`TEXT_BYTES_MAX`], [`NESTING_MAX`] levels, [`EXPANSION_BYTES_MAX`] of values,
//!   [`FILES_MAX`] files. No input panics or overflows the stack.
//! - Every kind of mistake has a [`Code`], and every code has a case under `fixtures/recipes/errors`.
//!
//! Not here: host files, the packages' names, what a source turns out to be. Printing.
//!
//! Read first: [`plan`], `keywords/table/mod.rs`, `grammar/structure.rs`, `check/mod.rs`.
#![forbid(unsafe_code)]

mod ast;
mod check;
mod diagnostics;
mod error;
mod evaluate;
mod format;
mod functions;
mod grammar;
mod hint;
mod keywords;
mod loader;
#[cfg(test)]
mod oracle;
pub mod plan;
mod reference;
mod render;
mod resolve;
mod source;
mod value;
mod variables;

pub use diagnostics::{Code, Diagnostics, Entry, Place, Severity};
pub use error::LoadError;
pub use evaluate::EXPANSION_BYTES_MAX;
pub use format::format;
pub use grammar::{NESTING_MAX, TEXT_BYTES_MAX};
pub use loader::{Loader, MemoryLoader, Settings};
pub use plan::Plan;
pub use reference::reference;
pub use resolve::{FILES_MAX, INCLUDE_DEPTH_MAX, Loaded, load};
