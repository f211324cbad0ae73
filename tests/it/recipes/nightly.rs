//! What takes too long for each change: `make nightly`.

use super::guest::{Guest, copy};
use super::image;
use super::servers::state;

#[test]
#[ignore = "`make nightly` runs it"]
fn a_java_app_serves() {
    let mut guest = Guest::boot(&copy(&image("java"), "java-run.img"), "512MiB", &[8080]);
    let page = guest.get(8080, "/");
    assert!(page.contains("<p>Java 17.") && page.contains("Up for"), "{page}");
}

#[test]
#[ignore = "`make nightly` runs it"]
fn a_node_app_serves() {
    let mut guest = Guest::boot(&copy(&image("node"), "node-run.img"), "512MiB", &[8080]);
    let page = guest.get(8080, "/");
    assert!(page.contains("<p>Node.js v18.") && page.contains("user 1000,"), "{page}");
}

#[test]
#[ignore = "`make nightly` runs it"]
fn a_debian_server_keeps_its_identity_its_logs_and_its_files() {
    let image = copy(&image("debian-server"), "debian-server-run.img");
    let mut guest = Guest::boot(&image, "512MiB", &[22]);
    let first = state(&mut guest);
    let said = guest
        .ssh("rm -rf /var/opt /var/backups; echo mine >/var/lib/mine; sync; resolvectl dns; timedatectl");
    assert!(said.contains("10.0.2.3") && said.contains("NTP service: active"), "{said}");
    guest.power_off();
    let mut guest = Guest::boot(&image, "512MiB", &[22]);
    assert_eq!(state(&mut guest), first, "the machine is another one after a reboot");
    let said = guest.ssh("cat /var/lib/mine; journalctl --list-boots --quiet | wc -l; ls -d /var/opt");
    assert_eq!(said, "mine\n2\n/var/opt\n");
    guest.power_off();
}

#[test]
#[ignore = "`make nightly` runs it"]
fn both_readers_see_the_same_in_the_tar_of_the_reference() {
    super::compare::read_by_both();
}
