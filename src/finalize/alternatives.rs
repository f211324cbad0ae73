//! Names that several programs can have: the links and the state of update-alternatives(1).

use std::collections::BTreeMap;

use super::world::{World, path};
use super::{Database, FinalizeError};
use crate::base::{ImagePath, Name};
use crate::tree::Node;

/// Most choices of one name: each new one is compared with all before it.
const CHOICES_MAX: usize = 1000;

/// What one call of `update-alternatives --install` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Alternative {
    pub name: String,
    pub link: String,
    pub path: String,
    pub priority: i64,
    pub slaves: Vec<Slave>,
}

/// A link that follows the choice of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Slave {
    pub link: String,
    pub name: String,
    pub path: String,
}

impl Alternative {
    /// Reads the words behind `--install`: `LINK NAME PATH PRIORITY [--slave LINK NAME PATH]…`.
    pub fn parse(words: &[&str]) -> Option<Alternative> {
        let [link, name, path, priority, rest @ ..] = words else { return None };
        let chunks = rest.chunks_exact(4);
        if !chunks.remainder().is_empty() {
            return None;
        }
        let mut slaves = Vec::new();
        for chunk in chunks {
            let ["--slave", link, name, path] = chunk[..] else { return None };
            slaves.push(Slave { link: link.to_owned(), name: name.to_owned(), path: path.to_owned() });
        }
        let owned = |text: &&str| (*text).to_owned();
        let made = Alternative {
            name: owned(name),
            link: owned(link),
            path: owned(path),
            priority: priority.parse().ok()?,
            slaves,
        };
        let is_path = |text: &str| ImagePath::new(text.as_bytes()).is_ok() && !text.contains('\n');
        let is_name = |name: &str| Name::new(name.as_bytes()).is_ok() && !name.contains([' ', '\t', '\n']);
        let is_sound = |name: &str, link: &str, path: &str| is_name(name) && is_path(link) && is_path(path);
        let slaves_are = made.slaves.iter().all(|slave| is_sound(&slave.name, &slave.link, &slave.path));
        (slaves_are && is_sound(&made.name, &made.link, &made.path)).then_some(made)
    }
}

/// All names that have choices.
#[derive(Clone, Debug, Default)]
pub(super) struct Alternatives(BTreeMap<String, Group>);

#[derive(Clone, Debug, Default)]
struct Group {
    link: String,
    is_manual: bool,
    /// By name: where the link is.
    slaves: BTreeMap<String, String>,
    /// By path: priority, and paths of slaves by name.
    choices: BTreeMap<String, (i64, BTreeMap<String, String>)>,
    chosen: String,
}

impl Alternatives {
    /// Adds a choice. In automatic mode the highest priority is chosen; of equal ones that which was there.
    pub fn install(&mut self, alternative: Alternative) {
        let group = self.0.entry(alternative.name).or_default();
        if group.choices.len() >= CHOICES_MAX {
            return;
        }
        group.link = alternative.link;
        let mut paths = BTreeMap::new();
        for slave in alternative.slaves {
            group.slaves.insert(slave.name.clone(), slave.link);
            paths.insert(slave.name, slave.path);
        }
        // Those that are there are asked in the order of their paths, then the new one.
        let is_new = !group.choices.contains_key(&alternative.path);
        let best = group.choices.iter().filter(|choice| *choice.0 != alternative.path || !is_new);
        let best = best.fold(None, |best: Option<(&String, i64)>, (path, (priority, _))| {
            let priority = if *path == alternative.path { alternative.priority } else { *priority };
            match best {
                Some(best) if best.1 >= priority => Some(best),
                _ => Some((path, priority)),
            }
        });
        let best = match best {
            Some((path, priority)) if priority >= alternative.priority => path.clone(),
            _ => alternative.path.clone(),
        };
        if !group.is_manual {
            group.chosen = best;
        }
        group.choices.insert(alternative.path, (alternative.priority, paths));
    }

    /// Chooses by hand; tells whether there is such a choice.
    pub fn set(&mut self, name: &str, choice: &str) -> bool {
        let group = self.0.get_mut(name).filter(|group| group.choices.contains_key(choice));
        if let Some(group) = group {
            group.is_manual = true;
            group.chosen = choice.to_owned();
            return true;
        }
        false
    }
}

