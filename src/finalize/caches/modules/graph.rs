//! Which module needs which, by the symbols that they give and use.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::search::Found;

/// The modules of a kernel.
pub(super) struct Graph {
    /// In the order in which all files list them.
    pub modules: Vec<Found>,
    /// By symbol: the position of the module that gives it. Where several do, the last counts.
    pub owners: BTreeMap<Vec<u8>, usize>,
    /// By position: all modules that must be loaded before, directly or not, the first to load last.
    pub needed: Vec<Vec<usize>>,
}

impl Graph {
    /// Fails where modules need each other in a circle.
    pub fn build(modules: Vec<Found>) -> Result<Graph, String> {
        let mut owners: HashMap<&[u8], usize> = HashMap::new();
        for (position, found) in modules.iter().enumerate() {
            owners.extend(found.module.exports.iter().map(|name| (name, position)));
        }
        let direct: Vec<Vec<usize>> = modules.iter().map(|found| direct(found, &owners)).collect();
        let ranks = ranks(&modules, &direct)?;
        let needed = (0..modules.len()).map(|position| all(position, &direct, &ranks)).collect();
        let owners = owners.into_iter().map(|(name, position)| (name.to_vec(), position)).collect();
        Ok(Graph { modules, owners, needed })
    }
}

/// Returns the modules whose symbols a module uses, each once, in the order of their first use.
fn direct(found: &Found, owners: &HashMap<&[u8], usize>) -> Vec<usize> {
    let mut needed = Vec::new();
    for name in found.module.imports.iter() {
        // On some machines functions are named with a dot before.
        let name = name.strip_prefix(b".").unwrap_or(name);
        if let Some(&owner) = owners.get(name)
            && !needed.contains(&owner)
        {
            needed.push(owner);
        }
    }
    needed
}

/// Numbers modules so that each has a smaller number than all that it needs, in kmod's order: the last module
/// that nobody uses first, then what this set free.
fn ranks(modules: &[Found], direct: &[Vec<usize>]) -> Result<Vec<usize>, String> {
    let mut users = vec![0usize; modules.len()];
    direct.iter().flatten().for_each(|&needed| users[needed] += 1);
    let mut free: Vec<usize> = (0..modules.len()).filter(|&position| users[position] == 0).collect();
    let mut ranks = vec![usize::MAX; modules.len()];
    let mut next = 0;
    while let Some(position) = free.pop() {
        ranks[position] = next;
        next += 1;
        for &needed in &direct[position] {
            users[needed] -= 1;
            if users[needed] == 0 {
                free.push(needed);
            }
        }
    }
    let mut stuck: Vec<&str> = (0..modules.len())
        .filter(|&at| ranks[at] == usize::MAX)
        .map(|at| modules[at].name.as_str())
        .collect();
    stuck.sort_unstable();
    match stuck.is_empty() {
        true => Ok(ranks),
        false => Err(format!(
            "these modules need each other in a circle, or are needed by one: {}",
            stuck.join(", ")
        )),
    }
}

/// Returns all that a module needs, by rank. Visits without recursion.
fn all(position: usize, direct: &[Vec<usize>], ranks: &[usize]) -> Vec<usize> {
    let mut seen: HashSet<usize> = HashSet::new();
    let mut waiting = direct[position].clone();
    while let Some(next) = waiting.pop() {
        if seen.insert(next) {
            waiting.extend(&direct[next]);
        }
    }
    let mut found: Vec<usize> = seen.into_iter().collect();
    found.sort_by_key(|&needed| ranks[needed]);
    found
}
