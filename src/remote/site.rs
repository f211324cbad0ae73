//! What lies where at a site, and what its index says.
//!
//! ```text
//! index                  signed, expiring, replaced by compare-and-swap: see `trust::SiteIndex`
//! bundles/ID.bundle      objects, never changed: see `bundle`; ID is the digest of its front
//! releases/COMMIT        signed: what the image of a commit comes out as
//! retired/ID             since when no index names a bundle: see `site_prune`
//! ```
//!
//! Bundles come first, then the index that names them: a reader of any index finds what it names. The bundle of a
//! commit holds what its bases don't lead to, and bases stand in earlier bundles of the index: so the closure of
//! a commit is a chain that ends, however long a liar makes it. What no ref needs any more `site_prune` takes away.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::{RemoteError, Result};
use super::settings::Remote;
use super::transport::Transport;
use crate::base::{CommitId, Digest, clock};
use crate::store::RefName;
use crate::trust::{
    BundleEntry, Envelope, Expectation, SITE_INDEX_BYTES_MAX, Seen, SiteIndex, TrustError, Trusted,
};

/// Where the index lies.
pub(super) const INDEX: &str = "index";
/// Bundles that one pull reads, at most. A pusher begins anew long before: see `site_push`.
const CHAIN_MAX: usize = 1024;
/// Largest front of a bundle.
const TABLE_BYTES_MAX: u64 = 128 << 20;

/// Returns where a bundle lies.
pub(super) fn bundle_path(id: &Digest) -> String {
    format!("bundles/{id}.bundle")
}

/// What a site said, and whether somebody who is trusted said so.
pub(super) struct Said {
    pub index: SiteIndex,
    /// What is to be remembered; `None` where nobody who is trusted signed it.
    pub seen: Option<Seen>,
    /// Names this state of the index to [`Transport::replace`].
    pub version: Option<String>,
}

/// Reads the index. `None` where the site has none yet. `allow_expired` is for whoever publishes the next one.
pub(super) fn read(
    transport: &dyn Transport,
    remote: &Remote,
    trusted: &Trusted,
    allow_expired: bool,
) -> Result<Option<Said>> {
    let Some(found) = transport.read(INDEX, SITE_INDEX_BYTES_MAX as u64)? else { return Ok(None) };
    let settings = &remote.settings;
    let (site, seen) = (settings.site.as_ref(), settings.seen.as_ref());
    let expected = Expectation { site, seen, now: clock::unix_seconds(), allow_expired };
    let accepted = SiteIndex::accept(&found.bytes, trusted, &expected);
    let (index, seen) = accepted.map_err(|source| untrusted(remote, source))?;
    Ok(Some(Said { index: index.into_inner(), seen: Some(seen), version: found.version }))
}

/// Reads the index without asking who signed it: good for finding the bundle of a commit whose whole id is known,
/// which everything that comes is held against.
pub(super) fn read_unsigned(transport: &dyn Transport, remote: &Remote) -> Result<Said> {
    let found = transport.read(INDEX, SITE_INDEX_BYTES_MAX as u64)?.ok_or_else(|| no_index(remote))?;
    let envelope = Envelope::parse(&found.bytes, SITE_INDEX_BYTES_MAX);
    let index = envelope.and_then(|envelope| SiteIndex::decode(envelope.unverified()));
    let index = index.map_err(|source| untrusted(remote, source))?;
    Ok(Said { index, seen: None, version: found.version })
}

pub(super) fn untrusted(remote: &Remote, source: TrustError) -> RemoteError {
    RemoteError::Untrusted { remote: remote.shown(), source }
}

pub(super) fn no_index(remote: &Remote) -> RemoteError {
    let problem = format!("there is no file {INDEX:?}");
    RemoteError::NotThere { remote: remote.shown(), expected: "site", problem }
}

impl Said {
    /// Returns the refs. A name that the store's grammar does not know is a lie of whoever signed.
    pub fn refs(&self, remote: &Remote) -> Result<BTreeMap<RefName, CommitId>> {
        let named = self.index.refs.iter().map(|(name, value)| match RefName::new(name) {
            Ok(name) => Ok((name, value.commit)),
            Err(error) => {
                let (remote, path) = (remote.shown(), INDEX.to_owned());
                Err(RemoteError::Lies { remote, path, problem: error.to_string() })
            }
        });
        named.collect()
    }

