//! Where distributions put the firmware and the emulator.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::MachineError;

/// UEFI firmware in two files: the code, and a template of the variables that it keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Firmware {
    pub code: PathBuf,
    pub variables: PathBuf,
}

/// Raw images without enforced Secure Boot, in the order of preference.
const PLACES: [(&str, &str); 9] = [
    // Debian, Ubuntu
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    // Fedora
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // Arch
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    // openSUSE
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    // QEMU's own build, where a distribution ships it
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
    ("/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"),
];

/// Returns the first firmware of which both files are there.
pub fn find_firmware(is_there: impl Fn(&Path) -> bool) -> Result<Firmware, MachineError> {
    let found =
        PLACES.iter().find(|(code, variables)| is_there(code.as_ref()) && is_there(variables.as_ref()));
    match found {
        Some((code, variables)) => Ok(Firmware { code: code.into(), variables: variables.into() }),
        None => Err(MachineError::NoFirmware { searched: PLACES.iter().map(|pair| pair.0.into()).collect() }),
    }
}

/// Returns the emulator on a search path.
pub fn find_emulator(search: &OsStr, is_there: impl Fn(&Path) -> bool) -> Result<PathBuf, MachineError> {
    std::env::split_paths(search)
        .map(|folder| folder.join("qemu-system-x86_64"))
        .find(|program| is_there(program))
        .ok_or(MachineError::NoEmulator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_of_a_firmware_must_be_there() {
        let arch = ["/usr/share/OVMF/OVMF_CODE_4M.fd", PLACES[3].0, PLACES[3].1];
        let found = find_firmware(|path| arch.iter().any(|there| path == Path::new(there)));
        assert_eq!(found.expect("found").code, Path::new(PLACES[3].0));
        let message = find_firmware(|_| false).expect_err("nothing is there").to_string();
        assert!(message.contains("ovmf") && message.contains(PLACES[0].0), "{message}");
    }

    #[test]
    fn the_emulator_is_the_first_on_the_search_path() {
        let found = find_emulator(OsStr::new("/a:/b:/c"), |path| !path.starts_with("/a"));
        assert_eq!(found.expect("found"), Path::new("/b/qemu-system-x86_64"));
        assert!(matches!(find_emulator(OsStr::new("/a"), |_| false), Err(MachineError::NoEmulator)));
    }
}
