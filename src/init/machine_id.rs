//! The machine's own id: made at the first boot, kept on the data partition, seen as `/etc/machine-id`.
//!
//! An image has no id, as all machines of it would share it; and `/etc` is read-only, so that a system would
//! take a new one at each boot, and its journal and its address with it. So where the image has an empty
//! `/etc/machine-id` (machine-id(5)), a copy of the kept id is mounted over it: a copy, so that nothing of the
//! data partition is in use when the system unmounts it.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mkimage::base::fs::{create_directories, rename, sync_directory};

use crate::error::{Doing, Result, chain};
use crate::mounts;
use crate::report::say;

const SEEN_AT: &str = "/etc/machine-id";
/// Where it is kept, below the data partition's mount. On disks in the field: changing it renames machines.
const KEPT_IN: &str = ".mkimage";
const KEPT_AS: &str = "machine-id";
/// The copy that is mounted.
const SHOWN: &str = "/run/mkimage/machine-id";
/// A random UUID that the kernel makes at each read.
const RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// Shows the kept id, which is made where there is none. A machine can do without.
pub fn give(data_path: &str) {
    let empty = fs::symlink_metadata(SEEN_AT).is_ok_and(|seen| seen.is_file() && seen.len() == 0);
    if !empty {
        return;
    }
    let shown = keep(Path::new(data_path)).and_then(|kept| show(&kept));
    if let Err(error) = shown {
        say!("{}", chain(&error));
    }
}

fn show(kept: &Path) -> Result<()> {
    let shown = Path::new(SHOWN);
    create_directories(shown.parent().expect("because it has one"))?;
    fs::copy(kept, shown).doing("copy the machine's id to", SHOWN)?;
    mounts::bind(shown, Path::new(SEEN_AT))?;
    mounts::close_bind(SEEN_AT)
}

fn keep(data: &Path) -> Result<PathBuf> {
    let folder = data.join(KEPT_IN);
    let kept = folder.join(KEPT_AS);
    if fs::read_to_string(&kept).is_ok_and(|text| is_id(&text)) {
        return Ok(kept);
    }
    create_directories(&folder)?;
    let fresh = folder.join("machine-id.new");
    let uuid = fs::read_to_string(RANDOM).doing("read", RANDOM)?;
    let text = uuid.replace('-', "");
    let mut file = File::create(&fresh).doing("make", fresh.display())?;
    file.write_all(text.as_bytes()).doing("write", fresh.display())?;
    file.set_permissions(Permissions::from_mode(0o444)).doing("close", fresh.display())?;
    file.sync_all().doing("flush", fresh.display())?;
    rename(&fresh, &kept)?;
    sync_directory(&folder)?;
    Ok(kept)
}

/// Tells whether a text is 32 lower-case hex digits and a line end, not all of them 0.
fn is_id(text: &str) -> bool {
    let digits = text.strip_suffix('\n').unwrap_or_default().as_bytes();
    let hex = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    digits.len() == 32 && hex && digits.iter().any(|&digit| digit != b'0')
}
