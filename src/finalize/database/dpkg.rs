//! `/var/lib/dpkg` as dpkg keeps it: `status`, `info/`, `arch`, `diversions`, `statoverride`, `triggers/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use md5::{Digest as _, Md5};

use super::{place_of, status};
use crate::base::id::hex;
use crate::base::{ImagePath, Name};
use crate::finalize::world::{World, other_spelling, path};
use crate::finalize::{FinalizeError, Package};
use crate::tree::{Metadata, Node};

/// Files of `control.tar` that dpkg does not keep in `info/`.
const NOT_KEPT: [&[u8]; 1] = [b"control"];

/// Writes the database, every package installed and configured.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let info = world.make_directory(&path("/var/lib/dpkg/info"), 0o755)?;
    let mut text = String::new();
    for package in world.packages.clone() {
        if let Err(error) = write_info(world, &info, &package) {
            world.errors.push(error);
        }
        let conffiles = conffiles(world, &package)?;
        text.push_str(&status::stanza(&package, Some(&conffiles)));
        text.push('\n');
    }
    world.write(&path("/var/lib/dpkg/status"), text.as_bytes(), 0o644)?;
    world.write(&path("/var/lib/dpkg/info/format"), b"1\n", 0o644)?;
    for folder in ["/var/lib/dpkg/alternatives", "/var/lib/dpkg/parts", "/var/lib/dpkg/updates"] {
        world.make_directory(&path(folder), 0o755)?;
    }
    write_architectures(world)?;
    write_diversions(world)?;
    write_triggers(world)?;
    write_automatic(world)
}

/// Writes what `info/` has of a package: its list of files, and its control files.
fn write_info(world: &mut World<'_>, info: &ImagePath, package: &Package<'_>) -> Result<(), FinalizeError> {
    let stem = package.file_stem();
    let place = |end: &[u8]| {
        let name = [stem.as_bytes(), b".", end].concat();
        let name = Name::new(&name).map_err(|error| FinalizeError::Package {
            package: package.name.to_owned(),
            file: String::from_utf8_lossy(end).into_owned(),
            problem: error.to_string(),
        })?;
        Ok::<_, FinalizeError>(info.join(&name))
    };
    let list = list(world, package);
    world.write(&place(b"list")?, &list, 0o644)?;
    for (name, node) in &package.info.entries {
        let Node::File(file) = node else { continue };
        if NOT_KEPT.contains(&name.as_bytes()) {
            continue;
        }
        if name.as_bytes() == b"md5sums" {
            let sums = checksums(world, package)?.unwrap_or_default();
            world.write(&place(b"md5sums")?, &sums, 0o644)?;
            continue;
        }
        let metadata = Metadata::root(if file.metadata.mode & 0o111 != 0 { 0o755 } else { 0o644 });
        let node = Node::File(crate::tree::File { metadata, content: file.content });
        world.put(&place(name.as_bytes())?, node)?;
    }
    Ok(())
}

/// Lists what a package brought and the tree still has, in the order of Debian's archives: by path, symlinks
/// behind all others.
fn list(world: &World<'_>, package: &Package<'_>) -> Vec<u8> {
    let (mut paths, mut links) = (vec![b"/.".to_vec()], Vec::new());
    for (path, node) in package.data.paths() {
        if !is_there(world, package, &path) {
            continue;
        }
        match node {
            Node::Symlink(_) => links.push(path.as_bytes().to_vec()),
            _ => paths.push(path.as_bytes().to_vec()),
        }
    }
    paths.append(&mut links);
    paths.iter().flat_map(|path| [&path[..], b"\n"].concat()).collect()
}

/// Tells whether the tree has what a package brought at a path, perhaps under the name to which another
/// package diverted it. What another package replaced is that one's.
fn is_there(world: &World<'_>, package: &Package<'_>, path: &ImagePath) -> bool {
    let place = world.diverted(package.name, path);
    let Some(node) = world.look(&place) else { return false };
    match (node, package.data.get(path)) {
        (Node::File(file), Some(Node::File(own))) if file.content != own.content => {
            let brings = |other: &Package<'_>| {
                let spellings = [Some(place.clone()), other_spelling(&place)].into_iter().flatten();
                let mut nodes = spellings.filter_map(|place| other.data.get(&place));
                nodes.any(|node| matches!(node, Node::File(other) if other.content == file.content))
            };
            !world.packages.iter().any(brings)
        }
        _ => true,
    }
}

