//! Finalizers against what Debian's own tools make.

#[path = "finalize/judge.rs"]
mod judge;
#[path = "finalize/reference.rs"]
pub mod reference;
#[path = "finalize/scripts.rs"]
mod scripts;

use mkimage::base::Job;
use mkimage::finalize::{Database, FinalizeError, Package, Report, Settings, finalize};
use mkimage::tree::{ContentSource, Directory, Node};

use crate::tool::{succeed, tool};
use reference::{EPOCH, Set, path, set};

pub fn settings() -> Settings {
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

/// Shows all errors of a failure.
pub fn shown(errors: &[FinalizeError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

fn finished(mut tree: Directory, packages: &[Package<'_>], settings: &Settings) -> (Directory, Report) {
    let set = set();
    let job = Job::quiet(0);
    let report = finalize(&mut tree, packages, settings, &set.contents, &set.contents, &job);
    let report = report.unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    (tree, report)
}

fn text(tree: &Directory, name: &str) -> String {
    match tree.get(&path(name)) {
        Some(Node::File(file)) => {
            String::from_utf8(set().contents.read_all(&file.content).expect("read")).expect("text")
        }
        other => panic!("{name} is {other:?}"),
    }
}

/// The finished set, made once.
fn whole() -> &'static (Directory, Report) {
    static WHOLE: std::sync::OnceLock<(Directory, Report)> = std::sync::OnceLock::new();
    WHOLE.get_or_init(|| finished(set().tree.clone(), &packages(set()), &settings()))
}

#[test]
fn the_set_is_finished_as_debian_finishes_it() {
    let differences = judge::differences(&set().reference, &whole().0, &set().contents);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_units_of_the_set_are_those_that_debian_enables() {
    let (tree, report) = whole();
    let expected = [
        "dpkg-db-backup.timer",
        "fstrim.timer",
        "getty@tty1.service",
        "nginx.service",
        "remote-fs.target",
        "ssh.service",
        "systemd-pstore.service",
    ];
    assert_eq!(report.enabled_units, expected);
    assert!(tree.get(&path("/etc/systemd/system/sockets.target.wants")).is_none());
}

#[test]
fn accounts_are_debians_but_for_their_numbers() {
    for (name, ids) in [("passwd", 2..4), ("group", 2..3), ("shadow", 0..0), ("gshadow", 0..0)] {
        let name = format!("/etc/{name}");
        let lines = |tree: &Directory| {
            let mut lines: Vec<String> = Vec::new();
            for line in text(tree, &name).lines() {
                let fields = line.split(':').enumerate();
                let fields = fields.map(|(index, field)| if ids.contains(&index) { "#" } else { field });
                lines.push(fields.collect::<Vec<_>>().join(":"));
            }
            lines.sort();
            lines
        };
        assert_eq!(lines(&whole().0), lines(&set().reference), "{name}");
    }
}

#[test]
fn nothing_of_a_machine_is_in_the_tree() {
    let (tree, _) = whole();
    assert_eq!(text(tree, "/etc/machine-id"), "");
    for absent in ["/etc/resolv.conf", "/etc/hostname", "/var/lib/systemd/random-seed", "/var/log/journal/0"]
    {
        assert!(tree.get(&path(absent)).is_none(), "{absent}");
    }
    let keys = tree.paths().filter(|(path, _)| path.to_string().starts_with("/etc/ssh/ssh_host_")).count();
    assert_eq!(keys, 0);
    let lines = text(tree, "/etc/ssh/sshd_config.d/10-host-keys.conf");
    assert_eq!(lines.lines().filter(|line| line.starts_with("HostKey /var/lib/ssh/")).count(), 3);
}

#[test]
fn neither_the_order_of_packages_nor_workers_count() {
    let mut packages = packages(set());
    packages.reverse();
    let mut tree = set().tree.clone();
    let job = Job::quiet(1);
    let report = finalize(&mut tree, &packages, &settings(), &set().contents, &set().contents, &job);
    assert_eq!(report.map_err(|errors| shown(&errors)).as_ref(), Ok(&whole().1));
    assert!(tree == whole().0);
}

#[test]
fn dpkg_finds_nothing_to_complain_of() {
    let folder = tempfile::tempdir().expect("a folder");
    judge::check_out(&whole().0, &set().contents, folder.path());
    let root = format!("--root={}", folder.path().display());
    assert_eq!(succeed(&mut tool("dpkg", [&root, "--audit"])), "");
    assert_eq!(succeed(&mut tool("dpkg", [&root, "--verify"])), "");
    let admin = format!("--admindir={}/var/lib/dpkg", folder.path().display());
    let listed = succeed(&mut tool("dpkg-query", [&admin, "-W", "-f=${db:Status-Abbrev}${Package}\n"]));
    assert_eq!(listed.lines().filter(|line| line.starts_with("ii ")).count(), set().packages.len());
    assert_eq!(succeed(&mut tool("dpkg-query", [&admin, "-S", "/bin/bash"])), "bash: /bin/bash\n");
    let alternatives = format!("{}/var/lib/dpkg/alternatives", folder.path().display());
    let query = ["--admindir", &alternatives, "--query", "awk"];
    let said = succeed(&mut tool("update-alternatives", query));
    assert!(said.contains("Value: /usr/bin/mawk") && said.contains("Status: auto"), "{said}");
    for (name, answer) in [("sbin/init", "lib/systemd/systemd"), ("usr/bin/awk", "usr/bin/mawk")] {
        assert!(folder.path().join(answer).exists(), "{answer}");
        assert!(folder.path().join(name).symlink_metadata().is_ok(), "{name}");
    }
}

#[test]
fn what_was_dropped_is_not_in_the_database() {
    let mut tree = set().tree.clone();
    for dropped in ["/usr/share/doc", "/usr/share/man"] {
        tree.remove(&path(dropped));
    }
    let (tree, _) = finished(tree, &packages(set()), &settings());
    for file in ["bash.list", "bash.md5sums", "coreutils.list"] {
        let text = text(&tree, &format!("/var/lib/dpkg/info/{file}"));
        assert!(!text.contains("usr/share/doc") && !text.contains("usr/share/man"), "{file}");
        assert!(text.contains("bin/"), "{file}");
    }
    assert!(tree.get(&path("/etc/alternatives/awk")).is_some());
    assert!(tree.get(&path("/etc/alternatives/awk.1.gz")).is_none());
}

#[test]
fn a_minimal_image_has_one_form_of_the_database_and_never_both() {
    let names = ["bash", "libc6"];
    let packages: Vec<_> =
        packages(set()).into_iter().filter(|package| names.contains(&package.name)).collect();
    let mut tree = set().tree.clone();
    tree.remove(&path("/usr/share/base-passwd"));
    let minimal = Settings { database: Database::StatusD, ..settings() };
    let (tree, _) = finished(tree, &packages, &minimal);
    let stanza = text(&tree, "/var/lib/dpkg/status.d/bash");
    assert!(stanza.starts_with("Package: bash\n") && !stanza.contains("\nStatus:"), "{stanza}");
    assert!(text(&tree, "/var/lib/dpkg/status.d/bash.md5sums").contains("bin/bash"));
    for absent in ["/var/lib/dpkg/status", "/var/lib/dpkg/info/bash.list"] {
        assert!(tree.get(&path(absent)).is_none(), "{absent}");
    }
    let none = Settings { database: Database::None, ..settings() };
    let (tree, _) = finished(set().tree.clone(), &packages, &none);
    assert!(
        tree.get(&path("/var/lib/dpkg/status.d")).is_none()
            && tree.get(&path("/var/lib/dpkg/status")).is_none()
    );
}

#[test]
fn openssl_finds_every_certificate_by_its_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut part = Directory::default();
    for place in ["/etc/ssl/certs", "/usr/share/ca-certificates"] {
        let node = whole().0.get(&path(place)).expect("there").clone();
        part.insert(&path(place), node).expect("inserted");
    }
    judge::check_out(&part, &set().contents, folder.path());
    let certificates = folder.path().join("usr/share/ca-certificates/mozilla");
    let mut count = 0;
    for name in mkimage::base::fs::list(&certificates).expect("a list") {
        let file = certificates.join(name);
        let hash = succeed(tool("openssl", ["x509", "-noout", "-subject_hash", "-in"]).arg(&file));
        let link = folder.path().join("etc/ssl/certs").join(format!("{}.0", hash.trim()));
        assert!(link.symlink_metadata().is_ok(), "{} has no link {}", file.display(), link.display());
        count += 1;
    }
    assert!(count > 100, "{count}");
}

#[test]
fn what_another_package_replaced_is_in_its_list_only() {
    let set = set();
    let file = |text: &str| {
        let content = mkimage::tree::ContentSink::put(&set.contents, text.as_bytes()).expect("put");
        Node::File(mkimage::tree::File { metadata: mkimage::tree::Metadata::root(0o644), content })
    };
    let (mut old, mut new, mut tree) = (Directory::default(), Directory::default(), Directory::default());
    for (name, text) in [("/lib/taken", "old"), ("/lib/edited", "packaged")] {
        old.insert(&path(name), file(text)).expect("inserted");
    }
    new.insert(&path("/usr/lib/taken"), file("new")).expect("inserted");
    for (name, text) in [("/usr/lib/taken", "new"), ("/usr/lib/edited", "by hand")] {
        tree.insert(&path(name), file(text)).expect("inserted");
    }
    let link = mkimage::tree::Symlink {
        metadata: mkimage::tree::Metadata::root(0o777),
        target: b"usr/lib"[..].into(),
    };
    tree.insert(&path("/lib"), Node::Symlink(link)).expect("inserted");
    let none = Directory::default();
    let package =
        |name, data| Package { name, version: "1", architecture: "all", fields: &[], info: &none, data };
    let (old, new) = (package("old", &old), package("new", &new));
    let (tree, _) = finished(tree, &[old, new], &settings());
    assert_eq!(text(&tree, "/var/lib/dpkg/info/old.list"), "/.\n/lib\n/lib/edited\n");
    assert!(text(&tree, "/var/lib/dpkg/info/new.list").ends_with("/usr/lib/taken\n"));
}
