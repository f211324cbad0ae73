//! Copies on the host.

use std::path::{Path, PathBuf};

use super::error::{Result, ViewError};
use super::view::View;
use crate::base::{ImagePath, Job, Name};
use crate::store::{CheckoutReport, check_out, check_out_entry};
use crate::tree::Node;

/// What was copied, and where it is now.
#[derive(Clone, Debug)]
pub struct Copied {
    pub path: PathBuf,
    pub report: CheckoutReport,
}

impl View<'_> {
    /// Copies what stands at a path to the host: a file, or a directory with all below. A target that is a
    /// directory already takes it under its own name, another one is made; nothing is written over. Owners,
    /// modes, attributes and devices are applied where the host lets this user, and no link is followed on the
    /// way, as in a checkout.
    pub fn copy(&self, path: &ImagePath, target: &Path, job: &Job) -> Result<Copied> {
        let found = self.find(path, false)?;
        let to = match (std::fs::metadata(target), path.name()) {
            (Ok(there), Some(name)) if there.is_dir() => target.join(host_name(&name)),
            _ => target.to_owned(),
        };
        let is_root_into = path.is_root() && std::fs::metadata(&to).is_ok_and(|there| there.is_dir());
        if !is_root_into && std::fs::symlink_metadata(&to).is_ok() {
            return Err(ViewError::Exists { path: to });
        }
        let report = match &found.node {
            Node::Directory(_) => check_out(&self.below(&found.path, job)?, self, &to, job)?,
            node => self.copy_entry(node, &to)?,
        };
        Ok(Copied { path: to, report })
    }

    fn copy_entry(&self, node: &Node, to: &Path) -> Result<CheckoutReport> {
        use std::os::unix::ffi::OsStrExt;
        let wrong = || ViewError::Place {
            text: to.display().to_string(),
            problem: "it is no name for a file".to_owned(),
        };
        let name = to.file_name().and_then(|name| Name::new(name.as_bytes()).ok()).ok_or_else(wrong)?;
        let folder = match to.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Ok(check_out_entry(&name, node, self, folder)?)
    }
}

fn host_name(name: &Name) -> &std::ffi::OsStr {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name.as_bytes())
}
