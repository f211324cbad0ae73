//! What leads to damage: refs, commits, paths. Walked only where there is damage.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::commit::Commit;
use super::super::directory::{StoredNode, TreeRef};
use super::super::error::{Kind, Result, StoreError};
use super::super::objects::Objects;
use super::super::refs::RefName;
use super::reach::{self, Named};
use super::report::{Reached, SPOTS_MAX, Spot};
use crate::base::{CommitId, Digest, ImagePath, Job};
use crate::tree::Node;

/// Where refs lead now, and where they led before.
#[derive(Default)]
pub struct Roots {
    pub tips: Vec<(RefName, CommitId)>,
    pub past: Vec<(RefName, CommitId)>,
}

/// Commits, trees, and the damaged objects below them, with who names whom.
pub struct Graph {
    nodes: Vec<Named>,
    places: HashMap<Digest, u32>,
    /// (child, parent), ascending.
    edges: Vec<(u32, u32)>,
}

/// Directories that a worker reads at a time.
const BATCH: usize = 256;

impl Graph {
    /// Reads every commit and tree that the roots lead to, as far as they can be read. Memory: 60 bytes for
    /// each.
    pub fn new<O: Objects>(
        objects: &O,
        roots: &Roots,
        damaged: &HashSet<Digest>,
        job: &Job,
    ) -> Result<Graph> {
        let mut graph = Graph { nodes: Vec::new(), places: HashMap::new(), edges: Vec::new() };
        let mut waiting = Vec::new();
        for (_, commit) in roots.tips.iter().chain(&roots.past) {
            graph.place(Named::commit(commit), &mut waiting);
        }
        while !waiting.is_empty() {
            let batches: Vec<Vec<u32>> = waiting.chunks(BATCH).map(<[u32]>::to_vec).collect();
            waiting.clear();
            let nodes = &graph.nodes;
            let read = job.workers.map(batches, |batch| {
                job.check()?;
                let read =
                    |place| (place, reach::children(objects, &nodes[place as usize]).unwrap_or_default());
                Ok::<_, StoreError>(batch.into_iter().map(read).collect::<Vec<_>>())
            });
            for read in read {
                for (parent, children) in read? {
                    for child in children {
                        if child.kind != Kind::Blob || damaged.contains(&child.id) {
                            let place = graph.place(child, &mut waiting);
                            graph.edges.push((place, parent));
                        }
                    }
                }
            }
        }
        graph.edges.sort_unstable();
        Ok(graph)
    }

    fn place(&mut self, named: Named, waiting: &mut Vec<u32>) -> u32 {
        let next = u32::try_from(self.nodes.len()).expect("because memory holds no 2^32 nodes");
        let place = *self.places.entry(named.id).or_insert(next);
        if place == next {
            self.nodes.push(named);
            waiting.push(place);
        }
        place
    }

    /// Says what leads to an object.
    pub fn reached<O: Objects>(&self, objects: &O, roots: &Roots, id: &Digest) -> Reached {
        let (holding, commits) = self.holding(id);
        let mut reached = self.named(roots, &commits);
        for place in &commits {
            let commit = CommitId(self.nodes[*place as usize].id);
            self.spots(objects, commit, id, &holding, &mut reached.spots);
            if reached.spots.len() >= SPOTS_MAX {
                break;
            }
        }
        reached.spots.truncate(SPOTS_MAX);
        reached
    }

    /// Says what leads to an object, without the places where it stands.
    pub fn counted(&self, roots: &Roots, id: &Digest) -> Reached {
        self.named(roots, &self.holding(id).1)
    }

    /// Returns the trees and commits that hold an object, and of these the commits, the newest first.
    fn holding(&self, id: &Digest) -> (HashSet<u32>, BTreeSet<u32>) {
        let target: Vec<u32> = self.places.get(id).copied().into_iter().collect();
        let is_history =
            |child: &Named, parent: &Named| child.kind == parent.kind && child.kind == Kind::Commit;
        let holding = self.above(&target, |child, parent| !is_history(child, parent));
        let is_commit = |place: &u32| self.nodes[*place as usize].kind == Kind::Commit;
        let commits = holding.iter().copied().filter(is_commit).collect();
        (holding, commits)
    }

