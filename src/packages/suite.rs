//! What a suite offers: its verified Release and the indexes that this names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::date;
use super::deb::index::{self, INDEX_BYTES_MAX, IndexEntry};
use super::deb::release::{RELEASE_BYTES_MAX, Release};
use super::deb::version;
use super::digest::Sha256;
use super::error::{FetchProblem, PackagesError, SuiteProblem, whole};
use super::fetch::Fetcher;
use super::keyring::Keyring;
use super::lock::{Lock, LockedSuite};
use super::mirror::{self, Mirror};
use super::request::Request;
use super::trust::{self, CLOCK_LEEWAY_SECONDS, Verified};
use crate::archive;
use crate::base::Job;

/// Largest index before decompression, in bytes.
const PACKED_BYTES_MAX: u64 = 256 << 20;
/// The forms of an index, best first.
const FORMS: [&str; 3] = [".xz", ".gz", ""];

/// Holds the indexes of one suite, for one architecture and some components.
pub(super) struct Suite {
    pub state: LockedSuite,
    /// Text of each component's index, in the order of the request.
    indexes: Vec<(String, String)>,
    mirror: String,
    suite: String,
}

impl Suite {
    /// Loads what a request may choose from, from the first mirror that serves it. A previous lock bounds how
    /// old the suite may be.
    pub fn load(
        request: &Request,
        previous: Option<&Lock>,
        fetcher: &Fetcher<'_>,
        job: &Job,
    ) -> Result<Suite, PackagesError> {
        let mut errors = Vec::new();
        for mirror in mirror::candidates(request, fetcher.settings())? {
            match Self::load_from(&mirror, request, previous, fetcher, job) {
                Ok(universe) => {
                    errors.iter().for_each(|error| job.note(format!("passed over: {}", whole(error))));
                    return Ok(universe);
                }
                Err(PackagesError::Cancelled(cancelled)) => return Err(cancelled.into()),
                Err(error) => errors.push(error),
            }
        }
        Err(PackagesError::of(errors))
    }

    fn load_from(
        mirror: &Mirror,
        request: &Request,
        previous: Option<&Lock>,
        fetcher: &Fetcher<'_>,
        job: &Job,
    ) -> Result<Suite, PackagesError> {
        let suite = Loading { mirror, request, fetcher };
        let keyring = Keyring::of(request, mirror, fetcher.settings())?;
        let path = format!("dists/{}/InRelease", request.suite);
        let bytes = fetcher.ask(mirror, &path, None, RELEASE_BYTES_MAX, job)?;
        let now = fetcher.settings().now_seconds;
        let release = verified(&bytes, &keyring, now).map_err(|problem| suite.problem(problem))?;
        let state = LockedSuite { date_seconds: release.date_seconds, inrelease: Sha256::of(&bytes) };
        let locked = previous.and_then(|lock| lock.suite(&request.distribution, &request.suite));
        check(&release, &suite, now).map_err(|problem| suite.problem(problem))?;
        check_age(&state, locked).map_err(|problem| suite.problem(problem))?;
        let load = |component: &String| suite.load_index(component, &release, job);
        let indexes =
            job.workers.try_map(request.components.iter().collect(), load).map_err(PackagesError::of)?;
        Ok(Suite { state, indexes, mirror: mirror.shown(), suite: request.suite.clone() })
    }

    /// Returns the highest version of each package that is there, by name; among equal ones the first. Costs one
    /// pass over the indexes.
    pub fn find(&self, names: &BTreeSet<&str>) -> Result<BTreeMap<String, IndexEntry>, PackagesError> {
        let mut best = BTreeMap::<String, IndexEntry>::new();
        for (path, text) in &self.indexes {
            let entries = index::find(text, names).map_err(|problem| PackagesError::Suite {
                suite: self.suite.clone(),
                mirror: self.mirror.clone(),
                problem: Box::new(SuiteProblem::Index { path: path.clone(), problem }),
            })?;
            for entry in entries {
                let there = best.get(&entry.name);
                if there.is_none_or(|there| version::compare(&entry.version, &there.version).is_gt()) {
                    best.insert(entry.name.clone(), entry);
                }
            }
        }
        Ok(best)
    }

    /// Returns names that a person may have meant.
    pub fn similar(&self, name: &str) -> Vec<String> {
        let names = self.indexes.iter().flat_map(|(_, text)| index::similar(text, name));
        names.take(3).map(str::to_owned).collect()
    }
}

fn verified(bytes: &[u8], keyring: &Keyring, now: u64) -> Result<Verified<Release>, SuiteProblem> {
    let text = trust::verify_cleartext(bytes, keyring, now).map_err(SuiteProblem::Signature)?;
    text.try_map(|text| Release::parse(&text)).map_err(SuiteProblem::Release)
}

