//! A Debian minbase tree, made once with mmdebstrap, or the directory that `MKIMAGE_BENCH_TREE` names.

use std::path::PathBuf;
use std::process::Command;

pub fn tree() -> PathBuf {
    if let Some(tree) = std::env::var_os("MKIMAGE_BENCH_TREE") {
        return tree.into();
    }
    let tree = std::env::temp_dir().join("mkimage-bench-minbase");
    if !tree.join("etc/debian_version").exists() {
        let _ = std::fs::remove_dir_all(&tree);
        let release = std::fs::read_to_string("/etc/os-release").expect("read");
        let suite =
            release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
        run(Command::new("mmdebstrap").args(["--variant=minbase", suite]).arg(&tree));
    }
    // What the kernel fills at boot: device nodes of the host belong into no image.
    for name in mkimage::base::fs::list(&tree.join("dev")).expect("listed") {
        let node = tree.join("dev").join(name);
        let removed =
            if node.is_dir() { std::fs::remove_dir_all(&node) } else { std::fs::remove_file(&node) };
        removed.expect("removed");
    }
    tree
}

pub fn run(command: &mut Command) {
    let output = command.output();
    let output = output
        .unwrap_or_else(|error| panic!("{command:?}: {error} (install casync, borgbackup, mmdebstrap)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
