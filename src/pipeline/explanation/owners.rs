//! Which packages have a path, by their own lists.

use std::collections::HashMap;

use super::real;
use crate::base::{ImagePath, Job};
use crate::packages::{Lock, LockedPackage, rpm, unpack_key};
use crate::pipeline::error::Result;
use crate::store::{Objects, Store, TreeRef};
use crate::tree::{ContentSource, Directory, File, Node};

/// Largest list of files that is read, in bytes.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// The packages of a tree by the paths that they list.
#[derive(Default)]
pub(super) struct Owners {
    /// Names, with the architecture where the list has it.
    names: Vec<String>,
    by_path: HashMap<ImagePath, Vec<u32>>,
}

impl Owners {
    /// Reads the lists that a tree has; of locked packages without one, the trees that unpacking them made.
    pub fn of(
        root: &Directory,
        contents: &dyn ContentSource,
        lock: Option<&Lock>,
        store: Option<&Store>,
        job: &Job,
    ) -> Result<Owners> {
        let mut owners = Owners::default();
        owners.read_lists(root, contents, "/var/lib/dpkg/info", b".list")?;
        if owners.names.is_empty() {
            owners.read_lists(root, contents, "/var/lib/dpkg/status.d", b".md5sums")?;
        }
        let (Some(lock), Some(store)) = (lock, store) else { return Ok(owners) };
        let is_complete = root.directory(&of_program("/var/lib/dpkg/info")).is_some();
        for package in lock.packages().filter(|package| package.is_installed()) {
            job.check()?;
            let is_listed = owners.names.iter().any(|name| name.split(':').next() == Some(&package.name));
            if !(is_complete && is_listed) {
                owners.read_unpacked(root, package, store, job);
            }
        }
        Ok(owners)
    }

    /// Returns the names of all packages that list anything.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Returns the packages that list a path.
    pub fn of_path(&self, path: &ImagePath) -> Vec<&str> {
        let numbers = self.by_path.get(path).into_iter().flatten();
        numbers.map(|&number| self.names[number as usize].as_str()).collect()
    }

    fn read_lists(
        &mut self,
        root: &Directory,
        contents: &dyn ContentSource,
        folder: &str,
        end: &[u8],
    ) -> Result<()> {
        let Some(directory) = root.directory(&of_program(folder)) else { return Ok(()) };
        for (name, node) in &directory.entries {
            let (Some(stem), Node::File(File { content, .. })) = (name.as_bytes().strip_suffix(end), node)
            else {
                continue;
            };
            if content.size > LIST_BYTES_MAX {
                continue;
            }
            let bytes = contents.read_all(content)?;
            let number = self.add(String::from_utf8_lossy(stem).into_owned());
            for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                if let Some(path) = path_of(line, end == b".md5sums") {
                    self.put(root, &path, number);
                }
            }
        }
        Ok(())
    }

    /// Lists what unpacking a package made, where the store remembers it.
    fn read_unpacked(&mut self, root: &Directory, package: &LockedPackage, store: &Store, job: &Job) {
        let key = match package.distribution == rpm::DISTRIBUTION {
            true => rpm::unpack_key(&package.sha256),
            false => unpack_key(&package.sha256),
        };
        let tree = store.memo_get(&key).and_then(|record| {
            let (id, size) = record.split_first_chunk::<32>()?;
            Some(TreeRef { id: (*id).into(), size: u64::from_le_bytes(size.try_into().ok()?) })
        });
        let Some(tree) = tree.filter(|tree| store.has(&tree.id.0)) else { return };
        let Ok(whole) = store.read_tree(job, &tree) else { return };
        let Some(Node::Directory(data)) = whole.entries.get(&b"data"[..]) else { return };
        let number = self.add(package.name.clone());
        for (path, _) in data.paths() {
            self.put(root, &path, number);
        }
    }

    fn add(&mut self, name: String) -> u32 {
        self.names.push(name);
        self.names.len() as u32 - 1
    }

    /// Notes a path where it lies since `/bin`, `/lib` and the like became links.
    fn put(&mut self, root: &Directory, path: &ImagePath, number: u32) {
        let owners = self.by_path.entry(real(root, path)).or_default();
        if owners.last() != Some(&number) {
            owners.push(number);
        }
    }
}

/// Reads a line of a list: a path, or a digest, two blanks and a path without its slash.
fn path_of(line: &[u8], has_digest: bool) -> Option<ImagePath> {
    if !has_digest {
        return ImagePath::new(line).ok().filter(|path| !path.is_root());
    }
    let at = line.windows(2).position(|pair| pair == b"  ")? + 2;
    ImagePath::new(&[b"/", &line[at..]].concat()).ok()
}

fn of_program(path: &str) -> ImagePath {
    ImagePath::new(path.as_bytes()).expect("because it is a path of this program")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{ContentSink, MemoryContents, Metadata, Symlink};

    #[test]
    fn lists_are_read_and_merged_directories_counted() {
        let contents = MemoryContents::default();
        let path = |text: &str| ImagePath::new(text.as_bytes()).expect("a path");
        let mut root = Directory::default();
        let mut put = |at: &str, text: &str| {
            let content = contents.put(text.as_bytes()).expect("put");
            let node = Node::File(File { metadata: Metadata::root(0o644), content });
            root.insert(&path(at), node).expect("inserted");
        };
        put("/var/lib/dpkg/info/one.list", "/.\n/bin\n/bin/tool\n");
        put("/var/lib/dpkg/info/two:amd64.list", "/.\n/usr/bin\n/usr/bin/tool2\n/../x\nno path\n");
        put("/usr/bin/tool", "x");
        let link = Symlink { metadata: Metadata::root(0o777), target: b"usr/bin"[..].into() };
        root.insert(&path("/bin"), Node::Symlink(link)).expect("inserted");
        let owners = Owners::of(&root, &contents, None, None, &Job::quiet(1)).expect("read");
        assert_eq!(owners.of_path(&path("/usr/bin/tool")), ["one"]);
        assert_eq!(owners.of_path(&path("/usr/bin/tool2")), ["two:amd64"]);
        assert_eq!(owners.of_path(&path("/usr/bin")), ["two:amd64"]);
        assert!(owners.of_path(&path("/x")).is_empty());
        assert_eq!(path_of(b"0123  usr/share/a b", true), Some(path("/usr/share/a b")));
    }
}
