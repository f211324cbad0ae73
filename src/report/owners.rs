//! Whose each file is: of the component that brought what stands there.

use std::collections::HashMap;

use super::bill::{BilledFile, Component, Subject};
use super::components::Found;
use crate::base::ImagePath;
use crate::tree::{Directory, follow};

/// Gives each file its owner, and each component its files. Where several components claim a path, the one whose
/// content stands there has it, else the first.
pub fn settle(
    subject: &Subject<'_>,
    found: Vec<Found>,
    mut files: Vec<BilledFile>,
) -> (Vec<Component>, Vec<BilledFile>) {
    let by_path: HashMap<ImagePath, usize> =
        files.iter().enumerate().map(|(index, file)| (file.path.clone(), index)).collect();
    let mut places = Places { tree: subject.tree, parents: HashMap::new() };
    let mut is_certain = vec![false; files.len()];
    let mut components = Vec::with_capacity(found.len());
    for (owner, one) in found.into_iter().enumerate() {
        for claim in one.claims {
            let Some(&index) = places.of(&claim.path).and_then(|path| by_path.get(&path)) else { continue };
            let same = claim.content == Some(files[index].content.id);
            if files[index].component.is_none() || same && !is_certain[index] {
                files[index].component = Some(owner);
                is_certain[index] = same;
            }
        }
        components.push(one.component);
    }
    for (index, file) in files.iter().enumerate() {
        if let Some(owner) = file.component {
            components[owner].files.push(index);
        }
    }
    (components, files)
}

/// Where paths lead, each directory looked up once.
struct Places<'a> {
    tree: &'a Directory,
    parents: HashMap<ImagePath, Option<ImagePath>>,
}

impl Places<'_> {
    /// Returns where a path lies, its last name not followed.
    fn of(&mut self, path: &ImagePath) -> Option<ImagePath> {
        let (parent, name) = (path.parent()?, path.name()?);
        let tree = self.tree;
        let place = self.parents.entry(parent).or_insert_with_key(|parent| follow::follow(tree, parent));
        place.as_ref().map(|place| place.join(&name))
    }
}
