//! What a run leaves of itself and of its machine goes: identities, secrets, logs, backups, caches with
//! times in them. Only what the run has changed is looked at; what the tree had before is the tree's.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Request;
use super::error::SandboxError;
use super::gather::Gatherer;
use crate::base::ImagePath;
use crate::tree::diff::{Change, diff};
use crate::tree::{Content, Directory, Node};

type Result<T> = std::result::Result<T, SandboxError>;

/// What becomes of a changed path. What stood there before the run stands there again after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// New ones are taken away.
    Removed,
    /// New ones stay, without content.
    Emptied,
}

/// Paths that differ from run to run, or that no two machines should share. The first that fits counts.
const RULES: &[(&str, Fate)] = &[
    // Identities and secrets: made on the machine, at its first boot.
    ("/etc/machine-id", Fate::Emptied),
    ("/var/lib/dbus/machine-id", Fate::Removed),
    ("/etc/ssh/ssh_host_*", Fate::Removed),
    ("/etc/ssl/private/ssl-cert-snakeoil.key", Fate::Removed),
    ("/etc/ssl/certs/ssl-cert-snakeoil.pem", Fate::Removed),
    ("/etc/iscsi/initiatorname.iscsi", Fate::Removed),
    ("/etc/bind/rndc.key", Fate::Removed),
    ("/etc/hostid", Fate::Removed),
    ("/var/lib/NetworkManager/secret_key", Fate::Removed),
    ("/var/lib/systemd/credential.secret", Fate::Removed),
    ("/var/lib/systemd/random-seed", Fate::Removed),
    ("/var/lib/urandom/random-seed", Fate::Removed),
    // Caches with times or inode numbers in them; each is made again where it is missed.
    ("/var/cache/apt/*.bin", Fate::Removed),
    ("/var/cache/debconf/*-old", Fate::Removed),
    ("/var/cache/fontconfig/**", Fate::Removed),
    ("/var/cache/ldconfig/aux-cache", Fate::Removed),
    ("/var/cache/man/**", Fate::Removed),
    // Backups and locks.
    ("/etc/{passwd,group,shadow,gshadow,subuid,subgid}-", Fate::Removed),
    ("/etc/.pwd.lock", Fate::Removed),
    ("/var/backups/**", Fate::Removed),
    ("/var/lib/apt/extended_states.lock", Fate::Removed),
    ("/var/lib/apt/lists/lock", Fate::Removed),
    ("/var/lib/dpkg/*-old", Fate::Removed),
    ("/var/lib/dpkg/{lock,lock-frontend,triggers/Lock}", Fate::Removed),
    // Logs. Those that programs expect to find stay, empty.
    ("/var/log/{alternatives,bootstrap,dpkg,fontconfig}.log", Fate::Removed),
    ("/var/log/apt/**", Fate::Removed),
    ("/var/log/journal/**", Fate::Removed),
    ("/var/log/**", Fate::Emptied),
    // What people and tools leave behind.
    ("/root/.*_history", Fate::Removed),
    ("/root/{.ansible,.cache,.lesshst,.wget-hsts}", Fate::Removed),
    ("/root/{.ansible,.cache}/**", Fate::Removed),
    ("/var/tmp/**", Fate::Removed),
];

/// Normalises a result.
pub fn normalise(tree: &mut Directory, request: &Request<'_>, gatherer: &Gatherer<'_>) -> Result<()> {
    let rules = compile();
    let links: BTreeSet<ImagePath> = tree.paths().filter_map(|(_, node)| target(node)).collect();
    let changed: Vec<(ImagePath, bool)> = diff(request.tree, tree)
        .into_iter()
        .filter(|(_, change)| !matches!(change, Change::Removed(_)))
        .map(|(path, change)| (path, matches!(change, Change::Added(_))))
        .collect();
    for (path, added) in changed.iter().rev() {
        let fate = fate(&rules, path, tree.get(path));
        if let Some(fate) = fate {
            apply(tree, request.tree, path, *added, fate, links.contains(path));
        }
    }
    for path in ["/etc/shadow", "/etc/gshadow"].map(|path| ImagePath::new(path.as_bytes())) {
        let path = path.expect("because this is a path");
        if changed.iter().any(|(changed, _)| *changed == path) {
            shadow(tree, request, &path, gatherer)?;
        }
    }
    Ok(())
}

fn compile() -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for (pattern, _) in RULES {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.expect("because the patterns are fixed"));
    }
    set.build().expect("because the patterns are fixed")
}

fn fate(rules: &GlobSet, path: &ImagePath, node: Option<&Node>) -> Option<Fate> {
    use std::os::unix::ffi::OsStrExt;
    if matches!(node?, Node::Socket(_)) {
        return Some(Fate::Removed);
    }
    let matches = rules.matches(std::ffi::OsStr::from_bytes(path.as_bytes()));
    matches.first().map(|index| RULES[*index].1)
}

fn target(node: &Node) -> Option<ImagePath> {
    match node {
        Node::HardLink(target) => Some(target.clone()),
        _ => None,
    }
}

