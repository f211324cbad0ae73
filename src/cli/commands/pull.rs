use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::remote::{LineArgs, TrustArgs, ref_name, report};
use super::{Context, Done};
use crate::base::Stopwatch;
use crate::remote::{self, Address, Remote, RemoteError, Rules, Want, Wants};
use crate::store::Store;

/// The name under which a clone remembers where it came from.
const ORIGIN: &str = "origin";

/// `mkimage pull`: brings refs and commits here.
#[derive(Args, Debug)]
pub struct Pull {
    /// Name of a remote, or an address
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// What to pull: refs, or whole commit ids, which need nobody's signature [default: all refs]
    #[arg(value_name = "REF|ID")]
    wants: Vec<String>,
    /// Move local refs wherever they are
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    line: LineArgs,
}

/// `mkimage clone`: makes a store that has the refs of another.
#[derive(Args, Debug)]
pub struct Clone {
    /// Address of a store or site
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Store to make [default: --store]
    #[arg(value_name = "STORE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    line: LineArgs,
}

/// `mkimage mirror`: makes the refs here the same as there.
#[derive(Args, Debug)]
pub struct Mirror {
    /// Name of a remote, or an address
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// Remove refs that aren't there
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    line: LineArgs,
}

pub fn pull(context: &Context, arguments: &Pull) -> Done {
    let watch = Stopwatch::start();
    let store = context.store()?;
    let mut remote = arguments.trust.find(&store, &arguments.remote)?;
    let wants = match arguments.wants.is_empty() {
        true => Wants::All,
        false => Wants::These(arguments.wants.iter().map(|text| want(text)).collect::<Result<_, _>>()?),
    };
    let rules = Rules { force: arguments.force, ..Rules::default() };
    let outcome = remote::pull(&store, &mut remote, &wants, &rules, &arguments.line.line(context)?)?;
    report(context, &outcome, watch)?;
    Ok(ExitCode::SUCCESS)
}

fn want(text: &str) -> Result<Want, Failure> {
    match text.parse() {
        Ok(id) => Ok(Want::Commit(id)),
        Err(_) => Ok(Want::Ref(ref_name(text)?)),
    }
}

pub fn clone(context: &Context, arguments: &Clone) -> Done {
    let watch = Stopwatch::start();
    let store = match &arguments.store {
        Some(path) => Store::open(path).map_err(Failure::from)?,
        None => context.store()?,
    };
    if !store.refs().map_err(Failure::from)?.is_empty() {
        let problem = format!("{} has refs already", store.path().display());
        return Err(Failure::new(Kind::Usage, problem)
            .hint("`mkimage remote add` and `mkimage pull` bring refs to a store that has some"));
    }
    let mut settings = arguments.trust.settings(&arguments.address)?;
    if let Address::Store(path) | Address::Directory(path) = &mut settings.address {
        *path = std::path::absolute(&*path).map_err(|error| Failure::of(Kind::Usage, &error))?;
    }
    let mut remote = Remote { name: None, settings };
    // Nothing is made before the far end has answered.
    let line = arguments.line.line(context)?;
    remote::refs(&remote, &line)?;
    let name = ORIGIN.parse()?;
    match Remote::add(&store, &context.job, &name, &remote.settings) {
        // An earlier try got so far.
        Err(RemoteError::Taken { address, .. }) if address == remote.settings.address.to_string() => {}
        added => added?,
    }
    remote.name = Some(name);
    let outcome = remote::pull(&store, &mut remote, &Wants::All, &Rules::default(), &line)?;
    report(context, &outcome, watch)?;
    Ok(ExitCode::SUCCESS)
}

pub fn mirror(context: &Context, arguments: &Mirror) -> Done {
    let watch = Stopwatch::start();
    let store = context.store()?;
    let mut remote = arguments.trust.find(&store, &arguments.remote)?;
    let rules = Rules { force: true, prune: arguments.prune, ..Rules::default() };
    let line = arguments.line.line(context)?;
    let outcome = remote::pull(&store, &mut remote, &Wants::All, &rules, &line)?;
    report(context, &outcome, watch)?;
    Ok(ExitCode::SUCCESS)
}
