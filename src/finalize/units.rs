//! Units that start by themselves: the links that `systemctl enable` makes (systemd.unit(5), `[Install]`).

mod install;

use std::collections::{BTreeMap, BTreeSet};

use super::FinalizeError;
use super::world::{World, path};
use crate::base::{ImagePath, Name};
use crate::tree::Node;
pub use install::{Install, parse as parse_install};

/// Units that scripts enabled or masked.
#[derive(Clone, Debug, Default)]
pub(super) struct Units {
    /// (is of the user manager, unit), in the order of the scripts.
    asked: Vec<(bool, String)>,
    masked: Vec<String>,
    enabled: BTreeSet<String>,
}

impl Units {
    pub fn enable(&mut self, unit: &str, is_user: bool) {
        let asked = (is_user, unit.to_owned());
        if !self.asked.contains(&asked) {
            self.asked.push(asked);
        }
    }

    pub fn mask(&mut self, unit: &str) {
        self.masked.push(unit.to_owned());
    }

    /// Returns the units whose links were made, sorted.
    pub fn enabled(&self) -> Vec<String> {
        self.enabled.iter().cloned().collect()
    }
}

/// Where units of one manager are configured, and where packages bring them.
struct Folders {
    configured: ImagePath,
    brought: ImagePath,
    /// How links spell the folder of brought units.
    spelled: String,
}

/// Links the units that scripts enabled, with those that they name in `Also=`.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let asked = world.units.asked.clone();
    for (is_user, unit) in asked {
        let folders = folders(world, is_user);
        let mut waiting = vec![unit];
        let mut seen = BTreeSet::new();
        while let Some(unit) = waiting.pop() {
            if seen.insert(unit.clone()) {
                waiting.extend(enable(world, &folders, &unit)?);
            }
        }
    }
    for unit in std::mem::take(&mut world.units.masked) {
        if let Some(place) = place(&folders(world, false).configured, &[&unit]) {
            world.link(&place, b"/dev/null")?;
        }
    }
    Ok(())
}

/// Before Debian 13 packages spell `/lib/systemd/system`, and so do the links.
fn folders(world: &World<'_>, is_user: bool) -> Folders {
    if is_user {
        let brought = path("/usr/lib/systemd/user");
        return Folders { configured: path("/etc/systemd/user"), spelled: brought.to_string(), brought };
    }
    let old = path("/lib/systemd/system");
    let is_old = world.packages.iter().any(|package| package.data.directory(&old).is_some());
    Folders {
        configured: path("/etc/systemd/system"),
        brought: path("/usr/lib/systemd/system"),
        spelled: if is_old { old.to_string() } else { "/usr/lib/systemd/system".to_owned() },
    }
}

/// Joins names that a unit file states to a folder; `None` where one is no name.
fn place(folder: &ImagePath, names: &[&str]) -> Option<ImagePath> {
    names.iter().try_fold(folder.clone(), |at, name| Some(at.join(&Name::new(name.as_bytes()).ok()?)))
}

/// Makes the links of one unit, and returns those that it names in `Also=`.
fn enable(world: &mut World<'_>, folders: &Folders, unit: &str) -> Result<Vec<String>, FinalizeError> {
    let Some((file, text)) = find(world, folders, unit)? else {
        world.note(format!("unit {unit} is not there and was not enabled"));
        return Ok(Vec::new());
    };
    let target =
        match place(&folders.configured, &[&file]).is_some_and(|own| world.look(&own).is_some_and(is_file)) {
            true => format!("{}/{file}", folders.configured),
            false => format!("{}/{file}", folders.spelled),
        };
    let install = parse_install(&text);
    // The name under which the unit is wanted: an instance keeps its name, a template takes its default.
    let wanted = match (template(unit), unit == file) {
        (Some(template), true) => match &install.default_instance {
            Some(instance) => {
                let (prefix, suffix) = template.split_once("@.").expect("because templates hold it");
                format!("{prefix}@{instance}.{suffix}")
            }
            None => unit.to_owned(),
        },
        (Some(_), false) => unit.to_owned(),
        (None, _) => file.clone(),
    };
    let mut links = Vec::new();
    for (list, folder) in [
        (&install.wanted_by, ".wants"),
        (&install.required_by, ".requires"),
        (&install.upheld_by, ".upholds"),
    ] {
        for by in list {
            links.push(vec![format!("{}{folder}", specifiers(by, &wanted)), wanted.clone()]);
        }
    }
    for alias in &install.alias {
        links.push(vec![specifiers(alias, &wanted)]);
    }
    for link in links {
        let names: Vec<&str> = link.iter().map(String::as_str).collect();
        match place(&folders.configured, &names) {
            Some(link) if link.to_string() == target => {}
            Some(link) => {
                world.link(&link, target.as_bytes())?;
                world.units.enabled.insert(wanted.clone());
            }
            None => {
                let (path, problem) =
                    (path("/etc/systemd/system"), format!("{unit}: {names:?} are no names of units"));
                return Err(FinalizeError::Place { path, problem });
            }
        }
    }
    Ok(install.also.iter().map(|also| specifiers(also, &wanted)).collect())
}

fn is_file(node: &Node) -> bool {
    matches!(node, Node::File(_))
}

/// Returns the name of the file that defines a unit, and its text: a link leads to the unit that it names, an
/// instance to its template.
fn find(world: &World<'_>, folders: &Folders, unit: &str) -> Result<Option<(String, String)>, FinalizeError> {
    for name in [Some(unit.to_owned()), template(unit)].into_iter().flatten() {
        for folder in [&folders.configured, &folders.brought] {
            let Some(place) = place(folder, &[&name]) else { continue };
            if !matches!(world.look(&place), Some(Node::File(_) | Node::Symlink(_) | Node::HardLink(_))) {
                continue;
            }
            let Some((real, _)) = world.lead(&place) else { continue };
            let Some(text) = world.read_text(&place)? else { continue };
            let real = real.name().map(|name| name.to_string()).unwrap_or_default();
            return Ok(Some((real, text)));
        }
    }
    Ok(None)
}

/// Returns the template of an instance, and of a template itself: of `a@b.service`, `a@.service`.
fn template(unit: &str) -> Option<String> {
    let (prefix, rest) = unit.split_once('@')?;
    let (_, suffix) = rest.rsplit_once('.')?;
    Some(format!("{prefix}@.{suffix}"))
}

/// Replaces the specifiers that a unit's name alone decides.
fn specifiers(text: &str, unit: &str) -> String {
    let whole = unit.rsplit_once('.').map_or(unit, |(name, _)| name);
    let (prefix, instance) = whole.split_once('@').unwrap_or((whole, ""));
    let values = BTreeMap::from([('n', unit), ('N', whole), ('p', prefix), ('i', instance), ('%', "%")]);
    let mut replaced = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => match characters.next() {
                Some(next) => match values.get(&next) {
                    Some(value) => replaced.push_str(value),
                    None => replaced.extend(['%', next]),
                },
                None => replaced.push('%'),
            },
            character => replaced.push(character),
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_instances_lead_to_templates() {
        assert_eq!(template("getty@tty1.service").as_deref(), Some("getty@.service"));
        assert_eq!(template("a@b.c.service").as_deref(), Some("a@.service"));
        assert_eq!(template("ssh.service"), None);
        assert_eq!(specifiers("%p-%i.target%%%q", "x@y.service"), "x-y.target%%q");
    }
}
