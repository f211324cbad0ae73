//! Taking from a site what nobody needs any more.
//!
//! A bundle is **needed** where it completes a commit that a ref leads to, or one that such a bundle builds on: all
//! that a reader of the index can be led to. The others leave the index at once, and the site later:
//!
//! ```text
//! retired/ID         seconds since 1970, as digits: since when no index names the bundle
//! ```
//!
//! A bundle goes once its mark is older than the grace: who began under an index that named it has that long to end.
//! So do bundles that no index ever named: a push died between the two.
//!
//! # Why nothing that an index names is ever removed
//!
//! Pruner: marks, then publishes an index (by compare-and-swap) that does not name what is to go, then removes.
//! Pusher: sends its bundle, reads an index, looks for a mark, publishes by compare-and-swap on what it read. Where it
//! finds a mark it sends the same objects under another name: **a name that was marked is never named again**. Say
//! that a pusher names what a pruner removes. It saw no mark, so it looked, and read its index, before the mark was
//! made; so before the pruner published. Then either it published first, and the pruner's own compare-and-swap failed
//! and it saw the name, or the pruner did, and the pusher's failed. It does not matter how long anybody was stopped.
//! Marks of what is gone stay until they are older than the grace by [`MARKS_STAY_SECONDS`].

use std::collections::{BTreeMap, BTreeSet};

use super::error::{RemoteError, Result};
use super::settings::Remote;
use super::site::{self, Said};
use super::site_push::{PAUSE, Push, TRIES};
use super::transport::{Replaced, Transport};
use crate::base::{CommitId, Digest, clock};
use crate::trust::{BundleEntry, SiteIndex};

const BUNDLES: &str = "bundles";
const RETIRED: &str = "retired";
const SUFFIX: &str = ".bundle";
/// Longest mark.
const MARK_BYTES_MAX: u64 = 32;
/// So long after its bundle was removed a mark is kept: nobody who was about to remove it sleeps longer.
pub const MARKS_STAY_SECONDS: u64 = 30 * 24 * 3600;

/// What a prune does, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Bundles that the index names and goes on to name.
    pub kept: u64,
    /// Bundles that left the index now.
    pub dropped: Vec<Digest>,
    /// Bytes of them.
    pub dropped_bytes: u64,
    /// Bundles that no index names, marked already or now, whose time has not come.
    pub waiting: Vec<Digest>,
    /// Bundles that were removed.
    pub removed: Vec<Digest>,
}

/// Returns the place of the mark of a bundle.
fn mark_path(id: &Digest) -> String {
    format!("{RETIRED}/{id}")
}

/// Tells whether a bundle was marked: then its name must not be used again.
pub(super) fn is_marked(transport: &dyn Transport, id: &Digest) -> Result<bool> {
    Ok(transport.read(&mark_path(id), MARK_BYTES_MAX)?.is_some())
}

impl Push<'_> {
    /// Takes what nobody needs out of the index, and away once its mark is `grace_seconds` old. With `dry_run`
    /// nothing is written, and what would be done comes back.
    pub fn prune(&self, remote: &mut Remote, grace_seconds: u64, dry_run: bool) -> Result<Pruned> {
        let trusted = self.trusted(remote)?;
        if !dry_run {
            if remote.settings.proved != Some(self.transport.place()) {
                self.transport.prove_conditional_writes()?;
            }
            self.check_signers(remote, &trusted)?;
        }
        for _ in 0..TRIES {
            let said = site::read(self.transport, remote, &trusted, true)?;
            let said = said.ok_or_else(|| site::no_index(remote))?;
            let mut plan = Plan::new(self.transport, remote, said, grace_seconds)?;
            if dry_run {
                return Ok(plan.pruned);
            }
            self.mark(&plan)?;
            if plan.pruned.dropped.is_empty() && plan.pruned.removed.is_empty() {
                self.forget_marks(&plan)?;
                return Ok(plan.pruned);
            }
            let (mut index, _) = self.next(remote, Some(&plan.said), None)?;
            index.bundles.retain(|bundle| !plan.dropped.contains(&bundle.id));
            let bytes =
                index.sign(self.publishing.signers).map_err(|source| site::untrusted(remote, source))?;
            self.accepted(remote, &trusted, &bytes)?;
            match self.transport.replace(site::INDEX, plan.said.version.as_deref(), &bytes)? {
                Replaced::Moved => self.line.rest(PAUSE)?,
                Replaced::Done => {
                    self.done(remote, &trusted, Some(&bytes), Vec::new(), None)?;
                    for id in &plan.pruned.removed {
                        self.line.job.check()?;
                        self.transport.remove(&site::bundle_path(id))?;
                    }
                    self.forget_marks(&plan)?;
                    plan.pruned.removed.sort_unstable();
                    return Ok(plan.pruned);
                }
            }
        }
        Err(RemoteError::Raced { remote: remote.shown(), tries: TRIES })
    }

    /// Marks what no index names, or will name no more: before the index says so.
    fn mark(&self, plan: &Plan) -> Result<()> {
        let now = clock::unix_seconds().to_string();
        for (id, found) in &plan.to_mark {
            self.line.job.check()?;
            // Of two that mark at once, one is as good as the other.
            let path = mark_path(id);
            self.transport.replace(&path, found.as_deref(), now.as_bytes())?;
        }
        Ok(())
    }

    fn forget_marks(&self, plan: &Plan) -> Result<()> {
        plan.forgotten.iter().try_for_each(|id| self.transport.remove(&mark_path(id)))
    }
}