/// Checks that the Release is of the suite that was asked for, and of a time at which it may be used. What
/// apt's sources offer under the suite's name from other archives is passed over.
fn check(release: &Verified<Release>, suite: &Loading<'_>, now: u64) -> Result<(), SuiteProblem> {
    let Request { suite: name, distribution, .. } = suite.request;
    if !release.is_suite(name) {
        let names = [&release.suite, &release.codename].into_iter().flatten();
        let found = names.map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(SuiteProblem::OtherSuite { found });
    }
    let origin = release.origin.as_deref().unwrap_or_default();
    if suite.mirror.is_guess && !origin.eq_ignore_ascii_case(distribution) {
        return Err(SuiteProblem::OtherOrigin {
            found: origin.to_owned(),
            distribution: distribution.clone(),
        });
    }
    if release.date_seconds > now + CLOCK_LEEWAY_SECONDS {
        let (date, now) = (date::print(release.date_seconds), date::print(now));
        return Err(SuiteProblem::FromTheFuture { date, now });
    }
    match release.valid_until_seconds {
        Some(until) if until < now => {
            Err(SuiteProblem::Expired { until: date::print(until), now: date::print(now) })
        }
        _ => Ok(()),
    }
}

fn check_age(state: &LockedSuite, locked: Option<&LockedSuite>) -> Result<(), SuiteProblem> {
    match locked {
        Some(locked) if state.date_seconds < locked.date_seconds => Err(SuiteProblem::OlderThanLock {
            date: date::print(state.date_seconds),
            locked: date::print(locked.date_seconds),
        }),
        _ => Ok(()),
    }
}

/// A suite on a mirror, as it is being loaded.
struct Loading<'a> {
    mirror: &'a Mirror,
    request: &'a Request,
    fetcher: &'a Fetcher<'a>,
}

impl Loading<'_> {
    fn problem(&self, problem: SuiteProblem) -> PackagesError {
        let (suite, mirror) = (self.request.suite.clone(), self.mirror.shown());
        PackagesError::Suite { suite, mirror, problem: Box::new(problem) }
    }

    /// Loads one component's index: path and text.
    fn load_index(
        &self,
        component: &str,
        release: &Verified<Release>,
        job: &Job,
    ) -> Result<(String, String), PackagesError> {
        let architecture = &self.request.architecture;
        let plain = format!("{component}/binary-{architecture}/Packages");
        let listed = FORMS.iter().find_map(|form| release.files.get_key_value(&format!("{plain}{form}")));
        let Some((path, &(sha256, size))) = listed else {
            let (component, architecture) = (component.to_owned(), architecture.clone());
            return Err(self.problem(SuiteProblem::NoIndex { component, architecture }));
        };
        let packed = match self.fetcher.cached(sha256, size)? {
            Some(packed) => packed,
            None => {
                let packed = self.fetch_index(path, (sha256, size), release.by_hash, job)?;
                self.fetcher.keep(sha256, &packed)?;
                packed
            }
        };
        let size_max = release.files.get(&plain).map_or(INDEX_BYTES_MAX, |file| file.1.min(INDEX_BYTES_MAX));
        let failed = |problem| self.problem(SuiteProblem::Compression { path: path.clone(), problem });
        Ok((path.clone(), unpack_index(&packed, size_max).map_err(failed)?))
    }

    /// Gets an index by its digest where the archive offers that, so that a mirror that is just being
    /// refreshed serves either state, never a mixture.
    fn fetch_index(
        &self,
        path: &str,
        wanted: (Sha256, u64),
        by_hash: bool,
        job: &Job,
    ) -> Result<Vec<u8>, PackagesError> {
        let by_name = format!("dists/{}/{path}", self.request.suite);
        if by_hash {
            let folder = by_name.rsplit_once('/').map_or("", |split| split.0);
            let address = format!("{folder}/by-hash/SHA256/{}", wanted.0);
            match self.fetcher.ask(self.mirror, &address, Some(wanted), PACKED_BYTES_MAX, job) {
                Err(PackagesError::Fetch { problem: FetchProblem::Missing, .. }) => {}
                result => return result,
            }
        }
        self.fetcher.ask(self.mirror, &by_name, Some(wanted), PACKED_BYTES_MAX, job)
    }
}

fn unpack_index(packed: &[u8], size_max: u64) -> Result<String, String> {
    let (_, unpacked) =
        archive::decompress(packed, &archive::Limits::default()).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    unpacked.take(size_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > size_max {
        return Err(format!("it is larger than the {size_max} bytes that the Release file gives it"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}