impl Group {
    /// Writes the state as update-alternatives does: mode, link, slaves, and for each choice its path, priority
    /// and the slaves' paths.
    fn state(&self) -> String {
        let mode = if self.is_manual { "manual" } else { "auto" };
        let mut text = format!("{mode}\n{}\n", self.link);
        for (name, link) in &self.slaves {
            text.push_str(&format!("{name}\n{link}\n"));
        }
        text.push('\n');
        for (path, (priority, slaves)) in &self.choices {
            text.push_str(&format!("{path}\n{priority}\n"));
            for name in self.slaves.keys() {
                text.push_str(slaves.get(name).map_or("", String::as_str));
                text.push('\n');
            }
        }
        text.push('\n');
        text
    }
}

/// Writes the links of all names, and with dpkg's database their state.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let groups = std::mem::take(&mut world.alternatives);
    for (name, group) in &groups.0 {
        let Some((_, slaves)) = group.choices.get(&group.chosen) else { continue };
        link(world, name, &group.link, &group.chosen)?;
        for (name, link_path) in &group.slaves {
            if let Some(target) = slaves.get(name) {
                link(world, name, link_path, target)?;
            }
        }
        if world.settings.database == Database::Dpkg {
            let place = path("/var/lib/dpkg/alternatives")
                .join(&Name::new(name.as_bytes()).expect("because it was checked"));
            world.write(&place, group.state().as_bytes(), 0o644)?;
        }
    }
    world.alternatives = groups;
    Ok(())
}

/// Makes `LINK → /etc/alternatives/NAME → PATH`, where the path leads to something; a file that stands at the
/// link's place stays.
fn link(world: &mut World<'_>, name: &str, link: &str, target: &str) -> Result<(), FinalizeError> {
    let of = |text: &str| ImagePath::new(text.as_bytes()).expect("because it was checked");
    if !world.exists(&of(target)) {
        return Ok(());
    }
    let middle = format!("/etc/alternatives/{name}");
    world.link(&of(&middle), target.as_bytes())?;
    if !matches!(world.look(&of(link)), None | Some(Node::Symlink(_))) {
        world.note(format!("{link} is a file, and no link to {middle}"));
        return Ok(());
    }
    world.link(&of(link), middle.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(alternatives: &mut Alternatives, path: &str, priority: &str) {
        let words = ["/usr/bin/x", "x", path, priority, "--slave", "/m/x.1", "x.1", "/m/y.1"];
        alternatives.install(Alternative::parse(&words).expect("parsed"));
    }

    #[test]
    fn the_highest_priority_wins_and_ties_stay() {
        let mut all = Alternatives::default();
        for (path, priority, chosen) in
            [("/b", "5", "/b"), ("/a", "5", "/b"), ("/c", "5", "/a"), ("/d", "9", "/d"), ("/d", "-1", "/a")]
        {
            add(&mut all, path, priority);
            assert_eq!(all.0["x"].chosen, chosen, "{path} {priority}");
        }
        assert!(all.set("x", "/c") && !all.set("x", "/z") && !all.set("y", "/c"));
        add(&mut all, "/e", "99");
        assert_eq!(all.0["x"].chosen, "/c");
    }

    #[test]
    fn the_state_is_what_dpkg_writes() {
        let mut all = Alternatives::default();
        add(&mut all, "/b", "5");
        let words = ["/usr/bin/x", "x", "/a", "1"];
        all.install(Alternative::parse(&words).expect("parsed"));
        assert_eq!(all.0["x"].state(), "auto\n/usr/bin/x\nx.1\n/m/x.1\n\n/a\n1\n\n/b\n5\n/m/y.1\n\n");
    }

    #[test]
    fn malformed_calls_are_refused() {
        for words in [
            &["/a", "b", "/c"][..],
            &["/a", "b", "/c", "high"],
            &["a", "b", "/c", "1"],
            &["/a", "b/c", "/c", "1"],
            &["/a", "b", "/c", "1", "--slave", "/d"],
            &["/a", "b", "/c/../d", "1"],
        ] {
            assert!(Alternative::parse(words).is_none(), "{words:?}");
        }
    }
}
