//! What each of many files is there for, in few words: for whoever sums them up.

use std::collections::{BTreeMap, HashMap};

use super::{Explanation, Root, Whose, bare, real};
use crate::base::ImagePath;
use crate::recipe::plan::Part;

/// Knows the lines of a recipe that the files of a tree are there for. The reasons of each package are followed once.
pub struct Lines<'a> {
    explanation: &'a Explanation,
    /// The names that stand above a package's files, by the name that its list of files has.
    packages: HashMap<&'a str, Vec<String>>,
}

impl<'a> Lines<'a> {
    /// Follows the reasons of all packages of a tree.
    pub fn of(explanation: &'a Explanation) -> Lines<'a> {
        let wanted = |name: &'a str| {
            let (part, root) = explanation.asked_in(name);
            let root = root.as_ref().map_or_else(|| bare(name).to_owned(), word);
            (name, (part.map(|part| part.to_string()), root))
        };
        let wanted: Vec<_> = explanation.owners.names().map(wanted).collect();
        let mut shares: BTreeMap<&(Option<String>, String), usize> = BTreeMap::new();
        wanted.iter().for_each(|(_, line)| *shares.entry(line).or_default() += 1);
        let packages = wanted.iter().map(|(name, line)| {
            let is_alone = line.1 == bare(name) && shares[line] == 1;
            (*name, names(line, is_alone, bare(name)))
        });
        let packages = packages.collect();
        Lines { explanation, packages }
    }

    /// Returns the names under which a path counts, from the outside in: the block of the recipe and its place; of a
    /// package's file also what the recipe names that wants the package, and the package. Empty where nothing is known.
    pub fn of_path(&self, path: &ImagePath) -> Vec<String> {
        let path = &real(&self.explanation.root, path);
        match self.explanation.whose(path) {
            Whose::Claimed(claim, _) => vec![claim.origin.to_string()],
            Whose::Packages(owners) => self.packages.get(owners[0]).cloned().unwrap_or_default(),
            Whose::Nobody => self.of_others(path),
        }
    }

    fn of_others(&self, path: &ImagePath) -> Vec<String> {
        let Some(origin) = self.explanation.of_others(path).part else { return Vec::new() };
        let mut parts = self.explanation.plan.iter().flat_map(|plan| &plan.parts);
        let is_packages = parts.any(|part| matches!(part, Part::Packages(block) if block.origin == origin));
        let finished = is_packages.then(|| "made when they were finished".to_owned());
        [origin.to_string()].into_iter().chain(finished).collect()
    }
}

fn word(root: &Root) -> String {
    match root {
        Root::Named(name) => name.clone(),
        Root::Essential => "what every system has".to_owned(),
    }
}

/// Names a package below what it is there for, which is named once where it is there for itself and brings no other.
fn names((part, root): &(Option<String>, String), is_alone: bool, package: &str) -> Vec<String> {
    let below = if is_alone { vec![root.clone()] } else { vec![format!("for {root}"), package.to_owned()] };
    part.iter().cloned().chain(below).collect()
}
