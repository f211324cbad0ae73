//! Packages, their sources, and steps that run on the tree.

use super::super::patterns::{
    ARCHITECTURE, GLOB, IMAGE_NAME, IMAGE_PATH, MIRROR, PACKAGE_REQUEST, RPM_REQUEST, SUITE, VERSION_PATTERN,
};
use super::super::{Block, Count, Key, Kind, Label, Need};
use super::{ALLOW, ARGUMENTS, DAY_SECONDS, REPLACE_PATHS, block, key};

const GLOBS: Kind = Kind::List(&Kind::Pattern(&GLOB), false);
const PACKAGES: Kind = Kind::List(&Kind::Pattern(&PACKAGE_REQUEST), false);
const RPM_PACKAGES: Kind = Kind::List(&Kind::Pattern(&RPM_REQUEST), false);
const PRIORITY: Kind = Kind::Number(-1, 1000);

const SUITE_OF_BLOCK: Key = key(
    "suite",
    Kind::Pattern(&SUITE),
    Need::Absent("from the `source` blocks"),
    r#""bookworm""#,
    "The suite of the archive: the first source.",
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
const NAMES: Key = key(
    "names",
    Kind::List(&Kind::Pattern(&PACKAGE_REQUEST), true),
    Need::Required,
    r#"["nginx-light", "openssh-server=1:9.2*"]"#,
    "What to install: names, each with an architecture (`:i386`) or a version (`=1.2*`) where it matters.",
);
const RPM_NAMES: Key = key(
    "names",
    Kind::List(&Kind::Pattern(&RPM_REQUEST), true),
    Need::Required,
    r#"["nginx", "bash=5.2*"]"#,
    "What to install: names, each with a version (`=1.2*`) where it matters.",
);
const DEPENDENCIES: Key = key(
    "dependencies",
    Kind::Bool,
    Need::Default("true"),
    "false",
    "Whether what the packages need comes along. Without it: the named packages and nothing else.",
);
const ESSENTIAL: Key = key(
    "essential",
    Kind::Bool,
    Need::Absent("as `dependencies`"),
    "false",
    "Whether the packages come along that every system of the distribution has.",
);
const RECOMMENDS: Key = key(
    "recommends",
    Kind::Bool,
    Need::Default("false"),
    "true",
    "Whether what the packages recommend comes along.",
);
const EXCLUDE: Key =
    key("exclude", PACKAGES, Need::Default("[]"), r#"["tzdata"]"#, "Packages that are never taken.");
const RPM_EXCLUDE: Key =
    key("exclude", RPM_PACKAGES, Need::Default("[]"), r#"["tzdata"]"#, "Packages that are never taken.");
const PINS: Key = key(
    "pins",
    Kind::Map(&PACKAGE_REQUEST, &Kind::Pattern(&VERSION_PATTERN)),
    Need::Default("{}"),
    r#"{ nginx-light = "1.22*" }"#,
    "The version that a package must have, wherever it comes from.",
);
const RPM_PINS: Key = key(
    "pins",
    Kind::Map(&RPM_REQUEST, &Kind::Pattern(&VERSION_PATTERN)),
    Need::Default("{}"),
    r#"{ nginx-light = "1.22*" }"#,
    "The version that a package must have, wherever it comes from.",
);
const HOLDS: Key = key(
    "holds",
    PACKAGES,
    Need::Default("[]"),
    r#"["openssl"]"#,
    "Packages that stay at their locked version when the lock is updated.",
);
const RPM_HOLDS: Key = key(
    "holds",
    RPM_PACKAGES,
    Need::Default("[]"),
    r#"["openssl"]"#,
    "Packages that stay at their locked version when the lock is updated.",
);
const FILES: Key = key(
    "files",
    Kind::List(&Kind::HostPath, false),
    Need::Default("[]"),
    r#"["packages/tool.deb"]"#,
    "Packages that are files of this machine. They are preferred to those of the archives.",
);
const FOREIGN: Key = key(
    "foreign_architectures",
    Kind::List(&Kind::Pattern(&ARCHITECTURE), false),
    Need::Default("[]"),
    r#"["i386"]"#,
    "Further architectures of which packages may be taken.",
);
const KEEP: Key = key(
    "keep",
    GLOBS,
    Need::Default("[]"),
    r#"["/usr/share/doc/*/copyright"]"#,
    "Paths that stay although `drop` names them.",
);
const DROP: Key = key(
    "drop",
    GLOBS,
    Need::Default("[]"),
    r#"["/usr/share/doc/**", "/usr/share/man/**"]"#,
    "Paths of packages that do not reach the image.",
);
const SCRIPTS: Key = key(
    "scripts",
    Kind::Map(&PACKAGE_REQUEST, &Kind::Word(&["ignore", "run", "refuse"])),
    Need::Default("{}"),
    r#"{ tool = "run" }"#,
    "What becomes of the scripts of a package whose effect mkimage does not know: the build fails and shows them (`refuse`), they are left out (`ignore`), or they run in the sandbox (`run`).",
);
const RPM_SCRIPTS: Key = key(
    "scripts",
    Kind::Map(&RPM_REQUEST, &Kind::Word(&["ignore", "run", "refuse"])),
    Need::Default("{}"),
    r#"{ tool = "run" }"#,
    "What becomes of the scripts of a package whose effect mkimage does not know: the build fails and shows them (`refuse`), they are left out (`ignore`), or they run in the sandbox (`run`).",
);
const DATABASE: Key = key(
    "database",
    Kind::Word(&["full", "status.d", "none"]),
    Need::Absent("`full` with the essential packages, else `status.d`"),
    r#""full""#,
    "How the image remembers its packages: as the distribution's own tools do, as images without these tools do (`var/lib/dpkg/status.d`), or not at all.",
);

const DEB_KEYS: &[Key] = &[
    SUITE_OF_BLOCK,
    NAMES,
    COMPONENTS,
    MIRROR_KEY,
    SIGNED_BY,
    DEPENDENCIES,
    ESSENTIAL,
    RECOMMENDS,
    EXCLUDE,
    PINS,
    HOLDS,
    FILES,
    FOREIGN,
    KEEP,
    DROP,
    SCRIPTS,
    DATABASE,
    ALLOW,
    REPLACE_PATHS,
];

pub(super) const PACKAGES_DEBIAN: Block = block(
    "packages",
    Label::Fixed("debian"),
    Count::Any,
    DEB_KEYS,
    "Packages of Debian with all that they need, as apt would choose them. `mkimage lock` pins their versions. All blocks of a distribution are solved as one; the first one says where their files stand in the order of the recipe.",
    r#"packages "debian" {
  suite = "bookworm"
  names = ["nginx-light"]

  source "security" {
    suite = "bookworm-security"
  }
}"#,
);

pub(super) const PACKAGES_UBUNTU: Block = block(
    "packages",
    Label::Fixed("ubuntu"),
    Count::Any,
    DEB_KEYS,
    "Packages of Ubuntu.",
    r#"packages "ubuntu" {
  suite = "noble"
  names = ["nginx-light"]
}"#,
);

pub(super) const PACKAGES_RPM: Block = block(
    "packages",
    Label::Fixed("rpm"),
    Count::Any,
    &[
        RPM_NAMES,
        DEPENDENCIES,
        RECOMMENDS,
        RPM_EXCLUDE,
        RPM_PINS,
        RPM_HOLDS,
        KEEP,
        DROP,
        RPM_SCRIPTS,
        DATABASE,
        ALLOW,
        REPLACE_PATHS,
    ],
    "Packages of RPM repositories, each of which is a `source`.",
    r#"packages "rpm" {
  names = ["nginx"]

  source "base" {
    mirror    = "http://mirror.invalid/base"
    signed_by = "keys/base.asc"
  }
}"#,
);

