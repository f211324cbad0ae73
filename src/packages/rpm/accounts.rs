//! Accounts that packages bring: the names that own their files, `sysusers.d(5)`, and what their scripts would add.
//!
//! A number comes from, in this order: the tree's own `/etc/passwd` and `/etc/group`, the recipe, the package's line,
//! and else from the name alone (a digest into 300 to 899). So numbers don't move when other packages come or go; two
//! names of one number are an error that names both.

use std::collections::BTreeMap;

use super::error::FinalizeError;
use super::files::account;
use super::lay::real_path;
use crate::base::{Digest, ImagePath, Name};
use crate::tree::{ContentSink, ContentSource, Directory, File, Metadata, Node};

/// Names how numbers follow from names. Changing it renumbers accounts.
const CONTEXT: &str = "mkimage 2026 rpm account id v1";
/// Numbers that follow from names.
const IDS: std::ops::Range<u32> = 300..900;
const NOLOGIN: &str = "/usr/sbin/nologin";

/// A user or group that the recipe numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownAccount {
    pub name: String,
    pub id: u32,
}

/// What is known of a user.
#[derive(Clone, Default, Debug)]
struct User {
    id: Option<u32>,
    /// Name or number; none: the group of the user's name.
    group: Option<String>,
    comment: String,
    home: String,
    shell: String,
}

/// Gathers accounts, and writes them into a tree.
#[derive(Default)]
pub struct Accounts {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Option<u32>>,
    /// User and group.
    members: Vec<(String, String)>,
    /// Lines that are there.
    passwd: Table,
    group: Table,
    shadow: Table,
    gshadow: Table,
    /// Names that came new.
    added: Vec<String>,
}

impl Accounts {
    /// Reads what the tree has.
    pub fn of(tree: &Directory, source: &dyn ContentSource) -> Result<Accounts, FinalizeError> {
        let read =
            |path: &str| Ok::<_, FinalizeError>(Table::parse(&text(tree, path, source)?.unwrap_or_default()));
        let mut accounts = Accounts {
            passwd: read("/etc/passwd")?,
            group: read("/etc/group")?,
            shadow: read("/etc/shadow")?,
            gshadow: read("/etc/gshadow")?,
            ..Accounts::default()
        };
        accounts.groups.insert("root".to_owned(), Some(0));
        let root = User {
            id: Some(0),
            comment: "root".into(),
            home: "/root".into(),
            shell: "/bin/sh".into(),
            group: None,
        };
        accounts.users.insert("root".to_owned(), root);
        Ok(accounts)
    }

    /// Takes the recipe's numbers.
    pub fn know(&mut self, users: &[KnownAccount], groups: &[KnownAccount]) {
        for KnownAccount { name, id } in users {
            self.users.entry(name.clone()).or_default().id = Some(*id);
        }
        for KnownAccount { name, id } in groups {
            self.groups.insert(name.clone(), Some(*id));
        }
    }

    /// Takes the owner of a file: something else must bring the account, or be there.
    pub fn has(&self, kind: &'static str, name: &str) -> bool {
        match kind {
            "user" => self.users.contains_key(name) || self.passwd.line(name).is_some(),
            _ => {
                self.groups.contains_key(name)
                    || self.group.line(name).is_some()
                    || self.users.get(name).is_some_and(|user| user.group.is_none())
            }
        }
    }

    /// Takes the files of `sysusers.d` of a tree. A name that stands in `/etc` hides the same below `/usr`.
    pub fn read_sysusers(
        &mut self,
        tree: &Directory,
        source: &dyn ContentSource,
    ) -> Result<(), FinalizeError> {
        let mut files: BTreeMap<Name, (String, Node)> = BTreeMap::new();
        for folder in ["/usr/lib/sysusers.d", "/etc/sysusers.d"] {
            let Some(directory) = directory(tree, folder) else { continue };
            for (name, node) in &directory.entries {
                if name.as_bytes().ends_with(b".conf") {
                    files.insert(name.clone(), (format!("{folder}/{name}"), node.clone()));
                }
            }
        }
        for (path, node) in files.into_values() {
            let Node::File(file) = node else { continue };
            let text = source.read_all(&file.content)?;
            for line in String::from_utf8_lossy(&text).lines() {
                self.line(line).map_err(|problem| FinalizeError::Account {
                    package: "(sysusers.d)".to_owned(),
                    path: path.clone(),
                    problem,
                })?;
            }
        }
        Ok(())
    }

