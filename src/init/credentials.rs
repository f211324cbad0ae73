//! Secrets as files: in memory, read-only, for the app's user alone (`CREDENTIALS_DIRECTORY`, as systemd has it).

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use mkimage::base::fs;
use mkimage::boot::service::App;

use crate::error::{Doing, Result};
use crate::mounts;
use crate::report::say;

const FOLDER: &str = "/run/credentials";
/// Longest file, in bytes.
const FILE_MAX_BYTES: usize = 1 << 20;

/// A secret's name and its bytes.
pub type Secret = (String, Vec<u8>);

/// Makes the files that the recipe names of those that are there, and returns their directory and the secrets.
/// Of files of one name the last counts. One that is not there is told, and missing; `None`: the recipe names none.
pub fn give(app: &App, files: &[Secret]) -> Result<Option<(String, Vec<Secret>)>> {
    let named = app.configuration.as_ref().map(|it| it.credentials.as_slice()).unwrap_or_default();
    if named.is_empty() {
        return Ok(None);
    }
    let mut given: Vec<Secret> = Vec::new();
    for name in named {
        match files.iter().rfind(|(found, _)| found == name) {
            Some((_, value)) if value.len() > FILE_MAX_BYTES => {
                say!("credential {name}: more than {FILE_MAX_BYTES} bytes, left out");
            }
            Some(secret) => given.push(secret.clone()),
            None => say!("credential {name}: nobody hands it over"),
        }
    }
    let folder = format!("{FOLDER}/{}", app.name);
    fs::create_directories(Path::new(FOLDER))?;
    std::fs::DirBuilder::new().mode(0o700).create(&folder).doing("create", &folder)?;
    let bytes: usize = given.iter().map(|(_, value)| value.len().next_multiple_of(4096)).sum();
    mounts::private(&folder, bytes + (64 << 10))?;
    for (name, value) in &given {
        let path = Path::new(&folder).join(name);
        write(&path, value, 0o400).doing("write the credential", name)?;
        own(&path, app)?;
    }
    own(Path::new(&folder), app)?;
    mounts::close_private(&folder)?;
    Ok(Some((folder, given)))
}

/// Writes a new file with a mode of its own.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}

fn own(path: &Path, app: &App) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(app.uid), Some(app.gid)).doing("hand over", path.display())
}
