//! The packages that a tree's own databases know: dpkg's `status` and `status.d`, RPM's `rpmdb.sqlite`.

use super::bill::{Family, Subject};
use super::components::Claim;
use super::error::Result;
use crate::base::ImagePath;
use crate::packages::deb::{control, relation};
use crate::packages::rpm;
use crate::tree::{Content, Directory, Node, follow};

/// Largest file of a database that is read, in bytes.
const DATABASE_BYTES_MAX: u64 = 256 << 20;
/// Where RPM keeps its database, by age.
const RPM_DATABASES: [&str; 2] = ["/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite"];

/// One package as a database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub family: Family,
    pub name: String,
    pub version: String,
    /// Empty where the database does not say.
    pub architecture: String,
    pub fields: Vec<(String, String)>,
    /// What the package brought, at the paths that it spells.
    pub paths: Vec<ImagePath>,
    /// Whether `paths` lists all of it.
    pub is_complete: bool,
}

impl Record {
    /// Returns a field's value; names count without case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name));
        found.map(|field| field.1.trim()).filter(|value| !value.is_empty())
    }

    pub fn claims(&self) -> Vec<Claim> {
        self.paths.iter().map(|path| Claim { path: path.clone(), content: None }).collect()
    }

    /// Returns what else the package goes by, and the alternatives of each name that it needs.
    pub fn relations(&self, native: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let architecture = if self.architecture.is_empty() { native } else { &self.architecture };
        let groups = |field: &str| {
            let text = self.field(field).unwrap_or_default();
            relation::parse(text, architecture).unwrap_or_default()
        };
        let names = |group: relation::Group<'_>| -> Vec<String> {
            group.atoms.iter().map(|atom| atom.name.to_owned()).collect()
        };
        let wants = ["Pre-Depends", "Depends"].into_iter().flat_map(groups);
        (groups("Provides").into_iter().flat_map(names).collect(), wants.map(names).collect())
    }
}

/// Reads all databases of a tree. What can't be read is said, and no error: the tree is foreign.
pub fn of(subject: &Subject<'_>, unknown: &mut Vec<String>) -> Result<Vec<Record>> {
    let mut records = dpkg(subject, unknown)?;
    records.extend(rpm(subject, unknown)?);
    Ok(records)
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because it is a path of this program")
}

fn read(subject: &Subject<'_>, content: &Content) -> Result<Option<Vec<u8>>> {
    match content.size <= DATABASE_BYTES_MAX {
        true => Ok(Some(subject.contents.read_all(content)?)),
        false => Ok(None),
    }
}

fn folder<'a>(tree: &'a Directory, at: &str) -> Option<&'a Directory> {
    tree.directory(&follow::follow(tree, &path(at))?)
}

fn dpkg(subject: &Subject<'_>, unknown: &mut Vec<String>) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let status = follow::resolve(subject.tree, &path("/var/lib/dpkg/status")).and_then(|found| found.1);
    if let Some(Node::File(file)) = status {
        match read(subject, &file.content)? {
            Some(text) => {
                stanzas(&String::from_utf8_lossy(&text), "/var/lib/dpkg/status", &mut records, unknown)
            }
            None => unknown.push(format!("/var/lib/dpkg/status has more than {DATABASE_BYTES_MAX} bytes")),
        }
    }
    if let Some(info) = folder(subject.tree, "/var/lib/dpkg/info") {
        for record in &mut records {
            list(subject, info, record)?;
        }
    }
    let Some(each) = folder(subject.tree, "/var/lib/dpkg/status.d") else { return Ok(records) };
    for (name, node) in &each.entries {
        let Node::File(file) = node else { continue };
        if name.as_bytes().ends_with(b".md5sums") {
            continue;
        }
        let Some(text) = read(subject, &file.content)? else { continue };
        let first = records.len();
        let place = format!("/var/lib/dpkg/status.d/{name}");
        stanzas(&String::from_utf8_lossy(&text), &place, &mut records, unknown);
        let sums = [name.as_bytes(), b".md5sums"].concat();
        if let (Some(Node::File(file)), Some(record)) = (each.entries.get(&sums[..]), records.get_mut(first))
        {
            record.paths = sums_of(&read(subject, &file.content)?.unwrap_or_default());
        }
    }
    Ok(records)
}

