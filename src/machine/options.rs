//! What a machine is to be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::firmware::Firmware;
use crate::base::Bytes;

/// Least memory that firmware and a unified kernel image of common size need, and enough for an app.
pub const DEFAULT_MEMORY: Bytes = Bytes::mib(256);

/// Describes a machine. Start from [`MachineOptions::new`] and change fields.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// A raw disk image.
    pub disk: PathBuf,
    /// Drops what the machine writes to the disk when it ends.
    pub snapshot: bool,
    /// A multiple of 1 MiB.
    pub memory: Bytes,
    pub processors: u32,
    /// TCP ports of the machine that this host's loopback address forwards.
    pub forwards: Vec<Forward>,
    /// Handed to the app through SMBIOS credentials: `mkimage.env.NAME`.
    pub environment: BTreeMap<String, String>,
    /// Handed over as credentials of the hypervisor, by name.
    pub credentials: BTreeMap<String, Vec<u8>>,
    /// Further raw disk images, which the machine can't write to.
    pub disks: Vec<PathBuf>,
    /// Ends the machine where the guest reboots: one start is then one boot.
    pub end_at_reboot: bool,
    pub acceleration: Acceleration,
    /// `None`: found where distributions put it.
    pub firmware: Option<Firmware>,
    /// `None`: found on the `PATH`.
    pub emulator: Option<PathBuf>,
    /// Seconds that the guest has to power off when it is asked to.
    pub power_down_seconds: u64,
}

impl MachineOptions {
    /// Describes a machine of one processor with default memory, no forwarded port, and a disk whose
    /// changes stay.
    pub fn new(disk: impl Into<PathBuf>) -> Self {
        MachineOptions {
            disk: disk.into(),
            snapshot: false,
            memory: DEFAULT_MEMORY,
            processors: 1,
            forwards: Vec::new(),
            environment: BTreeMap::new(),
            credentials: BTreeMap::new(),
            disks: Vec::new(),
            end_at_reboot: false,
            acceleration: Acceleration::Auto,
            firmware: None,
            emulator: None,
            power_down_seconds: 15,
        }
    }
}

/// A TCP port of the machine, and the port of this host's loopback address that leads to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Forward {
    /// 0: the guest's own number where it is free and above 1023, else any free one.
    pub host: u16,
    pub guest: u16,
}

/// How the machine's processor is made, as asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Acceleration {
    /// KVM where a short trial shows that it works, else TCG.
    #[default]
    Auto,
    /// Hardware virtualisation, without a trial.
    Kvm,
    /// Emulation: slower, works anywhere.
    Tcg,
}

impl std::str::FromStr for Acceleration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Acceleration::Auto),
            "kvm" => Ok(Acceleration::Kvm),
            "tcg" => Ok(Acceleration::Tcg),
            _ => Err("expected auto, kvm or tcg"),
        }
    }
}

/// How the machine's processor is made, as decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// Returns the emulator's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }
}
