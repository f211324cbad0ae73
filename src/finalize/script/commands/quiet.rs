//! Commands that need not be done: they do nothing to an image, or something else here does their work.

use super::Call;
use crate::finalize::script::shell::{Shell, Status};

/// Commands that change nothing in a tree that lies still: they talk to what runs.
const RUNNING: &[&str] = &[
    "invoke-rc.d",
    "deb-systemd-invoke",
    "udevadm",
    "start-stop-daemon",
    "service",
    "kill",
    "killall",
    "pkill",
    "modprobe",
    "apparmor_parser",
    "dbus-send",
    "initctl",
    "telinit",
    "sync",
    "sleep",
    "wait",
    "trap",
    "mount",
    "umount",
    "restorecon",
    "chcon",
    "semodule",
    "loadkeys",
    "setupcon",
    "nscd",
    "times",
    "ulimit",
    "clear",
    "runit-helper",
    "rt-set",
    "machinectl",
    "loginctl",
    "busctl",
    "systemd-notify",
    "swapoff",
    "swapon",
    "logger",
    "stty",
    "tput",
    "reset",
    "dbus-daemon",
    "vgcfgbackup",
    "chkconfig",
    "runlevel",
];

/// Commands whose work another part of mkimage does, whatever the script says.
const ELSEWHERE: &[&str] = &[
    "ldconfig",
    "depmod",
    "systemd-hwdb",
    "update-ca-certificates",
    "update-shells",
    "remove-shell",
    "pam-auth-update",
    "pwconv",
    "grpconv",
    "shadowconfig",
    "update-passwd",
    "linux-update-symlinks",
    "update-initramfs",
    "mkinitramfs",
    "journalctl",
    "dpkg-trigger",
    "systemd-machine-id-setup",
    "dbus-uuidgen",
    "update-rc.d",
    "rcconf",
    "insserv",
    "ucfr",
    "debconf-set-selections",
    "debconf-communicate",
    "dpkg-maintscript-helper",
];

/// Commands that write caches which no program of an image waits for: each makes a note.
const CACHES: &[&str] = &[
    "py3compile",
    "py3clean",
    "pycompile",
    "pyclean",
    "pypy3compile",
    "pypycompile",
    "update-menus",
    "update-mime",
    "update-mime-database",
    "update-desktop-database",
    "update-icon-caches",
    "gtk-update-icon-cache",
    "gtk4-update-icon-cache",
    "glib-compile-schemas",
    "fc-cache",
    "install-info",
    "update-info-dir",
    "mandb",
    "update-catalog",
    "update-xmlcatalog",
    "update-fonts-dir",
    "update-fonts-scale",
    "update-fonts-alias",
    "update-grub",
    "update-grub2",
    "update-binfmts",
    "install-docs",
    "update-dictcommon-aspell",
    "update-dlocatedb",
    "update-gconf-defaults",
    "gio-querymodules",
    "gdk-pixbuf-query-loaders",
    "register-python-package",
    "texhash",
    "mktexlsr",
    "update-cracklib",
    "update-perl-sax-parsers",
    "appstreamcli",
    "update-default-wordlist",
    "update-default-ispell",
    "update-dictcommon-hunspell",
    "emacs-package-install",
    "emacs-package-remove",
    "dpkg-preconfigure",
    "iptables-save",
    "update-inetd",
    "update-ieee-data",
    "update-smart-drivedb",
];

/// Questions about what runs, to which the answer is no.
const ABSENT: &[&str] =
    &["aa-enabled", "aa-status", "selinuxenabled", "pidof", "pgrep", "mountpoint", "ischroot"];

/// Returns how a command ends that need not be done; `None` for one that is not known.
pub(super) fn status(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Option<Status> {
    if ABSENT.contains(&call.name) {
        return Some(Status::False);
    }
    if call.name == "setpriv" {
        let behind = call.arguments.iter().position(|word| word.known() == Some("--"))?;
        return Some(shell.call(call.line, &call.arguments[behind + 1..]).status);
    }
    let compiles = |word: &str| word.ends_with("/py_compile.py") || word == "compileall";
    if call.name.starts_with("python3") && call.arguments.iter().filter_map(|word| word.known()).any(compiles)
    {
        shell.world.note("compiled Python files are left out");
        return Some(Status::True);
    }
    if RUNNING.contains(&call.name) {
        // A question about what runs: nothing does.
        let asks = call.arguments.iter().filter_map(|value| value.known()).any(|word| word == "status");
        return Some(Status::of(!asks));
    }
    if ELSEWHERE.contains(&call.name) {
        return Some(Status::True);
    }
    if CACHES.contains(&call.name) {
        let (name, package) = (call.name, shell.package.name);
        shell.world.note(format!("{name} is left out ({package})"));
        return Some(Status::True);
    }
    None
}
