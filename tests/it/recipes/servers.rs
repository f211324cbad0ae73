//! Whole systems: systemd on a verified, read-only root.

use super::guest::{Guest, copy};
use super::image;

/// What a server must say of itself, whatever it serves. Ends with the ids that are its own.
const STATE: &str = r#"
echo "state: $(systemctl is-system-running --wait)"
echo "failed: $(systemctl --failed --plain --no-legend)"
echo "audit: $(dpkg --audit 2>&1)"
echo "packages: $(dpkg-query -W | wc -l)"
touch /etc/x 2>/dev/null && echo "/etc can be written to"
touch /var/lib/x && rm /var/lib/x && echo "/var can be written to"
ls /etc/ssh/ssh_host_* 2>/dev/null && echo "the image has a host key"
for pause in 1 2 3 4 5 6 7 8 9; do [ ! -e /run/mkimage/hold ] || sleep "$pause"; done
[ ! -e /run/mkimage/hold ] || echo "not healthy"
echo "journal: $(ls -d /var/log/journal/$(cat /etc/machine-id))"
echo "id: $(cat /etc/machine-id)"
"#;

/// Boots a server to the end and lets it say how it is. Returns what it said and its host key.
pub fn state(guest: &mut Guest) -> (String, String) {
    let said = guest.ssh(STATE);
    for line in ["state: running\n", "failed: \n", "audit: \n", "/var can be written to\n", "journal: /var/"]
    {
        assert!(said.contains(line), "{line:?} is missing\n{said}\n{}", guest.console());
    }
    for wrong in ["/etc can be", "has a host key", "not healthy"] {
        assert!(!said.contains(wrong), "{said}");
    }
    (said, guest.host_key())
}

#[test]
fn nginx_serves_from_a_debian_that_runs_without_a_failed_unit() {
    let image = copy(&image("nginx"), "nginx-run.img");
    let mut guest = Guest::boot(&image, "512MiB", &[80, 22]);
    let page = guest.get(80, "/");
    assert!(page.contains("nginx serves from a verified root"), "{page}");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Server: nginx"), "{page}");
    state(&mut guest);
    guest.power_off();
}
