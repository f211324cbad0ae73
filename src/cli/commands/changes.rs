//! How differences between commits are shown.

use super::look::facts;
use crate::base::units::{Bytes, approximate};
use crate::pipeline::{Comparison, Counts, Difference, PackageDifference};
use crate::store::{Aspect, TreeChange};
use crate::tree::{Metadata, Node};

/// Most packages that a summary names.
const SUMMARY_PACKAGES: usize = 4;

/// Says on one line what differs.
pub fn summary(comparison: &Comparison) -> String {
    let mut parts = vec![counts(&comparison.counts())];
    let version = comparison.settings.iter().filter(|setting| setting.name == "version");
    parts.extend(version.map(difference));
    parts.extend(comparison.packages.iter().take(SUMMARY_PACKAGES).map(package));
    let more = comparison.packages.len().saturating_sub(SUMMARY_PACKAGES);
    if more > 0 {
        parts.push(format!("and {more} more packages"));
    }
    parts.join("; ")
}

/// Says how many files differ, and by how much they grew.
pub fn counts(counts: &Counts) -> String {
    let Counts { added, changed, removed, old_bytes, new_bytes } = *counts;
    let parts = [(added, "added"), (changed, "changed"), (removed, "removed")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let grown = match new_bytes.cmp(&old_bytes) {
        std::cmp::Ordering::Equal => String::new(),
        std::cmp::Ordering::Greater => format!(", +{}", approximate(Bytes(new_bytes - old_bytes))),
        std::cmp::Ordering::Less => format!(", -{}", approximate(Bytes(old_bytes - new_bytes))),
    };
    if parts.is_empty() {
        "the files are the same".to_owned()
    } else {
        format!("files: {}{grown}", parts.join(", "))
    }
}

/// Lists everything that differs, a line each behind `indent`.
pub fn list(comparison: &Comparison, indent: &str) -> String {
    let mut lines = heads(comparison);
    lines.extend(comparison.files.iter().map(|change| file(change, "")));
    lines.extend(comparison.boot.iter().map(|change| file(change, "boot:")));
    lines.push(counts(&comparison.counts()));
    lines.iter().map(|line| format!("{indent}{line}\n")).collect()
}

/// Lists what differs but for files.
pub fn heads(comparison: &Comparison) -> Vec<String> {
    let mut lines: Vec<String> = comparison.settings.iter().map(difference).collect();
    for text in &comparison.texts {
        let size = |content: &crate::tree::Content| format!("{} bytes", content.size);
        let (old, new) = (text.old.as_ref().map(size), text.new.as_ref().map(size));
        lines.push(difference(&Difference { name: text.name.clone(), old, new }));
    }
    let named = |input: &Difference| Difference { name: format!("input {}", input.name), ..input.clone() };
    lines.extend(comparison.inputs.iter().map(|input| difference(&named(input))));
    lines.extend(comparison.packages.iter().map(|change| format!("package {}", package(change))));
    lines
}

/// Shows a value that differs.
pub fn difference(difference: &Difference) -> String {
    let Difference { name, old, new } = difference;
    match (old, new) {
        (None, new) => format!("{name}: none → {}", new.as_deref().unwrap_or("none")),
        (Some(old), None) => format!("{name}: {old} → none"),
        (Some(old), Some(new)) if old == new => format!("{name}: changed, {new}"),
        (Some(old), Some(new)) => format!("{name}: {old} → {new}"),
    }
}

/// Shows a package that differs.
pub fn package(difference: &PackageDifference) -> String {
    let name = &difference.package;
    match (&difference.old, &difference.new) {
        (Some(old), Some(new)) if old == new => format!("{name} {new}, other bytes"),
        (Some(old), Some(new)) if difference.downgraded => format!("{name} {old} → {new}, downgraded"),
        (Some(old), Some(new)) => format!("{name} {old} → {new}"),
        (None, new) => format!("{name} {} added", new.as_deref().unwrap_or_default()),
        (Some(old), None) => format!("{name} {old} removed"),
    }
}

/// Shows a file that differs: a letter (Added, Deleted, Modified, Type), the path, in what.
pub fn file(change: &TreeChange, prefix: &str) -> String {
    let (letter, detail) = match (&change.old, &change.new) {
        (None, Some(new)) => ('A', brief(new)),
        (Some(old), None) => ('D', brief(old)),
        (Some(old), Some(new)) if old.kind() != new.kind() => {
            ('T', format!("{} → {}", old.kind(), new.kind()))
        }
        (Some(old), Some(new)) => {
            let aspects = change.aspects();
            ('M', aspects.iter().map(|aspect| in_words(*aspect, old, new)).collect::<Vec<_>>().join(", "))
        }
        (None, None) => (' ', String::new()),
    };
    format!("{letter} {prefix}{}  {detail}", change.path).trim_end().to_owned()
}

fn brief(node: &Node) -> String {
    match node {
        Node::File(file) => format!("{} bytes", file.content.size),
        other => other.kind().to_owned(),
    }
}

fn in_words(aspect: Aspect, old: &Node, new: &Node) -> String {
    let none = Metadata::default();
    let [before, after] = [old, new].map(|node| node.metadata().unwrap_or(&none));
    let target = |node: &Node| facts(node)["target"].as_str().unwrap_or_default().to_owned();
    match aspect {
        Aspect::Kind => format!("{} → {}", old.kind(), new.kind()),
        Aspect::Content => match (old, new) {
            (Node::File(old), Node::File(new)) if old.content.size == new.content.size => {
                format!("content, {} bytes", new.content.size)
            }
            (Node::File(old), Node::File(new)) => {
                format!("content, {} → {} bytes", old.content.size, new.content.size)
            }
            _ => "content".to_owned(),
        },
        Aspect::Mode => format!("mode {:04o} → {:04o}", before.mode, after.mode),
        Aspect::Owner => {
            format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid)
        }
        Aspect::Xattrs => attributes(before, after),
        Aspect::Target | Aspect::Device => format!("{} → {}", target(old), target(new)),
    }
}

