//! What people type for something to look into, taken apart.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::error::{Result, ViewError};
use crate::base::{ImagePath, fs};

/// Where a view looks, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file or block device of this machine, with the partition and the path that were named.
    File { file: PathBuf, part: Option<String>, path: Option<ImagePath> },
    /// A commit, tree or file of a store, as typed; the path behind the colon is the store's to read.
    Revision(String),
}

/// Tells whether a text names something in a store, not a file of this machine.
pub fn needs_store(text: &str) -> bool {
    matches!(Location::parse(text), Ok(Location::Revision(_)))
}

impl Location {
    /// Takes a text apart: the longest beginning that is a file counts. Looks at files of these names, opens
    /// none but regular ones and block devices, and reads no more than their first 2 KiB.
    pub fn parse(text: &str) -> Result<Location> {
        let colons = text.match_indices(':').map(|(at, _)| at);
        let mut ends: Vec<usize> = colons.chain([text.len()]).collect();
        ends.reverse();
        for end in ends {
            if is_image(&text[..end]) {
                return behind(text, end);
            }
        }
        Ok(Location::Revision(text.to_owned()))
    }
}

/// Reads `:PART`, `:/PATH` or `:PART:/PATH`.
fn behind(text: &str, end: usize) -> Result<Location> {
    let file = PathBuf::from(&text[..end]);
    let Some(rest) = text[end..].strip_prefix(':') else {
        return Ok(Location::File { file, part: None, path: None });
    };
    let (part, path) = match rest.split_once(':') {
        _ if rest.is_empty() || rest.starts_with('/') => (None, Some(rest)),
        Some((part, path)) => (Some(part), Some(path)),
        None => (Some(rest), None),
    };
    let part = match part {
        Some(part) if part.contains('/') => {
            let problem = format!("a path inside an image begins with \"/\": write :/{part}");
            return Err(ViewError::Place { text: text.to_owned(), problem });
        }
        part => part,
    };
    let wrong = |problem: String| ViewError::Place { text: text.to_owned(), problem };
    let path = path.map(|path| match path {
        "" => Ok(ImagePath::root()),
        path if !path.starts_with('/') => {
            Err(wrong(format!("a path inside an image begins with \"/\": write :/{path}")))
        }
        path => ImagePath::new(path.as_bytes()).map_err(|error| wrong(error.to_string())),
    });
    Ok(Location::File { file, part: part.map(str::to_owned), path: path.transpose()? })
}

/// Tells whether a text is the name of a file that is meant: it has a slash, or begins like an image.
fn is_image(text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let path = Path::new(text);
    let Ok(kind) = std::fs::metadata(path).map(|metadata| metadata.file_type()) else { return false };
    let is_readable = kind.is_file() || kind.is_block_device();
    is_readable && (text.contains('/') || begins_like_an_image(path))
}

/// Tells whether a file begins like a partitioned disk, an ext4 or a FAT filesystem.
pub fn begins_like_an_image(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::open(path).ok().and_then(|file| file.take(2048).read_to_end(&mut head).ok());
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    read.is_some() && (has(510, &[0x55, 0xaa]) || has(512, b"EFI PART") || has(1080, &[0x53, 0xef]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path, name: &str) -> String {
        let mut bytes = vec![0; 1024];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(folder.join(name), bytes).expect("written");
        folder.join(name).to_string_lossy().into_owned()
    }

    #[test]
    fn parts_and_paths_stand_behind_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = image(folder.path(), "a.img");
        let parse = |rest: &str| match Location::parse(&format!("{file}{rest}")) {
            Ok(Location::File { part, path, .. }) => {
                format!("{} {}", part.unwrap_or_default(), path.map(|it| it.to_string()).unwrap_or_default())
            }
            other => format!("{other:?}"),
        };
        assert_eq!(parse(""), " ");
        assert_eq!(parse(":"), " /");
        assert_eq!(parse(":/etc/a:b"), " /etc/a:b");
        assert_eq!(parse(":slot-b"), "slot-b ");
        assert_eq!(parse(":slot-b:"), "slot-b /");
        assert_eq!(parse(":slot-b:/etc"), "slot-b /etc");
        assert!(parse(":esp:EFI").contains("begins with"));
        assert!(parse(":/a/../b").contains(".."));
    }

    #[test]
    fn a_file_with_a_colon_in_its_name_is_found_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (whole, short) = (image(folder.path(), "a:esp"), image(folder.path(), "a"));
        let file = |text: &str| match Location::parse(text) {
            Ok(Location::File { file, part, .. }) => (file.to_string_lossy().into_owned(), part),
            other => panic!("{other:?}"),
        };
        assert_eq!(file(&whole), (whole.clone(), None));
        assert_eq!(file(&format!("{short}:data")), (short, Some("data".to_owned())));
    }

    #[test]
    fn what_is_no_file_is_a_revision() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = folder.path().join("text");
        std::fs::write(&text, b"no image").expect("written");
        for name in ["", "web", "web~1:/etc", "/nonexistent/x.img", &folder.path().to_string_lossy()] {
            assert_eq!(Location::parse(name).expect(name), Location::Revision(name.to_owned()));
        }
        // A slash makes it a file, whatever it holds: the error then speaks of the file.
        assert!(!needs_store(&text.to_string_lossy()));
        assert!(!begins_like_an_image(&text) && needs_store("web"));
    }
}
