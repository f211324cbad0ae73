//! What each machine must make for itself: nothing secret and nothing unique is in an image.
//!
//! The machine id is systemd's affair (an empty `/etc/machine-id`). SSH host keys are made by units of ours when
//! the server first starts, in `/var/lib/ssh`: `/etc` may be read-only.

use super::FinalizeError;
use super::world::{World, path};

const SERVER: &str = "/usr/sbin/sshd";
const CONFIGURATION: &str = "/etc/ssh/sshd_config";
const FRAGMENT: &str = "/etc/ssh/sshd_config.d/10-host-keys.conf";
const UNIT: &str = "/usr/lib/systemd/system/ssh-host-key@.service";
/// The kinds of keys that OpenSSH's server offers by default.
const KINDS: [&str; 3] = ["rsa", "ecdsa", "ed25519"];
/// What the server is started by.
const STARTERS: [&str; 2] = ["ssh.service", "ssh.socket"];

/// Makes one key where it is missing. It gets its name only when it is whole.
const UNIT_TEXT: &str = "\
[Unit]
Description=SSH host key (%i)
ConditionPathExists=!/var/lib/ssh/ssh_host_%i_key
RequiresMountsFor=/var/lib/ssh
Before=ssh.service ssh.socket

[Service]
Type=oneshot
StateDirectory=ssh
StateDirectoryMode=0700
ExecStart=/usr/bin/rm -f /var/lib/ssh/new_%i /var/lib/ssh/new_%i.pub
ExecStart=/usr/bin/ssh-keygen -q -t %i -N \"\" -C \"\" -f /var/lib/ssh/new_%i
ExecStart=/usr/bin/mv /var/lib/ssh/new_%i.pub /var/lib/ssh/ssh_host_%i_key.pub
ExecStart=/usr/bin/mv /var/lib/ssh/new_%i /var/lib/ssh/ssh_host_%i_key
";

/// Takes out what a machine must not share with others, and lets the server's keys be made at first boot.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    for kind in KINDS.into_iter().chain(["dsa"]) {
        for end in ["", ".pub"] {
            world.tree.remove(&path(&format!("/etc/ssh/ssh_host_{kind}_key{end}")));
        }
    }
    let configuration = world.read_text(&path(CONFIGURATION))?;
    let Some(configuration) = configuration.filter(|_| world.exists(&path(SERVER))) else { return Ok(()) };
    let has_keys = configuration.lines().any(|line| line.trim_start().starts_with("HostKey "));
    let includes = configuration.lines().any(|line| line.trim() == "Include /etc/ssh/sshd_config.d/*.conf");
    if has_keys || !includes || world.package("systemd").is_none() {
        world.note(
            "SSH host keys are not made at first boot: sshd_config has its own, or there is no systemd",
        );
        return Ok(());
    }
    let lines: String =
        KINDS.iter().map(|kind| format!("HostKey /var/lib/ssh/ssh_host_{kind}_key\n")).collect();
    world.write(&path(FRAGMENT), lines.as_bytes(), 0o644)?;
    world.write(&path(UNIT), UNIT_TEXT.as_bytes(), 0o644)?;
    for starter in STARTERS {
        for kind in KINDS {
            let link = format!("/etc/systemd/system/{starter}.wants/ssh-host-key@{kind}.service");
            world.link(&path(&link), UNIT.as_bytes())?;
        }
    }
    Ok(())
}
