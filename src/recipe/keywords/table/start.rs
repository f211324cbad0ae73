//! What an app is told when its machine starts, and where its output goes.

use super::super::patterns::{CREDENTIAL, HTTP_ADDRESS, SYSLOG_ADDRESS};
use super::super::{Block, Count, Kind, Label, Need};
use super::{block, key};

pub(super) const CONFIGURATION: Block = Block {
    parent: Some("app"),
    ..block(
        "configuration",
        Label::None,
        Count::AtMostOne,
        &[
            key(
                "metadata",
                Kind::List(&Kind::Word(&["ec2", "nocloud", "config-drive"]), false),
                Need::Default("[]"),
                r#"["nocloud", "ec2"]"#,
                "Where cloud metadata is looked for, over and over in this order until one answers: `ec2`, the instance metadata service (version 2: user data, and instance tags `mkimage.env.NAME`); `nocloud`, a disk labelled `cidata`, or the address in a serial number `ds=nocloud;s=http://…/`; `config-drive`, a disk labelled `config-2` (user data, and `meta` entries `mkimage.env.NAME`). Without it nothing is looked for, and nothing waited for.",
            ),
            key(
                "wait_seconds",
                Kind::Number(1, 600),
                Need::Default("10"),
                "30",
                "How long the app waits for metadata.",
            ),
            key(
                "required",
                Kind::Bool,
                Need::Default("false"),
                "true",
                "Without metadata the app is not started: the machine reboots, which uses up a try of a slot on trial.",
            ),
            key(
                "credentials",
                Kind::List(&Kind::Pattern(&CREDENTIAL), false),
                Need::Default("[]"),
                r#"["token", "tls.key"]"#,
                "Credentials of the hypervisor, and files of user data, that the app gets as files of these names. They lie in the directory `CREDENTIALS_DIRECTORY`, in memory, read-only, for its user alone. What is not named here is not handed on.",
            ),
        ],
        "What the app is told when its machine starts, so that one image serves many environments. Variables come, each going before the one named earlier, from: the recipe; the kernel's command line (`mkimage.env.NAME=VALUE`); metadata, tags before user data; credentials of the hypervisor (`mkimage.env.NAME`), SMBIOS before fw_cfg. The command line and credentials need no block. User data is lines `NAME=VALUE`, or JSON `{\"environment\": {…}, \"files\": {…}, \"log\": \"ADDRESS\"}`, with or without a first line `#mkimage`; what is for others (`#cloud-config`, scripts) is left alone. Values never reach the console, and nothing of them is kept on the disk.",
        r#"configuration {
  metadata    = ["nocloud", "ec2"]
  credentials = ["token"]
}"#,
    )
};

pub(super) const LOG: Block = Block {
    parent: Some("app"),
    ..block(
        "log",
        Label::None,
        Count::AtMostOne,
        &[
            key(
                "syslog",
                Kind::Pattern(&SYSLOG_ADDRESS),
                Need::Absent("another address, or none"),
                r#""tcp://logs.example:6514""#,
                "A syslog collector: messages of RFC 5424, framed by their length (RFC 6587). When a connection breaks, what was sent in the last 20 seconds is sent again; `sequenceId` tells repeated lines apart.",
            ),
            key(
                "http",
                Kind::Pattern(&HTTP_ADDRESS),
                Need::Absent("another address, or none"),
                r#""http://logs.example:8080/ingest""#,
                "A collector that takes POSTs of JSON lines (`time`, `host`, `app`, `version`, `severity`, `sequence`, `message`). Lines count as delivered when it answers with 200 to 299.",
            ),
            key(
                "buffer",
                Kind::Size,
                Need::Default("\"1MiB\""),
                r#""4MiB""#,
                "Most memory for lines that wait for the collector, 64KiB to 64MiB. When it is full the oldest go, and the stream tells how many.",
            ),
        ],
        "Where the app's output goes besides the console, line by line, without the app ever waiting for it. The address may be told at start instead, or replaced: `mkimage.log=ADDRESS` on the kernel's command line, `log` in user data, a credential `mkimage.log`; `none` turns it off. Secrets handed over as files are masked wherever the app prints them. There is no TLS: a collector elsewhere needs a relay on the same network. What the app writes is made harmless: control characters and broken UTF-8 are shown, not sent.",
        r#"log {
  syslog = "tcp://logs.example:6514"
}"#,
    )
};
