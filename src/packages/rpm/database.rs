//! The database of installed packages, `rpmdb.sqlite`, as rpm 4.16 and later read it: each package's header with what
//! installing adds to it, and a table for each tag that packages are looked up by.
//!
//! A header keeps its immutable region byte for byte, so that its digests and signatures still hold. Behind it stand
//! the tags of the signature header, and those of the installation: time and transaction are the image's epoch. One
//! tag is repeated: the files' times, which in an image are its epoch too. A repeated tag takes the place of the one in
//! the region, for rpm as for everybody; so `rpm -V` compares with what the image has.

use std::collections::BTreeSet;

use super::header::{Header, Kind};
use super::relation::{self, Rich};
use super::sqlite::{self, Index, Table, Value};
use super::tags;

/// One package as the database knows it.
pub struct Installed<'a> {
    pub header: &'a Header,
    pub signatures: &'a Header,
    /// One byte a file: [`STATE_NORMAL`] or [`STATE_LEFT_OUT`].
    pub states: Vec<u8>,
}

/// States of files (`rpmfileState`).
pub const STATE_NORMAL: u8 = 0;
pub const STATE_LEFT_OUT: u8 = 2;

/// Flags of requirements (`rpmsenseFlags`) that matter only while installing.
const INSTALL_ONLY: u32 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 24 | 1 << 26;
/// Flags of requirements of the scripts that run on removal.
const ERASE_ONLY: u32 = 1 << 11 | 1 << 12;

/// What a table is keyed by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Blob,
    /// A number of 32 bits, little-endian.
    Number,
}

/// Tables, their tags, and which indexes they have, in rpm's order.
const TABLES: [(&str, u32, Form, &[&str]); 19] = [
    ("Name", tags::NAME, Form::Text, &["key"]),
    ("Basenames", tags::BASENAMES, Form::Text, &["key", "hnum"]),
    ("Group", tags::GROUP, Form::Text, &["key"]),
    ("Requirename", tags::REQUIRENAME, Form::Text, &["key", "hnum"]),
    ("Providename", tags::PROVIDENAME, Form::Text, &["key", "hnum"]),
    ("Conflictname", tags::CONFLICTNAME, Form::Text, &["key", "hnum"]),
    ("Obsoletename", tags::OBSOLETENAME, Form::Text, &["key", "hnum"]),
    ("Triggername", tags::TRIGGERNAME, Form::Text, &["key", "hnum"]),
    ("Dirnames", tags::DIRNAMES, Form::Text, &["key", "hnum"]),
    ("Installtid", tags::INSTALLTID, Form::Number, &[]),
    ("Sigmd5", tags::SIGMD5, Form::Blob, &[]),
    ("Sha1header", tags::SHA1HEADER, Form::Text, &["key"]),
    ("Filetriggername", tags::FILETRIGGERNAME, Form::Text, &["key", "hnum"]),
    ("Transfiletriggername", tags::TRANSFILETRIGGERNAME, Form::Text, &["key", "hnum"]),
    ("Recommendname", tags::RECOMMENDNAME, Form::Text, &["key", "hnum"]),
    ("Suggestname", tags::SUGGESTNAME, Form::Text, &["key", "hnum"]),
    ("Supplementname", tags::SUPPLEMENTNAME, Form::Text, &["key", "hnum"]),
    ("Enhancename", tags::ENHANCENAME, Form::Text, &["key", "hnum"]),
    // The last entry stands for the packages themselves.
    ("Packages", 0, Form::Blob, &[]),
];

