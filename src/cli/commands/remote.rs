use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::failure::{Failure, Kind};
use super::super::text::plural;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::base::{CommitId, Stopwatch};
use crate::remote::{self, Address, Line, Outcome, Remote, RemoteError, RemoteName, RemoteSettings};
use crate::store::{RefName, Store};
use crate::trust::{PublicKey, Trusted};

/// `mkimage remote`: the other stores and sites that a store knows by name.
#[derive(Args, Debug)]
pub struct RemoteVerbs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Remember an address under a name, with the keys that must sign what it says
    Add(Add),
    /// List the remotes
    List,
    /// Show what is remembered of a remote
    Show(Name),
    /// Forget a remote; refs and objects stay
    Remove(Name),
    /// Ask a remote where its refs lead
    Refs(Refs),
    /// Take from a site the bundles that its refs don't need, once nobody can be reading them
    Prune(super::remote_prune::Prune),
}

#[derive(Args, Debug)]
struct Add {
    /// Name to use in place of the address
    #[arg(value_name = "NAME")]
    name: String,
    /// A store: /path; a site: dir:/path, https://host/path, s3://bucket/prefix
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    trust: TrustArgs,
    /// The name that the site must bear [default: that of its first index]
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
}

#[derive(Args, Debug)]
struct Name {
    /// Name of a remote
    #[arg(value_name = "REMOTE")]
    name: String,
}

#[derive(Args, Debug)]
struct Refs {
    /// Name of a remote, or an address
    #[arg(value_name = "REMOTE")]
    remote: String,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Whom to believe what a site says of its refs.
#[derive(Args, Debug, Clone)]
pub struct TrustArgs {
    /// File of public keys that may sign what a site says; can be given more than once
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// So many different keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
}

/// What every transfer takes.
#[derive(Args, Debug, Clone)]
pub struct LineArgs {
    /// Carry at most so many bytes a second, such as 512KiB
    #[arg(long, value_name = "RATE")]
    limit_rate: Option<String>,
}

impl TrustArgs {
    fn keys(&self) -> Result<Vec<PublicKey>, Failure> {
        let mut keys = Vec::new();
        for file in &self.keys {
            keys.extend(Trusted::read(file, 1)?.keys().cloned());
        }
        Ok(keys)
    }

    /// Knows an address and these keys.
    pub fn settings(&self, address: &str) -> Result<RemoteSettings, Failure> {
        let mut settings = RemoteSettings::new(address.parse()?);
        settings.keys = self.keys()?;
        settings.threshold = self.threshold;
        settings.trusted()?;
        Ok(settings)
    }

