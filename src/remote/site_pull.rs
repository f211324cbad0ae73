//! From a site: index, fronts of the bundles, the frames that are missing, all into one transaction; refs last.
//!
//! Frames that came and were right are kept in `remotes/.partial` until the transaction is through, so that a cut
//! pull costs no more than what was on the line.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use super::error::{RemoteError, Result};
use super::local::Moves;
use super::outcome::{Outcome, Rules, Want, Wants};
use super::settings::Remote;
use super::site::{self, Said, bundle_path};
use super::transport::{Line, Transport};
use crate::base::job::Unit;
use crate::base::parallel::Workers;
use crate::base::{CommitId, Step};
use crate::bundle::{BundleError, FetchPlan, Receiver, Table};
use crate::store::{Held, Objects, Partial, Store, Transaction};
use crate::trust::{BundleEntry, TrustError};

/// Bytes that one call of [`Transport::read_ranges`] is for, unless single frames are longer.
const BATCH_BYTES: u64 = 8 << 20;
/// Transfers of fewer bytes are not kept when they are cut: they are as well done again.
const KEEP_FROM_BYTES: u64 = 1 << 20;
/// The ids of a bundle's objects are fetched, to leave out what is here, where they are at most this part of it.
const IDS_SHARE: u64 = 16;

/// Pulls from a site.
pub(super) fn pull(
    store: &Store,
    transport: &dyn Transport,
    remote: &mut Remote,
    wants: &Wants,
    rules: &Rules,
    line: &Line,
) -> Result<Outcome> {
    let said = said(transport, remote, wants)?;
    let moves = Moves::new(remote, wants, rules, &said.refs(remote)?)?;
    let transaction = store.begin(&line.job);
    let partials = fetch_all(store, &transaction, transport, remote, &said, &moves.commits, line)?;
    let moves = moves.plan(store, &transaction, remote, &|_, _| Ok(false))?;
    // All that came was right: now the index may be remembered.
    remote.remember(store, &line.job, |settings| {
        if let Some(seen) = &said.seen {
            settings.note_seen(seen);
            moves.note(settings);
        }
        Ok(())
    })?;
    let outcome = moves.make(transaction, remote, line)?;
    for partial in partials {
        partial.remove()?;
    }
    Ok(outcome)
}

/// Reads what the site says. Refs need somebody who is trusted; whole commit ids need nobody.
fn said(transport: &dyn Transport, remote: &Remote, wants: &Wants) -> Result<Said> {
    let is_id = |want: &Want| matches!(want, Want::Commit(_));
    let by_id = matches!(wants, Wants::These(wants) if wants.iter().all(is_id));
    match remote.settings.trusted()? {
        Some(trusted) => match site::read(transport, remote, &trusted, false) {
            // It expired, or is older than one that was seen: the commit is what its id says, whoever serves it.
            Err(RemoteError::Untrusted {
                source: TrustError::Expired { .. } | TrustError::Rollback { .. },
                ..
            }) if by_id => site::read_unsigned(transport, remote),
            read => read?.ok_or_else(|| site::no_index(remote)),
        },
        None if by_id => site::read_unsigned(transport, remote),
        None => Err(RemoteError::NoKey { remote: remote.shown() }),
    }
}

/// Brings what commits lead to into the transaction. What is kept for another try comes back: it is to be removed
/// when the transaction is through.
pub(super) fn fetch_all(
    store: &Store,
    transaction: &Transaction<'_>,
    transport: &dyn Transport,
    remote: &Remote,
    said: &Said,
    commits: &[CommitId],
    line: &Line,
) -> Result<Vec<Partial>> {
    let chain = said.chain(remote, commits, &|id| transaction.has(&id.0))?;
    let entries: Vec<&BundleEntry> = chain.iter().map(|&place| &said.index.bundles[place]).collect();
    let workers = Workers::new(transport.connections());
    let tables = workers.try_map(entries.clone(), |entry| read_table(transport, remote, entry));
    let tables =
        tables.map_err(|errors| errors.into_iter().next().expect("because a failure has an error"))?;
    let total: u64 = entries.iter().map(|entry| entry.size - entry.table_bytes).sum();
    let step = line.job.step("fetch", Some(total), Unit::Bytes);
    let mut partials = Vec::new();
    for (entry, table) in entries.iter().zip(&tables) {
        let fetch = Fetch { store, transaction, transport, remote, entry, table, line, step: &step };
        partials.extend(fetch.run()?);
    }
    match commits.iter().find(|commit| !transaction.has(&commit.0)) {
        None => Ok(partials),
        Some(commit) => {
            let (remote, path) = (remote.shown(), site::INDEX.to_owned());
            let problem = format!("commit {commit} is not in the bundle that it names for it");
            Err(RemoteError::Lies { remote, path, problem })
        }
    }
}

