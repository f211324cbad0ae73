//! To a site: one bundle of what it lacks, then the index that names it, by compare-and-swap. Of two pushers at
//! once both get through: whoever comes second reads the index again and adds to it.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::time::Duration;

use super::between::moved;
use super::closure;
use super::error::{RemoteError, Result};
use super::outcome::{Outcome, Pushed, RefOutcome, Rules, has_led};
use super::settings::Remote;
use super::site::{self, INDEX, Said, bundle_path};
use super::site_prune;
use super::transport::{Created, Line, Replaced, SizedRead, Transport};
use crate::base::{CommitId, clock};
use crate::bundle::{self, Bundle, Contents, Form};
use crate::store::{Objects, RefName, Store};
use crate::trust::{BundleEntry, Expectation, PublicKey, Signer, SiteIndex, SiteName, SiteRef, Trusted};

/// How often an index is replaced by others before a push gives up.
pub(super) const TRIES: u32 = 32;
/// Before the second try; longer before each further one.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// Bundles that build on each other: a new one that would make it more begins anew, so that who has nothing reads
/// few files.
const CHAIN_MAX: usize = 16;
/// Commits of other refs that are taken for bases where the site does not know the ref yet.
const OTHER_BASES_MAX: usize = 4;

/// What a push to a site needs beside the commits.
pub struct Publishing<'a> {
    /// Who signs the index: as many as those who pull ask for.
    pub signers: &'a [&'a dyn Signer],
    /// Name of a site that is not there yet; `None`: from its address.
    pub site: Option<SiteName>,
    /// From now on, the index is to be believed for so long.
    pub lifetime_seconds: u64,
}

/// One push on its way.
pub(super) struct Push<'a> {
    pub store: &'a Store,
    pub transport: &'a dyn Transport,
    pub pushed: &'a [Pushed],
    pub rules: &'a Rules,
    pub publishing: &'a Publishing<'a>,
    pub line: &'a Line,
}

impl SizedRead for Bundle {
    fn size_bytes(&self) -> u64 {
        self.size()
    }

    fn rewind(&mut self) -> io::Result<()> {
        Bundle::rewind(self);
        Ok(())
    }
}

