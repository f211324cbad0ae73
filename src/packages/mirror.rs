//! Which mirror serves a suite: the caller's, the recipe's, or those of apt's sources, in this order.

use std::path::{Path, PathBuf};

use super::date;
use super::deb::name;
use super::error::PackagesError;
use super::request::{Request, SourceRequest};
use super::settings::Settings;
use super::sources::{self, SignedBy, Source};
use crate::base::fs;
use crate::base::path::escaped;

/// Largest list of sources that is read, in bytes.
const SOURCES_BYTES_MAX: u64 = 1 << 20;
/// Stands in an address for a time, as archives of old states spell it: `20260711T101637Z`.
const DATE: &str = "{date}";

/// Names a mirror for every suite, or for one: `ADDRESS` or `SUITE=ADDRESS`. In the address, `{date}` stands
/// for the time of the suite's state in the lock (for the present where there is none), as in
/// `20260711T101637Z`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorRule {
    /// A suite, or the name that the recipe gives a source.
    pub suite: Option<String>,
    pub address: String,
}

impl MirrorRule {
    /// Reads one rule.
    pub fn parse(text: &str) -> Result<MirrorRule, PackagesError> {
        let rule = match text.split_once('=').filter(|(suite, _)| name::is_suite(suite)) {
            Some((suite, address)) => {
                MirrorRule { suite: Some(suite.to_owned()), address: address.to_owned() }
            }
            None => MirrorRule { suite: None, address: text.to_owned() },
        };
        Mirror::parse(&rule.address, 0)?;
        Ok(rule)
    }

    /// Reads rules that are parted by blanks, as `MKIMAGE_MIRROR` holds them.
    pub fn parse_list(text: &str) -> Result<Vec<MirrorRule>, PackagesError> {
        text.split_ascii_whitespace().map(MirrorRule::parse).collect()
    }

    fn is_for(&self, source: &SourceRequest) -> bool {
        self.suite.as_ref().is_none_or(|suite| *suite == source.suite || *suite == source.name)
    }
}

/// Holds the root of an archive and who may sign it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mirror {
    root: Root,
    /// Empty: the distribution's keyring.
    pub(super) signed_by: Vec<SignedBy>,
    /// One of several candidates from apt's sources, not one that somebody named.
    pub(super) is_guess: bool,
    /// Named for every suite: it may not have this one, but another archive's of the same name.
    pub(super) is_for_all: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Root {
    /// Without a slash at the end.
    Http(String),
    Directory(PathBuf),
}

/// Where a file of a mirror is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Location {
    Http(String),
    File(PathBuf),
}

impl Mirror {
    /// Reads `http://…`, `https://…`, `file:/…` or an absolute path. `seconds` is what `{date}` stands for.
    pub(super) fn parse(address: &str, seconds: u64) -> Result<Mirror, PackagesError> {
        let address = &address.replace(DATE, &date::compact(seconds));
        let wrong = |problem: &str| {
            let address = hide_credentials(address);
            Err(PackagesError::Address { address, problem: problem.to_owned() })
        };
        if address.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return wrong("it holds a blank or a control character");
        }
        let is_http = ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme));
        let path = address.strip_prefix("file:").unwrap_or(address);
        let path = path.strip_prefix("//localhost").or_else(|| path.strip_prefix("//")).unwrap_or(path);
        let root = match () {
            () if is_http && address.parse::<ureq::http::Uri>().is_err() => return wrong("it can't be read"),
            () if is_http => Root::Http(address.trim_end_matches('/').to_owned()),
            () if path.starts_with('/') => Root::Directory(PathBuf::from(path)),
            () => return wrong("it must start with http://, https:// or file:/"),
        };
        Ok(Mirror { root, signed_by: Vec::new(), is_guess: false, is_for_all: false })
    }

    /// Returns where a path below the archive's root is. The path must have passed the checks of
    /// [`super::deb::name::is_archive_path`].
    pub(super) fn locate(&self, path: &str) -> Location {
        match &self.root {
            Root::Http(root) => Location::Http(format!("{root}/{}", quoted(path))),
            Root::Directory(root) => Location::File(root.join(path)),
        }
    }

    /// Names the mirror for people, without credentials.
    pub(super) fn shown(&self) -> String {
        match &self.root {
            Root::Http(root) => hide_credentials(root),
            Root::Directory(root) => format!("file:{}", root.display()),
        }
    }

    /// Returns the folder of a mirror that needs no connection.
    pub(super) fn folder(&self) -> Option<&Path> {
        match &self.root {
            Root::Http(_) => None,
            Root::Directory(folder) => Some(folder),
        }
    }

    /// Returns where distributions put what is for security where they give it a root of its own: beside the
    /// other, as `debian-security` beside `debian`.
    fn security(&self, distribution: &str) -> Option<Mirror> {
        let is_it = |root: &str| root.rsplit('/').next() == Some(distribution);
        let root = match &self.root {
            Root::Http(root) if is_it(root) => Root::Http(format!("{root}-security")),
            Root::Directory(root) if root.file_name().is_some_and(|name| name == distribution) => {
                Root::Directory(root.with_file_name(format!("{distribution}-security")))
            }
            _ => return None,
        };
        Some(Mirror { root, ..self.clone() })
    }
}

