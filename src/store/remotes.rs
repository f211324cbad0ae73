//! Small texts about other stores: `remotes/NAME`. What they say is the business of whoever reads them; here
//! they are read and replaced whole, one writer at a time.

use std::path::PathBuf;

use super::error::{Result, StoreError};
use super::lock::Lock;
use super::store::Store;
use crate::base::{FileError, Job, publish};

/// Longest text.
const REMOTE_BYTES_MAX: u64 = 16 << 20;
const TEMPORARY: &str = ".tmp-";

impl Store {
    /// Lists the names, sorted.
    pub fn remotes(&self) -> Result<Vec<String>> {
        let names = match crate::base::fs::list(&self.layout.remotes()) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            names => names?,
        };
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    /// Reads a text; `None` where there is none. The name is one component that does not begin with a dot.
    pub fn read_remote(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match crate::base::fs::read_at_most(&self.remote_path(name)?, REMOTE_BYTES_MAX) {
            Err(error) if error.is_missing() => Ok(None),
            bytes => Ok(Some(bytes?)),
        }
    }

    /// Replaces a text by what `change` makes of it, durably, while nobody else does; `None` is no text. Where
    /// `change` fails or changes nothing, nothing is written.
    pub fn change_remote<E: From<StoreError>>(
        &self,
        job: &Job,
        name: &str,
        change: impl FnOnce(Option<&[u8]>) -> std::result::Result<Option<Vec<u8>>, E>,
    ) -> std::result::Result<(), E> {
        let path = self.remote_path(name)?;
        self.prepare()?;
        self.create_remotes().map_err(StoreError::from)?;
        let _alone = Lock::wait(&self.media, &self.layout.remotes().join(".lock"), self.is_shared(), job)?;
        let old = self.read_remote(name)?;
        let new = change(old.as_deref())?;
        match new {
            new if new == old => Ok(()),
            Some(bytes) => Ok(self.write_remote(&path, &bytes).map_err(StoreError::from)?),
            None => {
                let removed = self.media.remove_file(&path);
                let synced = removed.and_then(|()| self.media.sync_directory(&self.layout.remotes()));
                Ok(synced.map_err(StoreError::from)?)
            }
        }
    }

    pub(super) fn create_remotes(&self) -> std::result::Result<(), FileError> {
        if self.media.create_directory(&self.layout.remotes())? {
            self.media.sync_directory(&self.layout.root)?;
        }
        Ok(())
    }

    fn write_remote(&self, path: &std::path::Path, bytes: &[u8]) -> std::result::Result<(), FileError> {
        let folder = self.layout.remotes();
        for name in crate::base::fs::list(&folder)? {
            if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                self.media.remove_file(&folder.join(name))?;
            }
        }
        if !path.exists() {
            // Whoever made the directory may have died before it was durable.
            self.media.sync_directory(&self.layout.root)?;
        }
        let temporary = folder.join(format!("{TEMPORARY}{}", publish::unique()));
        let file = self.media.create_file(&temporary, 0o644)?;
        let done = self
            .media
            .write_at(&file, &temporary, 0, bytes)
            .and_then(|()| self.media.sync(&file, &temporary))
            .and_then(|()| self.media.rename(&temporary, path));
        if done.is_err() {
            let _ = self.media.remove_file(&temporary);
        }
        done?;
        self.media.sync_directory(&folder)
    }

    fn remote_path(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(StoreError::Unknown { name: name.to_owned(), near: None });
        }
        Ok(self.layout.remotes().join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_replaced_whole_and_names_stay_in_their_directory() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("store")).expect("a store");
        let job = Job::quiet(1);
        let set = |text: Option<&[u8]>| {
            let text = text.map(<[u8]>::to_vec);
            store.change_remote::<StoreError>(&job, "origin", |_| Ok(text)).expect("changed");
        };
        assert_eq!(store.remotes().expect("listed"), Vec::<String>::new());
        set(Some(b"one"));
        set(Some(b"two"));
        assert_eq!(store.remotes().expect("listed"), ["origin"]);
        assert_eq!(store.read_remote("origin").expect("read").as_deref(), Some(&b"two"[..]));
        set(None);
        assert_eq!(store.read_remote("origin").expect("read"), None);
        for name in ["", ".lock", "../refs/x", "a/b", "."] {
            assert!(store.read_remote(name).is_err(), "{name}");
        }
    }
}
