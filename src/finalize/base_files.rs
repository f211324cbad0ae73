//! What the scripts of some packages make that is not read out of them: a table.
//!
//! A line acts where its package is installed and nothing stands at its path.

use super::FinalizeError;
use super::accounts::{ADDED, NO_GROUP, NO_SHELL, Primary, User};
use super::world::{World, path};
use crate::base::ImagePath;

/// What stands at a path.
enum Make {
    /// A directory of root's.
    Directory(u16),
    /// An empty file of root's.
    Empty(u16),
    /// A copy of another file, root's, 0644.
    Copy(&'static str),
}

/// (package, path, what stands there). Versioned with mkimage: a line that changes, changes images.
const TABLE: &[(&str, &str, Make)] = &[
    ("ca-certificates", "/usr/local/share/ca-certificates", Make::Directory(0o755)),
    ("openssh-server", "/etc/ssh/sshd_config", Make::Copy("/usr/share/openssh/sshd_config")),
    // Empty: systemd gives the machine an id at its first boot, or a passing one where /etc is read-only.
    ("systemd", "/etc/machine-id", Make::Empty(0o444)),
];

/// (package, user, home): users without a group of their own, as `adduser --system` makes them.
const USERS: &[(&str, &str, &str)] = &[("openssh-server", "sshd", "/run/sshd")];

/// Writes the lines of the table whose packages are there, and the name of the machine.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    for (package, place, make) in TABLE {
        if world.package(package).is_some() && world.look(&path(place)).is_none() {
            put(world, &path(place), make)?;
        }
    }
    for (package, name, home) in USERS {
        if world.package(package).is_some() {
            let user = User {
                name: (*name).to_owned(),
                uid: 0,
                gid: 0,
                comment: String::new(),
                home: (*home).to_owned(),
                shell: NO_SHELL.to_owned(),
                shadow: ADDED,
            };
            world.add_system_user(user, Primary::Named(NO_GROUP), None)?;
        }
    }
    write_python(world)?;
    let name = world.settings.host_name.clone();
    if !name.is_empty() && !world.packages.is_empty() {
        world.write(&path("/etc/hostname"), format!("{name}\n").as_bytes(), 0o644)?;
    }
    Ok(())
}

fn put(world: &mut World<'_>, place: &ImagePath, make: &Make) -> Result<(), FinalizeError> {
    match make {
        Make::Directory(mode) => world.make_directory(place, *mode).map(drop),
        Make::Empty(mode) => world.write(place, b"", *mode),
        Make::Copy(from) => match world.read(&path(from))? {
            Some(bytes) => world.write(place, &bytes, 0o644),
            None => Ok(()),
        },
    }
}

/// Makes the folders of local modules that each version of Python looks into.
fn write_python(world: &mut World<'_>) -> Result<(), FinalizeError> {
    for package in world.packages.clone() {
        let version = package.name.strip_suffix("-minimal").filter(|name| name.starts_with("python3."));
        let place = version.map(|version| format!("/usr/local/lib/{version}/dist-packages"));
        if let Some(place) = place.and_then(|place| ImagePath::new(place.as_bytes()).ok()) {
            world.make_directory(&place, 0o755)?;
        }
    }
    Ok(())
}
