//! The commit that benches put around a tree.

use mkimage::store::{Architecture, Commit, DiskSpec, Filesystem, TreeRef};

/// Makes a commit of a tree and nothing else.
pub fn commit_of(tree: TreeRef) -> Commit {
    let disk = DiskSpec {
        layout: 1,
        architecture: Architecture::X86_64,
        filesystem: Filesystem::Ext4,
        slot_size: None,
        uki_size: None,
        data_size: 0,
        data_path: "/data".to_owned(),
        tries: 3,
    };
    Commit {
        tree,
        boot: None,
        disk,
        epoch: 0,
        name: "bench".to_owned(),
        version: None,
        recipe: Vec::new(),
        variables: Default::default(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "bench".to_owned(),
        annotations: Default::default(),
    }
}