    /// Returns where bundles stand in the index that a commit needs and `has` lacks, bases first.
    pub fn chain(
        &self,
        remote: &Remote,
        commits: &[CommitId],
        has: &dyn Fn(&CommitId) -> bool,
    ) -> Result<BTreeSet<usize>> {
        let bundles = &self.index.bundles;
        let places = places(bundles);
        let mut chain = BTreeSet::new();
        let mut waiting: Vec<(CommitId, usize)> = commits.iter().map(|id| (*id, bundles.len())).collect();
        while let Some((id, before)) = waiting.pop() {
            if has(&id) {
                continue;
            }
            // Only what stands before a bundle can be its base: a circle has no such order.
            let found = places.get(&id).into_iter().flatten().copied().filter(|place| *place < before);
            let place = found.max_by_key(|&place| cost(&bundles[place], has));
            let Some(place) = place else {
                let (remote, what) = (remote.shown(), format!("bundle that completes commit {id}"));
                return Err(RemoteError::Missing { remote, what });
            };
            if !chain.insert(place) {
                continue;
            }
            self.check(remote, &bundles[place], chain.len())?;
            waiting.extend(bundles[place].bases.iter().map(|base| (*base, place)));
        }
        Ok(chain)
    }

    /// Refuses a bundle that is too large, or the last of too many.
    pub fn check(&self, remote: &Remote, bundle: &BundleEntry, length: usize) -> Result<()> {
        let problem = if length > CHAIN_MAX {
            format!("more than {CHAIN_MAX} bundles build on each other")
        } else if bundle.table_bytes > TABLE_BYTES_MAX {
            format!("a table of {} bytes, at most {TABLE_BYTES_MAX} are possible", bundle.table_bytes)
        } else {
            return Ok(());
        };
        let (remote, path) = (remote.shown(), bundle_path(&bundle.id));
        Err(RemoteError::Lies { remote, path, problem })
    }
}

/// Where commits are completed.
fn places(bundles: &[BundleEntry]) -> HashMap<CommitId, Vec<usize>> {
    let mut places: HashMap<CommitId, Vec<usize>> = HashMap::new();
    for (place, bundle) in bundles.iter().enumerate() {
        bundle.commits.iter().for_each(|commit| places.entry(*commit).or_default().push(place));
    }
    places
}

/// Orders bundles that complete the same commit: one whose bases are here goes first, then the smaller one.
fn cost(bundle: &BundleEntry, has: &dyn Fn(&CommitId) -> bool) -> (bool, std::cmp::Reverse<u64>) {
    (bundle.bases.iter().all(has), std::cmp::Reverse(bundle.size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::SiteRef;

    fn id(n: u8) -> CommitId {
        CommitId(Digest::of(&[n]))
    }

    fn said(bundles: &[(u8, &[u8], &[u8])]) -> Said {
        let entry = |(n, commits, bases): &(u8, &[u8], &[u8])| BundleEntry {
            id: Digest::of(&[*n, 0]),
            size: 1000 + u64::from(*n),
            table_bytes: 10,
            objects: 1,
            commits: commits.iter().map(|n| id(*n)).collect(),
            bases: bases.iter().map(|n| id(*n)).collect(),
        };
        let index = SiteIndex {
            site: "x".parse().expect("a name"),
            version: 1,
            created: 1,
            expires: 2,
            refs: BTreeMap::from([("a".to_owned(), SiteRef { commit: id(1), generation: 1 })]),
            bundles: bundles.iter().map(entry).collect(),
        };
        Said { index, seen: None, version: None }
    }

    fn chain(said: &Said, wanted: &[u8], here: &[u8]) -> Option<Vec<usize>> {
        let remote = Remote::at("http://x/y".parse().expect("an address"));
        let wanted: Vec<CommitId> = wanted.iter().map(|n| id(*n)).collect();
        let has = |commit: &CommitId| here.iter().any(|n| id(*n) == *commit);
        said.chain(&remote, &wanted, &has).ok().map(|chain| chain.into_iter().collect())
    }

    #[test]
    fn a_chain_ends_at_what_is_here_and_bases_come_first() {
        let said = said(&[(0, &[1], &[]), (1, &[2], &[1]), (2, &[3, 4], &[2]), (3, &[4], &[])]);
        assert_eq!(chain(&said, &[3], &[]), Some(vec![0, 1, 2]));
        assert_eq!(chain(&said, &[3], &[1]), Some(vec![1, 2]));
        assert_eq!(chain(&said, &[3], &[2]), Some(vec![2]));
        assert_eq!(chain(&said, &[3], &[3]), Some(vec![]));
        assert_eq!(chain(&said, &[4], &[]), Some(vec![3]), "a bundle of its own rather than a chain");
        assert_eq!(chain(&said, &[4], &[2]), Some(vec![2]));
        assert_eq!(chain(&said, &[9], &[]), None);
    }

    #[test]
    fn circles_and_bundles_that_name_themselves_lead_nowhere() {
        assert_eq!(chain(&said(&[(0, &[1], &[1])]), &[1], &[]), None);
        assert_eq!(chain(&said(&[(0, &[1], &[2]), (1, &[2], &[1])]), &[1], &[]), None);
        assert_eq!(chain(&said(&[(0, &[1], &[2]), (1, &[2], &[1])]), &[2], &[]), None);
    }
}