/// `linked`: other names lead to this node, so that it can't go without them.
fn apply(tree: &mut Directory, before: &Directory, path: &ImagePath, added: bool, fate: Fate, linked: bool) {
    if let (false, Some(old @ (Node::File(_) | Node::Symlink(_)))) = (added, before.get(path))
        && let Some(new) = tree.get_mut(path).filter(|new| !matches!(new, Node::Directory(_)))
    {
        *new = old.clone();
        return;
    }
    match tree.get_mut(path) {
        Some(Node::Directory(directory)) if !added || !directory.entries.is_empty() => {}
        Some(Node::File(file)) if fate == Fate::Emptied || linked => file.content = Content::of(b""),
        Some(_) if fate == Fate::Removed && !linked => drop(tree.remove(path)),
        _ => {}
    }
}

/// Dates the changed lines of a password file to the epoch, and gives it to the group that may read it.
fn shadow(
    tree: &mut Directory,
    request: &Request<'_>,
    path: &ImagePath,
    gatherer: &Gatherer<'_>,
) -> Result<()> {
    let group = ImagePath::new(b"/etc/group").expect("because this is a path");
    let gid = match tree.get(&group) {
        Some(Node::File(_)) => group_number(&gatherer.bytes(&group)?, "shadow"),
        _ => None,
    };
    let Some(Node::File(file)) = tree.get_mut(path) else { return Ok(()) };
    let new = gatherer.bytes(path)?;
    let old = match request.tree.get(path) {
        Some(Node::File(file)) => request
            .source
            .read_all(&file.content)
            .map_err(|source| SandboxError::Content { path: path.clone(), source })?,
        _ => Vec::new(),
    };
    let is_shadow = path.as_bytes() == b"/etc/shadow";
    let dated = if is_shadow { date(&new, &old, request.epoch / 86400) } else { new };
    file.content =
        gatherer.sink.put(&dated).map_err(|source| SandboxError::Content { path: path.clone(), source })?;
    if let Some(gid) = gid {
        file.metadata.gid = gid;
        file.metadata.mode = 0o640;
    }
    Ok(())
}

/// Sets the third field, the day of the last change, of every line that is not in `old` (`shadow(5)`).
fn date(new: &[u8], old: &[u8], day: u64) -> Vec<u8> {
    let known: BTreeSet<&[u8]> = old.split(|&byte| byte == b'\n').collect();
    let lines = new.split(|&byte| byte == b'\n').map(|line| {
        let mut fields: Vec<Vec<u8>> = line.split(|&byte| byte == b':').map(<[u8]>::to_vec).collect();
        let dated = fields.get(2).is_some_and(|day| !day.is_empty() && day.iter().all(u8::is_ascii_digit));
        if dated && fields[2] != b"0" && !known.contains(line) {
            fields[2] = day.to_string().into_bytes();
        }
        fields.join(&b':')
    });
    lines.collect::<Vec<_>>().join(&b'\n')
}

/// Returns the number of a group (`group(5)`).
fn group_number(text: &[u8], name: &str) -> Option<u32> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{File, Metadata};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn file(text: &str) -> Node {
        let content = Content::of(text.as_bytes());
        Node::File(File { metadata: Metadata::root(0o600), content })
    }

    #[test]
    fn every_rule_is_a_pattern_and_the_first_counts() {
        let rules = compile();
        let at = |text: &str| fate(&rules, &path(text), Some(&file("x")));
        assert_eq!(at("/etc/machine-id"), Some(Fate::Emptied));
        assert_eq!(at("/etc/ssh/ssh_host_rsa_key.pub"), Some(Fate::Removed));
        assert_eq!(at("/var/log/apt/history.log"), Some(Fate::Removed));
        assert_eq!(at("/var/log/wtmp"), Some(Fate::Emptied));
        assert_eq!(at("/etc/passwd-"), Some(Fate::Removed));
        assert_eq!(at("/etc/passwd"), None);
        assert_eq!(at("/var/cache/apt/archives/pkgcache.bin"), None);
    }

    #[test]
    fn what_was_there_before_is_there_again() {
        let mut before = Directory::default();
        before.insert(&path("/var/log/old.log"), file("kept")).expect("inserted");
        let mut tree = before.clone();
        tree.replace(&path("/var/log/old.log"), file("changed")).expect("replaced");
        tree.insert(&path("/var/log/new.log"), file("new")).expect("inserted");
        tree.insert(&path("/var/log/apt/x"), file("x")).expect("inserted");
        apply(&mut tree, &before, &path("/var/log/old.log"), false, Fate::Emptied, false);
        apply(&mut tree, &before, &path("/var/log/new.log"), true, Fate::Emptied, false);
        apply(&mut tree, &before, &path("/var/log/apt/x"), true, Fate::Removed, false);
        assert_eq!(tree.get(&path("/var/log/old.log")), Some(&file("kept")));
        assert_eq!(tree.get(&path("/var/log/new.log")), Some(&file("")));
        assert_eq!(tree.get(&path("/var/log/apt/x")), None);
    }

    #[test]
    fn changed_passwords_are_dated_to_the_epoch() {
        let old = b"root:*:1:0:99999:7:::\n";
        let new = b"root:*:1:0:99999:7:::\ndaemon:!:20700::::::\nlocked:!:0::::::\nodd\n";
        let dated = date(new, old, 3652);
        let text = String::from_utf8(dated).expect("text");
        assert_eq!(text, "root:*:1:0:99999:7:::\ndaemon:!:3652::::::\nlocked:!:0::::::\nodd\n");
        assert_eq!(group_number(b"root:x:0:\nshadow:x:42:\n", "shadow"), Some(42));
        assert_eq!(group_number(b"root:x:0:\n", "shadow"), None);
    }
}
