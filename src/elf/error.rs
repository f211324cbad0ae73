use crate::base::ImagePath;
use crate::base::path::escaped;

/// Says why an ELF file can't be read, or why a program would not start.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum ElfError {
    /// The bytes are something else: a script, text, an archive.
    #[error("it is no ELF file")]
    NotElf,
    /// The bytes begin as ELF and contradict themselves.
    #[error("it is a damaged ELF file: {problem}")]
    Damaged { problem: String },
    /// One of these befell the file at a path.
    #[error("reading {path}")]
    File { path: ImagePath, source: Box<ElfError> },
    /// A program that was asked for does not exist.
    #[error("there is no file {path}")]
    NoFile { path: ImagePath },
    /// The loader that a program names is not there.
    #[error("{program} is started by {interpreter}, which is not there")]
    NoInterpreter { program: ImagePath, interpreter: String },
    /// A library that the loader would not find.
    #[error(
        "{needed_by} needs {library}, which is in none of {}; add the package that has it, \
             or keep it by name if the program loads it another way",
        list(searched)
    )]
    NoLibrary { library: String, needed_by: ImagePath, searched: Vec<ImagePath> },
}

impl ElfError {
    pub(super) fn damaged(problem: impl Into<String>) -> Self {
        ElfError::Damaged { problem: problem.into() }
    }

    pub(super) fn at(self, path: &ImagePath) -> Self {
        ElfError::File { path: path.clone(), source: Box::new(self) }
    }
}

fn list(paths: &[ImagePath]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| escaped(path.as_bytes())).collect();
    if paths.is_empty() { "the places where its path leads".into() } else { paths.join(", ") }
}
