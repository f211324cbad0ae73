//! Users and groups.

use super::super::patterns::{ACCOUNT_NAME, PASSWD_FIELD};
use super::super::{Block, Count, Kind, Label, Need};
use super::{block, key};

/// Largest id of a user or group: the last number stands for "none".
const ID_MAX: i64 = u32::MAX as i64 - 1;

pub(super) const USER: Block = block(
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
        key("shell", Kind::ImagePath, Need::Default("\"/usr/sbin/nologin\""), r#""/bin/sh""#, "Login shell."),
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
);

pub(super) const GROUP: Block = block(
    "group",
    Label::Of(Kind::Pattern(&ACCOUNT_NAME), "Name of the group."),
    Count::Any,
    &[key("gid", Kind::Number(0, ID_MAX), Need::Required, "44", "Numeric id; 0 is root's alone.")],
    "A group.",
    r#"group "video" {
  gid = 44
}"#,
);
