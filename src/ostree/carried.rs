//! What an exported commit carries along, so that an import gives the same commit back.
//!
//! The OSTree commit's metadata holds, beside OSTree's own keys (`version`, `ostree.ref-binding`,
//! `ostree.architecture`):
//!
//! ```text
//! mkimage.commit         s          id of the commit
//! mkimage.commit-object  ay         its canonical encoding, see `store/commit.rs`
//! mkimage.companion      s          checksum of the companion commit; absent where there is none
//! mkimage.hard-links     a(ayay)    absolute paths: another name of a file, and where the file stands
//! ```
//!
//! What a commit names beside its tree is the tree of a second OSTree commit, the companion, at the branch
//! `mkimage/BRANCH`: `boot/` (the boot tree), `recipe/0`, `recipe/1`, … (recipe texts) and `lock`.

use super::object::OstreeCommit;
use super::variant::{self, Malformed, Shape, Value, members};
use crate::base::{ImagePath, Name};
use crate::store::Commit;
use crate::tree::{Content, Directory, File, Metadata, Node};

pub(super) const COMMIT: &str = "mkimage.commit";
pub(super) const COMMIT_OBJECT: &str = "mkimage.commit-object";
pub(super) const COMPANION: &str = "mkimage.companion";
const HARD_LINKS: &str = "mkimage.hard-links";
const HARD_LINKS_TYPE: &str = "a(ayay)";
const BRANCHES: &str = "mkimage/";

/// Names in the companion's tree.
pub(super) const BOOT: &[u8] = b"boot";
const RECIPE: &[u8] = b"recipe";
const LOCK: &[u8] = b"lock";

/// One entry of a commit's metadata: key, type, serialized value.
pub(super) type Entry = (String, String, Vec<u8>);

pub(super) fn text(key: &str, text: &str) -> Entry {
    (key.to_owned(), "s".to_owned(), Value::text(text).into_bytes())
}

pub(super) fn bytes(key: &str, bytes: &[u8]) -> Entry {
    (key.to_owned(), "ay".to_owned(), bytes.to_vec())
}

/// Binds a commit to the branch that it is made for: clients refuse it under another name.
pub(super) fn binding(branch: &str) -> Entry {
    let names = Value::array(1, &[Value::text(branch)]).into_bytes();
    ("ostree.ref-binding".to_owned(), "as".to_owned(), names)
}

pub(super) fn hard_links(links: &[(ImagePath, ImagePath)]) -> Entry {
    let pair = |(path, target): &(ImagePath, ImagePath)| {
        Value::tuple(&[path, target].map(|path| Value::bytes(path.as_bytes())))
    };
    let pairs: Vec<Value> = links.iter().map(pair).collect();
    (HARD_LINKS.to_owned(), HARD_LINKS_TYPE.to_owned(), Value::array(1, &pairs).into_bytes())
}

/// Reads which paths are one file.
pub(super) fn parse_hard_links(commit: &OstreeCommit) -> Result<Vec<(ImagePath, ImagePath)>, Malformed> {
    let Some(value) = commit.value(HARD_LINKS, HARD_LINKS_TYPE) else { return Ok(Vec::new()) };
    let path = |bytes: &[u8]| ImagePath::new(bytes).map_err(|error| Malformed(error.to_string()));
    let mut links = Vec::new();
    for pair in variant::elements(value, 1)? {
        let [name, target] = members(pair, [Shape::Variable(1), Shape::Variable(1)])?;
        links.push((path(name)?, path(target)?));
    }
    Ok(links)
}

/// Makes one file of paths that are. Pairs that are not two equal files are left as they are.
pub(super) fn link(tree: &mut Directory, links: Vec<(ImagePath, ImagePath)>) {
    for (path, target) in links {
        let both = (tree.get(&path), tree.get(&target));
        let is_same = match both {
            (Some(Node::Directory(_) | Node::HardLink(_)), _) => false,
            (Some(node), Some(other)) => path != target && node == other,
            _ => false,
        };
        if is_same {
            tree.replace(&path, Node::HardLink(target)).expect("because the file stands in a directory");
        }
    }
}

/// Returns the branch of the companion.
pub(super) fn branch(of: &str) -> String {
    format!("{BRANCHES}{of}")
}

/// Makes the companion's tree; `None` where a commit names nothing beside its tree.
pub(super) fn companion(commit: &Commit, boot: Option<Directory>) -> Option<Directory> {
    let mut root = Directory::default();
    let mut put = |names: &[&[u8]], node: Node| {
        let name = |name: &&[u8]| Name::new(name).expect("because these are names");
        let path = names.iter().map(name).fold(ImagePath::root(), |path, name| path.join(&name));
        root.insert(&path, node).expect("because each stands at a path of its own");
    };
    if let Some(boot) = boot {
        put(&[BOOT], Node::Directory(boot));
    }
    let file = |content: &Content| Node::File(File { metadata: Metadata::root(0o644), content: *content });
    for (number, (_, content)) in commit.recipe.iter().enumerate() {
        put(&[RECIPE, number.to_string().as_bytes()], file(content));
    }
    if let Some(content) = &commit.lock {
        put(&[LOCK], file(content));
    }
    (!root.entries.is_empty()).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    #[test]
    fn hard_links_come_back_and_wrong_ones_change_nothing() {
        let file =
            |text: &[u8]| Node::File(File { metadata: Metadata::root(0o644), content: Content::of(text) });
        let mut tree = Directory::default();
        for (at, node) in [("/a", file(b"x")), ("/b", file(b"x")), ("/c", file(b"y"))] {
            tree.insert(&path(at), node).expect("inserted");
        }
        tree.insert(&path("/d/e"), file(b"x")).expect("inserted");
        let links = [("/b", "/a"), ("/c", "/a"), ("/a", "/a"), ("/d", "/a"), ("/none", "/a"), ("/a", "/b")];
        let links = links.map(|(a, b)| (path(a), path(b)));
        let (key, kind, value) = hard_links(&links);
        let mut commit = OstreeCommit::parse(
            &OstreeCommit {
                metadata: vec![(key, kind, value)],
                parent: None,
                related: Vec::new(),
                subject: String::new(),
                body: String::new(),
                seconds: 0,
                tree: crate::ostree::Checksum([0; 32]),
                meta: crate::ostree::Checksum([0; 32]),
            }
            .encode(),
        )
        .expect("parsed");
        assert_eq!(parse_hard_links(&commit).expect("links"), links);
        link(&mut tree, links.to_vec());
        assert_eq!(tree.get(&path("/b")), Some(&Node::HardLink(path("/a"))));
        assert_eq!(tree.paths().filter(|(_, node)| matches!(node, Node::HardLink(_))).count(), 1);
        assert!(tree.seal().is_ok());
        commit.metadata[0].2 = b"\xff\xff".to_vec();
        assert!(parse_hard_links(&commit).is_err());
    }
}
