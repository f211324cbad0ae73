//! The package database: what dpkg would have written, or what scanners read in minimal images.

mod dpkg;
mod status;

use super::{Database, FinalizeError, Package};
use crate::base::ImagePath;
use crate::finalize::world::{World, path};

/// Writes the database that the settings ask for.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    if world.packages.is_empty() {
        return Ok(());
    }
    match world.settings.database {
        Database::Dpkg => dpkg::write(world),
        Database::StatusD => write_status_d(world),
        Database::None => Ok(()),
    }
}

/// Writes each package's control stanza and checksums into `status.d`.
fn write_status_d(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let folder = world.make_directory(&path("/var/lib/dpkg/status.d"), 0o755)?;
    for package in world.packages.clone() {
        let Some(place) = place(world, &folder, &package, "") else { continue };
        world.write(&place, status::stanza(&package, None).as_bytes(), 0o644)?;
        let sums = dpkg::checksums(world, &package)?;
        if let (Some(sums), Some(place)) = (sums, place_of(&folder, &format!("{}.md5sums", package.name))) {
            world.write(&place, &sums, 0o644)?;
        }
    }
    Ok(())
}

fn place(world: &mut World<'_>, folder: &ImagePath, package: &Package<'_>, end: &str) -> Option<ImagePath> {
    let name = format!("{}{end}", package.name);
    let place = place_of(folder, &name);
    if place.is_none() {
        world.errors.push(FinalizeError::Package {
            package: package.name.to_owned(),
            file: "control".to_owned(),
            problem: format!("{name:?} can't be the name of a file"),
        });
    }
    place
}

fn place_of(folder: &ImagePath, name: &str) -> Option<ImagePath> {
    crate::base::Name::new(name.as_bytes()).ok().map(|name| folder.join(&name))
}
