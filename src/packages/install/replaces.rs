//! The field `Replaces`: whose files a package may take over (Debian Policy 7.1, 7.6.1).

use std::cmp::Ordering;

use super::super::deb::{name, version};
use super::super::unpack::Control;

/// One entry of the field. As in dpkg, it means real packages, not those that provide a name.
pub(super) struct Replaces<'a> {
    name: &'a str,
    version: Option<(Relation, &'a str)>,
}

enum Relation {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// Reads the field. What is malformed replaces nothing.
pub(super) fn parse(field: &str) -> Vec<Replaces<'_>> {
    field.split(',').filter_map(entry).collect()
}

fn entry(text: &str) -> Option<Replaces<'_>> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_whitespace() || "(:[<".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !name::is_package(name) {
        return None;
    }
    let version = match rest.split_once('(') {
        None => None,
        Some((_, relation)) => Some(versioned(relation.split_once(')')?.0.trim())?),
    };
    Some(Replaces { name, version })
}

fn versioned(text: &str) -> Option<(Relation, &str)> {
    let end = text.find(|c: char| !"<>=".contains(c))?;
    let (operator, version) = text.split_at(end);
    let relation = match operator {
        "<<" => Relation::Less,
        // The single signs are old spellings of these (Debian Policy 7.1).
        "<=" | "<" => Relation::LessOrEqual,
        "=" => Relation::Equal,
        ">=" | ">" => Relation::GreaterOrEqual,
        ">>" => Relation::Greater,
        _ => return None,
    };
    Some((relation, version.trim()))
}

/// Tells whether an entry of the field means this package.
pub(super) fn any(field: &[Replaces<'_>], other: &Control) -> bool {
    field.iter().any(|entry| {
        let is_version = |(relation, version): &(Relation, &str)| {
            let order = version::compare(&other.version, version);
            match relation {
                Relation::Less => order == Ordering::Less,
                Relation::LessOrEqual => order != Ordering::Greater,
                Relation::Equal => order == Ordering::Equal,
                Relation::GreaterOrEqual => order != Ordering::Less,
                Relation::Greater => order == Ordering::Greater,
            }
        };
        entry.name == other.name && entry.version.as_ref().is_none_or(is_version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaces(field: &str, name: &str, version: &str) -> bool {
        let control = Control {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            fields: Vec::new(),
        };
        any(&parse(field), &control)
    }

    #[test]
    fn names_and_versions_count() {
        let field = "old, util (<< 2.38~), exact (= 1:2-3) , lib:any (>= 5), newer(>>1),\n loose (< 2), ((x";
        for (name, version, expected) in [
            ("old", "9", true),
            ("other", "9", false),
            ("util", "2.37", true),
            ("util", "2.38", false),
            ("exact", "1:2-3", true),
            ("exact", "2-3", false),
            ("lib", "5", true),
            ("lib", "4", false),
            ("newer", "1", false),
            ("newer", "1.1", true),
            ("loose", "2", true),
            ("loose", "2.1", false),
        ] {
            assert_eq!(replaces(field, name, version), expected, "{name} {version}");
        }
        assert!(!replaces("util (~ 3)", "util", "3") && !replaces("util (<<", "util", "3"));
    }
}
