//! Our own boot loader as the file that firmware starts: `build.rs` compiles `src/loader/`, this makes a PE image of it.

use super::elf_to_pe::elf_to_pe;
use super::error::BootError;

/// The loader as it was linked; empty where this program was built for a machine that has none.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mkimage-loader"));

/// Returns the loader of disk layout 2 for x86-64, the same bytes whenever this program is asked.
pub fn image() -> Result<Vec<u8>, BootError> {
    match PROGRAM.is_empty() {
        true => Err(BootError::NoLoader),
        false => elf_to_pe(PROGRAM),
    }
}
