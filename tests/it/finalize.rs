//! Finalizers against what Debian's own tools make.

#[path = "finalize/reference.rs"]
pub mod reference;

use std::collections::BTreeMap;

use mkimage::base::Job;
use mkimage::finalize::{FinalizeError, Package, Report, Settings, finalize};
use mkimage::tree::{ContentSource, Directory, Node, diff::Change};

use reference::{EPOCH, Set, path, set};

fn settings() -> Settings {
    Settings {
        distribution: "debian".into(),
        suite: "bookworm".into(),
        architecture: "amd64".into(),
        epoch: EPOCH,
        merged_usr: true,
        ..Settings::default()
    }
}

fn packages(set: &Set) -> Vec<Package<'_>> {
    let packages = set.packages.iter();
    packages
        .map(|package| Package {
            name: &package.control.name,
            version: &package.control.version,
            architecture: &package.control.architecture,
            fields: &package.control.fields,
            info: &package.info,
            data: &package.data,
        })
        .collect()
}

fn finished(settings: &Settings) -> Result<(Directory, Report), Vec<FinalizeError>> {
    let set = set();
    let mut tree = set.tree.clone();
    let job = Job::quiet(0);
    let report = finalize(&mut tree, &packages(set), settings, &set.contents, &set.contents, &job)?;
    Ok((tree, report))
}

#[test]
fn explore() {
    let set = set();
    let start = std::time::SystemTime::UNIX_EPOCH;
    let _ = start;
    let (tree, report) = match finished(&settings()) {
        Ok(done) => done,
        Err(errors) => panic!("{}", errors.iter().map(|e| format!("{e}\n")).collect::<String>()),
    };
    println!("{report:#?}");
    for (path, change) in mkimage::tree::diff::diff(&set.reference, &tree) {
        let line = match change {
            Change::Added(node) => format!("+ {path} {}", show(node)),
            Change::Removed(node) => format!("- {path} {}", show(node)),
            Change::Changed(a, b) => format!("~ {path} {} => {}", show(a), show(b)),
        };
        println!("{line}");
    }
    let _: BTreeMap<(), ()> = BTreeMap::new();
    let text = |tree: &Directory, name: &str| match tree.get(&path(name)) {
        Some(Node::File(file)) => {
            String::from_utf8_lossy(&set.contents.read_all(&file.content).unwrap()).into_owned()
        }
        _ => String::new(),
    };
    for name in [
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
        "/etc/gshadow",
        "/var/lib/dpkg/status",
        "/var/lib/dpkg/triggers/File",
        "/etc/shells",
        "/var/lib/dpkg/info/bash.list",
        "/var/lib/dpkg/info/systemd.list",
        "/etc/ca-certificates.conf",
    ] {
        std::fs::write(format!("/tmp/scratch-finalize/ours{}", name.replace('/', "_")), text(&tree, name))
            .unwrap();
        std::fs::write(
            format!("/tmp/scratch-finalize/theirs{}", name.replace('/', "_")),
            text(&set.reference, name),
        )
        .unwrap();
    }
}

fn show(node: &Node) -> String {
    let metadata = node.metadata().map(|m| format!("{:o} {}:{}", m.mode, m.uid, m.gid)).unwrap_or_default();
    let rest = match node {
        Node::File(file) => format!("{}", file.content.size),
        Node::Symlink(link) => format!("-> {}", String::from_utf8_lossy(&link.target)),
        _ => String::new(),
    };
    format!("{} {metadata} {rest}", node.kind())
}
