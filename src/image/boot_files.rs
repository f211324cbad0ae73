//! What boots, as a commit holds it: see `pipeline::boot_files` for how it is made.

use super::error::{ImageError, Result};
use crate::store::{Objects, StoredNode, TreeRef};
use crate::tree::Node;

/// The boot files of a commit, in memory.
pub struct BootFiles {
    pub kernel: Vec<u8>,
    pub kernel_version: String,
    pub initrd: Vec<u8>,
    pub stub: Vec<u8>,
    pub loader: Vec<u8>,
    /// The recipe's own words.
    pub command_line: Vec<String>,
}

impl BootFiles {
    /// Reads the boot files of a commit, some tens of megabytes.
    pub fn read(objects: &dyn Objects, tree: &TreeRef) -> Result<Self> {
        let directory = objects.read_directory(tree)?;
        let read = |name: &str| match directory.entries.get(name.as_bytes()) {
            Some(StoredNode::Leaf(Node::File(file))) => Ok(objects.read_all(&file.content)?),
            _ => Err(ImageError::NotBootable { missing: format!("/{name}") }),
        };
        let text = |name: &str| {
            String::from_utf8(read(name)?)
                .map_err(|_| ImageError::NotBootable { missing: format!("/{name} as text") })
        };
        Ok(BootFiles {
            kernel: read("kernel")?,
            kernel_version: text("kernel_version")?,
            initrd: read("initrd")?,
            stub: read("stub")?,
            loader: read("loader")?,
            command_line: text("command_line")?.lines().map(str::to_owned).collect(),
        })
    }
}
