//! What commands make is kept: owners, devices, links, modes, attributes; twice the same.

use mkimage::tree::dump::dump;

use super::support::{Trial, path, read, say};

#[test]
fn a_command_changes_the_tree() {
    let outcome = Trial::default().script("echo hello > /srv/new; echo said; rm /etc/old");
    assert_eq!(String::from_utf8_lossy(&outcome.log), "said\n");
    assert_eq!(read(&outcome.tree, "/srv/new"), "hello\n");
    let changed: Vec<String> = outcome.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["/etc/old", "/srv/new"]);
    assert!(outcome.tree.get(&path("/tmp")).is_none(), "what the sandbox needs is not left");
}

#[test]
fn printed() {
    eprintln!("{}", say("id; ls -la / /dev /proc; uname -a; hostname; cat /proc/self/mountinfo; env"));
    let outcome = Trial::default()
        .script("cd /srv; touch a; chown 33:4 a; stat -c %u:%g a; mknod b c 1 3; ls -l; ln a c");
    eprintln!("{}", String::from_utf8_lossy(&outcome.log));
    eprintln!(
        "{}",
        dump(&outcome.tree).lines().filter(|l| l.starts_with("/srv")).collect::<Vec<_>>().join("\n")
    );
}
