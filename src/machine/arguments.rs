//! The emulator's command line. Pure: options in, arguments out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::error::MachineError;
use super::options::{Accelerator, MachineOptions};
use crate::base::base64;

/// What is decided about a machine before it starts.
pub struct Decided<'a> {
    pub accelerator: Accelerator,
    pub firmware_code: &'a Path,
    /// The private copy.
    pub firmware_variables: &'a Path,
    /// Files that hold one SMBIOS string each.
    pub strings: &'a [PathBuf],
    /// Files of the firmware's configuration device, by name.
    pub firmware_files: &'a [(String, PathBuf)],
}

/// Descriptor in the emulator that is the control connection: its standard input.
const CONTROL_DESCRIPTOR: u8 = 0;
/// Descriptor in the emulator that is the serial console: its standard output.
const CONSOLE_DESCRIPTOR: u8 = 1;
const MEBIBYTE: u64 = 1 << 20;
/// SMBIOS strings of type 11 that are credentials (systemd, "System and Service Credentials").
const TEXT_CREDENTIAL: &str = "io.systemd.credential";
const BINARY_CREDENTIAL: &str = "io.systemd.credential.binary";
/// Beginning of the names of credentials that PID 1 takes as the app's environment.
const ENVIRONMENT_PREFIX: &str = "mkimage.env.";
/// Where credentials are on the firmware's configuration device, and how long a name there may be, less that.
const FIRMWARE_FOLDER: &str = "opt/io.systemd.credentials/";
const FIRMWARE_NAME_BYTES_MAX: usize = 55 - FIRMWARE_FOLDER.len();
/// Longest name of a variable, in bytes: PID 1 takes no longer ones.
const NAME_BYTES_MAX: usize = 128;
const CREDENTIAL_NAME_BYTES_MAX: usize = 255;

/// Returns the arguments. Ports are as they stand in the options: none may be 0 any more.
pub fn arguments(options: &MachineOptions, decided: &Decided<'_>) -> Result<Vec<OsString>, MachineError> {
    check(options)?;
    let mut line = Line::default();
    line.words(&["-no-user-config", "-nodefaults", "-display", "none"]);
    line.pair("-machine", format!("q35,accel={}", decided.accelerator.name()));
    line.pair("-cpu", processor(decided.accelerator));
    line.pair("-m", format!("{}M", options.memory.0 / MEBIBYTE));
    line.pair("-smp", options.processors.to_string());
    line.pair("-chardev", format!("socket,id=control,fd={CONTROL_DESCRIPTOR}"));
    line.pair("-mon", "chardev=control,mode=control");
    line.pair("-chardev", format!("socket,id=console,fd={CONSOLE_DESCRIPTOR}"));
    line.pair("-serial", "chardev:console");
    line.file("-drive", "if=pflash,format=raw,unit=0,readonly=on,file=", decided.firmware_code);
    line.file("-drive", "if=pflash,format=raw,unit=1,file=", decided.firmware_variables);
    let snapshot = if options.snapshot { "on" } else { "off" };
    let drive = format!("if=none,id=disk,format=raw,discard=unmap,snapshot={snapshot},file=");
    line.file("-drive", &drive, &options.disk);
    line.pair("-device", "virtio-blk-pci,drive=disk,bootindex=0");
    line.pair("-netdev", network(options));
    // No option ROM: the firmware need not look for a network to boot from.
    line.pair("-device", "virtio-net-pci,netdev=network,romfile=");
    line.pair("-device", "virtio-rng-pci");
    for (index, disk) in options.disks.iter().enumerate() {
        line.file("-drive", &format!("if=none,id=further{index},format=raw,readonly=on,file="), disk);
        line.pair("-device", format!("virtio-blk-pci,drive=further{index}"));
    }
    for file in decided.strings {
        line.file("-smbios", "type=11,path=", file);
    }
    for (name, file) in decided.firmware_files {
        line.file("-fw_cfg", &format!("name={},file=", escape(name)), file);
    }
    if options.end_at_reboot {
        line.words(&["-no-reboot"]);
    }
    Ok(line.0)
}

