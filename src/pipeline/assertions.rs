//! What the `test` blocks of a recipe say of the finished tree.

use sha2::{Digest, Sha256};

use super::error::Result;
use crate::base::ImagePath;
use crate::base::id::hex;
use crate::base::path::escaped;
use crate::recipe::plan::{Account, FileTest, Origin, Plan};
use crate::tree::content::PIECE_BYTES;
use crate::tree::follow::{follow, resolve};
use crate::tree::{Content, ContentSource, Directory, Node};

/// What became of one assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// The name of the test.
    pub test: String,
    /// What was looked at: `file /etc/motd`.
    pub what: String,
    /// What is wrong, every fault; none where it holds.
    pub problems: Vec<String>,
    pub origin: Origin,
}

/// Holds a tree against every `file` of every test, in recipe order.
pub fn assert_tree(plan: &Plan, root: &Directory, contents: &dyn ContentSource) -> Result<Vec<Asserted>> {
    let mut all = Vec::new();
    for test in &plan.tests {
        for file in &test.files {
            all.push(Asserted {
                test: test.name.clone(),
                what: format!("file {}", file.path),
                problems: problems(file, root, contents)?,
                origin: file.origin.clone(),
            });
        }
    }
    Ok(all)
}

fn problems(test: &FileTest, root: &Directory, contents: &dyn ContentSource) -> Result<Vec<String>> {
    let found = at(root, &test.path);
    let node = match (found, test.absent) {
        (Some(node), true) => return Ok(vec![format!("a {} stands there, and nothing should", node.kind())]),
        (None, true) => return Ok(Vec::new()),
        (None, false) => return Ok(vec!["nothing stands there".to_owned()]),
        (Some(node), false) => node,
    };
    let mut problems = Vec::new();
    let mut differs = |what: &str, expected: String, found: String| {
        if expected != found {
            problems.push(format!("{what} is {found}, expected {expected}"));
        }
    };
    if let Some(kind) = &test.kind {
        let found = node.kind().rsplit(' ').next().unwrap_or_default().to_owned();
        differs("the kind", kind.clone(), found);
    }
    if let Some(metadata) = node.metadata() {
        if let Some(mode) = test.mode {
            differs("the mode", format!("{mode:04o}"), format!("{:04o}", metadata.mode));
        }
        for (what, account, table, id) in [
            ("the owner", &test.owner, "/etc/passwd", metadata.uid),
            ("the group", &test.group, "/etc/group", metadata.gid),
        ] {
            if let Some(account) = account {
                match number(account, table, root, contents)? {
                    Some(number) => differs(what, number.to_string(), id.to_string()),
                    None => differs(what, format!("{account:?}, whom {table} does not know"), id.to_string()),
                }
            }
        }
    }
    match (&test.target, node) {
        (Some(target), Node::Symlink(link)) => differs("the target", target.clone(), escaped(&link.target)),
        (Some(_), other) => problems.push(format!("it is a {}, which leads nowhere", other.kind())),
        (None, _) => {}
    }
    if test.contains.is_some() || test.sha256.is_some() {
        content_problems(test, node, contents, &mut problems)?;
    }
    Ok(problems)
}

fn content_problems(
    test: &FileTest,
    node: &Node,
    contents: &dyn ContentSource,
    problems: &mut Vec<String>,
) -> Result<()> {
    let Node::File(file) = node else {
        problems.push(format!("it is a {}, which has no content", node.kind()));
        return Ok(());
    };
    if let Some(expected) = &test.sha256 {
        let found = sha256(&file.content, contents)?;
        if found != *expected {
            problems.push(format!("its SHA-256 is {found}, expected {expected}"));
        }
    }
    if let Some(text) = &test.contains
        && !contains(&file.content, text.as_bytes(), contents)?
    {
        problems.push(format!("its {} bytes do not hold {text:?}", file.content.size));
    }
    Ok(())
}

/// Returns what stands at a path, links above its last name followed; a hard link is what it leads to.
fn at<'t>(root: &'t Directory, path: &ImagePath) -> Option<&'t Node> {
    let parent = follow(root, &path.parent()?)?;
    match root.get(&parent.join(&path.name()?))? {
        Node::HardLink(target) => root.get(target),
        node => Some(node),
    }
}

/// Returns the number of an account, by the image's own table where it is a name.
fn number(
    account: &Account,
    table: &str,
    root: &Directory,
    contents: &dyn ContentSource,
) -> Result<Option<u32>> {
    let name = match account {
        Account::Id(id) => return Ok(Some(*id)),
        Account::Name(name) => name,
    };
    let path = ImagePath::new(table.as_bytes()).expect("because it is a path of this program");
    let Some((_, Some(Node::File(file)))) = resolve(root, &path) else {
        return Ok((name == "root").then_some(0));
    };
    let text = contents.read_all(&file.content)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.split(':'));
    let fields = lines.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)));
    Ok(fields.flatten().and_then(|id| id.parse().ok()))
}