    /// Finds a remote by name or address. Keys go with an address only: those of a name were chosen before.
    pub fn find(&self, store: &Store, text: &str) -> Result<Remote, Failure> {
        if Address::is_address(text) {
            return Ok(Remote { name: None, settings: self.settings(text)? });
        }
        if !self.keys.is_empty() {
            let problem =
                format!("--key goes with an address; the keys of {text} were chosen when it was added");
            return Err(Failure::new(Kind::Usage, problem));
        }
        Ok(Remote::find(store, text)?)
    }
}

impl LineArgs {
    pub fn line(&self, context: &Context) -> Result<Line, Failure> {
        let rate = self.limit_rate.as_ref().map(|text| match Bytes::parse(text.trim_end_matches("/s")) {
            Some(Bytes(rate)) if rate > 0 => Ok(rate),
            _ => {
                let problem = format!("--limit-rate {text}: expected bytes a second such as 512KiB");
                Err(Failure::new(Kind::Usage, problem))
            }
        });
        Ok(Line::new(&context.job, rate.transpose()?))
    }
}

pub fn run(context: &Context, arguments: &RemoteVerbs) -> Done {
    match &arguments.verb {
        Verb::Add(arguments) => add(context, arguments)?,
        Verb::List => list(context)?,
        Verb::Show(arguments) => show(context, &arguments.name)?,
        Verb::Remove(arguments) => {
            let store = context.store()?;
            Remote::remove(&store, &context.job, &arguments.name.parse()?)?;
            context.printer.say(&format!("forgot {}", arguments.name));
        }
        Verb::Refs(arguments) => refs(context, arguments)?,
        Verb::Prune(arguments) => super::remote_prune::run(context, arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(context: &Context, arguments: &Add) -> Result<(), Failure> {
    let name: RemoteName = arguments.name.parse()?;
    let mut settings = arguments.trust.settings(&arguments.address)?;
    // A path means the same wherever the next command runs.
    if let Address::Store(path) | Address::Directory(path) = &mut settings.address {
        let absolute = std::path::absolute(&*path).map_err(|error| Failure::of(Kind::Usage, &error))?;
        *path = absolute;
    }
    if let Some(site) = &arguments.site {
        settings.site = Some(site.parse().map_err(|problem: String| Failure::new(Kind::Usage, problem))?);
    }
    Remote::add(&context.store()?, &context.job, &name, &settings)?;
    let is_site = !matches!(settings.address, Address::Store(_));
    if is_site && settings.keys.is_empty() {
        context.printer.say(&format!(
            "no key is known for {name}: only whole commit ids can be pulled, until it is added with --key FILE"
        ));
    }
    Ok(())
}

fn list(context: &Context) -> Result<(), Failure> {
    let remotes = readable(context, &context.store()?)?;
    let rows: Vec<_> = remotes.iter().map(as_json).collect();
    context.printer.data(&rows, || {
        let width = remotes.iter().map(|remote| remote.shown().len()).max().unwrap_or(0);
        remotes
            .iter()
            .map(|remote| format!("{:width$} {}\n", remote.shown(), remote.settings.address))
            .collect()
    })
}

/// Reads the remotes of a store, by name. What is damaged is warned of: the others are there all the same.
fn readable(context: &Context, store: &Store) -> Result<Vec<Remote>, Failure> {
    let mut remotes = Vec::new();
    for name in store.remotes().map_err(Failure::from)? {
        match name.parse().and_then(|name| Remote::load(store, &name)) {
            Ok(remote) => remotes.push(remote),
            Err(error @ (RemoteError::Damaged { .. } | RemoteError::Name { .. })) => {
                context.printer.warn(&error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(remotes)
}

fn show(context: &Context, name: &str) -> Result<(), Failure> {
    let remote = Remote::load(&context.store()?, &name.parse()?)?;
    context.printer.data(&as_json(&remote), || {
        let settings = &remote.settings;
        let mut text = String::new();
        let mut line = |key: &str, value: String| text.push_str(&format!("{key:<12} {value}\n"));
        line("name", remote.shown());
        line("address", settings.address.to_string());
        settings.site.iter().for_each(|site| line("site", site.to_string()));
        for key in &settings.keys {
            line("key", format!("{} {}", key.id(), key.comment()).trim_end().to_owned());
        }
        if let Some(seen) = &settings.seen {
            line("seen", format!("version {}", seen.version));
        }
        for (name, values) in &settings.refs {
            values.first().iter().for_each(|commit| line("ref", format!("{name} {commit}")));
        }
        text
    })
}

fn as_json(remote: &Remote) -> serde_json::Value {
    let settings = &remote.settings;
    let keys: Vec<String> = settings.keys.iter().map(|key| key.id().to_string()).collect();
    let refs: serde_json::Map<String, serde_json::Value> = settings
        .refs
        .iter()
        .filter_map(|(name, values)| Some((name.to_string(), serde_json::json!(values.first()?))))
        .collect();
    serde_json::json!({
        "name": remote.shown(), "address": settings.address.to_string(),
        "site": settings.site.as_ref().map(ToString::to_string), "threshold": settings.threshold, "keys": keys,
        "seen_version": settings.seen.as_ref().map(|seen| seen.version), "refs": refs,
    })
}

fn refs(context: &Context, arguments: &Refs) -> Result<(), Failure> {
    let remote = arguments.trust.find(&context.store()?, &arguments.remote)?;
    let refs = remote::refs(&remote, &Line::new(&context.job, None))?;
    let rows: Vec<_> =
        refs.iter().map(|(name, commit)| serde_json::json!({ "name": name, "commit": commit })).collect();
    context.printer.data(&rows, || {
        let width = refs.keys().map(|name| name.as_str().len()).max().unwrap_or(0);
        refs.iter().map(|(name, commit)| format!("{:width$} {commit}\n", name.as_str())).collect()
    })
}

/// Prints what came of a push or pull.
pub fn report(context: &Context, outcome: &Outcome, watch: Stopwatch) -> Result<(), Failure> {
    let seconds = watch.elapsed().as_secs_f64();
    let mut data = serde_json::to_value(outcome).map_err(|error| Failure::of(Kind::Failed, &error))?;
    data["seconds"] = serde_json::json!(seconds);
    context.printer.data(&data, || outcome_text(outcome))?;
    let traffic = &outcome.traffic;
    let wire = traffic.received_bytes + traffic.sent_bytes;
    context.printer.say(&format!(
        "{} over the wire in {}, {}, {seconds:.1} s ({}/s)",
        approximate(Bytes(wire)),
        plural(traffic.requests, "request"),
        plural(outcome.objects, "new object"),
        approximate(Bytes((wire as f64 / seconds.max(0.001)) as u64)),
    ));
    Ok(())
}

fn outcome_text(outcome: &Outcome) -> String {
    let width = outcome.refs.iter().map(|moved| moved.name.as_str().len()).max().unwrap_or(0);
    let mut text = String::new();
    for moved in &outcome.refs {
        let name = moved.name.as_str();
        let change = match (&moved.old, &moved.new) {
            (Some(old), Some(new)) if old == new => format!("{} (as it was)", short(new)),
            (Some(old), Some(new)) => format!("{} -> {}", short(old), short(new)),
            (None, Some(new)) => format!("{} (new)", short(new)),
            (Some(old), None) => format!("{} (removed)", short(old)),
            (None, None) => continue,
        };
        text.push_str(&format!("{name:width$} {change}\n"));
    }
    if outcome.refs.is_empty() {
        outcome.commits.iter().for_each(|commit| text.push_str(&format!("{commit}\n")));
    }
    text
}

fn short(id: &CommitId) -> String {
    id.to_string()[..12].to_owned()
}

/// Reads the name of a ref.
pub fn ref_name(text: &str) -> Result<RefName, Failure> {
    RefName::new(text).map_err(|error| Failure::new(Kind::Usage, error.to_string()))
}