impl Push<'_> {
    /// Pushes refs. Without any, the index is signed anew and lives longer.
    pub fn run(&self, remote: &mut Remote) -> Result<Outcome> {
        if remote.settings.proved != Some(self.transport.place()) {
            self.transport.prove_conditional_writes()?;
        }
        let trusted = self.trusted(remote)?;
        self.check_signers(remote, &trusted)?;
        let mut said = site::read(self.transport, remote, &trusted, true)?;
        let mut entry = self.bundle(remote, said.as_ref(), 0)?;
        let mut pause = PAUSE;
        for salt in 1..=TRIES {
            // A prune may have taken what the bundle builds on, or have marked its name: both say so to who looks
            // after the index was read.
            if !self.holds(remote, said.as_ref(), entry.as_ref())? {
                entry = self.bundle(remote, said.as_ref(), salt.into())?;
                continue;
            }
            let (index, refs) = self.next(remote, said.as_ref(), entry.as_ref())?;
            let is_same = said.as_ref().is_some_and(|said| said.index.refs == index.refs);
            if is_same && entry.is_none() && !self.pushed.is_empty() {
                return self.done(remote, &trusted, None, refs, None);
            }
            let bytes =
                index.sign(self.publishing.signers).map_err(|source| site::untrusted(remote, source))?;
            self.accepted(remote, &trusted, &bytes)?;
            let version = said.as_ref().and_then(|said| said.version.as_deref());
            match self.transport.replace(INDEX, version, &bytes)? {
                Replaced::Done => return self.done(remote, &trusted, Some(&bytes), refs, entry),
                Replaced::Moved => self.line.rest(pause)?,
            }
            // Two that met once should not meet again.
            pause = (pause * 2).min(Duration::from_secs(1)) + Duration::from_millis(jitter());
            said = site::read(self.transport, remote, &trusted, true)?;
        }
        Err(RemoteError::Raced { remote: remote.shown(), tries: TRIES })
    }

    /// Returns who may have signed what is there: the keys of the remote, else those that sign now.
    pub(super) fn trusted(&self, remote: &Remote) -> Result<Trusted> {
        match remote.settings.trusted()? {
            Some(trusted) => Ok(trusted),
            None => Trusted::new(self.public_keys(), 1, &remote.shown())
                .map_err(|source| site::untrusted(remote, source)),
        }
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.publishing.signers.iter().map(|signer| signer.public().clone()).collect()
    }

    /// Refuses to send anything that those who pull would not believe.
    pub(super) fn check_signers(&self, remote: &Remote, trusted: &Trusted) -> Result<()> {
        let own = self.public_keys();
        let known = trusted.keys().filter(|key| own.contains(key)).count();
        match known >= trusted.threshold() {
            true => Ok(()),
            false => {
                let (remote, threshold) = (remote.shown(), trusted.threshold());
                Err(RemoteError::TooFewSigners { remote, threshold, known })
            }
        }
    }

    /// Holds the new index against what those who pull will hold it against.
    pub(super) fn accepted(
        &self,
        remote: &Remote,
        trusted: &Trusted,
        bytes: &[u8],
    ) -> Result<crate::trust::Seen> {
        let expected =
            Expectation { site: None, seen: None, now: clock::unix_seconds(), allow_expired: false };
        let accepted = SiteIndex::accept(bytes, trusted, &expected);
        Ok(accepted.map_err(|source| site::untrusted(remote, source))?.1)
    }

    /// Tells whether an index that names a bundle beside what it names leads to all that was pushed, and goes on to.
    fn holds(&self, remote: &Remote, said: Option<&Said>, entry: Option<&BundleEntry>) -> Result<bool> {
        let completed = completed(said);
        let own: &[CommitId] = entry.map_or(&[], |entry| &entry.commits);
        let commits = self.pushed.iter().map(|wanted| wanted.commit);
        if !commits.into_iter().all(|commit| completed.contains(&commit) || own.contains(&commit)) {
            return Ok(false);
        }
        let Some(entry) = entry else { return Ok(true) };
        if said.is_some_and(|said| said.index.bundles.iter().any(|bundle| bundle.id == entry.id)) {
            return Ok(true);
        }
        let stands = said.is_none_or(|said| said.chain(remote, &entry.bases, &|_| false).is_ok());
        Ok(stands && !site_prune::is_marked(self.transport, &entry.id)?)
    }

    /// Sends a bundle of what the site lacks; `None` where it lacks nothing. With another salt it has another name.
    fn bundle(&self, remote: &Remote, said: Option<&Said>, salt: u64) -> Result<Option<BundleEntry>> {
        let completed = completed(said);
        let commits: BTreeSet<CommitId> = self.pushed.iter().map(|wanted| wanted.commit).collect();
        let commits: Vec<CommitId> = commits.difference(&completed).copied().collect();
        if commits.is_empty() {
            return Ok(None);
        }
        // What can't be published at the end need not be sent first.
        self.next(remote, said, None)?;
        let bases = self.bases(remote, said)?;
        let job = &self.line.job;
        let wrapped = |error| RemoteError::Bundle {
            remote: remote.shown(),
            path: "the new bundle".to_owned(),
            source: Box::new(error),
        };
        let contents = Contents::gather(self.store, &commits, &bases, job).map_err(wrapped)?;
        let (form, scratch) = (Form { salt, ..Form::default() }, self.store.scratch()?);
        let mut bundle = bundle::write_as(&form, self.store, &contents, scratch, job).map_err(wrapped)?;
        let entry = BundleEntry {
            id: bundle.id(),
            size: bundle.size(),
            table_bytes: bundle.table_bytes(),
            objects: bundle.objects(),
            commits,
            bases,
        };
        let step = job.step("send", Some(entry.size), crate::base::job::Unit::Bytes);
        let mut body = Sending { bundle: &mut bundle, step: &step };
        match self.transport.create(&bundle_path(&entry.id), &mut body)? {
            // Its name is its digest, and nothing gets a name before it is whole.
            Created::New | Created::There => Ok(Some(entry)),
        }
    }

    /// Chooses the commits on which the bundle builds: where its refs lead now at the site, if these are here; else
    /// where some others do.
    fn bases(&self, remote: &Remote, said: Option<&Said>) -> Result<Vec<CommitId>> {
        let Some(said) = said else { return Ok(Vec::new()) };
        let refs = said.refs(remote)?;
        let own = self.pushed.iter().filter_map(|wanted| refs.get(&wanted.name)).copied();
        let own: BTreeSet<CommitId> = own.filter(|commit| self.store.has(&commit.0)).collect();
        let others = refs.values().copied().filter(|commit| self.store.has(&commit.0));
        let candidates: BTreeSet<CommitId> = match own.is_empty() {
            true => others.take(OTHER_BASES_MAX).collect(),
            false => own,
        };
        let (mut bases, mut chain) = (Vec::new(), BTreeSet::new());
        for base in candidates {
            let Ok(places) = said.chain(remote, &[base], &|_| false) else { continue };
            let both: BTreeSet<usize> = chain.union(&places).copied().collect();
            if both.len() < CHAIN_MAX {
                chain = both;
                bases.push(base);
            }
        }
        Ok(bases)
    }

    /// Makes the index that follows, and says where the refs were.
    pub(super) fn next(
        &self,
        remote: &Remote,
        said: Option<&Said>,
        entry: Option<&BundleEntry>,
    ) -> Result<(SiteIndex, Vec<RefOutcome>)> {
        let now = clock::unix_seconds();
        let mut index = match said {
            Some(said) => said.index.clone(),
            None => self.first(remote)?,
        };
        index.version += 1;
        index.created = now.max(index.created);
        index.expires = index.created + self.publishing.lifetime_seconds.max(1);
        if let Some(entry) = entry.filter(|entry| index.bundles.iter().all(|known| known.id != entry.id)) {
            index.bundles.push(entry.clone());
        }
        let moves = self.move_refs(remote, &mut index)?;
        Ok((index, moves))
    }

    /// Removes and moves the refs of an index, and says where they were.
    fn move_refs(&self, remote: &Remote, index: &mut SiteIndex) -> Result<Vec<RefOutcome>> {
        let mut moves = Vec::new();
        for name in &self.rules.remove {
            let missing = || RemoteError::Missing { remote: remote.shown(), what: format!("ref {name}") };
            let old = index.refs.remove(name.as_str()).ok_or_else(missing)?.commit;
            self.allow(remote, name, name, None, Some(old))?;
            moves.push(RefOutcome { name: name.clone(), old: Some(old), new: None });
        }
        for wanted in self.pushed {
            let name = &wanted.name;
            let found = index.refs.get(name.as_str()).copied();
            let old = found.map(|value| value.commit);
            self.allow(remote, name, wanted.source.as_ref().unwrap_or(name), Some(wanted.commit), old)?;
            moves.push(RefOutcome { name: name.clone(), old, new: Some(wanted.commit) });
            if old != Some(wanted.commit) {
                clear_way(remote, index, name)?;
                let generation = found.map_or(1, |value| value.generation + 1);
                index.refs.insert(name.to_string(), SiteRef { commit: wanted.commit, generation });
            }
        }
        Ok(moves)
    }

    /// Begins a site that is not there yet.
    fn first(&self, remote: &Remote) -> Result<SiteIndex> {
        let named = self.publishing.site.clone().or_else(|| remote.settings.site.clone());
        let site = named.unwrap_or_else(|| name_of(&self.transport.name()));
        let (refs, bundles) = (std::collections::BTreeMap::new(), Vec::new());
        Ok(SiteIndex { site, version: 0, created: 0, expires: 0, refs, bundles })
    }

    /// Refuses to move a ref away from where its pusher never saw it, and a tag from anywhere. `source` is the ref
    /// of this store whose log counts; without `new` the ref is to go.
    fn allow(
        &self,
        remote: &Remote,
        name: &RefName,
        source: &RefName,
        new: Option<CommitId>,
        found: Option<CommitId>,
    ) -> Result<()> {
        let follows = |commit: &CommitId| new.is_some_and(|new| closure::follows(self.store, &new, commit));
        let knows = |commit: &CommitId| {
            remote.settings.knew(name, commit)
                || has_led(self.store, source, commit).unwrap_or(false)
                || follows(commit)
        };
        match found {
            found if found == new => Ok(()),
            Some(commit) if new.is_some() && name.is_tag() => {
                Err(RemoteError::TagMoves { remote: remote.shown(), name: name.clone(), commit })
            }
            found if self.rules.allow(found.as_ref(), knows) => Ok(()),
            found => Err(moved(remote, name, found, self.rules)),
        }
    }

    pub(super) fn done(
        &self,
        remote: &mut Remote,
        trusted: &Trusted,
        published: Option<&[u8]>,
        refs: Vec<RefOutcome>,
        entry: Option<BundleEntry>,
    ) -> Result<Outcome> {
        let seen = published.map(|bytes| self.accepted(remote, trusted, bytes)).transpose()?;
        let (place, keys) = (self.transport.place(), self.public_keys());
        remote.remember(self.store, &self.line.job, |settings| {
            if let Some(seen) = seen {
                settings.note_seen(&seen);
            }
            if settings.keys.is_empty() {
                settings.keys = keys;
            }
            settings.proved = Some(place);
            self.pushed.iter().for_each(|wanted| settings.note_ref(&wanted.name, wanted.commit));
            self.rules.remove.iter().for_each(|name| drop(settings.refs.remove(name)));
            Ok(())
        })?;
        let commits = self.pushed.iter().map(|wanted| wanted.commit).collect();
        let (objects, stored_bytes) = entry.map_or((0, 0), |entry| (entry.objects, entry.size));
        Ok(Outcome { refs, commits, objects, stored_bytes, traffic: self.line.traffic() })
    }
}