/// Percent-encodes what could mean something else in an address (RFC 3986 §2.1); `/` stays.
fn quoted(path: &str) -> String {
    let mut address = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                address.push(byte as char)
            }
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

fn hide_credentials(address: &str) -> String {
    match address.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => address.to_owned(),
    }
}

/// Returns the mirrors that may serve a source, best first, at least one. Where mirrors are named, by flags, the
/// environment or the recipe, apt's configuration is not looked at. `seconds` is what `{date}` stands for.
pub(super) fn candidates(
    request: &Request,
    source: &SourceRequest,
    seconds: u64,
    settings: &Settings,
) -> Result<Vec<Mirror>, PackagesError> {
    let rules = settings.mirrors.iter().filter(|rule| rule.is_for(source));
    let named = rules.map(|rule| (&rule.address, rule.suite.is_none()));
    let mut mirrors = Vec::new();
    for (address, is_for_all) in named.chain(source.mirror.iter().map(|address| (address, false))) {
        let mirror = Mirror { is_for_all, ..Mirror::parse(address, seconds)? };
        let may_lie_beside = is_for_all && source.suite.ends_with("-security");
        let beside = if may_lie_beside { mirror.security(&request.distribution) } else { None };
        mirrors.extend(beside.into_iter().chain([mirror]));
    }
    if mirrors.is_empty() { of_apt(request, source, settings) } else { Ok(mirrors) }
}

/// Returns the mirrors that apt's sources give for a suite.
fn of_apt(
    request: &Request,
    source: &SourceRequest,
    settings: &Settings,
) -> Result<Vec<Mirror>, PackagesError> {
    let mut notes = Vec::new();
    let mut mirrors = Vec::new();
    for entry in read_apt(&settings.apt, &mut notes) {
        let entry = entry.with_architecture(&request.architecture);
        if !entry.offers(&source.suite, &source.components, &request.architecture) {
            continue;
        }
        for uri in entry.uris.iter().flat_map(|uri| expanded(uri, &mut notes)).collect::<Vec<_>>() {
            match Mirror::parse(&uri, settings.now_seconds) {
                Ok(mirror) => {
                    mirrors.push(Mirror { signed_by: entry.signed_by.clone(), is_guess: true, ..mirror });
                }
                Err(error) => notes.push(error.to_string()),
            }
        }
    }
    if mirrors.is_empty() {
        notes.push(format!("(looked into {})", settings.apt.display()));
        return Err(PackagesError::NoMirror {
            distribution: request.distribution.clone(),
            suite: source.suite.clone(),
            components: source.components.clone(),
            notes: notes.iter().map(|note| format!("\n  {note}")).collect(),
        });
    }
    let is_only = mirrors.len() == 1;
    mirrors.iter_mut().for_each(|mirror| mirror.is_guess = !is_only);
    Ok(mirrors)
}

/// Returns the addresses that stand in a list of mirrors (`mirror+file:/path`, `apt-transport-mirror(1)`), in
/// its order; any other address stands for itself.
fn expanded(uri: &str, notes: &mut Vec<String>) -> Vec<String> {
    let Some(path) = uri.strip_prefix("mirror+file:") else { return vec![uri.to_owned()] };
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    match fs::read_at_most(path, SOURCES_BYTES_MAX) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let words = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
            words.filter(|word| !word.starts_with('#')).map(str::to_owned).collect()
        }
        Err(error) => {
            notes.push(format!("{error}: {}", error.source));
            Vec::new()
        }
    }
}

