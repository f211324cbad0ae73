//! Single files, directories, links and devices.

use super::super::patterns::{CAPABILITY, LINK_TARGET};
use super::super::{Block, Count, Key, Kind, Label, Need};
use super::{block, key};

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

pub(super) const FILE: Block = block(
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
);

pub(super) const DIRECTORY: Block = block(
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
);

pub(super) const SYMLINK: Block = block(
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
);

pub(super) const HARD_LINK: Block = block(
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
);

pub(super) const DEVICE: Block = block(
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
        key("minor", Kind::Number(0, 1_048_575), Need::Absent("only a fifo has none"), "3", "Minor number."),
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
);