/// Returns the package's list of MD5 sums, without lines of files that the tree has not got.
pub(super) fn checksums(world: &World<'_>, package: &Package<'_>) -> Result<Option<Vec<u8>>, FinalizeError> {
    let Some(sums) = world.info(package.info, "md5sums")? else { return Ok(None) };
    let is_kept = |line: &&[u8]| {
        let name = line.iter().position(|byte| *byte == b' ').map_or(&b""[..], |at| line[at..].trim_ascii());
        match ImagePath::from_archive(name) {
            Ok(path) => is_there(world, package, &path),
            Err(_) => true,
        }
    };
    Ok(Some(sums.split_inclusive(|byte| *byte == b'\n').filter(is_kept).flatten().copied().collect()))
}

/// Returns the lines of `Conffiles`: each path with the MD5 sum of what the package brought there.
fn conffiles(world: &World<'_>, package: &Package<'_>) -> Result<Vec<String>, FinalizeError> {
    let Some(text) = world.info(package.info, "conffiles")? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let wrong = |problem: String| FinalizeError::Package {
            package: package.name.to_owned(),
            file: "conffiles".to_owned(),
            problem,
        };
        if let Some(path) = line.strip_prefix("remove-on-upgrade ") {
            lines.push(format!(" {} newconffile remove-on-upgrade", path.trim()));
            continue;
        }
        let path = ImagePath::new(line.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        match package.data.get(&path) {
            Some(Node::File(file)) => {
                let sum = hex(&Md5::digest(world.read_file(&path, file)?));
                lines.push(format!(" {line} {sum}"));
            }
            _ => lines.push(format!(" {line} newconffile")),
        }
    }
    Ok(lines)
}

/// Writes the machine's own architecture, then those of its packages that are foreign to it.
fn write_architectures(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let native = world.settings.architecture.clone();
    let all = world.packages.iter().map(|package| package.architecture);
    let foreign: BTreeSet<&str> = all.filter(|name| *name != "all" && *name != native).collect();
    let text: String = [native.as_str()].into_iter().chain(foreign).map(|name| format!("{name}\n")).collect();
    world.write(&path("/var/lib/dpkg/arch"), text.as_bytes(), 0o644)
}

/// Writes whose paths are diverted where, and whose owners and modes are overridden.
fn write_diversions(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let mut text = String::new();
    for (path, diversion) in &world.diversions {
        let _ = writeln!(text, "{path}\n{}\n{}", diversion.to, diversion.package.as_deref().unwrap_or(":"));
    }
    world.write(&path("/var/lib/dpkg/diversions"), text.as_bytes(), 0o644)?;
    let mut text = String::new();
    for (path, made) in &world.overrides {
        let _ = writeln!(text, "{} {} {:o} {path}", made.user, made.group, made.mode);
    }
    world.write(&path("/var/lib/dpkg/statoverride"), text.as_bytes(), 0o644)
}

/// Writes who is interested in which trigger (`deb-triggers(5)`): paths into `File`, names into files of their
/// own. None is pending.
fn write_triggers(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let folder = world.make_directory(&path("/var/lib/dpkg/triggers"), 0o755)?;
    let mut paths = String::new();
    let mut named = BTreeMap::<String, String>::new();
    for package in world.packages.clone() {
        let Some(text) = world.info(package.info, "triggers")? else { continue };
        let stem = package.file_stem();
        for line in String::from_utf8_lossy(&text).lines() {
            let mut words = line.split_whitespace();
            let end = match words.next() {
                Some("interest" | "interest-await") => "",
                Some("interest-noawait") => "/noawait",
                _ => continue,
            };
            let Some(name) = words.next() else { continue };
            if name.starts_with('/') {
                let _ = writeln!(paths, "{name} {stem}{end}");
            } else {
                let _ = writeln!(named.entry(name.to_owned()).or_default(), "{stem}{end}");
            }
        }
    }
    world.write(&path("/var/lib/dpkg/triggers/File"), paths.as_bytes(), 0o644)?;
    world.write(&path("/var/lib/dpkg/triggers/Unincorp"), b"", 0o644)?;
    for (name, text) in named {
        if matches!(name.as_str(), "File" | "Unincorp" | "Lock") {
            continue;
        }
        if let Some(place) = place_of(&folder, &name) {
            world.write(&place, text.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

/// Writes apt's marks of packages that nobody asked for.
fn write_automatic(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let automatic: BTreeSet<&str> = world.settings.automatic.iter().map(String::as_str).collect();
    let mut text = String::new();
    for package in world.packages.iter().filter(|package| automatic.contains(package.name)) {
        let architecture = match package.architecture {
            "all" => &world.settings.architecture,
            own => own,
        };
        let _ =
            write!(text, "Package: {}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n", package.name);
    }
    if text.is_empty() {
        return Ok(());
    }
    world.write(&path("/var/lib/apt/extended_states"), text.as_bytes(), 0o644)
}
