//! Libraries that programs need, and the caches of a finished tree, against the C tools.

#[path = "elf/caches.rs"]
mod caches;
#[path = "elf/closure.rs"]
mod closure;
#[path = "elf/fixture.rs"]
mod fixture;
#[path = "elf/hostile.rs"]
mod hostile;
#[path = "elf/loader.rs"]
mod loader;
#[path = "elf/make.rs"]
pub mod make;
