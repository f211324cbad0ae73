//! Libraries that programs need, and the caches of a finished tree, against the C tools.

#[path = "elf/closure.rs"]
mod closure;
