//! Loads the initrd's kernel modules in the order of their names.

use std::fs::File;
use std::path::{Path, PathBuf};

use mkimage::base::fs;
use mkimage::boot::service::MODULES_PATH;
use rustix::io::Errno;

use crate::report::say;

/// Loads every module and frees its file's memory. One that does not fit the machine is no error; one that
/// fails otherwise is told, since another may still bring the machine up.
pub fn load() {
    let folder = PathBuf::from("/").join(MODULES_PATH);
    for name in fs::list(&folder).unwrap_or_default() {
        let path = folder.join(&name);
        match load_one(&path) {
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
            Err(error) => say!("module {}: {error}", name.display()),
        }
        let _ = fs::remove_file(&path);
    }
}

fn load_one(path: &Path) -> Result<(), Errno> {
    let file = File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::system::finit_module(&file, c"", 0)
}
