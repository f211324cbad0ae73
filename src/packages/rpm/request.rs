//! What a recipe asks of RPM repositories.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Asks for packages: a `packages "rpm"` block of a recipe.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Debian's or RPM's name of the architecture: `amd64` or `x86_64`.
    pub architecture: String,
    /// In the recipe's order, none twice.
    pub sources: Vec<Source>,
    /// Names, perhaps with a pattern of versions (`nginx=1.24*`); capabilities (`pkgconfig(zlib)`), paths.
    pub names: Vec<String>,
    /// What packages require comes with them.
    pub dependencies: bool,
    /// What packages recommend comes with them where it can.
    pub recommends: bool,
    /// Packages that never come.
    pub exclude: Vec<String>,
    /// Patterns of versions by package: `1.24*`.
    pub pins: BTreeMap<String, String>,
    /// Versions that were locked, by package: they stay where they can.
    pub locked: BTreeMap<String, String>,
}

/// A repository.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// The label of its block in the recipe.
    pub name: String,
    /// `http://…`, `https://…`, `file:/…` or an absolute path: the folder that holds `repodata`.
    pub mirror: String,
    /// The keyring whose keys may sign its metadata or its packages.
    pub signed_by: Option<PathBuf>,
    /// Higher wins where two offer the same package.
    pub priority: i32,
}

impl Request {
    /// Reads what a recipe asks of a distribution. `locked` holds the versions that stay where they can.
    pub fn of(request: &super::super::request::Request, locked: BTreeMap<String, String>) -> Request {
        let source = |source: &super::super::request::SourceRequest| Source {
            name: source.name.clone(),
            mirror: source.mirror.clone().unwrap_or_default(),
            signed_by: source.signed_by.clone(),
            priority: source.priority,
        };
        let name = |root: &super::super::request::Root| match &root.version {
            Some(version) => format!("{}={version}", root.name),
            None => root.name.clone(),
        };
        Request {
            architecture: request.architecture.clone(),
            sources: request.sources.iter().map(source).collect(),
            names: request.roots.iter().map(name).collect(),
            dependencies: request.rules.dependencies,
            recommends: request.rules.recommends,
            exclude: request.rules.exclude.clone(),
            pins: request.rules.pins.clone(),
            locked,
        }
    }

    /// Returns RPM's name of the architecture.
    pub fn rpm_architecture(&self) -> &str {
        match &*self.architecture {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            "ppc64el" => "ppc64le",
            "armhf" => "armv7hl",
            "i386" => "i686",
            other => other,
        }
    }
}

/// Tells whether a version fits a pattern in which `*` stands for anything: with or without epoch and release.
pub fn fits(pattern: &str, evr: &super::version::Evr) -> bool {
    let whole = evr.to_string();
    let bare = whole.split_once(':').map_or(&*whole, |split| split.1);
    [&*whole, bare, &evr.version].into_iter().any(|text| glob(pattern, text))
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::super::version::Evr;
    use super::*;

    #[test]
    fn patterns_fit_with_and_without_epoch_and_release() {
        let evr = Evr::parse("1:2.34-5.fc40");
        for pattern in ["2.34", "2.*", "1:2.34-5.fc40", "2.34-*", "*", "*-5.*", "*fc40"] {
            assert!(fits(pattern, &evr), "{pattern}");
        }
        for pattern in ["2.3", "2", "3*", "", "*-6*", "1:2.34"] {
            assert!(!fits(pattern, &evr), "{pattern}");
        }
    }
}
