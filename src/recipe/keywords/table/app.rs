//! What brings an app, a directory or an archive.

use super::super::patterns::{ACCOUNT_NAME, CAPABILITY, HEALTH_ADDRESS, IMAGE_NAME, SIGNALS, UNIT};
use super::super::{Block, Count, Key, Kind, Label, Need};
use super::{ALLOW, ARGUMENTS, DAY_SECONDS, PORTS, REPLACE_PATHS, block, key};

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

pub(super) const APP: Block = block(
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
        key("working_directory", Kind::ImagePath, Need::Default("\"/\""), r#""/app""#, "Where it starts."),
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
        key(
            "closure",
            Kind::Word(&["elf"]),
            Need::Absent("nothing comes along"),
            r#""elf""#,
            "What the app needs comes along: `elf`, the loader and the libraries that its programs name, from the packages of the recipe, else from this machine.",
        ),
    ],
    "What the machine runs, as its own unprivileged user. None where `image` has `init`.",
    r#"app "hello" {
  source = "bin/hello"
  ports  = [8080]

  health {
    http = ":8080/"
  }
}"#,
);

const HTTP: Key = key(
    "http",
    Kind::Pattern(&HEALTH_ADDRESS),
    Need::Absent("another check"),
    r#"":8080/health""#,
    "GET this path on this port of the loopback address; 200 to 399 is healthy.",
);
const TCP: Key = key(
    "tcp",
    PORTS,
    Need::Absent("another check"),
    "5432",
    "This port of the loopback address accepts a connection.",
);
const COMMAND: Key =
    key("command", ARGUMENTS, Need::Absent("another check"), r#"["/app/check"]"#, "This command returns 0.");
const INTERVAL: Key = key(
    "interval_seconds",
    Kind::Number(1, DAY_SECONDS),
    Need::Default("2"),
    "5",
    "Time between two checks.",
);
const TIMEOUT: Key = key(
    "timeout_seconds",
    Kind::Number(1, DAY_SECONDS),
    Need::Default("2"),
    "5",
    "How long one check may take.",
);
const HOLD: Key = key(
    "hold_seconds",
    Kind::Number(0, DAY_SECONDS),
    Need::Default("5"),
    "30",
    "How long the check must hold before a trial slot is blessed.",
);
const START: Key = key(
    "start_seconds",
    Kind::Number(1, DAY_SECONDS),
    Need::Default("60"),
    "120",
    "How long it may take to become healthy before the machine gives the slot up and reboots.",
);

pub(super) const HEALTH: Block = Block {
    parent: Some("app"),
    ..block(
        "health",
        Label::None,
        Count::AtMostOne,
        &[HTTP, TCP, COMMAND, INTERVAL, TIMEOUT, HOLD, START],
        "When the app counts as healthy. Exactly one of `http`, `tcp` and `command`.",
        r#"health {
  tcp          = 5432
  hold_seconds = 30
}"#,
    )
};

pub(super) const SYSTEM_HEALTH: Block = Block {
    parent: Some("boot"),
    ..block(
        "health",
        Label::None,
        Count::AtMostOne,
        &[
            HTTP,
            TCP,
            COMMAND,
            key(
                "unit",
                Kind::Pattern(&UNIT),
                Need::Absent("another check"),
                r#""nginx.service""#,
                "`systemctl is-active` says so of this unit.",
            ),
            INTERVAL,
            TIMEOUT,
            HOLD,
            START,
        ],
        "When a whole system (`init`) on trial counts as healthy, and its slot is blessed. Exactly one of `http`, `tcp`, `command` and `unit`; a command runs as root. While the machine has a file `/run/mkimage/hold` it is not healthy either. Without this block a system is blessed when it has been up for 20 seconds without that file, and a sick one falls back only when somebody reboots it.",
        r#"health {
  unit          = "nginx.service"
  start_seconds = 180
}"#,
    )
};

pub(super) const TREE: Block = block(
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
);
