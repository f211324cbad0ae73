//! From the table of places to a tree: what is dropped goes, hard links find their nodes again, the links of
//! the merged `/usr` come in.

use std::collections::BTreeMap;

use super::Member;
use super::error::LayError;
use super::grow::{Grown, Leaf, Place, Slot, real};
use super::ownership::Ownership;
use super::routes::{MERGED, Routes, is_merged_link, merged, top};
use super::select::{Chosen, Selection};
use crate::base::path::escaped;
use crate::base::{ImagePath, Name};
use crate::tree::{Directory, Metadata, Node, Symlink};

pub(super) fn finish<'a>(
    mut grown: Grown<'a>,
    members: &'a [Member<'a>],
    routes: &Routes,
    selection: &Selection,
) -> Result<(Directory, Ownership), Vec<LayError>> {
    grown.taken.sort();
    let mut ownership = Ownership {
        packages: members.iter().map(|member| member.label.clone()).collect(),
        taken: std::mem::take(&mut grown.taken),
        diversions: routes.diversions.values().cloned().collect(),
        usr_merge: routes.usr_merge,
        ..Ownership::default()
    };
    let mut errors = std::mem::take(&mut grown.errors);
    if !selection.is_all() {
        select(&mut grown.places, selection, &mut ownership);
    }
    let links = link(&grown.places, members, routes);
    own(&grown.places, &mut ownership);
    let mut tree = build(grown.places, links);
    if routes.usr_merge {
        merge_usr(&mut tree, &ownership, &mut errors);
    }
    errors.sort_by_key(ToString::to_string);
    if errors.is_empty() { Ok((tree, ownership)) } else { Err(errors) }
}

/// Takes out what is left out; directories only where nothing of what they held stays.
fn select(places: &mut [Place<'_>], selection: &Selection, ownership: &mut Ownership) {
    let mut chosen = vec![Chosen::default(); places.len()];
    for at in 0..places.len() {
        let Place { path, entries, .. } = &mut places[at];
        let above = chosen[at];
        entries.retain(|name, slot| {
            let path = path.join(name);
            let choice = selection.choose(above, &path);
            match slot {
                Slot::Directory(next) => {
                    chosen[*next] = choice;
                    true
                }
                Slot::Leaf(leaf) => {
                    if choice.is_out() {
                        ownership.dropped.push((path, leaf.owners[0]));
                    }
                    !choice.is_out()
                }
            }
        });
    }
    for at in (0..places.len()).rev() {
        let mut entries = std::mem::take(&mut places[at].entries);
        entries.retain(|_, slot| match slot {
            Slot::Directory(next) if chosen[*next].is_out() && places[*next].entries.is_empty() => {
                let gone = &mut places[*next];
                let owner = std::mem::take(&mut gone.owners).first().copied();
                ownership.dropped.extend(owner.map(|owner| (gone.path.clone(), owner)));
                false
            }
            _ => true,
        });
        places[at].entries = entries;
    }
    ownership.dropped.sort();
}

/// Decides for every hard link what stands at its path: a link to where its node went, or the node itself
/// where that is gone. The links of one node that is gone lead to the first of them.
fn link<'a>(places: &[Place<'a>], members: &'a [Member<'a>], routes: &Routes) -> BTreeMap<ImagePath, Node> {
    let mut links: Vec<(ImagePath, &Leaf<'a>, &'a ImagePath)> = Vec::new();
    for place in places {
        for (name, slot) in &place.entries {
            if let Slot::Leaf(leaf @ Leaf { node: Node::HardLink(target), .. }) = slot {
                links.push((place.path.join(name), leaf, target));
            }
        }
    }
    if links.is_empty() {
        return BTreeMap::new();
    }
    links.sort_by(|a, b| a.0.cmp(&b.0));
    let by_path: BTreeMap<&ImagePath, usize> =
        places.iter().enumerate().map(|(index, place)| (&place.path, index)).collect();
    let stands = |path: &ImagePath, node: &Node| {
        let place = path.parent().and_then(|parent| by_path.get(&parent)).map(|index| &places[*index]);
        let slot = place.zip(path.name()).and_then(|(place, name)| place.entries.get(&name));
        matches!(slot, Some(Slot::Leaf(leaf)) if leaf.node == node)
    };
    let mut first: BTreeMap<(u32, &ImagePath), ImagePath> = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    for (path, leaf, target) in links {
        let owner = leaf.owners[0];
        let member = &members[owner as usize];
        let node = real(member, leaf.node);
        let place = routes.file(member, target);
        let node = match first.get(&(owner, target)) {
            _ if stands(&place, node) => Node::HardLink(place),
            Some(first) => Node::HardLink(first.clone()),
            None => {
                first.insert((owner, target), path.clone());
                node.clone()
            }
        };
        nodes.insert(path, node);
    }
    nodes
}

fn own(places: &[Place<'_>], ownership: &mut Ownership) {
    let owners = &mut ownership.owners;
    for place in places {
        owners.extend(place.owners.iter().map(|owner| (place.path.clone(), *owner)));
        for (name, slot) in &place.entries {
            if let Slot::Leaf(leaf) = slot {
                let path = place.path.join(name);
                owners.extend(leaf.owners.iter().map(|owner| (path.clone(), *owner)));
            }
        }
    }
    owners.sort();
    owners.dedup();
}

/// Makes the tree from its leaves up.
fn build(places: Vec<Place<'_>>, mut links: BTreeMap<ImagePath, Node>) -> Directory {
    let mut made: Vec<Option<Directory>> = places.iter().map(|_| None).collect();
    for (at, place) in places.into_iter().enumerate().rev() {
        let mut directory = Directory::default();
        if let Some(metadata) = place.metadata {
            directory.metadata = metadata.clone();
        }
        for (name, slot) in place.entries {
            let node = match slot {
                Slot::Directory(next) => {
                    Node::Directory(made[next].take().expect("because a place comes behind what holds it"))
                }
                Slot::Leaf(Leaf { node: node @ Node::HardLink(_), .. }) => {
                    links.remove(&place.path.join(&name)).unwrap_or_else(|| node.clone())
                }
                Slot::Leaf(leaf) => leaf.node.clone(),
            };
            directory.entries.insert(name, node);
        }
        made[at] = Some(directory);
    }
    made.swap_remove(0).unwrap_or_default()
}

/// Makes the links into `/usr`, for what there is in it.
fn merge_usr(tree: &mut Directory, ownership: &Ownership, errors: &mut Vec<LayError>) {
    for name in MERGED {
        let (path, real) = (top(name), merged(name));
        match tree.get(&path) {
            None if tree.directory(&real).is_some() => {
                let target = format!("usr/{name}").into_bytes().into();
                let link = Node::Symlink(Symlink { metadata: Metadata::root(0o777), target });
                let name = Name::new(name.as_bytes()).expect("because it is a name");
                tree.entries.insert(name, link);
            }
            Some(node) if !is_merged_link(node, name) => {
                let found = match node {
                    Node::Symlink(symlink) => format!("a symlink to {:?}", escaped(&symlink.target)),
                    node => format!("a {}", node.kind()),
                };
                let package = ownership.of(&path).unwrap_or("none").to_owned();
                errors.push(LayError::MergedLink { path, package, found });
            }
            _ => {}
        }
    }
}
