//! Finding the components: packages that the lock pins, packages that the tree's databases know, the app, PID 1.

use std::collections::{BTreeMap, HashMap};

use super::bill::{BilledFile, Component, Family, PartKind, Subject};
use super::database::{self, Record};
use super::error::Result;
use super::kept::{self, Kept};
use super::licence::{self, COPYRIGHT_BYTES_MAX, Licence};
use super::{programs, release};
use crate::base::{ImagePath, Job};
use crate::packages::lock::{Dependency, Reason};
use crate::packages::{LockedPackage, rpm};
use crate::tree::{Node, follow};

/// A component, and the paths that it says are its own.
pub struct Found {
    pub component: Component,
    pub claims: Vec<Claim>,
    /// What else it goes by among its distribution: `name`, `name:architecture`.
    pub provides: Vec<String>,
    /// Names that it needs where no lock says so: alternatives in their order.
    pub wants: Vec<Vec<String>>,
}

impl Found {
    pub fn bare(component: Component) -> Self {
        Found { component, claims: Vec::new(), provides: Vec::new(), wants: Vec::new() }
    }
}

/// A path that a component says is its own.
pub struct Claim {
    pub path: ImagePath,
    /// The content that it brought there, where that is known.
    pub content: Option<crate::base::BlobId>,
}

/// Finds all components of a subject, sorted and each once.
pub fn find(
    subject: &Subject<'_>,
    files: &[BilledFile],
    unknown: &mut Vec<String>,
    job: &Job,
) -> Result<Vec<Found>> {
    let release = release::of(subject)?;
    let mut records = database::of(subject, unknown)?;
    let mut found = Vec::new();
    let mut missing = 0;
    for package in subject.lock.into_iter().flat_map(|lock| lock.packages()) {
        job.check()?;
        let record = take(&mut records, package);
        let kept = kept::of(subject, package, job)?;
        missing += u64::from(kept.is_none() && subject.kept.is_some());
        found.push(locked(subject, package, record, kept, &release)?);
    }
    if missing > 0 {
        let one = if missing == 1 { "package" } else { "packages" };
        unknown.push(format!(
            "the store does not hold {missing} unpacked {one} of the lock: their licences and files are known only as \
             far as the tree tells them"
        ));
    }
    for record in records {
        found.push(unlocked(subject, record, &release)?);
    }
    found.extend(app(subject));
    found.extend(init(subject));
    found.extend(programs::crates(subject, files, job)?);
    found.sort_by(|a, b| a.component.key().cmp(&b.component.key()));
    found.dedup_by(|a, b| a.component.key() == b.component.key());
    relate(subject, &mut found);
    Ok(found)
}

/// Takes the record of a locked package out of those that the tree's database has.
fn take(records: &mut Vec<Record>, package: &LockedPackage) -> Option<Record> {
    let is_same = |record: &Record| {
        record.name == package.name
            && record.version == package.version
            && (record.architecture == package.architecture || record.architecture.is_empty())
    };
    let at = records.iter().position(is_same)?;
    Some(records.swap_remove(at))
}

fn locked(
    subject: &Subject<'_>,
    package: &LockedPackage,
    record: Option<Record>,
    kept: Option<Kept>,
    release: &release::Release,
) -> Result<Found> {
    let is_rpm = package.distribution == rpm::DISTRIBUTION;
    let family = if is_rpm { Family::Rpm } else { Family::Debian };
    let mut component = Component::named(family, &package.name);
    component.version = Some(package.version.clone());
    component.architecture = Some(package.architecture.clone());
    component.distribution = if is_rpm { release.id.clone() } else { Some(package.distribution.clone()) };
    let suite = subject.lock.and_then(|lock| lock.source(&package.distribution, &package.source));
    // `bookworm-security` is a suite of the release `bookworm`.
    let suite = suite.and_then(|source| source.suite.split('-').next()).filter(|suite| !suite.is_empty());
    let codename = release.codename.clone().filter(|_| release.id == component.distribution);
    component.release = codename.or_else(|| suite.map(str::to_owned));
    component.sha256 = Some(package.sha256.to_string());
    component.size_bytes = Some(package.size_bytes);
    component.location = Some(package.filename.clone()).filter(|_| package.local_name().is_none());
    component.in_root = package.is_installed();
    let fields = record.as_ref().map(|record| &record.fields).or(kept.as_ref().map(|kept| &kept.fields));
    describe(&mut component, fields.unwrap_or(&Vec::new()));
    component.licence = licence_in_tree(subject, &component)?.or_else(|| kept.as_ref()?.licence.clone());
    let from_tree = record.as_ref().filter(|record| record.is_complete);
    let claims = match (from_tree, kept, record.as_ref()) {
        _ if !component.in_root => Vec::new(),
        (Some(record), _, _) => record.claims(),
        (None, Some(kept), _) => kept.claims,
        (None, None, record) => record.map(Record::claims).unwrap_or_default(),
    };
    Ok(Found { component, claims, provides: Vec::new(), wants: Vec::new() })
}

