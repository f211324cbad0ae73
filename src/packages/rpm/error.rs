use super::super::error::PackagesError;
use crate::archive::ArchiveError;
use crate::base::{Cancelled, ImagePath, PathError};
use crate::tree::{ContentError, TreeError};

/// Says why bytes are no package that can be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    #[error("the package ends in its {0}")]
    Truncated(&'static str),
    #[error("{what} must be {expected}, found {found}")]
    Form { what: &'static str, expected: String, found: String },
    #[error("the {header}")]
    Header {
        /// `signature header` or `main header`.
        header: &'static str,
        #[source]
        problem: HeaderError,
    },
    #[error("the {what} has {algorithm} {found}, the package says {expected}")]
    Digest { what: String, algorithm: &'static str, found: String, expected: String },
    #[error("no good signature on the package ({})", reasons.join("; "))]
    Signature {
        /// Why each was refused; empty: there is none.
        reasons: Vec<String>,
    },
    #[error("the list of files: {0}")]
    Files(String),
    #[error("file {path}: {problem}")]
    File { path: String, problem: String },
    #[error("the name of a file")]
    Path(#[from] PathError),
    #[error("the payload, at byte {offset}: {problem}")]
    Payload {
        /// After decompression.
        offset: u64,
        problem: String,
    },
    #[error("the payload is compressed with {0:?}; gzip, xz, lzma, bzip2 and zstd are known")]
    Compressor(String),
    #[error("the payload")]
    Compression(#[source] ArchiveError),
    #[error("this is {found}, not {expected}")]
    OtherPackage { found: String, expected: String },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Says what breaks the rules of a header.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum HeaderError {
    #[error("does not start with RPM's magic")]
    Magic,
    #[error("is cut off")]
    Truncated,
    #[error("announces {found} {what}, more than {limit}")]
    Limit { what: &'static str, found: u64, limit: u64 },
    #[error(
        "tag {tag} lies outside of its data, or is of an unknown form (type {kind}, {count} at {offset})"
    )]
    Entry { tag: u32, kind: u32, offset: u32, count: u32 },
    #[error("tag {0} is there twice")]
    Twice(u32),
    #[error("its region does not cover all of it")]
    Region,
    #[error("tag {0} is missing or of another type than it should be")]
    Missing(u32),
}

/// Says why packages could not be found, verified or chosen.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error("repository {source_name}: {problem}")]
    Metadata { source_name: String, problem: String },
    #[error("{name:?} is no {kind}")]
    Request { kind: &'static str, name: String },
    #[error("no repository has {name}{}", did_you_mean(similar))]
    Unknown { name: String, similar: Vec<String> },
    #[error("the packages can't be installed together:{}", listed(sentences))]
    Unsolvable {
        /// Who wants what, and what stands against it.
        sentences: Vec<String>,
    },
    #[error("package {package} of repository {source_name}, whose repomd.xml is not signed")]
    Package {
        package: String,
        source_name: String,
        #[source]
        problem: Box<RpmError>,
    },
    #[error("repository {source_name} names {package} and does not have it ({path})")]
    Gone { package: String, source_name: String, path: String },
    #[error(transparent)]
    Files(#[from] Box<PackagesError>),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<PackagesError> for RepositoryError {
    fn from(error: PackagesError) -> Self {
        match error {
            PackagesError::Cancelled(cancelled) => cancelled.into(),
            error => RepositoryError::Files(Box::new(error)),
        }
    }
}

fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) }
}

fn listed(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("\n  {sentence}")).collect()
}

/// Says why packages can't lie in one tree, or what a package wants done that is not understood.
#[derive(Debug, thiserror::Error)]
pub enum FinalizeError {
    #[error("package {package}: its stored header can't be read: {problem}")]
    Stored { package: String, problem: String },
    #[error(
        "{path} comes with {first} as a {first_kind} and with {second} as a {second_kind}, and they differ: leave \
         one of the packages out with `exclude`, or the file with `drop`"
    )]
    Clash {
        path: ImagePath,
        first: String,
        first_kind: &'static str,
        second: String,
        second_kind: &'static str,
    },
    #[error("{path} of {package} leads through {through}, which is a {kind} of {other}")]
    Through { path: ImagePath, package: String, through: ImagePath, kind: &'static str, other: String },
    #[error("{pattern:?} is no pattern for paths: {problem}")]
    Pattern { pattern: String, problem: String },
    #[error(
        "package {package}: its {script} script ({interpreter}) does what is not understood: {}; ways out: scripts = \
         {{ \"{package}\" = \"ignore\" }}, or \"run\" to run it in the sandbox, or `exclude` the package",
        shown_lines(lines)
    )]
    Script {
        package: String,
        /// `post`, `pretrans`, `transfiletriggerin 2`.
        script: String,
        interpreter: String,
        /// Number from 1 on, and text.
        lines: Vec<(usize, String)>,
    },
    #[error(
        "accounts {first} and {second} would both have the {kind} id {id}: name one of them with a `{kind}` block \
         and an id of its own"
    )]
    Id { kind: &'static str, id: u32, first: String, second: String },
    #[error("package {package}: {path}: {problem}")]
    Account { package: String, path: String, problem: String },
    #[error("package {package}: {path} belongs to {kind} {name:?}, which nothing creates")]
    Owner { package: String, path: ImagePath, kind: &'static str, name: String },
    #[error("unit {unit} can't be enabled: {problem}")]
    Unit { unit: String, problem: String },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Most lines of a script that a message shows.
const LINES_SHOWN: usize = 5;

fn shown_lines(lines: &[(usize, String)]) -> String {
    let shown = lines.iter().take(LINES_SHOWN);
    let mut text: Vec<String> =
        shown.map(|(number, line)| format!("line {number}: {}", line.trim())).collect();
    if lines.len() > LINES_SHOWN {
        text.push(format!("and {} more", lines.len() - LINES_SHOWN));
    }
    text.join("; ")
}