    fn named(&self, roots: &Roots, commits: &BTreeSet<u32>) -> Reached {
        let heirs = self.above(&commits.iter().copied().collect::<Vec<_>>(), |_, _| true);
        let names = |list: &[(RefName, CommitId)]| -> BTreeSet<RefName> {
            let leads = |commit: &CommitId| self.places.get(&commit.0).is_some_and(|at| heirs.contains(at));
            list.iter().filter(|(_, commit)| leads(commit)).map(|(name, _)| name.clone()).collect()
        };
        let refs = names(&roots.tips);
        let past = names(&roots.past).difference(&refs).cloned().collect();
        Reached { refs: refs.into_iter().collect(), past, commits: commits.len() as u64, spots: Vec::new() }
    }

    /// Returns the places from which others are reached, those included, over edges that count.
    fn above(&self, from: &[u32], counts: impl Fn(&Named, &Named) -> bool) -> HashSet<u32> {
        let mut found: HashSet<u32> = from.iter().copied().collect();
        let mut waiting = from.to_vec();
        while let Some(child) = waiting.pop() {
            let start = self.edges.partition_point(|edge| edge.0 < child);
            for &(_, parent) in self.edges[start..].iter().take_while(|edge| edge.0 == child) {
                let ends = (&self.nodes[child as usize], &self.nodes[parent as usize]);
                if counts(ends.0, ends.1) && found.insert(parent) {
                    waiting.push(parent);
                }
            }
        }
        found
    }

    /// Finds where an object stands in a commit, descending only where it is below.
    fn spots<O: Objects>(
        &self,
        objects: &O,
        commit: CommitId,
        id: &Digest,
        holding: &HashSet<u32>,
        spots: &mut Vec<(CommitId, Spot)>,
    ) {
        if commit.0 == *id {
            spots.push((commit, Spot::Commit));
            return;
        }
        let Ok(read) = objects.read_commit(&commit) else { return };
        spots.extend(texts(&read, id).into_iter().map(|spot| (commit, spot)));
        let parts = [(Some(read.tree), true), (read.boot, false)];
        for (tree, is_root) in parts.into_iter().filter_map(|(tree, is_root)| Some((tree?, is_root))) {
            let spot = |path| if is_root { Spot::Tree(path) } else { Spot::Boot(path) };
            let paths = self.paths(objects, tree, id, holding, SPOTS_MAX - spots.len().min(SPOTS_MAX));
            spots.extend(paths.into_iter().map(|path| (commit, spot(path))));
        }
    }

    fn paths<O: Objects>(
        &self,
        objects: &O,
        tree: TreeRef,
        id: &Digest,
        holding: &HashSet<u32>,
        limit: usize,
    ) -> Vec<ImagePath> {
        let mut found = Vec::new();
        let mut waiting = vec![(ImagePath::root(), tree)];
        while let Some((path, tree)) = waiting.pop() {
            if tree.id.0 == *id {
                found.push(path);
            } else if self.places.get(&tree.id.0).is_some_and(|at| holding.contains(at))
                && let Ok(directory) = objects.read_directory(&tree)
            {
                for (name, node) in directory.entries.iter().rev() {
                    match node {
                        StoredNode::Directory(child) => waiting.push((path.join(name), *child)),
                        StoredNode::Leaf(Node::File(file)) if file.content.id.0 == *id => {
                            found.push(path.join(name));
                        }
                        StoredNode::Leaf(_) => {}
                    }
                }
            }
            if found.len() >= limit {
                break;
            }
        }
        found.sort_by(|a, b| a.names().cmp(b.names()));
        found.truncate(limit);
        found
    }
}

/// Returns where an object is a text of a commit.
fn texts(commit: &Commit, id: &Digest) -> Vec<Spot> {
    let recipes = commit.recipe.iter().filter(|(_, content)| content.id.0 == *id);
    let mut spots: Vec<Spot> = recipes.map(|(name, _)| Spot::Recipe(name.clone())).collect();
    if commit.lock.is_some_and(|lock| lock.id.0 == *id) {
        spots.push(Spot::Lock);
    }
    spots
}
