//! The packages that a tree itself knows: dpkg's database, `var/lib/dpkg/status` and `status.d/*`.

use std::collections::BTreeMap;

use super::error::Result;
use crate::base::ImagePath;
use crate::store::{Found, Objects, Store, StoredNode, TreeRef};
use crate::tree::follow::resolve;
use crate::tree::{Content, ContentSource, Directory, Node};

/// Largest file of the database that is read, in bytes.
const STATUS_BYTES_MAX: u64 = 256 << 20;

/// Returns installed packages and their versions by name; foreign architectures as `name:architecture`. Empty
/// where the tree has no such database.
pub fn versions(store: &Store, tree: &TreeRef) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for content in files(store, tree)? {
        if content.size <= STATUS_BYTES_MAX {
            let text = store.read_all(&content)?;
            found.extend(parse(&String::from_utf8_lossy(&text)));
        }
    }
    Ok(found)
}

/// Does what [`versions`] does for a tree in memory.
pub fn versions_in(root: &Directory, contents: &dyn ContentSource) -> Result<BTreeMap<String, String>> {
    let look = |path: &str| {
        let path = ImagePath::new(path.as_bytes()).expect("because it is a path of this program");
        resolve(root, &path).and_then(|(_, node)| node)
    };
    let mut files = Vec::new();
    if let Some(Node::File(file)) = look("/var/lib/dpkg/status") {
        files.push(file.content);
    }
    if let Some(Node::Directory(directory)) = look("/var/lib/dpkg/status.d") {
        files.extend(directory.entries.iter().filter_map(|(name, node)| match node {
            Node::File(file) if !name.as_bytes().ends_with(b".md5sums") => Some(file.content),
            _ => None,
        }));
    }
    let mut found = BTreeMap::new();
    for content in files.into_iter().filter(|content| content.size <= STATUS_BYTES_MAX) {
        found.extend(parse(&String::from_utf8_lossy(&contents.read_all(&content)?)));
    }
    Ok(found)
}

fn files(store: &Store, tree: &TreeRef) -> Result<Vec<Content>> {
    let look = |path: &str| {
        let path = ImagePath::new(path.as_bytes()).expect("because it is a path of this program");
        store.find(tree, &path, true).ok()
    };
    let mut files = Vec::new();
    if let Some(Found::Leaf(Node::File(file))) = look("/var/lib/dpkg/status") {
        files.push(file.content);
    }
    if let Some(Found::Directory(_, directory)) = look("/var/lib/dpkg/status.d") {
        for (name, node) in &directory.entries {
            match node {
                StoredNode::Leaf(Node::File(file)) if !name.as_bytes().ends_with(b".md5sums") => {
                    files.push(file.content);
                }
                _ => {}
            }
        }
    }
    Ok(files)
}

/// Reads paragraphs of `Field: value` lines. In `status.d` there is no `Status`: what lies there is installed.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut native: Option<String> = None;
    let mut all = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
        };
        let is_installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        let (Some(name), Some(version), true) = (field("Package"), field("Version"), is_installed) else {
            continue;
        };
        let architecture = field("Architecture").unwrap_or("all").to_owned();
        if name == "dpkg" {
            native = Some(architecture.clone());
        }
        all.push((name.to_owned(), architecture, version.to_owned()));
    }
    for (name, architecture, version) in all {
        let is_foreign =
            native.as_ref().is_some_and(|native| *native != architecture && architecture != "all");
        let name = if is_foreign { format!("{name}:{architecture}") } else { name };
        found.insert(name, version);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_read_with_their_versions() {
        let text = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21\n\n\
            Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36\n\
            Description: x\n Version: no field\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: tzdata\nVersion: 2026a\n";
        let found: Vec<_> = parse(text).into_iter().collect();
        let expected = [("dpkg", "1.21"), ("libc6:i386", "2.36"), ("tzdata", "2026a")];
        assert_eq!(found, expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
        assert!(parse("no paragraphs\n:\n\n\n").is_empty());
    }
}
