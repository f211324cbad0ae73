//! apt as the judge: its own indexes, on a machine where nothing is installed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use mkimage::base::parallel::Workers;
use mkimage::packages::universe::Universe;

use crate::tool::{self, succeed};

/// Returns the path of each index that apt has on this machine, in the order of its sources. Where there are
/// none yet, apt fetches them.
pub fn indexes() -> &'static [String] {
    static INDEXES: OnceLock<Vec<String>> = OnceLock::new();
    INDEXES.get_or_init(|| {
        let list = || {
            let format = "$(FILENAME)";
            let all = succeed(&mut tool::tool(
                "apt-get",
                ["indextargets", "--format", format, "Created-By: Packages"],
            ));
            all.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let there = list();
        if !there.is_empty() {
            return there;
        }
        succeed(&mut tool::tool("apt-get", ["update"]));
        list()
    })
}

/// Returns the text of each index.
pub fn texts() -> Vec<String> {
    let text = |path: &String| succeed(&mut tool::tool("/usr/lib/apt/apt-helper", ["cat-file", path]));
    let texts: Vec<String> = indexes().iter().map(text).collect();
    assert!(!texts.is_empty(), "apt has no index on this machine: run `apt-get update`");
    texts
}

/// Returns apt's name of this machine's architecture.
pub fn architecture() -> String {
    succeed(&mut tool::tool("dpkg", ["--print-architecture"])).trim().to_owned()
}

/// Returns everything that apt could install here.
pub fn universe() -> &'static Universe {
    static UNIVERSE: OnceLock<Universe> = OnceLock::new();
    UNIVERSE.get_or_init(|| {
        let mut universe = Universe::new(&architecture(), &[]);
        let indexes = texts().into_iter().enumerate().map(|(source, text)| (source, 500, text)).collect();
        universe.add_all(indexes, &Workers::new(0)).expect("apt's indexes are sound");
        assert_eq!(universe.refused(), [], "packages that we can't read");
        universe
    })
}

/// A folder with an empty dpkg status and apt's cache of its indexes, which it makes anew when the status changes.
fn scratch() -> PathBuf {
    let folder = tool::kept("apt");
    let status = folder.join("status");
    if !status.exists() {
        std::fs::write(status, "").expect("written");
    }
    folder
}

/// Runs `apt-get install` without installing, on an empty machine.
fn install(names: &[String], recommends: bool) -> std::process::Command {
    let folder = scratch();
    let mut command = tool::tool("apt-get", ["-s", "-q", "-o", "Debug::NoLocking=1"]);
    for (option, value) in [
        ("Dir::State::status", folder.join("status").display().to_string()),
        ("Dir::Cache", folder.display().to_string()),
        ("Dir::Cache::pkgcache", "packages.bin".to_owned()),
        ("Dir::Cache::srcpkgcache", "sources.bin".to_owned()),
        ("Dir::Etc::preferences", "/dev/null".to_owned()),
        ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
        ("APT::Architectures", architecture()),
        ("APT::Install-Recommends", recommends.to_string()),
        ("APT::Get::Show-Versions", "false".to_owned()),
    ] {
        command.arg("-o").arg(format!("{option}={value}"));
    }
    command.env("LC_ALL", "C").arg("install").args(names);
    command
}

/// Returns what apt would install, with versions; `None` where it says that it can't.
pub fn solution(names: &[String], recommends: bool) -> Option<BTreeMap<String, String>> {
    let output = tool::run(&mut install(names, recommends));
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.strip_prefix('(')?.split(' ').next()?;
        Some((name.split(':').next()?.to_owned(), version.to_owned()))
    };
    Some(text.lines().filter_map(line).collect())
}