/// Reads the front of a bundle, which must be the one that the index names.
pub(super) fn read_table(transport: &dyn Transport, remote: &Remote, entry: &BundleEntry) -> Result<Table> {
    let path = bundle_path(&entry.id);
    let bytes = read_range(transport, &path, 0..entry.table_bytes)?;
    let table = Table::parse(&bytes, &entry.id).map_err(|error| refused(remote, &path, error))?;
    let problem = if table.file_bytes() != entry.size {
        format!("it has {} bytes, the index says {}", table.file_bytes(), entry.size)
    } else if table.bases() != entry.bases {
        "it builds on other commits than the index says".to_owned()
    } else {
        return Ok(table);
    };
    Err(RemoteError::Lies { remote: remote.shown(), path, problem })
}

/// Reads one range whole. Memory grows with what comes, not with what was announced.
pub(super) fn read_range(transport: &dyn Transport, path: &str, range: Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    transport.read_ranges(path, &[range], &mut |_, piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

pub(super) fn refused(remote: &Remote, path: &str, error: BundleError) -> RemoteError {
    match error {
        BundleError::Store(error) => error.into(),
        BundleError::File(error) => error.into(),
        BundleError::Cancelled(error) => error.into(),
        error => {
            RemoteError::Bundle { remote: remote.shown(), path: path.to_owned(), source: Box::new(error) }
        }
    }
}

/// One bundle on its way.
struct Fetch<'a> {
    store: &'a Store,
    transaction: &'a Transaction<'a>,
    transport: &'a dyn Transport,
    remote: &'a Remote,
    entry: &'a BundleEntry,
    table: &'a Table,
    line: &'a Line,
    step: &'a Step,
}

impl Fetch<'_> {
    /// Fetches what is missing. A base that proves damaged on the way is one no more: then what was to be made from
    /// it comes as it is.
    fn run(&self) -> Result<Option<Partial>> {
        loop {
            let known = self.store.known_losses();
            match self.attempt() {
                Err(_) if self.store.known_losses() > known && self.line.job.check().is_ok() => {
                    self.line.job.warn(
                        "an object that a difference builds on is damaged in this store, so that more is fetched; \
                         `mkimage fsck --repair` looks for more",
                    );
                }
                done => return done,
            }
        }
    }

    fn attempt(&self) -> Result<Option<Partial>> {
        let path = bundle_path(&self.entry.id);
        let plan = self.plan(&path)?;
        let all: Vec<Range<u64>> = plan.ranges().to_vec();
        self.step.advance((self.entry.size - self.entry.table_bytes).saturating_sub(plan.bytes()));
        let keep = plan.bytes() >= KEEP_FROM_BYTES;
        let partial = if keep { self.store.partial(&self.entry.id, &self.line.job)? } else { None };
        let receiver = Receiver::new(self.table, plan, self.transaction, &self.line.job);
        let mut held: HashMap<u64, Held> = HashMap::new();
        for one in partial.iter().flat_map(Partial::held) {
            held.insert(one.start, *one);
        }
        let (kept, mut wanted): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&number| {
            let range = &all[number];
            held.get(&range.start).is_some_and(|held| u64::from(held.length) == range.end - range.start)
        });
        let receive =
            Receive { fetch: self, path: &path, all: &all, receiver: &receiver, partial: partial.as_ref() };
        wanted.extend(receive.take_kept(&kept, &held)?);
        wanted.sort_unstable();
        receive.fetch(wanted)?;
        receiver.finish().map_err(|error| refused(self.remote, &path, error))?;
        Ok(partial)
    }

    /// Chooses the frames. Where much may be here already that no base tells of, the ids are asked for first.
    fn plan(&self, path: &str) -> Result<FetchPlan> {
        let ids = self.table.ids_range();
        let body = self.entry.size - self.entry.table_bytes;
        let is_cheap = (ids.end - ids.start).saturating_mul(IDS_SHARE) <= body;
        let is_worth_it = is_cheap
            && self.entry.bases.is_empty()
            && (self.store.borrows() || !self.store.refs()?.is_empty());
        let known = if is_worth_it { Some(read_range(self.transport, path, ids)?) } else { None };
        let plan = self.table.plan(self.transaction, known.as_deref(), &self.line.job);
        plan.map_err(|error| refused(self.remote, path, error))
    }
}

