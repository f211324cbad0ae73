use clap::Args;

use super::super::failure::Failure;
use super::Context;
use super::gc::seconds;
use super::key::SigningArgs;
use super::remote::LineArgs;
use crate::base::Digest;
use crate::base::units::{Bytes, approximate};
use crate::remote::{self, Pruned, Publishing, Remote};
use crate::trust::Signer;

/// `mkimage remote prune`: takes from a site what its refs don't need.
#[derive(Args, Debug)]
pub struct Prune {
    /// Name of a remote, or the address of a site
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// Remove what no index has named for so long, such as 90s, 30m, 24h or 7d: longer than a pull takes
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "7d")]
    older_than: u64,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Days after which nobody may believe the index any more that is signed where one changes
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3650))]
    expires: u64,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    line: LineArgs,
}

pub fn run(context: &Context, arguments: &Prune) -> Result<(), Failure> {
    let store = context.store()?;
    let mut remote = Remote::find(&store, &arguments.remote)?;
    let signers = arguments.signing.signers()?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
    let lifetime_seconds = arguments.expires * 24 * 3600;
    let publishing = Publishing { signers: &signers, site: None, lifetime_seconds };
    let line = arguments.line.line(context)?;
    let (grace, dry_run) = (arguments.older_than, arguments.dry_run);
    let pruned = remote::prune(&store, &mut remote, &publishing, grace, dry_run, &line)?;
    let ids = |ids: &[Digest]| ids.iter().map(Digest::to_string).collect::<Vec<_>>();
    let data = serde_json::json!({
        "dry_run": dry_run, "kept": pruned.kept, "dropped": ids(&pruned.dropped),
        "dropped_bytes": pruned.dropped_bytes, "waiting": ids(&pruned.waiting), "removed": ids(&pruned.removed),
    });
    context.printer.data(&data, || text(&pruned, dry_run))
}

fn text(pruned: &Pruned, dry_run: bool) -> String {
    let mut text = String::new();
    let (drop, wait, remove) = match dry_run {
        true => ("would leave the index", "would wait", "would be removed"),
        false => ("left the index", "waits", "removed"),
    };
    for (what, ids) in [(drop, &pruned.dropped), (wait, &pruned.waiting), (remove, &pruned.removed)] {
        ids.iter().for_each(|id| text.push_str(&format!("{id} {what}\n")));
    }
    text.push_str(&format!(
        "{} bundles in use, {} {drop} ({}), {} of before {remove}\n",
        pruned.kept,
        pruned.dropped.len(),
        approximate(Bytes(pruned.dropped_bytes)),
        pruned.removed.len(),
    ));
    text
}
