//! The `.deb` format (`deb(5)`), strictly: `debian-binary`, `control.tar*`, `data.tar*`, in this order and
//! nothing else.

use std::io::Read;

use super::super::unpack::Control;
use super::control;
use super::{name, version};
use crate::archive::{Ar, ArchiveError, Compression, Limits, Member, Options, decompress_as, read_tar};
use crate::base::{ImagePath, Job, Name, PathError};
use crate::tree::{
    Content, ContentError, ContentSink, ContentSource, Directory, File, MemoryContents, Metadata, Node,
    Special,
};

/// Most bytes of `control.tar` after decompression: fields, scripts and lists of files.
const CONTROL_BYTES_MAX: u64 = 64 << 20;
/// Most entries of `control.tar`.
const CONTROL_ENTRIES_MAX: u64 = 1000;
/// Most bytes of the control file itself.
const FIELDS_BYTES_MAX: u64 = 1 << 20;
/// Bytes that `data.tar` may hold whatever the control file says of its size.
const DATA_BYTES_FREE: u64 = 1 << 30;
/// How often `data.tar` may hold what the control file says: it counts files, not headers.
const DATA_BYTES_FACTOR: u64 = 4;
/// Most bytes of `data.tar` where the control file says nothing of its size.
const DATA_BYTES_UNTOLD: u64 = 8 << 30;
/// What may follow `control.tar` and `data.tar`, and what it says of their bytes.
const SUFFIXES: [(&str, Compression); 6] = [
    ("", Compression::None),
    (".gz", Compression::Gzip),
    (".xz", Compression::Xz),
    (".zst", Compression::Zstd),
    (".bz2", Compression::Bzip2),
    (".lzma", Compression::Lzma),
];

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
    #[error(
        "{member} holds more than {limit_bytes} bytes, and the control file says {} (Installed-Size)",
        installed_kib.map_or("nothing of it".to_owned(), |size| format!("{size} KiB"))
    )]
    Oversized { member: String, limit_bytes: u64, installed_kib: Option<u64> },
    #[error("{member}: {path} has {special}, which no package may bring{}", and_more(*more))]
    Special { member: String, path: ImagePath, special: Special, more: usize },
    #[error("control.tar has no file ./{0}")]
    MissingFile(&'static str),
    #[error("control.tar: {name}: {problem}")]
    ControlFile { name: Name, problem: String },
    #[error("control.tar: ./{0} is no UTF-8 text")]
    NotText(&'static str),
    #[error("the control file, {0}")]
    Control(#[from] control::ControlError),
    #[error("the control file: field {field} is missing or malformed: {found:?}")]
    Field { field: &'static str, found: String },
    #[error("the list of conffiles")]
    Conffile(#[source] PathError),
    #[error("this is {found}, not {expected}")]
    OtherPackage { found: String, expected: String },
    #[error("what is kept of the package is damaged: {0}")]
    Stored(&'static str),
    #[error(transparent)]
    Content(#[from] ContentError),
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", and {more} more") }
}

impl DebError {
    /// Says in which member something is wrong.
    fn inner(member: &Member, problem: ArchiveError) -> DebError {
        let member = member.name.clone();
        match problem {
            ArchiveError::Forbidden { violations, count } if !violations.is_empty() => {
                let first = &violations[0];
                let (path, special) = (first.path.clone(), first.special);
                DebError::Special { member, path, special, more: count - 1 }
            }
            problem => DebError::Inner { member, problem },
        }
    }
}

/// Reads a whole package in one pass: its fields, the files of `control.tar`, and the tree of `data.tar`, which
/// goes through `options`. All contents go into `sink`.
pub fn read(
    reader: impl Read + Send,
    options: &Options<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<(Control, Directory, Directory), DebError> {
    let mut ar = Ar::new(reader, &options.limits).map_err(DebError::Outer)?;
    let (member, _) = next(&mut ar, "debian-binary")?;
    read_version(&mut ar, &member)?;
    let (member, compression) = next(&mut ar, "control.tar")?;
    let (control, info) = read_control(&mut ar, member, compression, sink, job)?;
    let (member, compression) = next(&mut ar, "data.tar")?;
    let tree = read_data(&mut ar, member, compression, &control, options, sink, job)?;
    match ar.next_member().map_err(DebError::Outer)? {
        None => Ok((control, info, tree)),
        Some(member) => Err(DebError::Member { expected: "the end", found: member.name }),
    }
}

/// Returns the next member, which must have this name (with one of the suffixes, for a tar).
fn next<R: Read>(ar: &mut Ar<R>, expected: &'static str) -> Result<(Member, Compression), DebError> {
    let Some(member) = ar.next_member().map_err(DebError::Outer)? else {
        return Err(DebError::Member { expected, found: "its end".to_owned() });
    };
    let is_tar = expected.ends_with(".tar");
    let compression = member.name.strip_prefix(expected).and_then(|suffix| {
        let known = SUFFIXES.iter().find(|known| known.0 == suffix)?;
        (is_tar || suffix.is_empty()).then_some(known.1)
    });
    match compression {
        Some(compression) => Ok((member, compression)),
        None => Err(DebError::Member { expected, found: member.name }),
    }
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

fn read_control<R: Read + Send>(
    ar: &mut Ar<R>,
    member: Member,
    compression: Compression,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<(Control, Directory), DebError> {
    let inner = |problem| DebError::inner(&member, problem);
    let limits = Limits { bytes: CONTROL_BYTES_MAX, entries: CONTROL_ENTRIES_MAX, ..Limits::default() };
    let contents = MemoryContents::default();
    let unpacked = decompress_as(compression, ar, &limits).map_err(inner)?;
    let options = Options { label: member.name.clone(), parallel: false, limits, ..Options::default() };
    let tree = read_tar(unpacked, &options, &contents, job).map_err(inner)?;
    let read = |content: &Content| contents.read_all(content);
    let fields = match tree.entries.get("control".as_bytes()) {
        Some(Node::File(file)) if file.content.size > FIELDS_BYTES_MAX => {
            let problem = format!("{} bytes, at most {FIELDS_BYTES_MAX} are read", file.content.size);
            return Err(control_file(b"control", problem));
        }
        Some(Node::File(file)) => read(&file.content)?,
        _ => return Err(DebError::MissingFile("control")),
    };
    let control = parse_control(&fields)?;
    if let Some(Node::File(file)) = tree.entries.get("conffiles".as_bytes()) {
        parse_conffiles(&read(&file.content)?)?;
    }
    let mut info = Directory::default();
    for (name, node) in tree.entries {
        let file = info_file(&name, node, &contents, sink)?;
        info.entries.insert(name, Node::File(file));
    }
    Ok((control, info))
}

fn control_file(name: &[u8], problem: impl Into<String>) -> DebError {
    let name = Name::new(name).expect("because it is a name");
    DebError::ControlFile { name, problem: problem.into() }
}

/// Checks an entry of `control.tar` and puts its content into the sink.
fn info_file(
    name: &Name,
    node: Node,
    contents: &MemoryContents,
    sink: &dyn ContentSink,
) -> Result<File, DebError> {
    let problem = |problem: String| control_file(name.as_bytes(), problem);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte);
    if !name.as_bytes().iter().all(is_plain) {
        return Err(problem("is no plain name of a control file".to_owned()));
    }
    match node {
        Node::File(file) => {
            let content = sink.put_reader(&mut &contents.read_all(&file.content)?[..])?;
            let mode = if file.metadata.mode & 0o100 != 0 { 0o755 } else { 0o644 };
            Ok(File { metadata: Metadata::root(mode), content })
        }
        other => Err(problem(format!("is a {}; control.tar holds files", other.kind()))),
    }
}

fn read_data<R: Read + Send>(
    ar: &mut Ar<R>,
    member: Member,
    compression: Compression,
    control: &Control,
    options: &Options<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Directory, DebError> {
    let installed_kib = control.field("Installed-Size").and_then(|size| size.parse::<u64>().ok());
    let told = |size: u64| size.saturating_mul(1024 * DATA_BYTES_FACTOR).saturating_add(DATA_BYTES_FREE);
    let limit_bytes = installed_kib.map_or(DATA_BYTES_UNTOLD, told).min(options.limits.bytes);
    let inner = |problem: ArchiveError| match problem {
        problem if problem.is_too_large() => {
            DebError::Oversized { member: member.name.clone(), limit_bytes, installed_kib }
        }
        problem => DebError::inner(&member, problem),
    };
    let limits = Limits { bytes: limit_bytes, ..options.limits.clone() };
    let unpacked = decompress_as(compression, ar, &limits).map_err(inner)?;
    let options =
        Options { label: options.label.clone(), prefix: options.prefix.clone(), limits, ..*options };
    read_tar(unpacked, &options, sink, job).map_err(inner)
}

/// Reads the control file's bytes.
pub fn parse_control(bytes: &[u8]) -> Result<Control, DebError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DebError::NotText("control"))?;
    if text.contains('\0') {
        return Err(control_file(b"control", "holds a NUL byte"));
    }
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
pub fn parse_conffiles(bytes: &[u8]) -> Result<Vec<ImagePath>, DebError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DebError::NotText("conffiles"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with("remove-on-upgrade "))
        .map(|line| ImagePath::new(line.as_bytes()).map_err(DebError::Conffile))
        .collect()
}
