//! The `primary` and `filelists` indexes of a repository.

use std::collections::HashSet;
use std::io::Read;

use super::super::deb::name::is_archive_path;
use super::super::digest::Sha256;
use super::relation::Sense;
use super::universe::{Kind, Package, Relation, Texts, Universe};
use super::version::Evr;
use super::xml::{Event, Reader, Tag, XmlError};

/// Most packages of one repository.
const PACKAGES_MAX: usize = 2_000_000;
/// Most dependencies and files of one package in an index.
const RELATIONS_MAX: usize = 200_000;

/// Says which packages of an index count.
pub struct Wanted<'a> {
    /// Index into the request's sources.
    pub source: usize,
    /// RPM's name of the image's architecture: `x86_64`. Packages of `noarch` count too.
    pub architecture: &'a str,
}

/// Reads a primary index into a universe. Costs one pass over the text, and memory for what is kept.
pub fn read(input: impl Read, wanted: &Wanted<'_>, universe: &mut Universe) -> Result<(), XmlError> {
    let mut reader = Reader::new(input);
    let mut draft = Draft::default();
    let mut text = String::new();
    let mut packages = 0;
    loop {
        let problem = match reader.next_event()? {
            Event::Finish => return Ok(()),
            Event::Text(more) => {
                text.push_str(&more);
                Ok(())
            }
            Event::Start(tag) => {
                text.clear();
                match tag.name {
                    "package" => tag.get("type").map(|kind| {
                        draft = Draft { is_rpm: kind.as_deref() == Some("rpm"), ..Draft::default() };
                    }),
                    _ => draft.start(&tag, &mut universe.texts),
                }
            }
            Event::End("package") => {
                packages += 1;
                match std::mem::take(&mut draft).finish(wanted, &mut universe.texts) {
                    _ if packages > PACKAGES_MAX => Err(format!("more than {PACKAGES_MAX} packages")),
                    Ok(package) => {
                        package.into_iter().for_each(|package| universe.add(package));
                        Ok(())
                    }
                    Err(problem) => Err(problem),
                }
            }
            Event::End(name) => draft.end(name, &text, &mut universe.texts),
        };
        problem.map_err(|problem| reader.wrong(problem))?;
    }
}

/// A package as far as it was read.
#[derive(Default)]
struct Draft {
    is_rpm: bool,
    name: String,
    architecture: String,
    evr: Evr,
    sha256: Option<Sha256>,
    /// Whether the checksum that is being read is a SHA-256.
    is_sha256: bool,
    size_bytes: Option<u64>,
    filename: String,
    is_elsewhere: bool,
    group: Option<Kind>,
    relations: Vec<(Kind, Relation)>,
    files: Vec<super::universe::Symbol>,
}

