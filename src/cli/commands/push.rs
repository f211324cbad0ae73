use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::key::SigningArgs;
use super::remote::{LineArgs, ref_name, report};
use super::{Context, Done};
use crate::base::{Digest, Stopwatch};
use crate::image::Image;
use crate::remote::{self, Address, Line, Publishing, Pushed, Remote, Rules};
use crate::store::{Objects, RefName, Store, StoreError};
use crate::trust::{Release, Signer};

/// `mkimage push`: moves refs of another store or site, after all that they lead to.
#[derive(Args, Debug)]
pub struct Push {
    /// Name of a remote, or an address
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// What to push: a ref, or a revision and the ref that leads to it there (REV:NAME). None: sign the index
    /// of a site anew
    #[arg(value_name = "REV[:NAME]")]
    revisions: Vec<String>,
    /// Remove a ref there, in one move with what is pushed; can be given more than once
    #[arg(long, value_name = "REF")]
    delete: Vec<String>,
    /// Move refs wherever they are there
    #[arg(long, conflicts_with = "expect")]
    force: bool,
    /// Move the ref only if it leads to this commit there; `none`: only if it isn't there
    #[arg(long, value_name = "COMMIT")]
    expect: Option<String>,
    /// Name of a site that isn't there yet [default: the last part of its address]
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Days after which nobody may believe the index of a site any more
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3650))]
    expires: u64,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    line: LineArgs,
}

pub fn run(context: &Context, arguments: &Push) -> Done {
    let watch = Stopwatch::start();
    let store = context.store()?;
    let mut remote = Remote::find(&store, &arguments.remote)?;
    let pushed = arguments.revisions.iter().map(|text| pushed(&store, text));
    let pushed = pushed.collect::<Result<Vec<Pushed>, Failure>>()?;
    let remove = arguments.delete.iter().map(|name| ref_name(name)).collect::<Result<_, _>>()?;
    let expect = expected(&store, arguments)?;
    let rules = Rules { force: arguments.force, expect, remove, ..Rules::default() };
    let site = arguments.site.as_ref().map(|site| site.parse());
    let site = site.transpose().map_err(|problem: String| Failure::new(Kind::Usage, problem))?;
    let signers = arguments.signing.signers()?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
    let lifetime_seconds = arguments.expires * 24 * 3600;
    let publishing = Publishing { signers: &signers, site, lifetime_seconds };
    let publishing = (!signers.is_empty()).then_some(publishing);
    let line = arguments.line.line(context)?;
    if !signers.is_empty() {
        publish_releases(context, &store, &remote, &pushed, &signers, &line)?;
    }
    let outcome = remote::push(&store, &mut remote, &pushed, &rules, publishing.as_ref(), &line)?;
    report(context, &outcome, watch)?;
    Ok(ExitCode::SUCCESS)
}

/// Publishes, before any ref leads to them, what the images of the commits come out as. A commit that nobody boots
/// has none.
fn publish_releases(
    context: &Context,
    store: &Store,
    remote: &Remote,
    pushed: &[Pushed],
    signers: &[&dyn Signer],
    line: &Line,
) -> Result<(), Failure> {
    if matches!(remote.settings.address, Address::Store(_)) {
        return Ok(());
    }
    for pushed in pushed {
        let commit = store.read_commit(&pushed.commit).map_err(Failure::from)?;
        if commit.boot.is_none() {
            continue;
        }
        let image = Image::of(store, pushed.commit, &context.job)?;
        let content = image.slot_content(&image.place_root(&context.job)?, &context.job)?;
        let release = Release {
            commit: pushed.commit,
            root_hash: content.verity.root_hash,
            uki: Digest::of(&content.uki),
            uki_bytes: content.uki.len() as u64,
        };
        let signed = release.sign(signers)?;
        remote::publish_release(remote, &pushed.commit, signed, line)?;
    }
    Ok(())
}

/// Reads `REF`, `REF:NAME` or `REV:NAME`.
fn pushed(store: &Store, text: &str) -> Result<Pushed, Failure> {
    let (source, name) = match text.split_once(':') {
        Some((source, name)) => (source, Some(ref_name(name)?)),
        None => (text, None),
    };
    let commit = store.resolve(source).map_err(Failure::from)?;
    let source_ref = RefName::new(source).ok();
    let source_ref = match source_ref {
        Some(name) if store.read_ref(&name).map_err(Failure::from)?.is_some() => Some(name),
        _ => None,
    };
    let unnamed = || {
        Failure::new(Kind::Usage, format!("{source} is no ref: what shall lead to it there?"))
            .hint(format!("name a ref behind it, such as {source}:hello"))
    };
    let name = name.or_else(|| source_ref.clone()).ok_or_else(unnamed)?;
    Ok(Pushed { name, commit, source: source_ref })
}

fn expected(store: &Store, arguments: &Push) -> Result<Option<Option<crate::base::CommitId>>, Failure> {
    match arguments.expect.as_deref() {
        None => Ok(None),
        Some("none") => Ok(Some(None)),
        Some(text) => match text.parse() {
            Ok(id) => Ok(Some(Some(id))),
            Err(_) => store.resolve(text).map(|id| Some(Some(id))).map_err(|error: StoreError| error.into()),
        },
    }
}
