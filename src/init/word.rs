//! The word that is left where a trial is given up, on the data partition.

use std::io;
use std::path::{Path, PathBuf};

/// Below the data partition's mount.
const GAVE_UP: &str = ".mkimage/gave-up";

/// Says why a trial is given up, for the agent of the slot that runs next. Whose trial it was is told by the root hash
/// that was booted. Returns where it stands, with what came of it.
pub fn leave(data_path: &str, root_hash: &str, why: &str) -> (PathBuf, io::Result<()>) {
    let path = Path::new(data_path).join(GAVE_UP);
    let written = std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
        .and_then(|()| std::fs::write(&path, format!("{root_hash} {why}\n")));
    (path, written)
}