impl Draft {
    fn start(&mut self, tag: &Tag<'_>, texts: &mut Texts) -> Result<(), String> {
        let get = |name: &str| tag.get(name);
        match tag.name {
            "version" => self.evr = evr(tag)?.unwrap_or_default(),
            "checksum" => self.is_sha256 = get("type")?.as_deref() == Some("sha256"),
            "size" => self.size_bytes = get("package")?.and_then(|size| size.parse().ok()),
            "location" => {
                self.filename = get("href")?.unwrap_or_default().into_owned();
                self.is_elsewhere = get("xml:base")?.is_some();
            }
            "rpm:requires" => self.group = Some(Kind::Requires),
            "rpm:provides" => self.group = Some(Kind::Provides),
            "rpm:conflicts" => self.group = Some(Kind::Conflicts),
            "rpm:obsoletes" => self.group = Some(Kind::Obsoletes),
            "rpm:recommends" => self.group = Some(Kind::Recommends),
            "rpm:supplements" => self.group = Some(Kind::Supplements),
            "rpm:suggests" | "rpm:enhances" => self.group = None,
            "rpm:entry" => return self.entry(tag, texts),
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, tag: &Tag<'_>, texts: &mut Texts) -> Result<(), String> {
        let Some(group) = self.group else { return Ok(()) };
        if self.relations.len() >= RELATIONS_MAX {
            return Err(format!("{}: more than {RELATIONS_MAX} dependencies", self.name));
        }
        let name = tag.get("name")?.filter(|name| !name.is_empty()).ok_or("a dependency without a name")?;
        let flags = tag.get("flags")?;
        let sense = match flags.as_deref() {
            None => Sense::ANY,
            Some(word) => Sense::of_word(word).ok_or_else(|| format!("{word:?} is no comparison"))?,
        };
        let version = evr(tag)?.map(|evr| evr.to_string()).unwrap_or_default();
        let relation = Relation { name: texts.symbol(&name), sense, evr: texts.symbol(&version) };
        self.relations.push((group, relation));
        Ok(())
    }

    fn end(&mut self, name: &str, text: &str, texts: &mut Texts) -> Result<(), String> {
        match name {
            "name" => self.name = text.trim().to_owned(),
            "arch" => self.architecture = text.trim().to_owned(),
            "checksum" if self.is_sha256 => self.sha256 = text.trim().parse().ok(),
            "file" if self.files.len() >= RELATIONS_MAX => {
                return Err(format!("{}: more than {RELATIONS_MAX} files", self.name));
            }
            "file" => self.files.push(texts.symbol(text)),
            _ => {}
        }
        Ok(())
    }

    /// Returns the package; `None` where it is of another architecture.
    fn finish(self, wanted: &Wanted<'_>, texts: &mut Texts) -> Result<Option<Package>, String> {
        if !self.is_rpm || self.architecture != wanted.architecture && self.architecture != "noarch" {
            return Ok(None);
        }
        if !is_name(&self.name) || !is_version(&self.evr) {
            return Err(format!("{:?} {} is no package", self.name, self.evr));
        }
        let name = self.name;
        if self.is_elsewhere || !is_archive_path(&self.filename) {
            return Err(format!("{name}: {:?} is no path below the repository", self.filename));
        }
        let of = |kind: Kind| {
            let relations = self.relations.iter().filter(|relation| relation.0 == kind);
            relations.map(|relation| relation.1).collect::<Vec<_>>()
        };
        Ok(Some(Package {
            evr: self.evr,
            architecture: texts.symbol(&self.architecture),
            size_bytes: self.size_bytes.ok_or_else(|| format!("{name} has no size"))?,
            sha256: self
                .sha256
                .ok_or_else(|| format!("{name} has no SHA-256, and nothing weaker is taken"))?,
            source: wanted.source,
            requires: of(Kind::Requires),
            provides: of(Kind::Provides),
            conflicts: of(Kind::Conflicts),
            obsoletes: of(Kind::Obsoletes),
            recommends: of(Kind::Recommends),
            supplements: of(Kind::Supplements),
            name: texts.symbol(&name),
            files: self.files,
            filename: self.filename,
        }))
    }
}

/// Reads `epoch`, `ver` and `rel`; `None` where there is no version.
fn evr(tag: &Tag<'_>) -> Result<Option<Evr>, String> {
    let Some(version) = tag.get("ver")? else { return Ok(None) };
    let epoch = tag.get("epoch")?;
    let epoch = epoch.map(|epoch| epoch.parse::<u32>().map_err(|_| format!("{epoch:?} is no epoch")));
    let release = tag.get("rel")?.map(std::borrow::Cow::into_owned);
    Ok(Some(Evr { epoch: epoch.transpose()?, version: version.into_owned(), release }))
}

/// Tells whether a text is the name of a package, before it becomes a word of a lock.
pub fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(is_part) && !text.starts_with(['-', '.', '+'])
}

/// Tells whether a text is `[EPOCH:]VERSION-RELEASE`, before it becomes a word of a lock.
pub fn is_version_text(text: &str) -> bool {
    let evr = Evr::parse(text);
    is_version(&evr) && evr.to_string() == text
}

/// Tells whether a text is the name of an architecture: `x86_64`.
pub fn is_architecture(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_version(evr: &Evr) -> bool {
    let is_good = |text: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+._~^".contains(&byte);
        (1..=200).contains(&text.len()) && text.bytes().all(is_part)
    };
    is_good(&evr.version) && evr.release.as_deref().is_some_and(is_good)
}

/// Reads from a list of all files which packages have the paths that are wanted. `source` is where the list is from.
pub fn read_files(
    input: impl Read,
    source: usize,
    wanted: &HashSet<String>,
    universe: &mut Universe,
) -> Result<(), XmlError> {
    let by_digest: std::collections::HashMap<Sha256, super::universe::PackageId> = universe
        .ids()
        .filter(|id| universe.package(*id).source == source)
        .map(|id| (universe.package(id).sha256, id))
        .collect();
    let mut reader = Reader::new(input);
    let mut current = None;
    let mut text = String::new();
    loop {
        match reader.next_event()? {
            Event::Finish => return Ok(()),
            Event::Text(more) => text.push_str(&more),
            Event::Start(tag) => {
                text.clear();
                if tag.name == "package" {
                    let digest = tag.get("pkgid").unwrap_or_default().and_then(|id| id.parse().ok());
                    current = digest.and_then(|digest: Sha256| by_digest.get(&digest).copied());
                }
            }
            Event::End("file") => {
                if let Some(id) = current.filter(|_| wanted.contains(&text)) {
                    universe.add_file(id, &text);
                }
            }
            Event::End(_) => {}
        }
    }
}
