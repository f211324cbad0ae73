//! The tree that mmdebstrap makes of the same packages, kept between runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::tool::{kept, mkimage, root, succeed, tool};

/// What both sides install, beside the essential packages.
const NAMES: &str = "systemd-sysv,linux-image-cloud-amd64,udev,dbus,kmod,iproute2,ca-certificates,openssh-server,\
    nginx-light,python3-minimal,base-files,base-passwd,bash,coreutils,libc-bin";

/// Returns mmdebstrap's tree as a tar: `rootfs.tar` in the folder that is kept for it. It comes into its place
/// whole, so that several tests may ask for it at once.
pub fn rootfs() -> PathBuf {
    let tar = kept("reference-s147").join("rootfs.tar");
    if !tar.exists() {
        make(&tar);
    }
    tar
}

/// Returns mmdebstrap's tree with these versions: where the archive has moved on since it was made, it is made
/// anew.
pub fn rootfs_of(versions: &BTreeMap<String, String>) -> PathBuf {
    let tar = rootfs();
    if &installed(&tar) != versions {
        make(&tar);
    }
    tar
}

fn make(tar: &Path) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock();
    let fresh = tar.with_file_name(format!("rootfs.{}.new", std::process::id()));
    let include = format!("--include={NAMES}");
    let options = ["--quiet", "--variant=essential", &include, "--format=tar", "bookworm"];
    succeed(tool("mmdebstrap", options).env("SOURCE_DATE_EPOCH", "315532800").arg(&fresh));
    mkimage::base::fs::rename(&fresh, tar).expect("renamed");
    drop(guard);
}

/// Reads names and versions out of the package database in a tar.
fn installed(tar: &Path) -> BTreeMap<String, String> {
    let mut command = tool("tar", ["-xOf".as_ref(), tar.as_os_str(), "./var/lib/dpkg/status".as_ref()]);
    versions(&succeed(&mut command))
}

/// Reads names and versions out of the text of a package database.
pub fn versions(status: &str) -> BTreeMap<String, String> {
    let field = |stanza: &str, name: &str| {
        let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let stanzas = status.split("\n\n").filter(|stanza| !stanza.trim().is_empty());
    stanzas.map(|stanza| (field(stanza, "Package"), field(stanza, "Version"))).collect()
}

/// Composes our tree of the same packages, in the newest versions, once a test run. Returns its ref.
pub fn ours() -> &'static str {
    static COMPOSED: std::sync::Once = std::sync::Once::new();
    COMPOSED.call_once(|| {
        let recipe = recipe();
        succeed(&mut verb("lock", &recipe, &["--update"]));
        succeed(&mut verb("compose", &recipe, &[]));
    });
    "s147"
}

/// Returns the recipe, with a folder of its own for its lock.
pub fn recipe() -> PathBuf {
    let recipe = kept("s147").join("s147.hcl");
    let text = std::fs::read(root().join("fixtures/packages/s147.hcl")).expect("the recipe");
    if std::fs::read(&recipe).ok().as_ref() != Some(&text) {
        std::fs::write(&recipe, text).expect("the recipe");
    }
    recipe
}

/// Prepares a verb on a recipe.
pub fn verb(verb: &str, recipe: &Path, more: &[&str]) -> Command {
    let mut command = mkimage([verb]);
    command.arg(recipe).args(more);
    command
}
