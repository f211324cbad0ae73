//! What changed between two bills: packages, files, sizes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::bill::{Bill, Component};
use crate::base::ImagePath;
use crate::tree::Content;

/// Most files that are listed: those that weigh most. All are counted.
pub const FILES_LISTED_MAX: usize = 1000;
/// Most folders that are listed.
const FOLDERS_LISTED_MAX: usize = 20;

/// Returns what differs, the heaviest first.
pub fn value(old: &Bill, new: &Bill) -> Value {
    let (files, counts) = files(old, new);
    let total = |bill: &Bill| -> u64 {
        bill.files.iter().filter(|file| !file.is_link).map(|file| file.content.size).sum()
    };
    let left_out = files.len().saturating_sub(FILES_LISTED_MAX);
    let folders = folders(&files);
    let listed: Vec<Value> = files
        .iter()
        .take(FILES_LISTED_MAX)
        .map(|change| json!([change.path.to_string(), change.kind(), change.old, change.new]))
        .collect();
    json!({
        "old": { "name": old.name, "version": old.version, "id": old.what.digest().to_string() },
        "bytes": [total(old), total(new)], "packages": packages(old, new), "counts": counts,
        "files": listed, "left_out": left_out, "folders": folders,
    })
}

/// A file that is not the same in both; lengths in bytes.
struct Change {
    path: ImagePath,
    old: Option<u64>,
    new: Option<u64>,
}

impl Change {
    fn kind(&self) -> &'static str {
        match (self.old, self.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    /// How many bytes more there are now.
    fn growth(&self) -> i128 {
        i128::from(self.new.unwrap_or(0)) - i128::from(self.old.unwrap_or(0))
    }
}

fn files(old: &Bill, new: &Bill) -> (Vec<Change>, Value) {
    let by_path = |bill: &Bill| -> BTreeMap<ImagePath, Content> {
        bill.files.iter().map(|file| (file.path.clone(), file.content)).collect()
    };
    let (before, after) = (by_path(old), by_path(new));
    let paths: BTreeSet<&ImagePath> = before.keys().chain(after.keys()).collect();
    let differ = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let size = |side: &BTreeMap<ImagePath, Content>, path: &ImagePath| side.get(path).map(|it| it.size);
    let mut changes: Vec<Change> = differ
        .map(|path| Change { path: path.clone(), old: size(&before, path), new: size(&after, path) })
        .collect();
    let count = |kind: &str| changes.iter().filter(|change| change.kind() == kind).count();
    let counts = json!({
        "added": count("added"), "changed": count("changed"), "removed": count("removed"),
    });
    changes.sort_by_key(|change| (std::cmp::Reverse(change.growth().abs()), change.path.clone()));
    (changes, counts)
}

/// Sums growth up by the first two names of each path.
fn folders(files: &[Change]) -> Value {
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    for change in files {
        let names: Vec<&[u8]> = change.path.names().collect();
        let above = &names[..names.len().saturating_sub(1).min(2)];
        let folder: String =
            above.iter().map(|name| format!("/{}", crate::base::path::escaped(name))).collect();
        *sums.entry(if folder.is_empty() { "/".to_owned() } else { folder }).or_default() += change.growth();
    }
    let mut sums: Vec<(String, i128)> = sums.into_iter().filter(|sum| sum.1 != 0).collect();
    sums.sort_by_key(|(name, growth)| (std::cmp::Reverse(growth.abs()), name.clone()));
    let rows = sums.into_iter().take(FOLDERS_LISTED_MAX);
    rows.map(|(name, growth)| json!([name, growth as i64])).collect()
}

fn packages(old: &Bill, new: &Bill) -> Vec<Value> {
    type Key<'a> = (super::bill::Family, &'a str, &'a str);
    let by_name = |bill| -> BTreeMap<Key<'_>, Vec<&Component>> {
        let bill: &Bill = bill;
        let mut all: BTreeMap<_, Vec<&Component>> = BTreeMap::new();
        for component in &bill.components {
            let architecture = component.architecture.as_deref().unwrap_or_default();
            all.entry((component.family, &*component.name, architecture)).or_default().push(component);
        }
        all
    };
    let (before, after) = (by_name(old), by_name(new));
    let keys: BTreeSet<&Key<'_>> = before.keys().chain(after.keys()).collect();
    let side = |all: &BTreeMap<Key<'_>, Vec<&Component>>, bill: &Bill, key: &Key<'_>| {
        let all = all.get(key)?;
        let versions: Vec<&str> = all.iter().filter_map(|one| one.version.as_deref()).collect();
        let sums: Vec<&str> = all.iter().filter_map(|one| one.sha256.as_deref()).collect();
        Some((versions.join(" "), sums.join(" "), all.iter().map(|one| bill.bytes_of(one)).sum::<u64>()))
    };
    let mut rows = Vec::new();
    for key in keys {
        let row = match (side(&before, old, key), side(&after, new, key)) {
            (Some(old), Some(new)) if (&old.0, &old.1) == (&new.0, &new.1) => continue,
            (Some(old), Some(new)) => {
                let kind = if old.0 == new.0 { "rebuilt" } else { "changed" };
                json!([key.1, key.2, kind, old.0, new.0, old.2, new.2])
            }
            (None, Some(new)) => json!([key.1, key.2, "added", null, new.0, null, new.2]),
            (Some(old), None) => json!([key.1, key.2, "removed", old.0, null, old.2, null]),
            (None, None) => continue,
        };
        rows.push(row);
    }
    rows
}
