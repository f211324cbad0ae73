//! Numbers of users and groups stay: a machine that updates keeps its files, and these know numbers only.

use super::error::{PipelineError, Result};
use crate::base::{ImagePath, Job};
use crate::store::{Found, Objects, RefName, Store, Transaction};
use crate::tree::{ContentSource, Directory, Node};

/// The tables, what they list, and the key of a recipe that states a number.
const TABLES: [(&str, &str, &str); 2] = [("/etc/passwd", "user", "uid"), ("/etc/group", "group", "gid")];

/// Refuses a tree in which an account has another number than in the commit that its ref leads to.
pub fn check(
    tree: &Directory,
    name: &str,
    store: &Store,
    transaction: &Transaction<'_>,
    job: &Job,
) -> Result<()> {
    let Ok(reference) = RefName::new(name) else { return Ok(()) };
    let Some(value) = store.read_ref(&reference)? else { return Ok(()) };
    let Ok(commit) = store.read_commit(&value.commit) else {
        job.note(format!(
            "the commit that {name} leads to can't be read: numbers of accounts are not compared"
        ));
        return Ok(());
    };
    for (path, what, key) in TABLES {
        let path = ImagePath::new(path.as_bytes()).expect("because it is a path of this program");
        let Some(now) = text(tree.get(&path), transaction)? else { continue };
        let before = match store.find(&commit.tree, &path, true) {
            Ok(Found::Leaf(node)) => text(Some(&node), store)?,
            _ => None,
        };
        let Some(before) = before else { continue };
        for (account, before) in numbers(&before) {
            let changed = numbers(&now).find(|(other, now)| *other == account && *now != before);
            if let Some((_, now)) = changed {
                let (name, reference) = (account.to_owned(), name.to_owned());
                return Err(PipelineError::Renumbered { what, name, key, now, before, reference });
            }
        }
    }
    Ok(())
}

fn text(node: Option<&Node>, source: &dyn ContentSource) -> Result<Option<String>> {
    match node {
        Some(Node::File(file)) => {
            Ok(Some(String::from_utf8_lossy(&source.read_all(&file.content)?).into_owned()))
        }
        _ => Ok(None),
    }
}

/// Returns names and numbers of `passwd(5)` or `group(5)`: both have the number in the third field.
fn numbers(table: &str) -> impl Iterator<Item = (&str, u32)> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?))
    })
}