/// Returns the SMBIOS strings that hand variables on, and credentials whose names the firmware's configuration
/// device can't take.
pub fn strings(options: &MachineOptions) -> Vec<String> {
    let variables = options
        .environment
        .iter()
        .map(|(name, value)| credential(&format!("{ENVIRONMENT_PREFIX}{name}"), value.as_bytes()));
    let long = options.credentials.iter().filter(|(name, _)| name.len() > FIRMWARE_NAME_BYTES_MAX);
    variables.chain(long.map(|(name, value)| credential(name, value))).collect()
}

/// Returns what goes as files of the firmware's configuration device (QEMU's fw_cfg): names and contents.
pub fn firmware_files(options: &MachineOptions) -> impl Iterator<Item = (String, &[u8])> {
    let short = options.credentials.iter().filter(|(name, _)| name.len() <= FIRMWARE_NAME_BYTES_MAX);
    short.map(|(name, value)| (format!("{FIRMWARE_FOLDER}{name}"), value.as_slice()))
}

/// Returns the SMBIOS string that hands a credential on. What is not plain text goes as base64.
fn credential(name: &str, value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{TEXT_CREDENTIAL}:{name}={text}"),
        _ => format!("{BINARY_CREDENTIAL}:{name}={}", base64::encode(value)),
    }
}

/// Emulated, it is the least one of x86-64-v2, which newer distributions are built for: that costs no
/// time, and what is beyond it does.
fn processor(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "Nehalem",
    }
}

fn network(options: &MachineOptions) -> String {
    let mut text = "user,id=network".to_owned();
    for forward in &options.forwards {
        text.push_str(&format!(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host, forward.guest));
    }
    text
}

