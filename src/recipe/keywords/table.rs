//! The rows.

use super::patterns::{
    ACCOUNT_NAME, ARGUMENT, CAPABILITY, COMMAND_LINE_WORD, HEALTH_ADDRESS, IMAGE_NAME, LINK_TARGET, MIRROR,
    MODULE, PACKAGE_NAME, PASSWD_FIELD, SUITE, VERSION,
};
use super::{Block, Count, Key, Kind, Label, Need, SIGNALS};

/// Largest id of a user or group: the last number stands for "none".
const ID_MAX: i64 = u32::MAX as i64 - 1;
/// The last second that FAT can hold: 2107-12-31 23:59:59.
const EPOCH_MAX: i64 = 4_354_819_199;
const DAY_SECONDS: i64 = 86_400;
const PORTS: Kind = Kind::Number(1, 65_535);
const ARGUMENTS: Kind = Kind::List(&Kind::Pattern(&ARGUMENT), true);
const PATHS: Kind = Kind::List(&Kind::ImagePath, false);
const NO_PATHS: Need = Need::Default("[]");

/// Makes the row of a key that every version so far has read.
const fn key(
    name: &'static str,
    kind: Kind,
    need: Need,
    example: &'static str,
    description: &'static str,
) -> Key {
    Key { name, kind, need, description, since: "0.1", example }
}

const fn block(
    name: &'static str,
    label: Label,
    count: Count,
    keys: &'static [Key],
    description: &'static str,
    example: &'static str,
) -> Block {
    Block { name, parent: None, label, count, description, since: "0.1", keys, example }
}

const ALLOW: Key = key(
    "allow",
    PATHS,
    NO_PATHS,
    r#"["/usr/bin/ping"]"#,
    "Paths inside the image that may have setuid or setgid bits, be devices, or carry file capabilities or `trusted.*` attributes. Everything else that does is refused.",
);
const REPLACE_PATHS: Key = key(
    "replace",
    PATHS,
    NO_PATHS,
    r#"["/etc/motd"]"#,
    "Paths inside the image that may take over what an earlier part brought.",
);
const REPLACE: Key =
    key("replace", Kind::Bool, Need::Default("false"), "true", "May take over what an earlier part brought.");
const OWNER: Key = key(
    "owner",
    Kind::Account,
    Need::Default("\"root\""),
    r#""www""#,
    "User that owns it: a user of the recipe, or a number.",
);
const GROUP: Key = key(
    "group",
    Kind::Account,
    Need::Default("\"root\""),
    r#""www""#,
    "Group that owns it: a group of the recipe, or a number.",
);
const SOURCE_OWNER: Key = key(
    "owner",
    Kind::Account,
    Need::Absent("an archive's numeric owners; root for host files"),
    "0",
    "User that owns every entry. With `group` alone: root.",
);
const SOURCE_GROUP: Key = key(
    "group",
    Kind::Account,
    Need::Absent("an archive's numeric groups; root for host files"),
    "0",
    "Group that owns every entry. With `owner` alone: root.",
);
const STRIP: Key = key(
    "strip_components",
    Kind::Number(0, 64),
    Need::Default("0"),
    "1",
    "Leading components to drop from each path of an archive.",
);
const XATTRS: Key = key(
    "xattrs",
    Kind::Attributes,
    Need::Default("{}"),
    r#"{ "user.origin" = "recipe" }"#,
    "Extended attributes by full name (`user.`, `trusted.`, `security.`, `system.`). A value is a string, or bytes as `hex(\"…\")`.",
);
const CAPABILITIES: Key = key(
    "capabilities",
    Kind::List(&Kind::Pattern(&CAPABILITY), false),
    Need::Default("[]"),
    r#"["CAP_NET_RAW"]"#,
    "File capabilities, permitted and effective.",
);