fn attributes(before: &Metadata, after: &Metadata) -> String {
    let mut names: Vec<_> = before.xattrs.keys().chain(after.xattrs.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names.into_iter().filter(|name| before.xattrs.get(*name) != after.xattrs.get(*name));
    let shown = differ.map(|name| {
        let sign = match (before.xattrs.contains_key(name), after.xattrs.contains_key(name)) {
            (false, _) => "+",
            (_, false) => "-",
            _ => "",
        };
        format!("{sign}{}", crate::base::path::escaped(name))
    });
    format!("attributes {}", shown.collect::<Vec<_>>().join(" "))
}

/// Returns the counts and the packages, for programs.
pub fn short_json(comparison: &Comparison) -> serde_json::Value {
    serde_json::json!({
        "old": comparison.old, "new": comparison.new, "counts": comparison.counts(),
        "settings": comparison.settings, "packages": comparison.packages,
    })
}

/// Returns everything that differs, for programs.
pub fn as_json(comparison: &Comparison) -> serde_json::Value {
    let texts: Vec<_> = comparison
        .texts
        .iter()
        .map(|text| {
            let id = |content: &Option<crate::tree::Content>| content.map(|content| content.id);
            serde_json::json!({ "name": text.name, "old": id(&text.old), "new": id(&text.new) })
        })
        .collect();
    let mut value = short_json(comparison);
    value["texts"] = texts.into();
    value["inputs"] = serde_json::to_value(&comparison.inputs).unwrap_or_default();
    value["files"] = comparison.files.iter().map(file_json).collect();
    value["boot"] = comparison.boot.iter().map(file_json).collect();
    value
}

/// Returns a file that differs, for programs.
pub fn file_json(change: &TreeChange) -> serde_json::Value {
    let what = match (&change.old, &change.new) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    serde_json::json!({
        "path": change.path, "change": what, "aspects": change.aspects(),
        "old": change.old.as_ref().map(facts), "new": change.new.as_ref().map(facts),
    })
}
