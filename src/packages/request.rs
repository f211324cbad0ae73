//! What the caller asks for: the packages of one distribution, and by what rules they are chosen.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::deb::name;
use super::digest::Sha256;
use super::error::PackagesError;
use super::rpm;

/// Asks for packages of one distribution, from all of its sources, in one problem.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// `debian`, `ubuntu`.
    pub distribution: String,
    /// Debian's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    pub foreign_architectures: Vec<String>,
    /// In the order of the recipe, none twice.
    pub sources: Vec<SourceRequest>,
    /// What to install.
    pub roots: Vec<Root>,
    /// Kernel and loader packages: locked without what they depend on, and no part of the root filesystem. A
    /// kernel's metapackage stands for the kernel that it depends on.
    pub bare: Vec<String>,
    pub rules: Rules,
}

/// Names one suite of one archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRequest {
    /// Tells sources apart: the suite's name, or that which the recipe gives. Two archives may have suites of
    /// one name.
    pub name: String,
    pub suite: String,
    pub components: Vec<String>,
    /// The mirror that the recipe names.
    pub mirror: Option<String>,
    /// The keyring that the recipe names.
    pub signed_by: Option<PathBuf>,
    /// As apt's pin priority: higher ones win over versions, ones below 0 are never taken.
    pub priority: i32,
}

/// apt's priority of a source that nothing is said about.
pub const DEFAULT_PRIORITY: i32 = 500;

/// The name that stands for local files in place of a source's.
pub(super) const LOCAL: &str = "local";

impl SourceRequest {
    /// Makes a source of a suite, under the suite's name.
    pub fn of_suite(suite: &str, components: &[&str]) -> Self {
        SourceRequest {
            name: suite.to_owned(),
            suite: suite.to_owned(),
            components: components.iter().map(|component| (*component).to_owned()).collect(),
            mirror: None,
            signed_by: None,
            priority: DEFAULT_PRIORITY,
        }
    }
}

/// Names a package to install.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Root {
    /// `name` or `name:architecture`.
    pub name: String,
    /// A version, in which `*` stands for anything.
    pub version: Option<String>,
    /// The suite that it must come from.
    pub suite: Option<String>,
}

impl Root {
    /// Reads `name`, `name:architecture`, either with `=version` or `/suite` behind it.
    pub fn parse(text: &str) -> Result<Root, PackagesError> {
        let (name, version, suite) = match (text.split_once('='), text.split_once('/')) {
            (Some((name, version)), _) => (name, Some(version.to_owned()), None),
            (None, Some((name, suite))) => (name, None, Some(suite.to_owned())),
            (None, None) => (text, None, None),
        };
        let root = Root { name: name.to_owned(), version, suite };
        root.check()?;
        Ok(root)
    }

    fn check(&self) -> Result<(), PackagesError> {
        demand("name of a package", &self.name, is_qualified)?;
        self.version.iter().try_for_each(|version| demand("version", version, is_pattern))?;
        self.suite.iter().try_for_each(|suite| demand("name of a suite", suite, name::is_suite))
    }

    /// Splits the name from the architecture behind it.
    pub fn split(&self) -> (&str, Option<&str>) {
        match self.name.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (&self.name, None),
        }
    }
}

/// Says how packages are chosen. The default takes exact names and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Take what the packages depend on.
    pub dependencies: bool,
    /// Take the packages that every system must have.
    pub essential: bool,
    /// Take what the packages recommend.
    pub recommends: bool,
    /// Never taken.
    pub exclude: Vec<String>,
    /// A version of a package, in which `*` stands for anything.
    pub pins: BTreeMap<String, String>,
    /// Packages that an update leaves at the locked version.
    pub holds: Vec<String>,
    /// `.deb` files of this machine, preferred to what sources offer.
    pub local: Vec<PathBuf>,
}

impl Request {
    /// Returns the source of a name.
    pub fn source(&self, name: &str) -> Option<&SourceRequest> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Tells whether packages of an architecture may be chosen.
    pub(super) fn is_of_its_architectures(&self, architecture: &str) -> bool {
        architecture == "all"
            || architecture == self.architecture
            || self.foreign_architectures.iter().any(|foreign| foreign == architecture)
    }

    /// Returns the local file of a base name.
    pub(super) fn local(&self, name: &str) -> Option<&PathBuf> {
        self.rules.local.iter().find(|path| path.file_name().is_some_and(|found| found == name))
    }

    /// Refuses names that no archive could have, before they become part of an address.
    pub(super) fn check(&self) -> Result<(), PackagesError> {
        if self.distribution == rpm::DISTRIBUTION {
            return self.check_rpm();
        }
        demand("name of a distribution", &self.distribution, name::is_distribution)?;
        for architecture in self.foreign_architectures.iter().chain([&self.architecture]) {
            demand("name of an architecture", architecture, name::is_architecture)?;
        }
        for (index, source) in self.sources.iter().enumerate() {
            source.check()?;
            if self.sources[..index].iter().any(|other| other.name == source.name) {
                return Err(wrong("source of a name of its own", &source.name));
            }
        }
        self.roots.iter().try_for_each(Root::check)?;
        let Rules { exclude, pins, holds, .. } = &self.rules;
        for package in self.bare.iter().chain(exclude).chain(holds).chain(pins.keys()) {
            demand("name of a package", package, is_qualified)?;
        }
        pins.values().try_for_each(|version| demand("version", version, is_pattern))?;
        self.check_local()
    }

    fn check_rpm(&self) -> Result<(), PackagesError> {
        for (index, source) in self.sources.iter().enumerate() {
            demand("name of a source", &source.name, |name| name::is_suite(name) && name != LOCAL)?;
            if self.sources[..index].iter().any(|other| other.name == source.name) {
                return Err(wrong("source of a name of its own", &source.name));
            }
        }
        Ok(())
    }