/// Frames on their way.
struct Receive<'a, 'r> {
    fetch: &'a Fetch<'a>,
    path: &'a str,
    all: &'a [Range<u64>],
    receiver: &'a Receiver<'r>,
    partial: Option<&'a Partial>,
}

impl Receive<'_, '_> {
    /// Takes what an earlier try kept; returns what of it is of no use.
    fn take_kept(&self, kept: &[usize], held: &HashMap<u64, Held>) -> Result<Vec<usize>> {
        let Some(partial) = self.partial else { return Ok(kept.to_vec()) };
        let useless = Mutex::new(Vec::new());
        self.fetch.line.job.workers.for_each(kept.iter(), |&number| {
            self.fetch.line.job.check()?;
            let bytes = partial.read(&held[&self.all[number].start])?;
            match self.take(number, &bytes) {
                Err(RemoteError::Bundle { .. }) => {
                    useless.lock().expect("because nothing panics while it holds the list").push(number);
                    Ok(())
                }
                taken => taken,
            }
        })?;
        Ok(useless.into_inner().expect("because nothing panics while it holds the list"))
    }

    fn take(&self, number: usize, bytes: &[u8]) -> Result<()> {
        self.receiver.take(number, bytes).map_err(|error| refused(self.fetch.remote, self.path, error))?;
        self.fetch.step.advance(bytes.len() as u64);
        Ok(())
    }

    /// Fetches ranges over several connections; each frame is decoded by the thread that it came to.
    fn fetch(&self, wanted: Vec<usize>) -> Result<()> {
        let connections = self.fetch.transport.connections();
        let batch_bytes = if connections == 1 { u64::MAX } else { BATCH_BYTES };
        let batches = self.batches(&wanted, batch_bytes.min(self.share(&wanted, connections)));
        Workers::new(connections).for_each(batches.into_iter(), |batch| self.fetch_batch(&batch))
    }

    /// Returns what each of the connections would fetch if all fetched the same.
    fn share(&self, wanted: &[usize], connections: usize) -> u64 {
        let total: u64 = wanted.iter().map(|&number| self.all[number].end - self.all[number].start).sum();
        (total / connections as u64).max(256 << 10)
    }

    fn batches(&self, wanted: &[usize], batch_bytes: u64) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut bytes = 0;
        for &number in wanted {
            let length = self.all[number].end - self.all[number].start;
            if batches.is_empty() || bytes + length > batch_bytes {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += length;
            batches.last_mut().expect("because one was pushed just now").push(number);
        }
        batches
    }

    fn fetch_batch(&self, batch: &[usize]) -> Result<()> {
        let ranges: Vec<Range<u64>> = batch.iter().map(|&number| self.all[number].clone()).collect();
        let mut frame = Vec::new();
        self.fetch.transport.read_ranges(self.path, &ranges, &mut |at, piece| {
            let length = (ranges[at].end - ranges[at].start) as usize;
            if frame.is_empty() && piece.len() == length {
                return self.arrived(batch[at], piece);
            }
            frame.extend_from_slice(piece);
            if frame.len() == length {
                self.arrived(batch[at], &frame)?;
                frame.clear();
            }
            Ok(())
        })
    }

    /// Takes a frame that came over the wire. It is kept once it was right.
    fn arrived(&self, number: usize, bytes: &[u8]) -> Result<()> {
        self.take(number, bytes)?;
        match self.partial {
            Some(partial) => Ok(partial.keep(self.all[number].start, bytes)?),
            None => Ok(()),
        }
    }
}
