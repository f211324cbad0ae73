//! The rows, by theme.

mod accounts;
mod app;
mod checks;
mod image;
mod inodes;
mod machine;
mod packages;
mod start;
mod update;

use super::patterns::ARGUMENT;
use super::{Block, Count, Key, Kind, Label, Need};

/// Every block, in the order of the reference page. Blocks of one name stand together.
pub(in super::super) const BLOCKS: &[Block] = &[
    image::IMAGE,
    image::BASE,
    image::VARIABLE,
    image::INCLUDE,
    app::APP,
    app::HEALTH,
    start::CONFIGURATION,
    start::LOG,
    app::TREE,
    inodes::FILE,
    inodes::DIRECTORY,
    inodes::SYMLINK,
    inodes::HARD_LINK,
    inodes::DEVICE,
    accounts::USER,
    accounts::GROUP,
    packages::PACKAGES_DEBIAN,
    packages::PACKAGES_UBUNTU,
    packages::PACKAGES_RPM,
    packages::SOURCE,
    packages::RUN,
    machine::KERNEL_DEBIAN,
    machine::KERNEL_FILE,
    machine::BOOT,
    app::SYSTEM_HEALTH,
    machine::DISK,
    checks::BUDGET,
    checks::TEST,
    checks::TEST_FILE,
    checks::TEST_HTTP,
    update::UPDATE,
];

const DAY_SECONDS: i64 = 86_400;
const PORTS: Kind = Kind::Number(1, 65_535);
const ARGUMENTS: Kind = Kind::List(&Kind::Pattern(&ARGUMENT), true);
const PATHS: Kind = Kind::List(&Kind::ImagePath, false);
const NO_PATHS: Need = Need::Default("[]");

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
