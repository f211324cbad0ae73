//! Relations between packages: as much of `Depends` as a kernel's metapackage needs (Debian Policy 7.1).

/// Names a package that another one needs, with the exact version where one is demanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation<'a> {
    pub name: &'a str,
    /// The version in `(= …)`.
    pub exactly: Option<&'a str>,
}

/// Returns the first alternative of each relation, in order. Relations other than `(= …)` come without
/// their version.
pub fn first_alternatives(field: &str) -> Vec<Relation<'_>> {
    field.split(',').filter_map(|group| first(group.split('|').next()?)).collect()
}

fn first(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_whitespace() || "([<:".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let exactly = rest.split_once("(=").and_then(|rest| rest.1.split_once(')')).map(|rest| rest.0.trim());
    super::name::is_package(name).then_some(Relation { name, exactly })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_alternative_counts() {
        let field = "linux-image-6.1 (= 6.1.176-1), kmod (>= 1) | x, ab:any [amd64] <!nocheck>, , ((";
        let names: Vec<_> = first_alternatives(field).iter().map(|r| (r.name, r.exactly)).collect();
        assert_eq!(names, [("linux-image-6.1", Some("6.1.176-1")), ("kmod", None), ("ab", None)]);
    }
}
