//! What a store still knows of packages that it unpacked once: fields, licence, files. It may know nothing.

use super::bill::Subject;
use super::components::Claim;
use super::error::Result;
use super::licence::{self, COPYRIGHT_BYTES_MAX, Licence};
use crate::base::{ImagePath, Job};
use crate::packages::{LockedPackage, Unpacked, rpm, unpack_key};
use crate::store::{Objects, Store, StoreError, TreeRef};
use crate::tree::{ContentSource, Directory, Node, follow};

/// A package as it was unpacked.
pub struct Kept {
    pub fields: Vec<(String, String)>,
    pub licence: Option<Licence>,
    pub claims: Vec<Claim>,
}

/// Looks a locked package up; `None` where it was not unpacked into this store, or is gone.
pub fn of(subject: &Subject<'_>, package: &LockedPackage, job: &Job) -> Result<Option<Kept>> {
    let Some(store) = subject.kept else { return Ok(None) };
    let is_rpm = package.distribution == rpm::DISTRIBUTION;
    let key = if is_rpm { rpm::unpack_key(&package.sha256) } else { unpack_key(&package.sha256) };
    let Some(tree) = store.memo_get(&key).and_then(|record| tree_of(&record)) else { return Ok(None) };
    let tree = match store.read_tree(job, &tree) {
        Ok(tree) => tree,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let unpacked = match is_rpm {
        true => rpm::Unpacked::from_tree(tree, store).ok().map(|it| (it.control, it.tree)),
        false => Unpacked::from_tree(tree, store).ok().map(|it| (it.control, it.tree)),
    };
    let Some((control, data)) = unpacked else { return Ok(None) };
    let licence = match is_rpm {
        true => control.field("License").and_then(licence::of_tag),
        false => copyright(store, &package.name, &data)?,
    };
    Ok(Some(Kept { fields: control.fields, licence, claims: claims(&data) }))
}

fn tree_of(record: &[u8]) -> Option<TreeRef> {
    let (id, size) = record.split_first_chunk::<32>()?;
    Some(TreeRef { id: (*id).into(), size: u64::from_le_bytes(size.try_into().ok()?) })
}

/// Reads the copyright file that the package brings. Where it is a link into another package's folder, that one
/// tells.
fn copyright(store: &Store, name: &str, data: &Directory) -> Result<Option<Licence>> {
    let path = ImagePath::new(format!("/usr/share/doc/{name}/copyright").as_bytes());
    let node = path.ok().and_then(|path| follow::resolve(data, &path)).and_then(|found| found.1);
    match node {
        Some(Node::File(file)) if file.content.size <= COPYRIGHT_BYTES_MAX => {
            let text = store.read_all(&file.content)?;
            Ok(std::str::from_utf8(&text).ok().and_then(licence::of_copyright))
        }
        _ => Ok(None),
    }
}

fn claims(data: &Directory) -> Vec<Claim> {
    let claim = |(path, node): (ImagePath, &Node)| match node {
        Node::File(file) => Some(Claim { path, content: Some(file.content.id) }),
        Node::HardLink(target) => match data.get(target) {
            Some(Node::File(file)) => Some(Claim { path, content: Some(file.content.id) }),
            _ => None,
        },
        _ => None,
    };
    data.paths().filter_map(claim).collect()
}
