//! Enables units: presets (systemd.preset(5)), and links as `systemctl enable` makes them (systemd.unit(5),
//! "\[Install\]").

use std::collections::BTreeSet;

use super::accounts::{directory, text};
use super::error::FinalizeError;
use super::lay::real_path;
use crate::base::{ImagePath, Name};
use crate::tree::{ContentSource, Directory, Metadata, Node, Symlink};

/// Most units that others name in `Also=`.
const UNITS_MAX: usize = 1000;

/// Which manager's units.
pub struct Manager {
    /// Folder of the links: `/etc/systemd/system`.
    links: &'static str,
    /// Folders of the units, best first.
    units: [&'static str; 2],
    presets: [&'static str; 2],
}

pub const SYSTEM: Manager = Manager {
    links: "/etc/systemd/system",
    units: ["/etc/systemd/system", "/usr/lib/systemd/system"],
    presets: ["/etc/systemd/system-preset", "/usr/lib/systemd/system-preset"],
};

pub const USER: Manager = Manager {
    links: "/etc/systemd/user",
    units: ["/etc/systemd/user", "/usr/lib/systemd/user"],
    presets: ["/etc/systemd/user-preset", "/usr/lib/systemd/user-preset"],
};

/// A rule of a preset file.
pub struct Rule {
    enable: bool,
    pattern: globset::GlobMatcher,
}

impl Manager {
    /// Reads the presets, in the order in which they count.
    pub fn rules(&self, tree: &Directory, source: &dyn ContentSource) -> Result<Vec<Rule>, FinalizeError> {
        let mut names = BTreeSet::new();
        for folder in self.presets {
            let entries = directory(tree, folder).map(|directory| directory.entries.keys());
            names.extend(entries.into_iter().flatten().filter(|name| name.as_bytes().ends_with(b".preset")));
        }
        let mut rules = Vec::new();
        for name in names {
            let paths = self.presets.map(|folder| format!("{folder}/{name}"));
            let found = match text(tree, &paths[0], source)? {
                Some(found) => found,
                None => text(tree, &paths[1], source)?.unwrap_or_default(),
            };
            rules.extend(found.lines().filter_map(rule));
        }
        Ok(rules)
    }

    /// Enables a unit and those that it names in `Also=`. Adds what it enabled to `enabled`. A unit that is not there
    /// is none of ours: packages name units that they leave to others.
    pub fn enable(
        &self,
        tree: &mut Directory,
        unit: &str,
        source: &dyn ContentSource,
        enabled: &mut BTreeSet<String>,
    ) -> Result<(), FinalizeError> {
        let mut waiting = vec![unit.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(unit) = waiting.pop() {
            if seen.len() > UNITS_MAX || !seen.insert(unit.clone()) {
                continue;
            }
            let Some((path, install)) = self.find(tree, &unit, source)? else { continue };
            let failed = |problem: String| FinalizeError::Unit { unit: unit.clone(), problem };
            for (key, values) in &install {
                for value in values.split_whitespace() {
                    let value = specified(value, &unit);
                    let link = match key.as_str() {
                        "WantedBy" => format!("{}/{value}.wants/{}", self.links, instance(&unit, &install)),
                        "RequiredBy" => {
                            format!("{}/{value}.requires/{}", self.links, instance(&unit, &install))
                        }
                        "UpheldBy" => format!("{}/{value}.upholds/{}", self.links, instance(&unit, &install)),
                        "Alias" => format!("{}/{value}", self.links),
                        "Also" => {
                            waiting.push(value);
                            continue;
                        }
                        _ => continue,
                    };
                    let link = ImagePath::new(link.as_bytes()).map_err(|error| failed(error.to_string()))?;
                    put_link(tree, &link, &path).map_err(failed)?;
                    enabled.insert(unit.clone());
                }
            }
        }
        Ok(())
    }

    /// Returns where a unit's file is, and the keys of its `[Install]` section.
    fn find(
        &self,
        tree: &Directory,
        unit: &str,
        source: &dyn ContentSource,
    ) -> Result<Option<(String, Vec<(String, String)>)>, FinalizeError> {
        if Name::new(unit.as_bytes()).is_err() {
            return Ok(None);
        }
        let template = match (unit.split_once('@'), unit.rsplit_once('.')) {
            (Some((name, _)), Some((_, kind))) => format!("{name}@.{kind}"),
            _ => unit.to_owned(),
        };
        for folder in self.units {
            for name in [unit, &template] {
                let path = format!("{folder}/{name}");
                if let Some(text) = text(tree, &path, source)? {
                    return Ok(Some((path, install(&text))));
                }
            }
        }
        Ok(None)
    }
}

/// Tells whether presets want a unit: the first rule that fits says; where none does, it is wanted.
pub fn is_wanted(rules: &[Rule], unit: &str) -> bool {
    rules.iter().find(|rule| rule.pattern.is_match(unit)).is_none_or(|rule| rule.enable)
}

fn rule(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let enable = match words.next()? {
        "enable" => true,
        "disable" => false,
        _ => return None,
    };
    Some(Rule { enable, pattern: globset::Glob::new(words.next()?).ok()?.compile_matcher() })
}

fn install(text: &str) -> Vec<(String, String)> {
    let mut is_inside = false;
    let mut keys = Vec::new();
    for line in text.replace("\\\n", " ").lines().map(str::trim) {
        if line.starts_with('[') {
            is_inside = line == "[Install]";
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| is_inside && !line.starts_with(['#', ';']))
        {
            keys.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    keys
}

/// Replaces the specifiers that `[Install]` sections use: the instance, and the names of the unit.
fn specified(value: &str, unit: &str) -> String {
    let name = unit.rsplit_once('.').map_or(unit, |split| split.0);
    let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
    value
        .replace("%i", instance)
        .replace("%I", instance)
        .replace("%p", prefix)
        .replace("%n", unit)
        .replace("%N", name)
}

/// Returns the name that a link gives a unit: a template's default instance.
fn instance(unit: &str, install: &[(String, String)]) -> String {
    let default = install.iter().find(|(key, _)| key == "DefaultInstance");
    match (unit.split_once("@."), default) {
        (Some((name, kind)), Some((_, instance))) => format!("{name}@{instance}.{kind}"),
        _ => unit.to_owned(),
    }
}

fn put_link(tree: &mut Directory, link: &ImagePath, target: &str) -> Result<(), String> {
    let real = real_path(tree, link, false).map_err(|(through, kind)| format!("{through} is a {kind}"))?;
    let node = Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() });
    match tree.get(&real) {
        None => tree.insert(&real, node).map_err(|error| error.to_string()),
        Some(_) => Ok(()),
    }
}

/// Tells whether a path of the tree is there, through links.
pub fn exists(tree: &Directory, path: &str) -> bool {
    let Ok(path) = ImagePath::new(path.as_bytes()) else { return false };
    let Ok(real) = real_path(tree, &path, true) else { return false };
    real.is_root() || tree.get(&real).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::accounts::path_of;
    use super::*;
    use crate::tree::{ContentSink, File, MemoryContents};

    #[test]
    fn presets_decide_and_links_are_made() {
        let contents = MemoryContents::default();
        let mut tree = Directory::default();
        let mut put = |path: &str, text: &str| {
            let content = contents.put(text.as_bytes()).expect("put");
            tree.insert(&path_of(path), Node::File(File { metadata: Metadata::root(0o644), content }))
                .expect("inserted");
        };
        put("/usr/lib/systemd/system-preset/90-x.preset", "enable web.service\ndisable *\n");
        put("/usr/lib/systemd/system-preset/80-y.preset", "# no\ndisable tty@*\n");
        put(
            "/usr/lib/systemd/system/web.service",
            "[Install]\nWantedBy=multi-user.target a.target\nAlso=web.socket\nAlias=www.service\n",
        );
        put("/usr/lib/systemd/system/web.socket", "[Install]\nWantedBy=sockets.target\n");
        put(
            "/usr/lib/systemd/system/tty@.service",
            "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
        );
        let rules = SYSTEM.rules(&tree, &contents).expect("rules");
        assert!(
            is_wanted(&rules, "web.service")
                && !is_wanted(&rules, "tty@.service")
                && !is_wanted(&rules, "x.service")
        );
        assert!(is_wanted(&[], "x.service"));
        let mut enabled = BTreeSet::new();
        for unit in ["web.service", "tty@.service", "none.service"] {
            SYSTEM.enable(&mut tree, unit, &contents, &mut enabled).expect("enabled");
        }
        for link in [
            "multi-user.target.wants/web.service",
            "a.target.wants/web.service",
            "sockets.target.wants/web.socket",
            "www.service",
            "getty.target.wants/tty@tty1.service",
        ] {
            assert!(tree.get(&path_of(&format!("/etc/systemd/system/{link}"))).is_some(), "{link}");
        }
        assert_eq!(enabled.len(), 3);
    }
}
