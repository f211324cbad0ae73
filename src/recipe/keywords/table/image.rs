//! The image, its variables and includes.

use super::super::patterns::{IMAGE_NAME, REVISION, VERSION};
use super::super::{Block, Count, Kind, Label, Need};
use super::{block, key};

/// The last second that FAT can hold: 2107-12-31 23:59:59.
const EPOCH_MAX: i64 = 4_354_819_199;

pub(super) const IMAGE: Block = block(
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
            Need::Absent("1980-01-01"),
            "1700000000",
            "Every time stamp in the image, in seconds since 1970. `SOURCE_DATE_EPOCH` in the environment goes before it.",
        ),
        key(
            "init",
            Kind::ImagePath,
            Need::Absent("our PID 1 runs the app"),
            r#""/sbin/init""#,
            "The tree's own init, for an image that is a whole system. Excludes `app`.",
        ),
    ],
    "What is built.",
    r#"image "hello" {
  version = "1.0"
}"#,
);

pub(super) const BASE: Block = block(
    "base",
    Label::None,
    Count::AtMostOne,
    &[key(
        "commit",
        Kind::Pattern(&REVISION),
        Need::Required,
        r#""debian/base""#,
        "The commit: a ref of the store, or an id. A whole id pins it; a ref may lead elsewhere at the next build.",
    )],
    "Another commit's tree, under everything else wherever the block stands. Parts may replace its files and links without a word; a directory stays one. Only the tree counts: not its kernel, disk, command or host name. The packages of a base are files like others: nothing that `packages` names is taken from them.",
    r#"base {
  commit = "debian/base"
}"#,
);

pub(super) const VARIABLE: Block = block(
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
);

pub(super) const INCLUDE: Block = block(
    "include",
    Label::Of(Kind::Text, "Path of the recipe file, relative to the folder of the file that names it."),
    Count::Any,
    &[],
    "Takes in the blocks of another file, at this place. A file that is included several times counts once.",
    r#"include "common.hcl" {}"#,
);