/// What is to be done to a site as it was found.
struct Plan {
    said: Said,
    dropped: BTreeSet<Digest>,
    /// Bundles to mark, with the version of a mark that is there.
    to_mark: Vec<(Digest, Option<String>)>,
    /// Marks of bundles that are long gone.
    forgotten: Vec<Digest>,
    pruned: Pruned,
}

impl Plan {
    fn new(transport: &dyn Transport, remote: &Remote, said: Said, grace_seconds: u64) -> Result<Self> {
        let needed = needed(&said, remote)?;
        let (kept, dropped): (Vec<&BundleEntry>, Vec<&BundleEntry>) =
            said.index.bundles.iter().partition(|bundle| needed.contains(&bundle.id));
        let mut pruned = Pruned { kept: kept.len() as u64, ..Pruned::default() };
        pruned.dropped = dropped.iter().map(|bundle| bundle.id).collect();
        pruned.dropped_bytes = dropped.iter().map(|bundle| bundle.size).sum();
        let (mut to_mark, mut forgotten) = (Vec::new(), Vec::new());
        let marks = marks(transport)?;
        let dropped: BTreeSet<Digest> = pruned.dropped.iter().copied().collect();
        // A mark that is there was made by a prune that saw another index: it begins anew.
        to_mark.extend(dropped.iter().map(|id| (*id, marks.get(id).and_then(|mark| mark.1.clone()))));
        let files = ids(transport, BUNDLES, SUFFIX)?;
        let named = |id: &&Digest| !needed.contains(id) && !dropped.contains(id);
        let now = clock::unix_seconds();
        for id in files.iter().filter(named) {
            match marks.get(id) {
                Some((since, _)) if now.saturating_sub(*since) >= grace_seconds => pruned.removed.push(*id),
                Some(_) => pruned.waiting.push(*id),
                None => {
                    to_mark.push((*id, None));
                    pruned.waiting.push(*id);
                }
            }
        }
        let stay = grace_seconds.saturating_add(MARKS_STAY_SECONDS);
        for (id, (since, _)) in marks.iter().filter(|(id, _)| named(id) && !files.contains(*id)) {
            if now.saturating_sub(*since) >= stay {
                forgotten.push(*id);
            }
        }
        Ok(Plan { said, dropped, to_mark, forgotten, pruned })
    }
}

/// Returns the bundles that a reader of the index can be led to.
fn needed(said: &Said, remote: &Remote) -> Result<BTreeSet<Digest>> {
    let index: &SiteIndex = &said.index;
    let refs: Vec<CommitId> = said.refs(remote)?.into_values().collect();
    let mut commits: BTreeSet<CommitId> = refs.into_iter().collect();
    let mut needed = BTreeSet::new();
    // Bases stand before the bundles that build on them.
    for bundle in index.bundles.iter().rev() {
        if bundle.commits.iter().any(|commit| commits.contains(commit)) {
            needed.insert(bundle.id);
            commits.extend(&bundle.bases);
        }
    }
    Ok(needed)
}

/// Reads the marks: since when, and the version of the file. What is no number counts from now on.
fn marks(transport: &dyn Transport) -> Result<BTreeMap<Digest, (u64, Option<String>)>> {
    let mut marks = BTreeMap::new();
    for id in ids(transport, RETIRED, "")? {
        let Some(found) = transport.read(&mark_path(&id), MARK_BYTES_MAX)? else { continue };
        let since = std::str::from_utf8(&found.bytes).ok().and_then(|text| text.parse().ok());
        marks.insert(id, (since.unwrap_or_else(clock::unix_seconds), found.version));
    }
    Ok(marks)
}

/// Lists the files of a folder that are named after a digest; others are nobody's business here.
fn ids(transport: &dyn Transport, folder: &str, suffix: &str) -> Result<BTreeSet<Digest>> {
    let names = transport.list(folder)?;
    let ids = names.iter().filter_map(|name| name.strip_suffix(suffix)?.parse().ok());
    Ok(ids.collect())
}
