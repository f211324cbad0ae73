//! Kernel, boot and disk.

use super::super::patterns::{COMMAND_LINE_WORD, MIRROR, MODULE, PACKAGE_NAME, SUITE};
use super::super::{Block, Count, Key, Kind, Label, Need};
use super::{DAY_SECONDS, block, key};

const SUITE_KEY: Key = key(
    "suite",
    Kind::Pattern(&SUITE),
    Need::Absent("the first one of `packages \"debian\"`"),
    r#""bookworm""#,
    "The suite of the archive.",
);
const COMPONENTS: Key = key(
    "components",
    Kind::List(&Kind::Pattern(&SUITE), true),
    Need::Default("[\"main\"]"),
    r#"["main", "non-free-firmware"]"#,
    "The components of the suite.",
);
const MIRROR_KEY: Key = key(
    "mirror",
    Kind::Pattern(&MIRROR),
    Need::Absent("by flag, environment or apt's configuration"),
    r#""http://mirror.invalid/debian""#,
    "Base address of the archive.",
);
const SIGNED_BY: Key = key(
    "signed_by",
    Kind::HostPath,
    Need::Absent("the distribution's keyring"),
    r#""keys/archive.gpg""#,
    "Keyring file that must have signed the suite.",
);
const MODULES: Key = key(
    "modules",
    Kind::List(&Kind::Pattern(&MODULE), false),
    Need::Absent("what common virtual machines need"),
    r#"["virtio_blk", "dm_verity"]"#,
    "Modules that PID 1 may load, without `.ko`; those they depend on come along.",
);

pub(super) const KERNEL_DEBIAN: Block = block(
    "kernel",
    Label::Fixed("debian"),
    Count::AtMostOne,
    &[
        SUITE_KEY,
        key(
            "package",
            Kind::Pattern(&PACKAGE_NAME),
            Need::Absent("`linux-image-cloud-amd64`, or `linux-image-cloud-arm64` for aarch64"),
            r#""linux-image-amd64""#,
            "The kernel's package, or a metapackage that depends on it.",
        ),
        MODULES,
        COMPONENTS,
        MIRROR_KEY,
        SIGNED_BY,
    ],
    "The kernel, as a package of Debian. A recipe without a kernel makes a tree that nobody boots.",
    r#"kernel "debian" {
  suite = "bookworm"
}"#,
);

pub(super) const KERNEL_FILE: Block = block(
    "kernel",
    Label::Fixed("file"),
    Count::AtMostOne,
    &[
        key("image", Kind::HostPath, Need::Required, r#""boot/vmlinuz""#, "The kernel's image."),
        key(
            "modules_directory",
            Kind::HostPath,
            Need::Absent("no modules"),
            r#""lib/modules/6.1.0""#,
            "The directory `lib/modules/VERSION` of the kernel.",
        ),
        MODULES,
    ],
    "The kernel, as files of the host.",
    r#"kernel "file" {
  image = "boot/vmlinuz"
}

boot {
  suite = "bookworm"
}"#,
);

pub(super) const BOOT: Block = block(
    "boot",
    Label::None,
    Count::AtMostOne,
    &[
        key(
            "loader",
            Kind::Word(&["mkimage", "systemd-boot"]),
            Need::Absent("`mkimage`; for aarch64 and with `loader_file`: `systemd-boot`"),
            r#""mkimage""#,
            "The boot loader. `mkimage` (for x86_64): it checks the kernel image before it starts it, and starts \
             the other slot in the same boot where it can't. `systemd-boot`: of the package, or `loader_file`.",
        ),
        key(
            "suite",
            Kind::Pattern(&SUITE),
            Need::Absent("the kernel's"),
            r#""bookworm""#,
            "The suite of the package with stub and loader.",
        ),
        key(
            "package",
            Kind::Pattern(&PACKAGE_NAME),
            Need::Default("\"systemd-boot-efi\""),
            r#""systemd-boot-efi""#,
            "The package with the stub of unified kernel images, and with systemd-boot.",
        ),
        key(
            "components",
            Kind::List(&Kind::Pattern(&SUITE), true),
            Need::Absent("the kernel's"),
            r#"["main"]"#,
            "The components of the suite.",
        ),
        key(
            "mirror",
            Kind::Pattern(&MIRROR),
            Need::Absent("the kernel's"),
            r#""http://mirror.invalid/debian""#,
            "Base address of the archive.",
        ),
        key(
            "signed_by",
            Kind::HostPath,
            Need::Absent("the kernel's"),
            r#""keys/archive.gpg""#,
            "Keyring file that must have signed the suite.",
        ),
        key(
            "loader_file",
            Kind::HostPath,
            Need::Absent("from the package"),
            r#""efi/systemd-bootx64.efi""#,
            "The loader as a file of the host; needs `stub_file`.",
        ),
        key(
            "stub_file",
            Kind::HostPath,
            Need::Absent("from the package"),
            r#""efi/linuxx64.efi.stub""#,
            "The stub of unified kernel images as a file of the host; needs `loader_file` with systemd-boot.",
        ),
        key("tries", Kind::Number(1, 5), Need::Default("3"), "5", "Boot attempts that a trial slot has."),
        key(
            "command_line",
            Kind::List(&Kind::Pattern(&COMMAND_LINE_WORD), false),
            Need::Default("[]"),
            r#"["console=ttyS0"]"#,
            "Words behind ours on the kernel's command line.",
        ),
        key(
            "watchdog_seconds",
            Kind::Number(0, DAY_SECONDS),
            Need::Default("30"),
            "60",
            "Seconds without a sign of health after which the watchdog resets; 0 for none.",
        ),
    ],
    "How the machine starts.",
    r#"boot {
  tries        = 5
  command_line = ["console=ttyS0"]
}"#,
);

pub(super) const DISK: Block = block(
    "disk",
    Label::None,
    Count::AtMostOne,
    &[
        key(
            "layout",
            Kind::Number(1, 2),
            Need::Absent("the loader's"),
            "2",
            "Version of the layout: 1 for systemd-boot, 2 for mkimage's own loader. A layout, once released, can be \
             written for ever.",
        ),
        key(
            "filesystem",
            Kind::Word(&["ext4"]),
            Need::Default("\"ext4\""),
            r#""ext4""#,
            "Filesystem of the slots.",
        ),
        key(
            "placement",
            Kind::Word(&["dense", "stable"]),
            Need::Default("\"dense\""),
            r#""stable""#,
            "Where files stand in a slot. `dense`: one behind the other. `stable`: where they stood in the version \
             before, so that an update writes little more than what changed; takes half as much room again, and more.",
        ),
        key(
            "slot_size",
            Kind::AutoSize,
            Need::Default("\"auto\""),
            r#""256MiB""#,
            "Size of each slot partition; `auto`: from the content, with room to grow.",
        ),
        key(
            "uki_size",
            Kind::AutoSize,
            Need::Default("\"auto\""),
            r#""32MiB""#,
            "Room for each slot's kernel image on the boot partition; `auto`: from the image, with room to grow.",
        ),
        key(
            "data_size",
            Kind::Size,
            Need::Default("\"64MiB\""),
            r#""1GiB""#,
            "Size of the data partition in the image; it grows at first boot to the end of the disk.",
        ),
        key(
            "data_path",
            Kind::ImagePath,
            Need::Default("\"/data\""),
            r#""/var/lib/hello""#,
            "Where the data partition is mounted.",
        ),
    ],
    "The disk image.",
    r#"disk {
  slot_size = "256MiB"
}"#,
);
