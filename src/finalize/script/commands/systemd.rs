//! systemctl(1) and the helpers that debhelper writes into scripts.

use super::{Call, Work};
use crate::finalize::script::shell::{Shell, Status, Value};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "systemctl" => systemctl,
        "deb-systemd-helper" => helper,
        "systemd-tmpfiles" => tmpfiles,
        "systemd-sysusers" => sysusers,
        _ => return None,
    })
}

/// Splits the words of a call into its verb and what it is about.
fn verb<'c>(words: &[&'c str]) -> (Option<&'c str>, Vec<&'c str>, bool) {
    let mut plain = words.iter().copied().filter(|word| !word.starts_with('-'));
    let is_user = words.iter().any(|word| matches!(*word, "--user" | "--global"));
    (plain.next(), plain.map(|unit| unit.trim_matches('\'')).collect(), is_user)
}

fn systemctl(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let known = call.known().unwrap_or_default();
    let (verb, units, is_user) = verb(&known);
    match verb {
        Some("enable" | "mask" | "preset") => {}
        Some("is-active" | "is-enabled" | "is-failed" | "is-system-running" | "status") => {
            return if verb == Some("is-enabled") { Status::Maybe } else { Status::False };
        }
        Some(
            "daemon-reload"
            | "daemon-reexec"
            | "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "reload"
            | "reload-or-restart"
            | "reload-or-try-restart"
            | "try-reload-or-restart"
            | "kill"
            | "disable"
            | "unmask"
            | "reset-failed"
            | "condrestart"
            | "isolate"
            | "set-environment"
            | "import-environment",
        ) => return Status::True,
        _ => {
            shell.print(&Value::Unknown);
            return match call.arguments.is_empty() {
                true => Status::Maybe,
                false => shell.unknown(call.line, "this use of systemctl is not followed"),
            };
        }
    }
    let Some(_) = shell.change(call) else { return Status::Maybe };
    for unit in units {
        match verb {
            Some("mask") => shell.world.units.mask(unit),
            Some("preset") => return shell.unknown(call.line, "presets are not followed"),
            _ => shell.world.units.enable(unit, is_user),
        }
    }
    Status::True
}

/// `deb-systemd-helper`: on a fresh installation every unit counts as enabled before, and none as installed.
fn helper(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = call.known() else { return shell.unknown(call.line, "the unit can't be known") };
    let (verb, units, is_user) = verb(&words);
    match verb {
        Some("was-enabled") => Status::True,
        Some("debian-installed" | "is-enabled") => Status::False,
        Some("unmask" | "update-state" | "purge" | "disable" | "reenable") => Status::True,
        Some("mask") => Status::True,
        Some("enable") => {
            if shell.change(call).is_some() {
                for unit in units {
                    shell.world.units.enable(unit, is_user);
                }
            }
            Status::True
        }
        _ => shell.unknown(call.line, "this use of deb-systemd-helper is not followed"),
    }
}

/// `systemd-tmpfiles --create NAMES`: the fragments are gathered, for what they make in places that last.
fn tmpfiles(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let names = call.arguments.iter().filter_map(Value::known).filter(|word| !word.starts_with('-'));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if !call.arguments.iter().any(|word| word.known() == Some("--create")) || !shell.may(call.line) {
        return Status::True;
    }
    shell.world.tmpfiles.extend(names);
    Status::True
}

/// `systemd-sysusers NAMES`: adds the accounts of these fragments.
fn sysusers(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let names: Vec<&str> = words.into_iter().filter(|word| !word.starts_with('-')).collect();
    let result = crate::finalize::accounts::add_named(shell.world, &names);
    shell.done(call.line, result)
}
