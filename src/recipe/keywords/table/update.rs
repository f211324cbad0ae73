//! How machines update themselves.

use super::super::patterns::{DURATION, REF_NAME, RING, SITE_ADDRESS, WINDOW};
use super::super::{Block, Count, Kind, Label, Need};
use super::{block, key};

pub(super) const UPDATE: Block = block(
    "update",
    Label::None,
    Count::AtMostOne,
    &[
        key(
            "from",
            Kind::Pattern(&SITE_ADDRESS),
            Need::Required,
            r#""https://updates.invalid/site""#,
            "The site that is asked: what `mkimage push` publishes, behind any web server (`https://…`, `http://…`), or in a directory of the machine (`dir:/…`). Who signed counts, not who serves.",
        ),
        key(
            "ref",
            Kind::Pattern(&REF_NAME),
            Need::Required,
            r#""web/prod""#,
            "The ref there whose commit the machine is to run. The commit must be of an image of the same name.",
        ),
        key(
            "key",
            Kind::HostPath,
            Need::Required,
            r#""site.key.pub""#,
            "File with the public keys that may sign the site's index, one a line. They stand in the image, verified.",
        ),
        key(
            "certificates",
            Kind::HostPath,
            Need::Absent("those of the image's own system, such as package `ca-certificates` brings"),
            r#""site-ca.pem""#,
            "File with the CA certificates (PEM) that vouch for the server of an `https://` site, and no others do. They stand in the image, verified. An app image has none of its own.",
        ),
        key(
            "threshold",
            Kind::Number(1, 16),
            Need::Default("1"),
            "2",
            "How many of the keys must have signed.",
        ),
        key(
            "interval",
            Kind::Pattern(&DURATION),
            Need::Default("\"10m\""),
            r#""1h""#,
            "How often the site is asked. Failures make it rarer, up to a day.",
        ),
        key(
            "jitter",
            Kind::Pattern(&DURATION),
            Need::Default("\"1m\""),
            r#""10m""#,
            "Up to so much is added to each pause, so that machines don't come all at once.",
        ),
        key(
            "window",
            Kind::Pattern(&WINDOW),
            Need::Absent("any time"),
            r#""02:00-04:00""#,
            "Time of day (UTC) in which the machine reboots into an update; an end before the start is on the next day. Fetching and writing go on at any time.",
        ),
        key(
            "rings",
            Kind::List(&Kind::Pattern(&RING), false),
            Need::Default("[]"),
            r#"["5%", "50% after 6h", "100% after 2d"]"#,
            "Shares of all machines, the first ones first, and how long each waits after it first saw a new commit. A machine's place follows from its own id and the ref, and stays.",
        ),
        key(
            "reboot",
            Kind::Word(&["when_told", "window", "at_once"]),
            Need::Absent("`window` where one is given, else `at_once`"),
            r#""when_told""#,
            "When the machine reboots into what was written: when somebody says so, in the window, or at once. It falls back by itself where the app does not become healthy.",
        ),
    ],
    "The machine updates itself: an agent in the image asks a site for a ref, fetches what the running slot lacks, writes the other slot and tries it.",
    r#"update {
  from   = "https://updates.invalid/site"
  ref    = "web/prod"
  key    = "site.key.pub"
  window = "02:00-04:00"
}"#,
);