fn unlocked(subject: &Subject<'_>, record: Record, release: &release::Release) -> Result<Found> {
    let mut component = Component::named(record.family, &record.name);
    component.version = Some(record.version.clone());
    component.architecture = Some(record.architecture.clone()).filter(|text| !text.is_empty());
    // Where nothing names the distribution, packages of dpkg's form are named after who made the form.
    let of_form = Some("debian".to_owned()).filter(|_| record.family == Family::Debian);
    component.distribution = release.id.clone().or(of_form);
    component.release.clone_from(&release.codename);
    describe(&mut component, &record.fields);
    component.licence = match licence_in_tree(subject, &component)? {
        None if record.family == Family::Rpm => record.field("License").and_then(licence::of_tag),
        licence => licence,
    };
    let (provides, wants) = record.relations(&subject.architecture);
    Ok(Found { component, claims: record.claims(), provides, wants })
}

/// Takes what fields say of a package.
fn describe(component: &mut Component, fields: &[(String, String)]) {
    let field = |name: &str| {
        let found = fields.iter().find(|field| field.0.eq_ignore_ascii_case(name));
        found.map(|field| field.1.trim()).filter(|value| !value.is_empty())
    };
    let line = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
    component.supplier = field("Maintainer").or(field("Vendor")).map(line);
    component.homepage = field("Homepage").or(field("Url")).map(line);
    component.summary = field("Description").or(field("Summary")).map(line);
    let version = component.version.clone().unwrap_or_default();
    component.source = field("Source").map(|text| match component.family {
        Family::Rpm => source_of_rpm(text),
        _ => match text.split_once(" (") {
            Some((name, rest)) => (name.trim().to_owned(), rest.trim_end_matches(')').to_owned()),
            None => (text.to_owned(), version.clone()),
        },
    });
    if component.family == Family::Debian && component.source.is_none() {
        // A package without the field is built of a source of its own name (Debian Policy 5.6.1).
        component.source = (!fields.is_empty()).then(|| (component.name.clone(), version));
    }
}

/// `bash-5.2-1.fc40.src.rpm` → `bash`, `5.2-1.fc40`
fn source_of_rpm(text: &str) -> (String, String) {
    let stem = text.strip_suffix(".src.rpm").or(text.strip_suffix(".nosrc.rpm")).unwrap_or(text);
    let mut parts = stem.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(release), Some(version), Some(name)) => (name.to_owned(), format!("{version}-{release}")),
        _ => (stem.to_owned(), String::new()),
    }
}

/// Reads the copyright file of a Debian package where the tree has it.
fn licence_in_tree(subject: &Subject<'_>, component: &Component) -> Result<Option<Licence>> {
    if component.family != Family::Debian {
        return Ok(None);
    }
    let path = ImagePath::new(format!("/usr/share/doc/{}/copyright", component.name).as_bytes());
    let Ok(path) = path else { return Ok(None) };
    let node = follow::resolve(subject.tree, &path).and_then(|found| found.1);
    let content = match node {
        Some(Node::File(file)) if file.content.size <= COPYRIGHT_BYTES_MAX => file.content,
        _ => return Ok(None),
    };
    let text = subject.contents.read_all(&content)?;
    Ok(std::str::from_utf8(&text).ok().and_then(licence::of_copyright))
}