const SUITE_KEY: Key =
    key("suite", Kind::Pattern(&SUITE), Need::Required, r#""bookworm""#, "The suite of the archive.");
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

/// Every block, in the order of the reference page. Blocks of one name stand together.
pub(in super::super) const BLOCKS: &[Block] = &[
    block(
        "image",
        Label::Of(
            Kind::Pattern(&IMAGE_NAME),
            "Name of the image: also the ref that builds move, and the host name.",
        ),
        Count::ExactlyOne,
        &[
            key(
                "version",
                Kind::Pattern(&VERSION),
                Need::Absent("no version"),
                r#""1.4.2""#,
                "Version of the image.",
            ),
            key(
                "description",
                Kind::Text,
                Need::Absent("no description"),
                r#""Says hello""#,
                "One line about the image.",
            ),
            key(
                "architecture",
                Kind::Word(&["x86_64", "aarch64"]),
                Need::Default("\"x86_64\""),
                r#""x86_64""#,
                "What machines it runs on.",
            ),
            key(
                "epoch",
                Kind::Number(0, EPOCH_MAX),
                Need::Absent("`SOURCE_DATE_EPOCH`, else 1980-01-01"),
                "1700000000",
                "Every time stamp in the image, in seconds since 1970.",
            ),
            key(
                "init",
                Kind::ImagePath,
                Need::Absent("our PID 1 runs the app"),
                r#""/sbin/init""#,
                "The tree's own init, for an image that is a whole system. Excludes `app`.",
            ),
        ],
        "What is built. Exactly one a recipe.",
        r#"image "hello" {
  version = "1.0"
}"#,
    ),
    block(
        "variable",
        Label::Of(Kind::Text, "Name, by which values say `var.NAME`."),
        Count::Any,
        &[
            key(
                "type",
                Kind::Word(&["string", "number", "bool", "list", "object"]),
                Need::Absent("the type of the default, else string"),
                "number",
                "Type of the value; written without quotes, as in Terraform, or with them.",
            ),
            key(
                "default",
                Kind::Any,
                Need::Absent("a value must be given"),
                "8080",
                "Value where none is given. It can't name other variables.",
            ),
            key(
                "description",
                Kind::Text,
                Need::Absent("no description"),
                r#""Port of the service""#,
                "What it is for.",
            ),
        ],
        "A value that may be set from outside, by `--set NAME=VALUE` or in a vars file.",
        r#"variable "port" {
  type    = number
  default = 8080
}"#,
    ),
    block(
        "include",
        Label::Of(Kind::Text, "Path of the recipe file, relative to the folder of the file that names it."),
        Count::Any,
        &[],
        "Takes in the blocks of another file, at this place. A file that is included several times counts once.",
        r#"include "common.hcl" {}"#,
    ),
    block(
        "app",
        Label::Of(Kind::Pattern(&IMAGE_NAME), "Name of the app: also the name of its data directory."),
        Count::AtMostOne,
        &[
            key(
                "source",
                Kind::HostPath,
                Need::Required,
                r#""bin/hello""#,
                "The app: a file, a directory, or a tar archive (plain, gzip, zstd, xz).",
            ),
            key(
                "path",
                Kind::ImagePath,
                Need::Absent(
                    "`/app` where the source looks like a directory (ends in `/`) or an archive (`.tar`, `.tar.gz`, `.tgz`, `.tar.zst`, `.tar.xz`), else `/app/` and the name of the source",
                ),
                r#""/usr/bin/hello""#,
                "Where it goes: a file's own path, or the directory that a directory or archive fills.",
            ),
            STRIP,
            ALLOW,
            REPLACE_PATHS,
            SOURCE_OWNER,
            SOURCE_GROUP,
            key(
                "mode",
                Kind::Mode,
                Need::Absent("0755 where the owner may execute the host's file, else 0644"),
                r#""0755""#,
                "Permission bits, for a source that is one file.",
            ),
            key(
                "command",
                ARGUMENTS,
                Need::Absent("the app's path, where the source is a file"),
                r#"["/app/hello", "--verbose"]"#,
                "Program and arguments. The program is an absolute path inside the image.",
            ),
            key(
                "user",
                Kind::Pattern(&ACCOUNT_NAME),
                Need::Default("\"app\""),
                r#""www""#,
                "The user that it runs as. `app` comes along with id 1000 where the recipe has no such user.",
            ),
            key(
                "working_directory",
                Kind::ImagePath,
                Need::Default("\"/\""),
                r#""/app""#,
                "Where it starts.",
            ),
            key(
                "environment",
                Kind::Environment,
                Need::Default("{}"),
                r#"{ LOG = "info" }"#,
                "Its environment. Numbers and booleans become text.",
            ),
            key(
                "ports",
                Kind::List(&PORTS, false),
                Need::Default("[]"),
                "[8080]",
                "TCP ports that `mkimage run` forwards.",
            ),
            key(
                "capabilities",
                Kind::List(&Kind::Pattern(&CAPABILITY), false),
                Need::Default("[]"),
                r#"["CAP_NET_BIND_SERVICE"]"#,
                "Ambient capabilities. It has no others.",
            ),
            key(
                "restart",
                Kind::Word(&["always", "on-failure", "never"]),
                Need::Default("\"always\""),
                r#""on-failure""#,
                "What happens when it exits by itself: start it again (`always`; `on-failure`: unless it returned 0), or power off.",
            ),
            key(
                "stop_signal",
                Kind::Word(SIGNALS),
                Need::Default("\"SIGTERM\""),
                r#""SIGINT""#,
                "The signal that asks it to stop.",
            ),
            key(
                "stop_timeout_seconds",
                Kind::Number(1, DAY_SECONDS),
                Need::Default("10"),
                "30",
                "How long it has to stop before it is killed.",
            ),
        ],
        "What the machine runs, as its own unprivileged user. At most one; none where `image` has `init`.",
        r#"app "hello" {
  source = "bin/hello"
  ports  = [8080]

  health {
    http = ":8080/"
  }
}"#,
    ),
    Block {
        parent: Some("app"),
        ..block(
            "health",
            Label::None,
            Count::AtMostOne,
            &[
                key(
                    "http",
                    Kind::Pattern(&HEALTH_ADDRESS),
                    Need::Absent("another check"),
                    r#"":8080/health""#,
                    "GET this path on this port of the loopback address; 200 to 399 is healthy.",
                ),
                key(
                    "tcp",
                    PORTS,
                    Need::Absent("another check"),
                    "5432",
                    "This port of the loopback address accepts a connection.",
                ),
                key(
                    "command",
                    ARGUMENTS,
                    Need::Absent("another check"),
                    r#"["/app/check"]"#,
                    "This command returns 0.",
                ),
                key(
                    "interval_seconds",
                    Kind::Number(1, DAY_SECONDS),
                    Need::Default("2"),
                    "5",
                    "Time between two checks.",
                ),
                key(
                    "timeout_seconds",
                    Kind::Number(1, DAY_SECONDS),
                    Need::Default("2"),
                    "5",
                    "How long one check may take.",
                ),
                key(
                    "hold_seconds",
                    Kind::Number(0, DAY_SECONDS),
                    Need::Default("5"),
                    "30",
                    "How long the check must hold before a trial slot is blessed.",
                ),
                key(
                    "start_seconds",
                    Kind::Number(1, DAY_SECONDS),
                    Need::Default("60"),
                    "120",
                    "How long the app has to become healthy before the machine gives the slot up and reboots.",
                ),
            ],
            "When the app counts as healthy. Exactly one of `http`, `tcp` and `command`.",
            r#"health {
  tcp          = 5432
  hold_seconds = 30
}"#,
        )
    },
    block(
        "tree",
        Label::Of(Kind::Pattern(&IMAGE_NAME), "Name, for messages."),
        Count::Any,
        &[
            key(
                "source",
                Kind::HostPath,
                Need::Required,
                r#""rootfs.tar.zst""#,
                "A directory, or a tar archive (plain, gzip, zstd, xz).",
            ),
            key(
                "path",
                Kind::ImagePath,
                Need::Default("\"/\""),
                r#""/srv""#,
                "The directory inside the image that it fills.",
            ),
            STRIP,
            ALLOW,
            REPLACE_PATHS,
            SOURCE_OWNER,
            SOURCE_GROUP,
        ],
        "A directory or archive laid into the image. Later parts are laid over earlier ones.",
        r#"tree "assets" {
  source = "assets/"
  path   = "/srv/www"
}"#,
    ),
    block(
        "file",
        Label::Of(Kind::ImagePath, "Path inside the image."),
        Count::Any,
        &[
            key(
                "content",
                Kind::Text,
                Need::Absent("`source` must be given"),
                r#""hello\n""#,
                "The content. Excludes `source`.",
            ),
            key(
                "source",
                Kind::HostPath,
                Need::Absent("`content` must be given"),
                r#""motd.txt""#,
                "A file of the host with the content. Excludes `content`.",
            ),
            key("mode", Kind::Mode, Need::Default("\"0644\""), r#""0600""#, "Permission bits."),
            OWNER,
            GROUP,
            XATTRS,
            CAPABILITIES,
            REPLACE,
        ],
        "A file.",
        r#"file "/etc/motd" {
  content = "Welcome\n"
}"#,
    ),
    block(
        "directory",
        Label::Of(Kind::ImagePath, "Path inside the image."),
        Count::Any,
        &[
            key("mode", Kind::Mode, Need::Default("\"0755\""), r#""1777""#, "Permission bits."),
            OWNER,
            GROUP,
            XATTRS,
            REPLACE,
        ],
        "A directory. Directories above a path are made as needed, with mode 0755; this states another mode or owner, or an empty one.",
        r#"directory "/tmp" {
  mode = "1777"
}"#,
    ),
    block(
        "symlink",
        Label::Of(Kind::ImagePath, "Path inside the image."),
        Count::Any,
        &[
            key(
                "target",
                Kind::Pattern(&LINK_TARGET),
                Need::Required,
                r#""/usr/bin/hello""#,
                "What it points to, relative or absolute; it need not exist.",
            ),
            OWNER,
            GROUP,
            XATTRS,
            REPLACE,
        ],
        "A symbolic link.",
        r#"symlink "/bin/hello" {
  target = "/app/hello"
}"#,
    ),
    block(
        "hard_link",
        Label::Of(Kind::ImagePath, "Path inside the image."),
        Count::Any,
        &[
            key(
                "target",
                Kind::ImagePath,
                Need::Required,
                r#""/app/hello""#,
                "The file that it is another name of.",
            ),
            REPLACE,
        ],
        "Another name of a file.",
        r#"hard_link "/app/hello-again" {
  target = "/app/hello"
}"#,
    ),
    block(
        "device",
        Label::Of(Kind::ImagePath, "Path inside the image."),
        Count::Any,
        &[
            key(
                "kind",
                Kind::Word(&["character", "block", "fifo"]),
                Need::Required,
                r#""character""#,
                "What it is.",
            ),
            key("major", Kind::Number(0, 4095), Need::Absent("only a fifo has none"), "1", "Major number."),
            key(
                "minor",
                Kind::Number(0, 1_048_575),
                Need::Absent("only a fifo has none"),
                "3",
                "Minor number.",
            ),
            key("mode", Kind::Mode, Need::Default("\"0600\""), r#""0666""#, "Permission bits."),
            OWNER,
            GROUP,
            XATTRS,
            REPLACE,
        ],
        "A device node or a fifo.",
        r#"device "/dev/null" {
  kind  = "character"
  major = 1
  minor = 3
  mode  = "0666"
}"#,
    ),
    block(
        "user",
        Label::Of(Kind::Pattern(&ACCOUNT_NAME), "Name of the user."),
        Count::Any,
        &[
            key("uid", Kind::Number(0, ID_MAX), Need::Required, "1000", "Numeric id; 0 is root's alone."),
            key(
                "group",
                Kind::Account,
                Need::Absent("a group with the user's name and id, made where the recipe has none"),
                r#""www""#,
                "Primary group.",
            ),
            key(
                "groups",
                Kind::List(&Kind::Pattern(&ACCOUNT_NAME), false),
                Need::Default("[]"),
                r#"["video"]"#,
                "Further groups.",
            ),
            key(
                "home",
                Kind::ImagePath,
                Need::Default("\"/\""),
                r#""/home/hello""#,
                "Home directory; it is not made.",
            ),
            key(
                "shell",
                Kind::ImagePath,
                Need::Default("\"/usr/sbin/nologin\""),
                r#""/bin/sh""#,
                "Login shell.",
            ),
            key(
                "comment",
                Kind::Pattern(&PASSWD_FIELD),
                Need::Default("\"\""),
                r#""Runs hello""#,
                "Full name or remark.",
            ),
        ],
        "A user.",
        r#"user "www" {
  uid = 33
}"#,
    ),
    block(
        "group",
        Label::Of(Kind::Pattern(&ACCOUNT_NAME), "Name of the group."),
        Count::Any,
        &[key("gid", Kind::Number(0, ID_MAX), Need::Required, "44", "Numeric id; 0 is root's alone.")],
        "A group.",
        r#"group "video" {
  gid = 44
}"#,
    ),
    block(
        "packages",
        Label::Fixed("debian"),
        Count::Any,
        &[
            SUITE_KEY,
            key(
                "names",
                Kind::List(&Kind::Pattern(&PACKAGE_NAME), true),
                Need::Required,
                r#"["base-files", "libc6"]"#,
                "Exact names of packages.",
            ),
            COMPONENTS,
            MIRROR_KEY,
            SIGNED_BY,
            ALLOW,
            REPLACE_PATHS,
        ],
        "Packages of Debian, unpacked into the image. `mkimage lock` pins their versions.",
        r#"packages "debian" {
  suite = "bookworm"
  names = ["base-files", "libc6"]
}"#,
    ),
    block(
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
    ),
    block(
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
    ),
    block(
        "boot",
        Label::None,
        Count::AtMostOne,
        &[
            key(
                "loader",
                Kind::Word(&["systemd-boot"]),
                Need::Default("\"systemd-boot\""),
                r#""systemd-boot""#,
                "The boot loader.",
            ),
            key(
                "suite",
                Kind::Pattern(&SUITE),
                Need::Absent("the kernel's"),
                r#""bookworm""#,
                "The suite of the loader's package.",
            ),
            key(
                "package",
                Kind::Pattern(&PACKAGE_NAME),
                Need::Default("\"systemd-boot-efi\""),
                r#""systemd-boot-efi""#,
                "The loader's package.",
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
                "The stub of unified kernel images as a file of the host; needs `loader_file`.",
            ),
            key("tries", Kind::Number(1, 9), Need::Default("3"), "5", "Boot attempts that a trial slot has."),
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
    ),
    block(
        "disk",
        Label::None,
        Count::AtMostOne,
        &[
            key(
                "layout",
                Kind::Number(1, 1),
                Need::Default("1"),
                "1",
                "Version of the layout. A layout, once released, can be written for ever.",
            ),
            key(
                "filesystem",
                Kind::Word(&["ext4"]),
                Need::Default("\"ext4\""),
                r#""ext4""#,
                "Filesystem of the slots.",
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
    ),
];
