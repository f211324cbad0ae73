//! Places that fragments of tmpfiles.d(5) make when a package is installed, as far as they outlast a boot.

use super::FinalizeError;
use super::world::{World, path};
use crate::base::ImagePath;
use crate::tree::{Metadata, Node};

/// Where fragments lie; a name in one hides it in those behind.
const FRAGMENTS: [&str; 3] = ["/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/lib/tmpfiles.d"];
/// What lies here is made anew at each boot.
const PASSING: [&str; 7] = ["/run", "/var/run", "/tmp", "/var/tmp", "/dev", "/proc", "/sys"];

/// One line that makes or changes a place.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    kind: char,
    forced: bool,
    path: ImagePath,
    mode: Option<u16>,
    /// The mode holds for what is made, not for what is there.
    is_initial: bool,
    user: String,
    group: String,
    argument: String,
}

/// Does what the fragments say that scripts asked for. Lines for boot only, with specifiers, or of types that set
/// attributes, are left to the boot.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let mut names = std::mem::take(&mut world.tmpfiles);
    names.sort();
    names.dedup();
    let mut lines = Vec::new();
    for name in names {
        let folders =
            FRAGMENTS.iter().filter_map(|folder| ImagePath::new(format!("{folder}/{name}").as_bytes()).ok());
        for file in folders {
            if let Some(text) = world.read_text(&file)? {
                lines.extend(text.lines().filter_map(parse));
                break;
            }
        }
    }
    lines.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    for line in lines {
        if let Err(error) = apply(world, &line) {
            world.errors.push(error);
        }
    }
    Ok(())
}

/// Reads a line; `None` for one that nothing is done for.
fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace();
    let kind = words.next().filter(|kind| !kind.starts_with('#'))?;
    let modifiers = &kind[kind.chars().next()?.len_utf8()..];
    let named = words.next()?;
    if modifiers.contains(['!', '^', '~', '=', '$'])
        || line.contains('%')
        || named.contains(['"', '\'', '\\'])
    {
        return None;
    }
    let place = ImagePath::new(named.as_bytes()).ok()?;
    if PASSING.iter().any(|passing| place.is_within(&path(passing))) {
        return None;
    }
    let mut field = || words.next().filter(|word| *word != "-").unwrap_or_default();
    let (mode, user, group, _age) = (field(), field(), field(), field());
    let is_initial = mode.starts_with(':');
    let mode = match mode {
        "" => None,
        mode => Some(u16::from_str_radix(mode.trim_start_matches(['~', ':']), 8).ok()?),
    };
    let [user, group] = [user, group].map(|name| name.trim_start_matches(':').to_owned());
    let argument = words.collect::<Vec<_>>().join(" ");
    let kind = kind.chars().next()?;
    let forced = modifiers.contains('+');
    Some(Line { kind, forced, path: place, mode, is_initial, user, group, argument })
}

fn apply(world: &mut World<'_>, line: &Line) -> Result<(), FinalizeError> {
    let is_there = world.look(&line.path).is_some();
    match line.kind {
        'd' | 'D' | 'v' | 'q' | 'Q' => {
            world.make_directory(&line.path, 0o755)?;
        }
        'f' | 'F' if !is_there => world.write(&line.path, line.argument.as_bytes(), 0o644)?,
        'L' if !line.argument.is_empty() && (!is_there || line.forced) => {
            if matches!(world.look(&line.path), Some(Node::Directory(_))) {
                return Ok(());
            }
            return world.link(&line.path, line.argument.as_bytes());
        }
        'z' | 'e' if is_there => {}
        _ => return Ok(()),
    }
    let account = |name: &str, id: Option<u32>| match (name, id) {
        ("", _) => Ok(None),
        (_, Some(id)) => Ok(Some(id)),
        (name, None) => Err(FinalizeError::Place {
            path: line.path.clone(),
            problem: format!("tmpfiles.d gives it to {name:?}, and there is no such account"),
        }),
    };
    let uid = account(&line.user, world.accounts.uid(&line.user))?;
    let gid = account(&line.group, world.accounts.gid(&line.group))?;
    let Some(metadata) = world.metadata_mut(&line.path) else { return Ok(()) };
    let old = metadata.clone();
    *metadata = Metadata {
        mode: line.mode.filter(|_| !is_there || !line.is_initial).unwrap_or(old.mode),
        uid: uid.unwrap_or(old.uid),
        gid: gid.unwrap_or(old.gid),
        xattrs: old.xattrs,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_places_that_last_are_read() {
        let line = parse("d /var/lib/x 0700 root adm - -").expect("read");
        assert_eq!(
            (line.kind, line.mode, line.user.as_str(), line.group.as_str()),
            ('d', Some(0o700), "root", "adm")
        );
        let line = parse("L+ /etc/mtab - - - - ../proc/self/mounts").expect("read");
        assert_eq!((line.kind, line.forced, line.argument.as_str()), ('L', true, "../proc/self/mounts"));
        for text in [
            "# x",
            "",
            "d",
            "d! /var/x",
            "d /run/x",
            "z /var/log/%m 1",
            "d relative",
            "d /var/x 99",
            "d /var/../x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