pub(super) const SOURCE: Block = Block {
    parent: Some("packages"),
    ..block(
        "source",
        Label::Of(Kind::Pattern(&IMAGE_NAME), "Name of the source, for messages."),
        Count::Any,
        &[
            key(
                "suite",
                Kind::Pattern(&SUITE),
                Need::Absent("only in `rpm`"),
                r#""bookworm-security""#,
                "The suite of the archive.",
            ),
            COMPONENTS,
            MIRROR_KEY,
            SIGNED_BY,
            key(
                "priority",
                PRIORITY,
                Need::Default("500"),
                "990",
                "Of the versions that several sources have, that of the highest priority is taken, then the highest version; -1: never.",
            ),
        ],
        "A further archive: updates, security, a third party's.",
        r#"packages "debian" {
  suite = "bookworm"
  names = ["nginx-light"]

  source "updates" {
    suite = "bookworm-updates"
  }
}"#,
    )
};

pub(super) const RUN: Block = block(
    "run",
    Label::Of(Kind::Pattern(&IMAGE_NAME), "Name of the step."),
    Count::Any,
    &[
        key(
            "command",
            ARGUMENTS,
            Need::Absent("`script`"),
            r#"["/usr/bin/python3", "/in/setup.py"]"#,
            "Program and arguments. The program is an absolute path inside the image, or below an input.",
        ),
        key(
            "script",
            Kind::Text,
            Need::Absent("`command`"),
            r#""ln -s nginx /etc/web""#,
            "Text for the image's `/bin/sh -e`.",
        ),
        key(
            "inputs",
            Kind::Map(&IMAGE_PATH, &Kind::HostPath),
            Need::Default("{}"),
            r#"{ "/in" = "setup" }"#,
            "Files and folders of this machine that the step sees, read-only, by where it sees them.",
        ),
        key(
            "environment",
            Kind::Environment,
            Need::Default("{}"),
            r#"{ STAGE = "build" }"#,
            "Its environment, beside the fixed one.",
        ),
        key("working_directory", Kind::ImagePath, Need::Default("\"/\""), r#""/in""#, "Where it starts."),
        key(
            "outputs",
            GLOBS,
            Need::Required,
            r#"["/etc/**"]"#,
            "Paths that may change. A change elsewhere is an error.",
        ),
        key(
            "timeout_seconds",
            Kind::Number(1, DAY_SECONDS),
            Need::Default("600"),
            "60",
            "How long it may take.",
        ),
    ],
    "A step in the sandbox, on the tree of the parts before it: unprivileged, without network, with its inputs and nothing else of this machine in sight. Its result is remembered.",
    r#"run "configure" {
  script  = "ln -s nginx /etc/web"
  outputs = ["/etc/web"]
}"#,
);