/// The app: as the recipe names it, else as the description does that PID 1 reads.
fn app(subject: &Subject<'_>) -> Option<Found> {
    let part = subject.parts.iter().find(|part| part.kind == PartKind::App);
    let service = boot_json(subject).unwrap_or_default();
    let described = &service["app"];
    let name = part.map(|part| part.name.as_str()).or(described["name"].as_str())?;
    let mut component = Component::named(Family::App, name);
    component.version.clone_from(&subject.version);
    let mut found = Found::bare(component);
    let program = described["command"][0].as_str().and_then(|text| ImagePath::new(text.as_bytes()).ok());
    // What a package brings is not the app's, though it may start it.
    let alone = program.filter(|_| part.is_none());
    let place = part.and_then(|part| part.path.clone()).filter(|path| !path.is_root());
    let below = place.into_iter().flat_map(|place| below(subject, place));
    found.claims = below.chain(alone).map(|path| Claim { path, content: None }).collect();
    Some(found)
}

/// Lists a path and all that lies below it.
fn below(subject: &Subject<'_>, place: ImagePath) -> Vec<ImagePath> {
    match subject.tree.directory(&place) {
        None => vec![place],
        Some(directory) => {
            let inside = directory.paths().map(|(path, _)| {
                let joined = [place.as_bytes(), path.as_bytes()].concat();
                ImagePath::new(&joined)
            });
            inside.filter_map(|path| path.ok()).collect()
        }
    }
}

fn boot_json(subject: &Subject<'_>) -> Option<serde_json::Value> {
    match subject.boot?.entries.get("service.json".as_bytes()) {
        Some(Node::File(file)) if file.content.size <= COPYRIGHT_BYTES_MAX => {
            serde_json::from_slice(&subject.contents.read_all(&file.content).ok()?).ok()
        }
        _ => None,
    }
}

/// PID 1 of app images: every image with an app has it, at the version of the tool that made the commit.
fn init(subject: &Subject<'_>) -> Option<Found> {
    boot_json(subject)?;
    let mut component = Component::named(Family::Init, "mkimage-init");
    component.version = Some(subject.tool_version.clone());
    component.in_root = false;
    Some(Found::bare(component))
}

/// Says what needs what: as the lock says it, else as the packages' fields do.
fn relate(subject: &Subject<'_>, found: &mut [Found]) {
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, one) in found.iter().enumerate().filter(|(_, one)| one.component.is_package()) {
        let component = &one.component;
        by_name.entry(component.name.clone()).or_default().push(index);
        if let Some(architecture) = &component.architecture {
            by_name.entry(format!("{}:{architecture}", component.name)).or_default().push(index);
        }
        for name in &one.provides {
            by_name.entry(name.clone()).or_default().push(index);
        }
    }
    let mut needs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    if let Some(lock) = subject.lock {
        for package in lock.packages() {
            let Some(index) = position(found, package) else { continue };
            let by = package.why.iter().filter_map(|reason| match reason {
                Reason::Needed { kind: Dependency::Recommends, .. } => None,
                Reason::Needed { by, .. } => lock.find(&package.distribution, by),
                _ => None,
            });
            for by in by.filter_map(|by| position(found, by)) {
                needs.entry(by).or_default().push(index);
            }
        }
    }
    for (index, one) in found.iter().enumerate() {
        for alternatives in &one.wants {
            let there = alternatives.iter().find_map(|name| by_name.get(name)?.first());
            needs.entry(index).or_default().extend(there.filter(|there| **there != index));
        }
    }
    for (index, all) in needs {
        found[index].component.needs.extend(all);
    }
}

fn position(found: &[Found], package: &LockedPackage) -> Option<usize> {
    let is_rpm = package.distribution == rpm::DISTRIBUTION;
    let family = if is_rpm { Family::Rpm } else { Family::Debian };
    let key = (family, &*package.name, &*package.architecture, Some(&*package.version));
    found.binary_search_by(|one| one.component.key().cmp(&key)).ok()
}
