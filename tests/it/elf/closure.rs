//! What programs need, against what the loader says; ELF files that lie.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::base::ImagePath;
use mkimage::elf::{HostLibrary, Library, closure};

/// Returns the dynamic programs of a folder of this machine.
fn programs(folder: &str) -> Vec<PathBuf> {
    let names = mkimage::base::fs::list(Path::new(folder)).expect("a folder of programs");
    let host = HostLibrary::new("/");
    let dynamic = |path: &PathBuf| {
        let path = ImagePath::new(path.as_os_str().as_bytes()).expect("a path");
        matches!(host.image(&path), Some(Ok(image)) if image.interpreter.is_some())
    };
    let paths = names.into_iter().map(|name| Path::new(folder).join(name));
    // A third is plenty, and quick.
    paths.filter(dynamic).step_by(3).collect()
}

/// Asks the loader itself which files it would open; `None` where it says that one is missing.
fn asked(program: &Path) -> Option<BTreeSet<String>> {
    let output = crate::tool::run(
        Command::new("/lib64/ld-linux-x86-64.so.2").arg("--list").arg(program).env_remove("LD_LIBRARY_PATH"),
    );
    let text = String::from_utf8(output.stdout).expect("text");
    if !output.status.success() || text.contains("not found") {
        return None;
    }
    let file = |line: &str| {
        let path = line.rsplit_once(" (0x")?.0.trim().rsplit(" => ").next()?;
        path.starts_with('/').then(|| path.to_owned())
    };
    Some(text.lines().filter_map(file).collect())
}

#[test]
fn the_closure_of_every_program_of_this_machine_is_what_its_loader_opens() {
    let host = HostLibrary::new("/");
    let mut compared = 0;
    for program in programs("/usr/bin").iter().chain(&programs("/usr/sbin")) {
        let Some(wanted) = asked(program) else { continue };
        let root = ImagePath::new(program.as_os_str().as_bytes()).expect("a path");
        let found =
            closure(&[root], &host).unwrap_or_else(|errors| panic!("{}: {errors:?}", program.display()));
        let real = |path: &str| std::fs::canonicalize(path).expect("a file that is there");
        let found: BTreeSet<PathBuf> = found.iter().map(|path| real(&path.to_string())).collect();
        let wanted: BTreeSet<PathBuf> = wanted.iter().map(|path| real(path)).collect();
        assert_eq!(found, wanted, "{}", program.display());
        compared += 1;
    }
    assert!(compared > 60, "only {compared} programs were compared");
}