fn sha256(content: &Content, contents: &dyn ContentSource) -> Result<String> {
    let mut hasher = Sha256::new();
    for_pieces(content, contents, |piece| {
        hasher.update(piece);
        false
    })?;
    Ok(hex(&hasher.finalize()))
}

/// Tells whether a file holds some bytes, however large it is.
fn contains(content: &Content, wanted: &[u8], contents: &dyn ContentSource) -> Result<bool> {
    if wanted.is_empty() {
        return Ok(true);
    }
    // The end of each piece stays before the next one, so that what lies across both is found.
    let mut window: Vec<u8> = Vec::new();
    for_pieces(content, contents, |piece| {
        window.extend_from_slice(piece);
        let found = window.windows(wanted.len()).any(|part| part == wanted);
        let kept = window.len().saturating_sub(wanted.len() - 1);
        window.drain(..kept);
        found
    })
}

/// Reads a file in pieces until one is enough; returns whether one was.
fn for_pieces(
    content: &Content,
    contents: &dyn ContentSource,
    mut is_enough: impl FnMut(&[u8]) -> bool,
) -> Result<bool> {
    let mut at = 0;
    while at < content.size {
        let mut piece = vec![0; PIECE_BYTES.min(content.size - at) as usize];
        contents.read_at(content, at, &mut piece)?;
        if is_enough(&piece) {
            return Ok(true);
        }
        at += piece.len() as u64;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{ContentSink, File, MemoryContents, Metadata, Symlink};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn test(at: &str) -> FileTest {
        let origin = Origin { block: "file".into(), file: "x.hcl".into(), line: 1 };
        FileTest {
            path: path(at),
            absent: false,
            kind: None,
            mode: None,
            owner: None,
            group: None,
            target: None,
            contains: None,
            sha256: None,
            origin,
        }
    }

    fn tree(contents: &MemoryContents) -> Directory {
        let mut root = Directory::default();
        let mut put = |at: &str, text: &[u8], metadata: Metadata| {
            let content = contents.put(text).expect("put");
            root.insert(&path(at), Node::File(File { metadata, content })).expect("inserted");
        };
        put("/etc/passwd", b"root:x:0:0\nwww:x:80:81:\n", Metadata::root(0o644));
        let mut large = vec![b'.'; PIECE_BYTES as usize + 3];
        large[PIECE_BYTES as usize - 2..PIECE_BYTES as usize + 3].copy_from_slice(b"hello");
        put("/srv/page", &large, Metadata { mode: 0o600, uid: 80, gid: 81, ..Metadata::default() });
        let link = Symlink { metadata: Metadata::root(0o777), target: b"srv"[..].into() };
        root.insert(&path("/www"), Node::Symlink(link)).expect("inserted");
        root
    }

    #[test]
    fn what_holds_holds_and_every_fault_is_told() {
        let contents = MemoryContents::default();
        let root = tree(&contents);
        let check = |test: FileTest| problems(&test, &root, &contents).expect("read");
        let www = || Some(Account::Name("www".into()));
        let good = FileTest {
            mode: Some(0o600),
            owner: www(),
            group: Some(Account::Id(81)),
            kind: Some("file".into()),
            contains: Some("hello".into()),
            ..test("/www/page")
        };
        assert_eq!(check(good.clone()), Vec::<String>::new());
        let bad = FileTest {
            mode: Some(0o644),
            owner: Some(Account::Name("nobody".into())),
            group: Some(Account::Id(0)),
            kind: Some("directory".into()),
            contains: Some("hello!".into()),
            sha256: Some("0".repeat(64)),
            target: Some("x".into()),
            ..good
        };
        let told = check(bad);
        assert_eq!(told.len(), 7, "{told:?}");
        assert!(told[1].contains("0600, expected 0644"), "{told:?}");
        assert_eq!(check(FileTest { absent: true, ..test("/etc/none") }), Vec::<String>::new());
        assert_eq!(check(FileTest { absent: true, ..test("/www") }).len(), 1);
        assert_eq!(check(test("/etc/none")), ["nothing stands there"]);
        assert_eq!(check(FileTest { target: Some("srv".into()), ..test("/www") }), Vec::<String>::new());
        let sha256 = Some("e9a5b4be27b26a5b73da9cd9e9b0c5ea7a4bcd1e4ea6eb0b3e6c63ab9b4ef5f5".into());
        assert_eq!(check(FileTest { sha256, ..test("/etc/passwd") }).len(), 1);
    }
}