    /// Takes one line of `sysusers.d`. The first that says something of a name counts.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let words = words(line);
        let word = |index: usize| words.get(index).map(String::as_str).filter(|word| *word != "-");
        let wrong = || format!("{line:?} is not understood");
        let name = account(word(1).unwrap_or_default().to_owned());
        match (word(0).map(|kind| kind.trim_end_matches(['!', '+'])), name) {
            (Some("u"), Some(name)) => {
                let (id, group) = match word(2).map(|id| id.split_once(':').unwrap_or((id, ""))) {
                    None => (None, None),
                    Some((id, group)) => {
                        (number(id).ok_or_else(wrong)?, Some(group).filter(|g| !g.is_empty()))
                    }
                };
                let known = self.users.entry(name).or_default();
                known.id = known.id.or(id);
                known.group = known.group.take().or(group.map(str::to_owned));
                let fill = |slot: &mut String, value: Option<&str>| {
                    if slot.is_empty() {
                        *slot = value.unwrap_or_default().replace(':', " ");
                    }
                };
                fill(&mut known.comment, word(3));
                fill(&mut known.home, word(4));
                fill(&mut known.shell, word(5));
                Ok(())
            }
            (Some("g"), Some(name)) => {
                let id = word(2).map_or(Some(None), number).ok_or_else(wrong)?;
                let known = self.groups.entry(name).or_default();
                *known = known.or(id);
                Ok(())
            }
            (Some("m"), Some(name)) => {
                let group = account(word(2).unwrap_or_default().to_owned()).ok_or_else(wrong)?;
                self.members.push((name, group));
                Ok(())
            }
            (Some("r"), _) => Ok(()),
            _ => Err(wrong()),
        }
    }

    /// Numbers everybody and adds the lines that are missing. Returns the names that came new.
    pub fn settle(&mut self) -> Result<Vec<String>, FinalizeError> {
        let members = std::mem::take(&mut self.members);
        for (user, group) in &members {
            self.users.entry(user.clone()).or_default();
            self.groups.entry(group.clone()).or_default();
        }
        for user in self.users.values() {
            if let Some(group) = user.group.as_ref().filter(|group| group.parse::<u32>().is_err()) {
                self.groups.entry(group.clone()).or_default();
            }
        }
        for (name, user) in &self.users {
            if user.group.is_none() {
                let id = self.groups.entry(name.clone()).or_default();
                *id = id.or(user.id);
            }
        }
        self.settle_groups()?;
        self.settle_users()?;
        for (user, group) in &members {
            self.group.add_member(group, user);
            self.gshadow.add_member(group, user);
        }
        Ok(std::mem::take(&mut self.added))
    }

    fn settle_groups(&mut self) -> Result<(), FinalizeError> {
        for (name, id) in self.groups.clone() {
            if self.group.line(&name).is_some() {
                continue;
            }
            let own = self.passwd.id(&name);
            let id = id.or(own).unwrap_or_else(|| id_of(&name));
            check_free("group", &self.group, id, &name)?;
            self.group.lines.push(format!("{name}:x:{id}:"));
            if self.gshadow.line(&name).is_none() {
                self.gshadow.lines.push(format!("{name}:!*::"));
            }
            self.added.push(format!("group {name} {id}"));
        }
        Ok(())
    }

    fn settle_users(&mut self) -> Result<(), FinalizeError> {
        for (name, user) in self.users.clone() {
            if self.passwd.line(&name).is_some() {
                continue;
            }
            let group = match &user.group {
                Some(group) => group.parse().ok().or_else(|| self.group.id(group)),
                None => self.group.id(&name),
            };
            let group = group.unwrap_or(0);
            let id = user.id.or(user.group.is_none().then_some(group)).unwrap_or_else(|| id_of(&name));
            check_free("user", &self.passwd, id, &name)?;
            let or =
                |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
            let (home, shell) = (or(&user.home, "/"), or(&user.shell, NOLOGIN));
            self.passwd.lines.push(format!("{name}:x:{id}:{group}:{}:{home}:{shell}", user.comment));
            if self.shadow.line(&name).is_none() {
                self.shadow.lines.push(format!("{name}:!*:::::::"));
            }
            self.added.push(format!("user {name} {id}"));
        }
        Ok(())
    }

    /// Returns the number of a user or group.
    pub fn id(&self, kind: &'static str, name: &str) -> Option<u32> {
        if kind == "user" { self.passwd.id(name) } else { self.group.id(name) }
    }

    /// Writes the four files. Where there was one, it keeps its mode.
    pub fn write(&self, tree: &mut Directory, sink: &dyn ContentSink) -> Result<(), FinalizeError> {
        for (path, table, mode) in [
            ("/etc/passwd", &self.passwd, 0o644),
            ("/etc/group", &self.group, 0o644),
            ("/etc/shadow", &self.shadow, 0),
            ("/etc/gshadow", &self.gshadow, 0),
        ] {
            let path = path_of(path);
            let content = sink.put(table.text().as_bytes())?;
            match tree.get_mut(&path) {
                Some(Node::File(file)) => file.content = content,
                _ => {
                    tree.replace(&path, Node::File(File { metadata: Metadata::root(mode), content }))?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the number that follows from a name.
fn id_of(name: &str) -> u32 {
    let digest = Digest::derive(CONTEXT, name.as_bytes());
    let bytes = digest.as_bytes();
    let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    IDS.start + number % (IDS.end - IDS.start)
}

fn check_free(kind: &'static str, table: &Table, id: u32, name: &str) -> Result<(), FinalizeError> {
    match table.name_of(id) {
        Some(other) => Err(FinalizeError::Id { kind, id, first: other.to_owned(), second: name.to_owned() }),
        None => Ok(()),
    }
}

/// Reads `-`, a number, or a path, of which the owner would count: then the name decides.
fn number(text: &str) -> Option<Option<u32>> {
    match text {
        "-" => Some(None),
        text if text.starts_with('/') => Some(None),
        text => text.parse().ok().map(Some),
    }
}

/// Cuts a line into words; quotes keep blanks together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_word) = (Vec::new(), String::new(), None, false);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => (quote, is_word) = (Some(character), true),
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

/// Lines of fields between colons.
#[derive(Default, Debug)]
struct Table {
    lines: Vec<String>,
}

impl Table {
    fn parse(text: &str) -> Table {
        Table { lines: text.lines().map(str::to_owned).collect() }
    }

    fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn line(&self, name: &str) -> Option<&String> {
        self.lines.iter().find(|line| line.split(':').next() == Some(name))
    }

    fn id(&self, name: &str) -> Option<u32> {
        self.line(name)?.split(':').nth(2)?.parse().ok()
    }

    fn name_of(&self, id: u32) -> Option<&str> {
        let has_id = |line: &&String| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(id);
        self.lines.iter().find(has_id)?.split(':').next()
    }

    fn add_member(&mut self, group: &str, member: &str) {
        let Some(line) = self.lines.iter_mut().find(|line| line.split(':').next() == Some(group)) else {
            return;
        };
        let (front, members) = line.rsplit_once(':').unwrap_or((line, ""));
        let mut members: Vec<&str> = members.split(',').filter(|member| !member.is_empty()).collect();
        if !members.contains(&member) {
            members.push(member);
        }
        *line = format!("{front}:{}", members.join(","));
    }
}

pub(super) fn path_of(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because it is a path of this program")
}

/// Returns a directory of the tree, through links.
pub(super) fn directory<'a>(tree: &'a Directory, path: &str) -> Option<&'a Directory> {
    tree.directory(&real_path(tree, &path_of(path), true).ok()?)
}

/// Returns a text of the tree, through links.
pub(super) fn text(
    tree: &Directory,
    path: &str,
    source: &dyn ContentSource,
) -> Result<Option<String>, FinalizeError> {
    let Ok(real) = real_path(tree, &path_of(path), true) else { return Ok(None) };
    match tree.get(&real) {
        Some(Node::File(file)) => {
            Ok(Some(String::from_utf8_lossy(&source.read_all(&file.content)?).into_owned()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::MemoryContents;

    fn accounts(lines: &[&str]) -> Result<Accounts, FinalizeError> {
        let mut accounts = Accounts::of(&Directory::default(), &MemoryContents::default())?;
        lines.iter().for_each(|line| accounts.line(line).expect("a line"));
        accounts.settle()?;
        Ok(accounts)
    }

    #[test]
    fn numbers_follow_from_lines_or_names_alone() {
        let all = accounts(&[
            "u nginx - \"Nginx web server\" /var/lib/nginx",
            "g video 39",
            "u tss 59:video",
            "m nginx video",
        ])
        .expect("accounts");
        let one = accounts(&["u nginx -"]).expect("accounts");
        assert_eq!(all.id("user", "nginx"), one.id("user", "nginx"));
        assert_eq!(all.id("user", "nginx"), all.id("group", "nginx"));
        assert_eq!(
            (all.id("user", "tss"), all.id("group", "video"), all.id("group", "tss")),
            (Some(59), Some(39), None)
        );
        let nginx = all.passwd.line("nginx").expect("a line");
        assert!(nginx.ends_with(":Nginx web server:/var/lib/nginx:/usr/sbin/nologin"), "{nginx}");
        assert_eq!(all.group.line("video").expect("a line"), "video:x:39:nginx");
        assert_eq!(all.passwd.line("root").expect("a line"), "root:x:0:0:root:/root:/bin/sh");
    }

    #[test]
    fn two_accounts_of_one_number_are_an_error_that_names_both() {
        let error = accounts(&["u a 77", "u b 77"]).map(drop).expect_err("a clash").to_string();
        assert!(error.contains('a') && error.contains('b') && error.contains("77"), "{error}");
        assert!(Accounts::default().line("u a:b 5").is_err());
        assert!(Accounts::default().line("x y").is_err());
    }
}
