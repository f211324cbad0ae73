//! The `.deb` format (`deb(5)`), strictly: `debian-binary`, `control.tar*`, `data.tar*`, in this order and
//! nothing else.

use std::collections::BTreeMap;
use std::io::Read;

use super::super::unpack::Control;
use super::control;
use super::{name, version};
use crate::archive::{Ar, ArchiveError, Limits, Member, Options, decompress, read_tar};
use crate::base::{ImagePath, Job, PathError};
use crate::tree::{ContentError, ContentSink, ContentSource, Directory, MemoryContents, Node};

/// Most bytes of `control.tar` after decompression: fields, scripts and lists of files.
const CONTROL_BYTES_MAX: u64 = 64 << 20;
/// Most entries of `control.tar`.
const CONTROL_ENTRIES_MAX: u64 = 1000;
/// What may follow `control.tar` and `data.tar`.
const SUFFIXES: [&str; 4] = ["", ".gz", ".xz", ".zst"];

/// The maintainer scripts.
const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// Says why bytes are no package that can be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    #[error("the package's archive")]
    Outer(#[source] ArchiveError),
    #[error("the package holds {found} where {expected} must be")]
    Member { expected: &'static str, found: String },
    #[error("debian-binary says format {found:?}; 2.x is the only one")]
    Version { found: String },
    #[error("{member}")]
    Inner {
        member: String,
        #[source]
        problem: ArchiveError,
    },
    #[error("control.tar has no file ./{0}")]
    MissingFile(&'static str),
    #[error("control.tar: ./{0} is no UTF-8 text")]
    NotText(String),
    #[error("the control file, {0}")]
    Control(#[from] control::ControlError),
    #[error("the control file: field {field} is missing or malformed: {found:?}")]
    Field { field: &'static str, found: String },
    #[error("the list of conffiles")]
    Conffile(#[source] PathError),
    #[error("this is {found}, not {expected}")]
    OtherPackage { found: String, expected: String },
    #[error("{path}: lies in a directory that /usr takes over, and {other} is there too and differs")]
    UsrMerge { path: ImagePath, other: ImagePath },
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// What `control.tar` holds.
pub struct ControlFiles {
    pub control: Control,
    pub conffiles: Vec<ImagePath>,
    /// By name: `postinst`.
    pub scripts: BTreeMap<String, Vec<u8>>,
}

/// Reads a whole package in one pass. The payload goes through `options` into `sink`.
pub fn read(
    bytes: &[u8],
    options: &Options<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<(ControlFiles, Directory), DebError> {
    let mut ar = Ar::new(bytes, &options.limits).map_err(DebError::Outer)?;
    let member = next(&mut ar, "debian-binary")?;
    read_version(&mut ar, &member)?;
    let member = next(&mut ar, "control.tar")?;
    let control = read_control(&mut ar, member, job)?;
    let member = next(&mut ar, "data.tar")?;
    let inner = |problem| DebError::Inner { member: member.name.clone(), problem };
    let (_, unpacked) = decompress(&mut ar, &options.limits).map_err(inner)?;
    let tree = read_tar(unpacked, options, sink, job).map_err(inner)?;
    match ar.next_member().map_err(DebError::Outer)? {
        None => Ok((control, tree)),
        Some(member) => Err(DebError::Member { expected: "the end", found: member.name }),
    }
}

/// Returns the next member, which must have this name (with one of the suffixes, for a tar).
fn next<R: Read>(ar: &mut Ar<R>, expected: &'static str) -> Result<Member, DebError> {
    let Some(member) = ar.next_member().map_err(DebError::Outer)? else {
        return Err(DebError::Member { expected, found: "its end".to_owned() });
    };
    let is_it = match member.name.strip_prefix(expected) {
        Some(suffix) if expected.ends_with(".tar") => SUFFIXES.contains(&suffix),
        Some(suffix) => suffix.is_empty(),
        None => false,
    };
    if is_it { Ok(member) } else { Err(DebError::Member { expected, found: member.name }) }
}

fn read_version<R: Read>(ar: &mut Ar<R>, member: &Member) -> Result<(), DebError> {
    let mut text = Vec::new();
    let failed = |source: std::io::Error| DebError::Inner {
        member: member.name.clone(),
        problem: ArchiveError::Read { place: Default::default(), source },
    };
    ar.take(16).read_to_end(&mut text).map_err(failed)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let minor = text.strip_prefix("2.").and_then(|rest| rest.strip_suffix('\n'));
    match minor {
        Some(minor) if !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(DebError::Version { found: text }),
    }
}

fn read_control<R: Read + Send>(ar: &mut Ar<R>, member: Member, job: &Job) -> Result<ControlFiles, DebError> {
    let inner = |problem| DebError::Inner { member: member.name.clone(), problem };
    let limits = Limits { bytes: CONTROL_BYTES_MAX, entries: CONTROL_ENTRIES_MAX, ..Limits::default() };
    let contents = MemoryContents::default();
    let (_, unpacked) = decompress(ar, &limits).map_err(inner)?;
    let options = Options { label: member.name.clone(), limits, ..Options::default() };
    let tree = read_tar(unpacked, &options, &contents, job).map_err(inner)?;
    let text = |name: &str| -> Result<Option<String>, DebError> {
        let bytes = file(&tree, name, &contents)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| DebError::NotText(name.to_owned()))
    };
    let control = parse_control(&text("control")?.ok_or(DebError::MissingFile("control"))?)?;
    let conffiles = parse_conffiles(&text("conffiles")?.unwrap_or_default()).map_err(DebError::Conffile)?;
    let mut scripts = BTreeMap::new();
    for name in SCRIPTS {
        if let Some(script) = file(&tree, name, &contents)? {
            scripts.insert(name.to_owned(), script);
        }
    }
    Ok(ControlFiles { control, conffiles, scripts })
}

fn file(tree: &Directory, name: &str, contents: &MemoryContents) -> Result<Option<Vec<u8>>, DebError> {
    match tree.entries.get(name.as_bytes()) {
        Some(Node::File(file)) => Ok(Some(contents.read_all(&file.content)?)),
        _ => Ok(None),
    }
}

fn parse_control(text: &str) -> Result<Control, DebError> {
    let stanza = control::stanza(text)?;
    let field = |field: &'static str, is_good: fn(&str) -> bool| {
        let found = stanza.get(field).unwrap_or_default().to_owned();
        if is_good(&found) { Ok(found) } else { Err(DebError::Field { field, found }) }
    };
    let fields = stanza.fields().iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ok(Control {
        name: field("Package", name::is_package)?,
        version: field("Version", version::is_version)?,
        architecture: field("Architecture", name::is_architecture)?,
        fields: fields.collect(),
    })
}

/// Reads the list of conffiles (`deb-conffiles(5)`): absolute paths, and paths behind `remove-on-upgrade`,
/// which mean nothing here.
fn parse_conffiles(text: &str) -> Result<Vec<ImagePath>, PathError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with("remove-on-upgrade "))
        .map(|line| ImagePath::new(line.as_bytes()))
        .collect()
}