/// Refuses a name that could not stand beside another one in a store: nobody could pull both.
fn clear_way(remote: &Remote, index: &SiteIndex, name: &RefName) -> Result<()> {
    let above = name.as_str().match_indices('/').map(|(at, _)| &name.as_str()[..at]);
    let mut above = above.filter(|above| index.refs.contains_key(*above));
    let below = format!("{name}/");
    let is_below = |(other, _): &(&String, &SiteRef)| other.starts_with(&below);
    let below = index.refs.range(below.clone()..).next().filter(is_below).map(|(other, _)| &**other);
    match above.next().or(below) {
        None => Ok(()),
        Some(other) => {
            let (remote, name, other) = (remote.shown(), name.clone(), other.to_owned());
            Err(RemoteError::InTheWay { remote, name, other })
        }
    }
}

/// Returns the commits that the bundles of an index complete.
fn completed(said: Option<&Said>) -> BTreeSet<CommitId> {
    let bundles = said.iter().flat_map(|said| &said.index.bundles);
    bundles.flat_map(|bundle| bundle.commits.iter().copied()).collect()
}

/// Makes the name of a site from its address: the last part of it that can be one.
fn name_of(address: &str) -> SiteName {
    let parts = address.rsplit(['/', ':']);
    let fit = |part: &str| part.to_ascii_lowercase().parse().ok();
    parts
        .filter(|part| !part.is_empty())
        .find_map(fit)
        .unwrap_or_else(|| "site".parse().expect("because it is one"))
}

fn jitter() -> u64 {
    crate::base::publish::unique().bytes().take(2).map(u64::from).sum::<u64>() % 50
}

/// A bundle that tells how far it got.
struct Sending<'a> {
    bundle: &'a mut Bundle,
    step: &'a crate::base::Step,
}

impl Read for Sending<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.bundle.read(buffer)?;
        self.step.advance(length as u64);
        Ok(length)
    }
}

impl SizedRead for Sending<'_> {
    fn size_bytes(&self) -> u64 {
        self.bundle.size()
    }

    fn rewind(&mut self) -> io::Result<()> {
        Bundle::rewind(self.bundle);
        Ok(())
    }
}
