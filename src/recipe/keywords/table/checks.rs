//! What a build must keep to, and what is tested of it.

use super::super::patterns::{GLOB, HEALTH_ADDRESS, LINK_TARGET, SHA256};
use super::super::{Block, Count, Kind, Label, Need};
use super::{DAY_SECONDS, PORTS, block, key};

/// Linux' highest number of inodes of our filesystems is far above.
const COUNT_MAX: i64 = 1 << 32;

pub(super) const BUDGET: Block = block(
    "budget",
    Label::None,
    Count::AtMostOne,
    &[
        key(
            "max_size",
            Kind::Size,
            Need::Absent("no limit"),
            r#""64MiB""#,
            "Most bytes of all files of the root filesystem and of all that boots (kernel, initrd, loader) together; a file with several names counts once.",
        ),
        key(
            "max_setuid",
            Kind::Number(0, COUNT_MAX),
            Need::Absent("no limit"),
            "0",
            "Most files with a setuid or setgid bit, or with file capabilities.",
        ),
        key(
            "forbid",
            Kind::List(&Kind::Pattern(&GLOB), false),
            Need::Default("[]"),
            r#"["/**/*.pyc", "/usr/share/doc/**"]"#,
            "Globs of paths that must not be in the root filesystem.",
        ),
        key(
            "max_boot_seconds",
            Kind::Number(1, DAY_SECONDS),
            Need::Absent("no limit"),
            "5",
            "Most seconds from power-on until the app answers its `health` check (without one, until user space speaks). `mkimage test` measures it, builds don't.",
        ),
    ],
    "What the image must keep to. A build that does not fails with every reason, each with its paths and sizes.",
    r#"budget {
  max_size   = "64MiB"
  max_setuid = 0
  forbid     = ["/**/*.pyc"]
}"#,
);

pub(super) const TEST: Block = block(
    "test",
    Label::Of(Kind::Text, "Name, for the report."),
    Count::Any,
    &[
        key(
            "tcp",
            Kind::List(&PORTS, false),
            Need::Default("[]"),
            "[5432]",
            "Ports of the booted machine that must accept a connection.",
        ),
        key(
            "console",
            Kind::List(&Kind::Text, false),
            Need::Default("[]"),
            r#"["ready to serve"]"#,
            "Texts of which each must stand in a line of the booted machine's console.",
        ),
        key(
            "timeout_seconds",
            Kind::Number(1, DAY_SECONDS),
            Need::Default("120"),
            "60",
            "How long the machine has for each check of this block.",
        ),
    ],
    "What `mkimage test` checks: files of the finished tree, then the booted machine. No byte of an image depends on it.",
    r#"test "greets" {
  console = ["app hello started"]

  file "/app/hello" {
    mode = "0755"
  }

  http ":8080/" {
    contains = "Hello"
  }
}"#,
);

pub(super) const TEST_FILE: Block = Block {
    parent: Some("test"),
    ..block(
        "file",
        Label::Of(Kind::ImagePath, "Path inside the image; links above its last name are followed."),
        Count::Any,
        &[
            key(
                "kind",
                Kind::Word(&["file", "directory", "symlink", "device", "fifo", "socket"]),
                Need::Absent("any kind"),
                r#""directory""#,
                "What stands there.",
            ),
            key("mode", Kind::Mode, Need::Absent("any mode"), r#""0600""#, "Permission bits."),
            key(
                "owner",
                Kind::Account,
                Need::Absent("any owner"),
                r#""www""#,
                "User that owns it: a name in the image's `/etc/passwd`, or a number.",
            ),
            key(
                "group",
                Kind::Account,
                Need::Absent("any group"),
                r#""www""#,
                "Group that owns it: a name in the image's `/etc/group`, or a number.",
            ),
            key(
                "target",
                Kind::Pattern(&LINK_TARGET),
                Need::Absent("any target"),
                r#""../run/resolv.conf""#,
                "Where a symbolic link leads.",
            ),
            key(
                "contains",
                Kind::Text,
                Need::Absent("any content"),
                r#""PermitRootLogin no""#,
                "Text that the file holds.",
            ),
            key(
                "sha256",
                Kind::Pattern(&SHA256),
                Need::Absent("any content"),
                r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#,
                "Digest of the file's bytes, as `sha256sum` prints it.",
            ),
            key(
                "absent",
                Kind::Bool,
                Need::Default("false"),
                "true",
                "Nothing stands there. Excludes all other keys.",
            ),
        ],
        "What stands at a path. Without keys: something.",
        r#"file "/etc/ssh/sshd_config" {
  mode     = "0644"
  contains = "PermitRootLogin no"
}"#,
    )
};

pub(super) const TEST_HTTP: Block = Block {
    parent: Some("test"),
    ..block(
        "http",
        Label::Of(Kind::Pattern(&HEALTH_ADDRESS), "Port of the booted machine, and path."),
        Count::Any,
        &[
            key(
                "status",
                Kind::Number(100, 599),
                Need::Absent("200 to 399"),
                "404",
                "The status of the answer.",
            ),
            key(
                "contains",
                Kind::Text,
                Need::Absent("any answer"),
                r#""Hello""#,
                "Text in the body of the answer, whose first MiB is read.",
            ),
        ],
        "A page that the booted machine serves.",
        r#"http ":8080/health" {
  status = 200
}"#,
    )
};