    fn check_local(&self) -> Result<(), PackagesError> {
        for (index, path) in self.rules.local.iter().enumerate() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_good = name.ends_with(".deb") && !name.contains('/') && name::is_archive_path(name);
            if !is_good {
                return Err(wrong("file of a package (NAME.deb)", &path.display().to_string()));
            }
            if self.rules.local[..index].iter().any(|other| other.file_name() == path.file_name()) {
                return Err(wrong("local file of a name of its own", name));
            }
        }
        Ok(())
    }

    /// Digests everything that the choice of packages follows from, but not where they are fetched: a lock
    /// fits a request of the same digest. Changing this is a format break of the lock.
    pub(super) fn digest(&self) -> Sha256 {
        let mut text = String::new();
        let Rules { dependencies, essential, recommends, exclude, pins, holds: _, local } = &self.rules;
        let mut line = |words: &[&str]| {
            words.iter().for_each(|word| write!(text, "{word}\0").expect("because a string takes it"));
            text.push('\n');
        };
        line(&["architecture", &self.architecture]);
        sorted(&self.foreign_architectures).for_each(|one| line(&["foreign", one]));
        for source in &self.sources {
            let priority = source.priority.to_string();
            line(&["source", &source.name, &source.suite, &priority]);
            sorted(&source.components).for_each(|one| line(&["component", one]));
        }
        let mut roots: Vec<&Root> = self.roots.iter().collect();
        roots.sort();
        roots.dedup();
        for root in roots {
            let [version, suite] = [&root.version, &root.suite].map(|one| one.as_deref().unwrap_or_default());
            line(&["root", &root.name, version, suite]);
        }
        sorted(&self.bare).for_each(|one| line(&["bare", one]));
        for (name, is_on) in
            [("dependencies", dependencies), ("essential", essential), ("recommends", recommends)]
        {
            line(&[name, if *is_on { "yes" } else { "no" }]);
        }
        sorted(exclude).for_each(|one| line(&["exclude", one]));
        pins.iter().for_each(|(name, version)| line(&["pin", name, version]));
        let names = local.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        sorted(&names.collect::<Vec<_>>()).for_each(|one| line(&["local", one]));
        Sha256::of(text.as_bytes())
    }
}

impl SourceRequest {
    fn check(&self) -> Result<(), PackagesError> {
        demand("name of a source", &self.name, |name| name::is_suite(name) && name != LOCAL)?;
        demand("name of a suite", &self.suite, name::is_suite)?;
        self.components
            .iter()
            .try_for_each(|component| demand("name of a component", component, name::is_suite))?;
        if self.components.is_empty() {
            return Err(wrong("list of components", ""));
        }
        Ok(())
    }
}

fn sorted(names: &[String]) -> impl Iterator<Item = &String> {
    let names: std::collections::BTreeSet<&String> = names.iter().collect();
    names.into_iter()
}

fn demand(kind: &'static str, text: &str, is_good: fn(&str) -> bool) -> Result<(), PackagesError> {
    if is_good(text) { Ok(()) } else { Err(wrong(kind, text)) }
}

fn wrong(kind: &'static str, what: &str) -> PackagesError {
    PackagesError::Request { kind, what: what.to_owned() }
}

/// Tells whether a text is `name` or `name:architecture`.
pub(super) fn is_qualified(text: &str) -> bool {
    match text.split_once(':') {
        Some((package, architecture)) => name::is_package(package) && name::is_architecture(architecture),
        None => name::is_package(text),
    }
}

/// Tells whether a text is a version in which `*` may stand for anything.
fn is_pattern(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:-*".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(plain)
}

/// Tells whether a version is what a pattern says: `*` stands for any letters, none too.
pub(super) fn fits(pattern: &str, version: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = version.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_as_apt_spells_them() {
        let root = Root::parse("foo:i386=1:9.2*").expect("read");
        assert_eq!((root.split(), root.version.as_deref()), (("foo", Some("i386")), Some("1:9.2*")));
        let root = Root::parse("nginx/bookworm-backports").expect("read");
        assert_eq!((root.suite.as_deref(), root.version), (Some("bookworm-backports"), None));
        for wrong in ["", "a b", "A", "foo:", "foo=", "foo=1 2", "foo/", "foo/../x", "foo:i386:x"] {
            assert!(Root::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_of_versions() {
        for (pattern, version, is_it) in [
            ("1.2", "1.2", true),
            ("1.2", "1.2-1", false),
            ("1.2*", "1.2-1", true),
            ("*+deb12*", "1.2-1+deb12u3", true),
            ("1*2*2", "1.2", false),
            ("1*2*2", "1.2.2", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, version), is_it, "{pattern} {version}");
        }
    }

    #[test]
    fn the_digest_is_of_the_choice_not_of_the_way() {
        let request = Request {
            distribution: "debian".into(),
            architecture: "amd64".into(),
            sources: vec![SourceRequest::of_suite("a", &["main"])],
            roots: ["x1", "y1"].map(|name| Root::parse(name).expect("a root")).into(),
            ..Request::default()
        };
        let changed = |change: fn(&mut Request)| {
            let mut other = request.clone();
            change(&mut other);
            other.digest() != request.digest()
        };
        assert!(!changed(|request| request.roots.reverse()));
        assert!(!changed(|request| request.sources[0].mirror = Some("file:/x".into())));
        assert!(!changed(|request| request.rules.holds = vec!["x1".into()]));
        assert!(changed(|request| request.roots[0].version = Some("1*".into())));
        assert!(changed(|request| request.rules.recommends = true));
        assert!(changed(|request| request.sources[0].priority = 990));
        assert!(changed(|request| request.bare = vec!["x1".into()]));
    }
}