/// Reads the paragraphs of installed packages, each by itself: one that is malformed hides no other.
fn stanzas(text: &str, place: &str, records: &mut Vec<Record>, unknown: &mut Vec<String>) {
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let stanza = match control::stanza(paragraph) {
            Ok(stanza) => stanza,
            Err(error) => {
                unknown.push(format!("{place} has a paragraph that can't be read: {error}"));
                continue;
            }
        };
        // In `status.d` there is no `Status`: what lies there is installed.
        let is_installed = stanza.get("Status").is_none_or(|status| status.ends_with(" installed"));
        let (Some(name), Some(version), true) = (stanza.get("Package"), stanza.get("Version"), is_installed)
        else {
            continue;
        };
        let fields = stanza.fields().iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        records.push(Record {
            family: Family::Debian,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: stanza.get("Architecture").unwrap_or_default().to_owned(),
            fields: fields.collect(),
            paths: Vec::new(),
            is_complete: false,
        });
    }
}

/// Reads dpkg's list of a package's paths.
fn list(subject: &Subject<'_>, info: &Directory, record: &mut Record) -> Result<()> {
    let names = [format!("{}.list", record.name), format!("{}:{}.list", record.name, record.architecture)];
    let Some(Node::File(file)) = names.iter().find_map(|name| info.entries.get(name.as_bytes())) else {
        return Ok(());
    };
    let text = read(subject, &file.content)?.unwrap_or_default();
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    record.paths = lines.filter_map(|line| ImagePath::new(line).ok()).collect();
    record.is_complete = true;
    Ok(())
}

/// Reads lines of `MD5  path/below/the/root`.
fn sums_of(text: &[u8]) -> Vec<ImagePath> {
    let lines = text.split(|&byte| byte == b'\n');
    let name = |line: &[u8]| {
        let at = line.iter().position(|&byte| byte == b' ')?;
        ImagePath::from_archive(line[at..].trim_ascii()).ok()
    };
    lines.filter_map(name).collect()
}

fn rpm(subject: &Subject<'_>, unknown: &mut Vec<String>) -> Result<Vec<Record>> {
    let node = |at: &str| follow::resolve(subject.tree, &path(at)).and_then(|found| found.1);
    let file = RPM_DATABASES.iter().find_map(|at| match node(at) {
        Some(Node::File(file)) => Some((*at, file)),
        _ => None,
    });
    let Some((at, file)) = file else { return Ok(Vec::new()) };
    let Some(bytes) = read(subject, &file.content)? else {
        unknown.push(format!("{at} has more than {DATABASE_BYTES_MAX} bytes"));
        return Ok(Vec::new());
    };
    let packages = match rpm::read_database(&bytes) {
        Ok(packages) => packages,
        Err(error) => {
            unknown.push(format!("{at} can't be read: {error}"));
            return Ok(Vec::new());
        }
    };
    // What signed packages of a vendor are checked by is kept among them, and is none.
    let real = packages.into_iter().filter(|package| package.name != "gpg-pubkey");
    Ok(real
        .map(|package| Record {
            family: Family::Rpm,
            name: package.name,
            version: package.version,
            architecture: package.architecture,
            fields: package.fields,
            paths: package.paths,
            is_complete: true,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_malformed_paragraph_hides_no_other() {
        let text = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\nnonsense\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: b\nVersion: 2\n";
        let (mut records, mut unknown) = (Vec::new(), Vec::new());
        stanzas(text, "here", &mut records, &mut unknown);
        let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(unknown.len(), 1);
    }

    #[test]
    fn relations_name_alternatives_in_their_order() {
        let (mut records, mut unknown) = (Vec::new(), Vec::new());
        let text = "Package: a\nVersion: 1\nArchitecture: amd64\nProvides: va (= 1), wa\nDepends: ba (>= 1) | ca, da\n";
        stanzas(text, "here", &mut records, &mut unknown);
        let (provides, wants) = records[0].relations("amd64");
        assert_eq!(provides, ["va", "wa"]);
        assert_eq!(wants, [vec!["ba".to_owned(), "ca".to_owned()], vec!["da".to_owned()]]);
    }

    #[test]
    fn sums_name_paths_and_nonsense_names_none() {
        let paths = sums_of(b"0cc1  usr/bin/a b\nnonsense\n\n0cc1  ../up\n");
        assert_eq!(paths, [path("/usr/bin/a b")]);
    }
}
