//! What boots, the disk, and how the machine updates itself.

use std::path::PathBuf;

use super::{BarePackagePlan, HealthPlan, Origin};
use crate::base::{Bytes, ImagePath};

/// `kernel "debian" { … }` or `kernel "file" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct KernelPlan {
    pub source: KernelSource,
    /// Modules that PID 1 may load, without `.ko`; those they depend on come along.
    pub modules: Vec<String>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum KernelSource {
    /// A metapackage stands for the `linux-image-…` package that it depends on.
    Package(BarePackagePlan),
    /// Files of the host: a kernel image, and the `lib/modules/VERSION` directory where modules are asked for.
    Host { image: PathBuf, modules: Option<PathBuf> },
}

/// Modules in every kernel block that names none: what common virtual machines need, a power button and a
/// watchdog among it.
pub const DEFAULT_MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "dm_verity",
    "efivarfs",
    "qemu_fw_cfg",
    "button",
    "evdev",
    "softdog",
];

/// `boot { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct BootPlan {
    pub program: LoaderProgram,
    pub loader: LoaderSource,
    /// Boot attempts that a trial slot has, 1 to 5: more would not fit the one sector that holds them.
    pub tries: u8,
    /// Words behind ours on the kernel's command line.
    pub command_line: Vec<String>,
    /// Seconds without a sign of health after which the watchdog resets; 0 for none.
    pub watchdog_seconds: u32,
    /// When a whole system counts as healthy.
    pub health: Option<HealthPlan>,
    pub origin: Option<Origin>,
}

/// Which boot loader chooses the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderProgram {
    /// mkimage's own, with the slot records of disk layout 2.
    Mkimage,
    /// systemd-boot, with the directory sector of disk layout 1.
    SystemdBoot,
}

impl LoaderProgram {
    /// Returns the version of the disk layout that it reads.
    pub fn layout(self) -> u32 {
        match self {
            LoaderProgram::SystemdBoot => 1,
            LoaderProgram::Mkimage => 2,
        }
    }
}

/// Where the stub of unified kernel images comes from, and systemd-boot where that is the loader.
#[derive(Clone, Debug, PartialEq)]
pub enum LoaderSource {
    /// A package with `usr/lib/systemd/boot/efi/…` (`systemd-boot-efi`).
    Package(BarePackagePlan),
    /// Files of the host. Without a loader it is the one that mkimage brings.
    Host { loader: Option<PathBuf>, stub: PathBuf },
    /// A recipe without a kernel.
    None,
}

/// `disk { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct DiskPlan {
    /// The layout version: the one that the loader reads.
    pub layout: u32,
    pub filesystem: Filesystem,
    pub placement: Placement,
    /// Size of each slot partition. `None`: from the content, with room to grow.
    pub slot_size: Option<Bytes>,
    /// Room for each slot's UKI on the ESP. `None`: from the UKI, with room to grow.
    pub uki_size: Option<Bytes>,
    /// Size of the data partition in the image; it grows at first boot to the end of the disk.
    pub data_size: Bytes,
    /// Where the data partition is mounted.
    pub data_path: ImagePath,
    pub origin: Option<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    Ext4,
}

/// Where files stand in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One behind the other.
    Dense,
    /// Where they stood in the version before.
    Stable,
}

/// `update { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct UpdatePlan {
    /// Address of the site.
    pub from: String,
    /// The ref there.
    pub reference: String,
    /// Host file with the keys that may sign, one a line.
    pub key: PathBuf,
    /// Host file with the CA certificates that vouch for the site's server.
    pub certificates: Option<PathBuf>,
    pub threshold: u32,
    pub interval_seconds: u32,
    pub jitter_seconds: u32,
    /// `HH:MM-HH:MM`, UTC.
    pub window: Option<String>,
    /// `N%` or `N% after 1h`, the first ones first.
    pub rings: Vec<String>,
    pub reboot: UpdateReboot,
    pub origin: Origin,
}

/// When a machine reboots into an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateReboot {
    WhenTold,
    Window,
    AtOnce,
}