fn check(options: &MachineOptions) -> Result<(), MachineError> {
    let refuse = |option: &str, problem: &str| {
        Err(MachineError::Option { option: option.to_owned(), problem: problem.to_owned() })
    };
    if options.memory.0 == 0 || !options.memory.0.is_multiple_of(MEBIBYTE) {
        return refuse("memory", &format!("{} is no multiple of 1 MiB", options.memory));
    }
    if options.processors == 0 || options.processors > 255 {
        return refuse("processors", "1 to 255 are possible");
    }
    for (name, value) in &options.environment {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let first = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !first || !letters || name.len() > NAME_BYTES_MAX {
            let problem = "a name is 1 to 128 letters, digits and _, and begins with no digit";
            return refuse(&format!("environment {name:?}"), problem);
        }
        if value.contains('\0') {
            return refuse(&format!("environment {name}"), "a value can't hold a NUL byte");
        }
    }
    for name in options.credentials.keys() {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !letters || name.is_empty() || name.starts_with('.') || name.len() > CREDENTIAL_NAME_BYTES_MAX {
            let problem = "a name is 1 to 255 letters, digits, dots, dashes and _, and begins with no dot";
            return refuse(&format!("credential {name:?}"), problem);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.0.push(option.into());
        self.0.push(value.as_ref().to_owned());
    }

    fn file(&mut self, option: &str, start: &str, path: &Path) {
        let mut value = start.as_bytes().to_vec();
        value.extend_from_slice(&escape_bytes(path.as_os_str().as_bytes()));
        self.pair(option, OsString::from_vec(value));
    }
}

/// Doubles commas: one alone would end the value.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

fn escape_bytes(value: &[u8]) -> Vec<u8> {
    value.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Bytes;
    use crate::machine::Forward;

    fn line(options: &MachineOptions, accelerator: Accelerator) -> Result<String, MachineError> {
        let decided = Decided {
            accelerator,
            firmware_code: Path::new("/fw/code.fd"),
            firmware_variables: Path::new("/tmp/v,1.fd"),
            strings: &[PathBuf::from("/proc/self/fd/7")],
            firmware_files: &[("opt/a".to_owned(), PathBuf::from("/proc/self/fd/8"))],
        };
        let arguments = arguments(options, &decided)?;
        Ok(arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_plain_machine_keeps_what_it_writes_and_may_reboot() {
        let line = line(&MachineOptions::new("/d/disk.img"), Accelerator::Tcg).expect("arguments");
        assert!(line.contains("-machine q35,accel=tcg -cpu Nehalem -m 256M -smp 1"), "{line}");
        assert!(line.contains("snapshot=off,file=/d/disk.img"), "{line}");
        assert!(line.contains("readonly=on,file=/fw/code.fd"), "{line}");
        assert!(!line.contains("-no-reboot") && !line.contains("further"), "{line}");
    }

    #[test]
    fn ports_environment_and_the_rest_reach_the_emulator() {
        let mut options = MachineOptions::new("/d/a,b.img");
        options.snapshot = true;
        options.end_at_reboot = true;
        options.memory = Bytes::gib(1);
        options.forwards = vec![Forward { host: 18080, guest: 8080 }, Forward { host: 2222, guest: 22 }];
        options.disks.push("/d/s,eed".into());
        options.environment.insert("GREETING".into(), "Hello, you=all".into());
        let line = line(&options, Accelerator::Kvm).expect("arguments");
        for expected in [
            "accel=kvm -cpu host -m 1024M",
            "snapshot=on,file=/d/a,,b.img",
            "unit=1,file=/tmp/v,,1.fd",
            "hostfwd=tcp:127.0.0.1:18080-:8080,hostfwd=tcp:127.0.0.1:2222-:22",
            "-smbios type=11,path=/proc/self/fd/7 -fw_cfg name=opt/a,file=/proc/self/fd/8",
            "if=none,id=further0,format=raw,readonly=on,file=/d/s,,eed -device virtio-blk-pci,drive=further0",
            "-no-reboot",
        ] {
            assert!(line.contains(expected), "{expected} in {line}");
        }
        assert!(!line.contains("Hello"), "values may be secrets: {line}");
    }

    #[test]
    fn variables_and_credentials_go_as_systemd_names_them() {
        let mut options = MachineOptions::new("/d");
        options.environment.insert("GREETING".into(), "Hello, you=all".into());
        options.environment.insert("LINES".into(), "a\nb".into());
        options.credentials.insert("token".into(), b"\xff\0".to_vec());
        options.credentials.insert("a-name-of-more-than-28-letters".into(), b"x".to_vec());
        assert_eq!(
            strings(&options),
            [
                "io.systemd.credential:mkimage.env.GREETING=Hello, you=all",
                "io.systemd.credential.binary:mkimage.env.LINES=YQpi",
                "io.systemd.credential:a-name-of-more-than-28-letters=x",
            ]
        );
        let files: Vec<_> = firmware_files(&options).collect();
        assert_eq!(files, [("opt/io.systemd.credentials/token".to_owned(), &b"\xff\0"[..])]);
    }

    #[test]
    fn what_the_emulator_would_misread_is_refused() {
        let with = |change: fn(&mut MachineOptions)| {
            let mut options = MachineOptions::new("/d");
            change(&mut options);
            line(&options, Accelerator::Tcg).expect_err("refused").to_string()
        };
        assert!(with(|o| o.memory = Bytes(1 << 19)).contains("memory"));
        assert!(with(|o| o.processors = 0).contains("processors"));
        assert!(with(|o| drop(o.environment.insert("A=B".into(), "".into()))).contains("A=B"));
        assert!(with(|o| drop(o.environment.insert("A".into(), "x\0".into()))).contains("NUL"));
        assert!(with(|o| drop(o.credentials.insert("a/b".into(), Vec::new()))).contains("a/b"));
    }
}
