//! The order in which packages are configured: each behind those that it depends on.

use std::collections::BTreeMap;

use super::Package;

/// Returns the positions of packages so that each comes behind those that its `Pre-Depends` and `Depends`
/// name, as far as they are there. Packages of a circle come in the order in which they were reached; the
/// rest follows the order of `packages`. Takes no more stack however long a chain is.
pub(super) fn configuration_order(packages: &[Package<'_>]) -> Vec<usize> {
    let providers = providers(packages);
    let needs: Vec<Vec<usize>> = packages.iter().map(|package| needs(package, &providers)).collect();
    let mut order = Vec::with_capacity(packages.len());
    let mut seen = vec![false; packages.len()];
    for start in 0..packages.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut stack = vec![(start, 0)];
        while let Some((at, next)) = stack.last_mut() {
            let Some(&need) = needs[*at].get(*next) else {
                order.push(*at);
                stack.pop();
                continue;
            };
            *next += 1;
            if !std::mem::replace(&mut seen[need], true) {
                stack.push((need, 0));
            }
        }
    }
    order
}

/// Returns which packages stand for a name: those that have it, then those that provide it.
fn providers<'a>(packages: &[Package<'a>]) -> BTreeMap<&'a str, Vec<usize>> {
    let mut providers = BTreeMap::<&str, Vec<usize>>::new();
    for (index, package) in packages.iter().enumerate() {
        providers.entry(package.name).or_default().push(index);
    }
    for (index, package) in packages.iter().enumerate() {
        let provided = package.fields.iter().find(|field| field.0.eq_ignore_ascii_case("Provides"));
        for name in provided.iter().flat_map(|field| field.1.split(',')).map(name_of) {
            providers.entry(name).or_default().push(index);
        }
    }
    providers
}

fn needs(package: &Package<'_>, providers: &BTreeMap<&str, Vec<usize>>) -> Vec<usize> {
    let relations = ["Pre-Depends", "Depends"].iter().filter_map(|name| package.field(name));
    let names = relations.flat_map(|relation| relation.split([',', '|'])).map(name_of);
    names.filter_map(|name| providers.get(name)).flatten().copied().collect()
}

/// Returns the name in `name:any (>= 1) [amd64]`.
fn name_of(relation: &str) -> &str {
    let relation = relation.trim();
    let end = relation.find([':', ' ', '(', '[', '<', '\n', '\t']).unwrap_or(relation.len());
    &relation[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Directory;

    #[test]
    fn a_package_comes_behind_what_it_needs_and_circles_end() {
        let none = Directory::default();
        let field = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let fields = [
            ("a", field("Depends", "c (>= 1), x | y:any")),
            ("b", field("Pre-Depends", "a")),
            ("c", field("Depends", "d")),
            ("d", field("Depends", "c")),
            ("e", field("Provides", "y (= 2)")),
        ];
        let packages: Vec<_> = fields
            .iter()
            .map(|(name, fields)| Package {
                name,
                version: "1",
                architecture: "all",
                fields,
                info: &none,
                data: &none,
            })
            .collect();
        assert_eq!(configuration_order(&packages), [3, 2, 4, 0, 1]);
    }
}
