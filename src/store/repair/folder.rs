//! Files of the host as a source: an app's folder, a checkout, downloaded packages.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::super::error::{Kind, Result};
use super::{HealError, Healer};
use crate::base::{Digest, FileError, Job};

/// Gives files below a directory whose bytes are what is lost. They are found by their length, then by their
/// digest; a file is read once however often it is asked for.
pub struct FolderHealer {
    root: PathBuf,
    by_size: HashMap<u64, Vec<PathBuf>>,
    digests: Mutex<HashMap<PathBuf, Digest>>,
}

impl FolderHealer {
    /// Lists the files below a directory; symbolic links are not followed.
    pub fn new(root: &Path, job: &Job) -> Result<FolderHealer> {
        let mut by_size = HashMap::<u64, Vec<PathBuf>>::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(folder) = waiting.pop() {
            job.check()?;
            for name in crate::base::fs::list(&folder)? {
                let path = folder.join(name);
                let metadata =
                    path.symlink_metadata().map_err(FileError::at("read the metadata of", &path))?;
                if metadata.is_dir() {
                    waiting.push(path);
                } else if metadata.is_file() {
                    by_size.entry(metadata.len()).or_default().push(path);
                }
            }
        }
        Ok(FolderHealer { root: root.to_owned(), by_size, digests: Mutex::default() })
    }

    fn digest(&self, path: &Path) -> std::result::Result<Digest, FileError> {
        let known = || self.digests.lock().expect("because nothing panics while it holds the digests");
        if let Some(digest) = known().get(path) {
            return Ok(*digest);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(crate::base::fs::open(path)?).map_err(FileError::at("read", path))?;
        let digest = Digest(*hasher.finalize().as_bytes());
        known().insert(path.to_owned(), digest);
        Ok(digest)
    }
}

impl Healer for FolderHealer {
    fn name(&self) -> String {
        format!("files in {}", self.root.display())
    }

    fn fetch(
        &self,
        kind: Kind,
        id: &Digest,
        size: Option<u64>,
    ) -> std::result::Result<Option<Box<dyn Read + '_>>, HealError> {
        let (Kind::Blob, Some(size)) = (kind, size) else { return Ok(None) };
        for path in self.by_size.get(&size).into_iter().flatten() {
            if self.digest(path).is_ok_and(|digest| digest == *id) {
                return Ok(Some(Box::new(crate::base::fs::open(path)?)));
            }
        }
        Ok(None)
    }
}