/// Writes the database. Packages get numbers from 1 on, in the order given.
pub fn write(packages: &[Installed<'_>], epoch_seconds: u64, architecture: &str) -> Vec<u8> {
    let color = if matches!(architecture, "x86_64" | "ppc64" | "s390x") { 3 } else { 0 };
    let blobs = packages.iter().map(|package| Value::Blob(blob(package, epoch_seconds as u32, color)));
    let rows = (1..).zip(blobs.map(|blob| vec![Value::Null, blob])).collect();
    let sql = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)";
    let mut tables = vec![Table { name: "Packages".into(), sql: sql.into(), rows, indexes: Vec::new() }];
    let last = vec![Value::Text(b"Packages".to_vec()), Value::Integer(packages.len() as i64)];
    tables.push(Table {
        name: "sqlite_sequence".into(),
        sql: "CREATE TABLE sqlite_sequence(name,seq)".into(),
        rows: if packages.is_empty() { Vec::new() } else { vec![(1, last)] },
        indexes: Vec::new(),
    });
    for (name, tag, form, indexes) in &TABLES[..TABLES.len() - 1] {
        tables.push(table(name, *tag, *form, indexes, packages, epoch_seconds as u32));
    }
    sqlite::write(&tables)
}

fn table(
    name: &str,
    tag: u32,
    form: Form,
    indexes: &[&str],
    packages: &[Installed<'_>],
    epoch: u32,
) -> Table {
    let kind = if form == Form::Text { "TEXT" } else { "BLOB" };
    let sql = format!(
        "CREATE TABLE '{name}' (key '{kind}' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN KEY \
         (hnum) REFERENCES 'Packages'(hnum))"
    );
    let mut rows = Vec::new();
    for (number, package) in (1..).zip(packages) {
        for (key, index) in keys(package, tag, form, epoch) {
            rows.push((
                rows.len() as i64 + 1,
                vec![key, Value::Integer(number), Value::Integer(index as i64)],
            ));
        }
    }
    let index = |column: &&str| Index {
        name: format!("{name}_{column}_idx"),
        sql: format!("CREATE INDEX '{name}_{column}_idx' ON '{name}'({column} ASC)"),
        column: usize::from(*column == "hnum"),
    };
    Table { name: name.to_owned(), sql, rows, indexes: indexes.iter().map(index).collect() }
}

/// Returns what a package is found by in a table, each with its position in the tag.
fn keys(package: &Installed<'_>, tag: u32, form: Form, epoch: u32) -> Vec<(Value, usize)> {
    match (tag, form) {
        (tags::INSTALLTID, _) => vec![(Value::Blob(epoch.to_le_bytes().to_vec()), 0)],
        (tags::SIGMD5, _) => {
            let digest = package.signatures.binary(1004);
            digest.map(|digest| (Value::Blob(digest.to_vec()), 0)).into_iter().collect()
        }
        (tags::SHA1HEADER, _) => {
            let digest = package.signatures.texts(tags::SHA1HEADER);
            digest.first().map(|digest| (Value::Text(digest.to_vec()), 0)).into_iter().collect()
        }
        _ => texts(package.header, tag),
    }
}

fn texts(header: &Header, tag: u32) -> Vec<(Value, usize)> {
    let mut keys: Vec<(Value, usize)> = Vec::new();
    let flags = if tag == tags::REQUIRENAME { header.numbers(tags::REQUIREFLAGS) } else { Vec::new() };
    let is_trigger = matches!(tag, tags::TRIGGERNAME | tags::FILETRIGGERNAME | tags::TRANSFILETRIGGERNAME);
    // Names of file triggers have the number of their script instead of their own.
    let scripts = match tag {
        tags::FILETRIGGERNAME => header.numbers(tags::FILETRIGGERINDEX),
        tags::TRANSFILETRIGGERNAME => header.numbers(tags::TRANSFILETRIGGERINDEX),
        _ => Vec::new(),
    };
    let mut seen = std::collections::HashSet::new();
    let values = header.texts(tag);
    let values = if tag == tags::GROUP { values.get(..1).unwrap_or_default().to_vec() } else { values };
    for (index, text) in values.into_iter().enumerate() {
        let flags = flags.get(index).map_or(0, |flags| *flags as u32);
        if flags & INSTALL_ONLY != 0 && flags & ERASE_ONLY == 0 || is_trigger && !seen.insert(text) {
            continue;
        }
        let index = scripts.get(index).map_or(index, |script| *script as usize);
        keys.push((Value::Text(text.to_vec()), index));
        if text.first() == Some(&b'(') {
            let rich = std::str::from_utf8(text).ok().and_then(|text| relation::parse(text).ok());
            let names: BTreeSet<(bool, String)> = rich
                .iter()
                .flat_map(|rich| names(rich, false))
                .filter(|name| !name.1.starts_with("rpmlib("))
                .collect();
            let key = |(is_contrary, name)| if is_contrary { format!("!{name}") } else { name };
            keys.extend(names.into_iter().map(|name| (Value::Text(key(name).into_bytes()), index)));
        }
    }
    keys
}

/// Returns the names in a rich dependency, each with whether it counts where it is away: what stands behind `if` and
/// `unless`, which `else` turns round.
fn names(rich: &Rich, is_contrary: bool) -> Vec<(bool, String)> {
    let all = |parts: &[&Rich]| parts.iter().flat_map(|part| names(part, is_contrary)).collect();
    match rich {
        Rich::Plain(plain) => vec![(is_contrary, plain.name.clone())],
        Rich::All(parts) | Rich::Any(parts) | Rich::With(parts) => all(&parts.iter().collect::<Vec<_>>()),
        Rich::Without(first, second) => all(&[first, second]),
        Rich::If(then, condition, otherwise) | Rich::Unless(then, condition, otherwise) => {
            let mut found = names(then, is_contrary);
            found.extend(names(condition, !is_contrary));
            if let Some(otherwise) = otherwise {
                found.extend(names(condition, is_contrary));
                found.extend(names(otherwise, is_contrary));
            }
            found
        }
    }
}

/// A tag that is added behind a header's region.
struct Added {
    tag: u32,
    kind: Kind,
    count: usize,
    bytes: Vec<u8>,
}

/// Writes a header as the database keeps it: without its magic, with what installing adds.
fn blob(package: &Installed<'_>, epoch: u32, color: u32) -> Vec<u8> {
    let mut added = added(package, epoch, color);
    added.sort_by_key(|added| added.tag);
    let header = package.header;
    let mut index = header.index().to_vec();
    let mut data = header.data().to_vec();
    for Added { tag, kind, count, bytes } in added {
        let offset = data.len().next_multiple_of(kind.size().unwrap_or(1));
        data.resize(offset, 0);
        data.extend_from_slice(&bytes);
        for number in [tag, kind as u32, offset as u32, count as u32] {
            index.extend(number.to_be_bytes());
        }
    }
    let counts = [(index.len() / 16) as u32, data.len() as u32];
    [&counts[0].to_be_bytes()[..], &counts[1].to_be_bytes(), &index, &data].concat()
}

fn added(package: &Installed<'_>, epoch: u32, color: u32) -> Vec<Added> {
    let number = |tag: u32, number: u32| Added {
        tag,
        kind: Kind::Int32,
        count: 1,
        bytes: number.to_be_bytes().into(),
    };
    let mut all = vec![
        number(tags::INSTALLTIME, epoch),
        number(tags::INSTALLCOLOR, color),
        number(tags::INSTALLTID, epoch),
    ];
    for (from, tag) in tags::SIGNATURES {
        if let Some((kind, count, bytes)) = package.signatures.raw(from).filter(|_| !package.header.has(tag))
        {
            all.push(Added { tag, kind, count, bytes: bytes.to_vec() });
        }
    }
    let files = package.states.len();
    if files != 0 {
        all.push(Added {
            tag: tags::FILESTATES,
            kind: Kind::Char,
            count: files,
            bytes: package.states.clone(),
        });
    }
    let times = package.header.numbers(tags::FILEMTIMES);
    if times.iter().any(|time| *time != u64::from(epoch)) {
        let bytes = epoch.to_be_bytes().repeat(times.len());
        all.push(Added { tag: tags::FILEMTIMES, kind: Kind::Int32, count: times.len(), bytes });
    }
    all
}
