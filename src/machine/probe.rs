//! Whether KVM works here. Only a trial tells: `/dev/kvm` may open, run the firmware, and then hang in
//! the kernel (nested virtualisation, hypervisors that lack what a stock kernel uses).

use std::path::Path;
use std::time::Duration;

use super::error::MachineError;
use super::options::{Accelerator, MachineOptions};
use super::start::{Host, MachineEvent, spawn};
use crate::base::Job;

const DEVICE: &str = "/dev/kvm";
/// From power-on to the first word of user space takes 2 to 3 s with KVM; what takes longer than this is
/// no faster than emulation.
const WITHIN: Duration = Duration::from_secs(6);

/// Words that only user space says: our PID 1 begins each of its lines with its name; the others are
/// those of systemd and of a login prompt.
const SIGNS_OF_USER_SPACE: [&str; 4] = ["mkimage: ", "systemd[1]", "Welcome to ", "login:"];

/// Decides between KVM and emulation; returns why it is not KVM, if it is not.
///
/// The trial starts this very machine, on a copy-on-write view of the disk and without ports, and waits
/// for user space. So it also finds what only this kernel stumbles over.
pub fn choose(
    options: &MachineOptions,
    host: &Host,
    job: &Job,
    sink: &mut dyn FnMut(MachineEvent),
) -> Result<(Accelerator, Option<String>), MachineError> {
    if let Err(problem) = is_usable(Path::new(DEVICE)) {
        return Ok((Accelerator::Tcg, Some(problem)));
    }
    sink(MachineEvent::TriesKvm);
    let mut trial = options.clone();
    trial.snapshot = true;
    trial.end_at_reboot = true;
    trial.forwards.clear();
    let outcome = spawn(&trial, host, Accelerator::Kvm, Vec::new(), Box::new(|_| {}))
        .and_then(|mut machine| machine.wait_for_line("a word of user space", WITHIN, job, is_user_space));
    match outcome {
        Ok(_) => Ok((Accelerator::Kvm, None)),
        Err(error @ (MachineError::Cancelled(_) | MachineError::File(_))) => Err(error),
        Err(MachineError::Timeout { seconds, .. }) => {
            let problem = format!("with KVM this image does not come up within {seconds} s");
            Ok((Accelerator::Tcg, Some(problem)))
        }
        Err(MachineError::Stopped { status, .. }) => {
            Ok((Accelerator::Tcg, Some(format!("KVM gives up on this image ({status})"))))
        }
        Err(MachineError::EndedEarly { .. }) => {
            Ok((Accelerator::Tcg, Some("with KVM this image reboots before it is up".into())))
        }
        Err(error) => Ok((Accelerator::Tcg, Some(format!("KVM does not start: {error}")))),
    }
}

/// Checks that a process of this user may use KVM.
pub fn is_usable(device: &Path) -> Result<(), String> {
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("this host has no {}", device.display()))
        }
        Err(error) => Err(format!("{} can't be opened ({error})", device.display())),
    }
}

fn is_user_space(line: &str) -> bool {
    SIGNS_OF_USER_SPACE.iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_firmware_nor_kernel_pass_for_user_space() {
        for line in [
            "BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x2,0x0)",
            "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path",
            "[    0.000000] Linux version 6.1.0-56-cloud-amd64",
            "[    1.200000] Kernel panic - not syncing: No working init found.",
        ] {
            assert!(!is_user_space(line), "{line}");
        }
        assert!(is_user_space("mkimage: app hello started after 1.21 s"));
        assert!(is_user_space("Welcome to Debian GNU/Linux 12 (bookworm)!"));
    }

    #[test]
    fn a_host_without_kvm_is_no_error() {
        let problem = is_usable(Path::new("/nonexistent/kvm")).expect_err("not there");
        assert!(problem.contains("no /nonexistent/kvm"), "{problem}");
    }
}