/// Reads apt's sources: `sources.list`, then `sources.list.d` by name. A file that can't be read or
/// understood is passed over, with a note.
fn read_apt(folder: &Path, notes: &mut Vec<String>) -> Vec<Source> {
    let parts = folder.join("sources.list.d");
    let names = fs::list(&parts).unwrap_or_default();
    let mut files = vec![folder.join("sources.list")];
    files.extend(names.iter().map(|name| parts.join(name)));
    let mut found = Vec::new();
    for file in files {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources::parse_one_line,
            Some("sources") => sources::parse_deb822,
            _ => continue,
        };
        let bytes = match fs::read_at_most(&file, SOURCES_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => continue,
            Err(error) => {
                notes.push(format!("{error}: {}", error.source));
                continue;
            }
        };
        match parse(&String::from_utf8_lossy(&bytes)) {
            Ok(sources) => found.extend(sources),
            Err(error) => notes.push(format!("{}: {error}", escaped(file.as_os_str().as_encoded_bytes()))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { distribution: "debian".into(), architecture: "amd64".into(), ..Request::default() }
    }

    fn source(suite: &str) -> SourceRequest {
        SourceRequest::of_suite(suite, &["main"])
    }

    fn shown(settings: &Settings, source: &SourceRequest) -> Vec<String> {
        candidates(&request(), source, 951_782_400, settings)
            .expect("mirrors")
            .iter()
            .map(Mirror::shown)
            .collect()
    }

    fn settings(apt: &Path) -> Settings {
        Settings::bare(apt.to_owned(), "/nowhere".into(), 0)
    }

    #[test]
    fn flag_then_recipe_then_apt() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = folder.path().join("sources.list.d");
        std::fs::create_dir(&parts).expect("created");
        std::fs::write(folder.path().join("sources.list"), "deb http://one.invalid/d/ s main\n")
            .expect("written");
        std::fs::write(
            parts.join("a.sources"),
            "Types: deb\nURIs: https://two.invalid/d\nSuites: s t\nComponents: main\nSigned-By: /k.gpg\n",
        )
        .expect("written");
        std::fs::write(parts.join("b.list.disabled"), "deb http://off.invalid s main\n").expect("written");
        std::fs::write(parts.join("c.list"), "nonsense\n").expect("written");
        let mut settings = settings(folder.path());
        assert_eq!(shown(&settings, &source("s")), ["http://one.invalid/d", "https://two.invalid/d"]);
        let only = candidates(&request(), &source("t"), 0, &settings).expect("mirrors");
        assert_eq!((only.len(), only[0].is_guess, only[0].signed_by.len()), (1, false, 1));
        let mut asked = source("s");
        asked.mirror = Some("file:///srv/debian".into());
        assert_eq!(shown(&settings, &asked), ["file:/srv/debian"]);
        settings.mirrors = MirrorRule::parse_list("http://user:secret@three.invalid/").expect("a rule");
        assert_eq!(shown(&settings, &asked), ["http://three.invalid", "file:/srv/debian"]);
    }

    #[test]
    fn a_rule_for_one_suite_an_old_state_and_what_lies_beside_for_security() {
        let mut settings = settings(Path::new("/nowhere"));
        let rules = "s-security=http://one.invalid/{date}/d?x=1 http://two.invalid/debian/ /srv/a=b";
        settings.mirrors = MirrorRule::parse_list(rules).expect("rules");
        let security = [
            "http://one.invalid/20000229T000000Z/d?x=1",
            "http://two.invalid/debian-security",
            "http://two.invalid/debian",
            "file:/srv/a=b",
        ];
        assert_eq!(shown(&settings, &source("s-security")), security);
        assert_eq!(shown(&settings, &source("s")), security[2..]);
        let named = SourceRequest { name: "s-security".into(), ..source("t") };
        assert_eq!(shown(&settings, &named)[0], security[0]);
    }

    #[test]
    fn apts_addresses_may_hold_the_architecture() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = "deb http://h.invalid/$(ARCH)/ s-$(ARCH) main\n";
        std::fs::write(folder.path().join("sources.list"), line).expect("written");
        assert_eq!(shown(&settings(folder.path()), &source("s-amd64")), ["http://h.invalid/amd64"]);
    }

    #[test]
    fn where_no_mirror_is_known_the_message_says_how_to_name_one() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("sources.list"), "nonsense\n").expect("written");
        let problem = candidates(&request(), &source("s"), 0, &settings(folder.path())).expect_err("none");
        let message = problem.to_string();
        for part in ["debian s (main)", "--mirror", "MKIMAGE_MIRROR", "file:/path", "sources.list: line 1"] {
            assert!(message.contains(part), "{message}");
        }
        for wrong in ["ftp://h/", "debian", "http://a b/", "cdrom:[x]/"] {
            assert!(matches!(MirrorRule::parse(wrong), Err(PackagesError::Address { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_mirrors_gives_its_mirrors() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("list");
        std::fs::write(&list, "# c\nhttps://one.invalid/d\tpriority:1\n\nhttp://two.invalid/d\n")
            .expect("written");
        let line = format!("deb mirror+file://{} s main\n", list.display());
        std::fs::write(folder.path().join("sources.list"), line).expect("written");
        let settings = settings(folder.path());
        assert_eq!(shown(&settings, &source("s")), ["https://one.invalid/d", "http://two.invalid/d"]);
    }

    #[test]
    fn what_an_address_would_misread_is_encoded() {
        let mirror = Mirror::parse("http://h.invalid/d/", 0).expect("a mirror");
        let at = mirror.locate("pool/g++_1%3a2~x_amd64.deb");
        assert_eq!(at, Location::Http("http://h.invalid/d/pool/g%2B%2B_1%253a2~x_amd64.deb".into()));
    }
}
