use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::text::{date, plural, short};
use super::{Context, Done, changes};
use crate::base::CommitId;
use crate::base::whole;
use crate::pipeline::compare;
use crate::store::{Bisection, Finding, LogEntry, RefName, Revision, Store, StoreError, Verdict};

/// `mkimage bisect`: finds the move of a ref that broke something.
#[derive(Args, Debug)]
#[command(
    after_help = "The command finds the commit in MKIMAGE_COMMIT and the store in MKIMAGE_STORE. It exits with 0 \
    where the commit is good, with 125 where that can't be told, with anything else below 126 where it is bad.\n\n\
    Example: mkimage bisect web~20 web -- sh -c 'mkimage cat $MKIMAGE_COMMIT /etc/motd | grep -q welcome'"
)]
pub struct Bisect {
    /// A commit of the ref's past that is good: REF~N, or an id
    #[arg(value_name = "GOOD")]
    pub good: String,
    /// A later one that is bad: a ref, REF~N, or an id
    #[arg(value_name = "BAD")]
    pub bad: String,
    /// What tries a commit
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}

/// The exit code of a command that can't tell.
const SKIP: i32 = 125;
/// From here on an exit code says that the command could not be run at all.
const NOT_RUN: i32 = 126;

pub fn run(context: &Context, arguments: &Bisect) -> Done {
    let store = context.store()?;
    let (name, row) = row(&store, &arguments.good, &arguments.bad)?;
    let mut bisection = Bisection::new(row.len());
    let mut known = HashMap::from([
        (row[0].value.commit, Verdict::Good),
        (row[row.len() - 1].value.commit, Verdict::Bad),
    ]);
    while let Some(index) = bisection.next() {
        context.job.check().map_err(|stop| Failure::of(Kind::Interrupted, &stop))?;
        let commit = row[index].value.commit;
        let verdict = match known.get(&commit) {
            Some(verdict) => *verdict,
            None => {
                let left = plural(bisection.left() as u64, "move");
                context.printer.say(&format!("{left} left, trying {name}: {}", shown(&row[index])));
                attempt(&store, &commit, &arguments.command)?
            }
        };
        known.insert(commit, verdict);
        context.printer.say(&format!("{} is {}", short(&commit), in_words(verdict)));
        bisection.tell(index, verdict);
    }
    match bisection.finding() {
        Some(Finding::First(index)) => found(context, &store, &name, &row, index),
        Some(Finding::Among(indexes)) => Err(not_told(&row, &indexes)),
        None => unreachable!("because there is nothing left to try"),
    }
}

/// Returns the moves from the good one to the bad one, oldest first.
fn row(store: &Store, good: &str, bad: &str) -> Result<(RefName, Vec<LogEntry>), Failure> {
    let parse = |text: &str| text.parse::<Revision>().map_err(StoreError::from).map_err(Failure::from);
    let sides = [(parse(good)?, good), (parse(bad)?, bad)];
    for (revision, _) in sides.iter().rev() {
        let Some(name) = revision.base.name.clone() else { continue };
        let log = store.log(&name).map_err(Failure::from)?;
        if log.is_empty() {
            continue;
        }
        let place = |side: &(Revision, &str), from: usize| -> Result<usize, Failure> {
            let (revision, text) = side;
            if revision.base.name.as_ref() == Some(&name) && revision.parents.is_empty() {
                store.resolve(text).map_err(Failure::from)?;
                return Ok(revision.moves);
            }
            let commit = store.resolve(text).map_err(Failure::from)?;
            let is_it = |entry: &LogEntry| !entry.removed && entry.value.commit == commit;
            let found = (from..log.len()).find(|index| is_it(&log[*index]));
            found.ok_or_else(|| Failure::new(Kind::NotFound, format!("ref {name} never led to {text}")))
        };
        let bad_at = place(&sides[1], 0)?;
        let good_at = place(&sides[0], bad_at)?;
        if good_at <= bad_at {
            let problem = format!("{good} is not before {bad} in the log of {name}");
            return Err(Failure::new(Kind::Usage, problem)
                .hint("GOOD comes first, and is the older one; `mkimage log` shows the moves"));
        }
        let row = log[bad_at..=good_at].iter().rev().filter(|entry| !entry.removed).cloned();
        return Ok((name, row.collect()));
    }
    let problem = format!("neither {good} nor {bad} is a ref with a log to look through");
    Err(Failure::new(Kind::Usage, problem).hint("name one of them as REF or REF~N"))
}

fn attempt(store: &Store, commit: &CommitId, command: &[OsString]) -> Result<Verdict, Failure> {
    let (program, arguments) = command.split_first().expect("because clap asks for one");
    let shown = program.to_string_lossy().into_owned();
    // Standard output is for the result; what the command says goes to people.
    let talk = std::io::stderr().as_fd().try_clone_to_owned();
    let talk = talk.map_err(|error| Failure::of(Kind::Failed, &error))?;
    let status = Command::new(program)
        .args(arguments)
        .env("MKIMAGE_COMMIT", commit.to_string())
        .env("MKIMAGE_STORE", store.path())
        .stdout(Stdio::from(talk))
        .status()
        .map_err(|error| {
            let mut failure = Failure::new(Kind::NotFound, format!("{shown} can't be run"));
            failure.causes.push(error.to_string());
            failure
        })?;
    match status.code() {
        Some(0) => Ok(Verdict::Good),
        Some(SKIP) => Ok(Verdict::Skip),
        Some(code) if code < NOT_RUN => Ok(Verdict::Bad),
        _ => Err(Failure::new(
            Kind::Failed,
            format!("{shown} tells nothing of {commit}: it ended with {status}"),
        )
        .hint("exit with 0 for good, 125 for \"can't tell\", 1 for bad")),
    }
}

fn found(context: &Context, store: &Store, name: &RefName, row: &[LogEntry], index: usize) -> Done {
    let (before, first) = (&row[index - 1], &row[index]);
    let compared = compare(store, before.value.commit, first.value.commit, &context.job);
    let value = serde_json::json!({
        "ref": name, "first_bad": first, "last_good": before,
        "changes": compared.as_ref().ok().map(changes::as_json),
    });
    context.printer.data(&value, || {
        let mut text = format!("first bad: {} of {name}: {}\n", first.value.commit, shown(first));
        text.push_str(&format!("last good: {}\n", before.value.commit));
        match &compared {
            Ok(comparison) => text.push_str(&changes::list(comparison, "")),
            Err(error) => text.push_str(&format!("what changed can't be told: {}\n", whole(error))),
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn not_told(row: &[LogEntry], indexes: &[usize]) -> Failure {
    let list: String = indexes.iter().map(|index| format!("\n  {}", shown(&row[*index]))).collect();
    Failure::new(Kind::Failed, format!("the first bad one can't be told; it is one of these:{list}"))
}

fn shown(entry: &LogEntry) -> String {
    let value = &entry.value;
    let text = format!(
        "move {} {} {} {}",
        value.generation,
        date(value.seconds),
        short(&value.commit),
        entry.message
    );
    text.trim_end().to_owned()
}

fn in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Bad => "bad",
        Verdict::Skip => "not to be told",
    }
}
