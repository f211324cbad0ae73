//! What a source offers: its verified Release, and the texts of the indexes that this names.

use super::date;
use super::deb::index::INDEX_BYTES_MAX;
use super::deb::release::{RELEASE_BYTES_MAX, Release};
use super::digest::Sha256;
use super::error::{FetchProblem, PackagesError, SuiteProblem};
use super::fetch::Fetcher;
use super::index_text;
use super::keyring::Keyring;
use super::lock::{Lock, LockedSource};
use super::mirror::{self, Mirror};
use super::request::{Request, SourceRequest};
use super::trust::{self, CLOCK_LEEWAY_SECONDS, SignatureProblem, Verified};
use crate::base::Job;
use crate::base::job::Unit;

/// Largest index before decompression, in bytes.
const PACKED_BYTES_MAX: u64 = 256 << 20;
/// The forms of an index, best first.
const FORMS: [&str; 4] = [".xz", ".zst", ".gz", ""];
/// Most indexes of one suite that are fetched at once.
const INDEXES_AT_ONCE: usize = 4;

/// Holds the indexes of one suite.
pub(super) struct Suite {
    pub state: LockedSource,
    /// The text of each index, by architecture and component in the order of the request, without the fields that
    /// no one here reads (see [`index_text`]).
    pub indexes: Vec<String>,
}

/// Loads all sources of a request, at once. A previous lock bounds how old a suite may be.
pub(super) fn load_all(
    request: &Request,
    previous: Option<&Lock>,
    fetcher: &Fetcher<'_>,
    job: &Job,
) -> Result<Vec<Suite>, PackagesError> {
    let step = job.step(
        format!("read indexes of {}", request.distribution),
        Some(request.sources.len() as u64),
        Unit::Items,
    );
    let connections = request.sources.len().clamp(1, fetcher.settings().connections.max(1));
    let workers = job.workers.or_new(connections);
    let seconds = fetcher.settings().now_seconds;
    let load = |source: &SourceRequest| {
        let suite = load(request, source, previous, seconds, fetcher, job);
        step.advance(1);
        suite
    };
    workers.try_map(request.sources.iter().collect(), load).map_err(PackagesError::of)
}

/// Loads one source, from the first mirror that has it. `seconds` is what `{date}` stands for in a mirror's
/// address. A mirror that somebody named and that has something wrong is an error, not passed over.
pub(super) fn load(
    request: &Request,
    source: &SourceRequest,
    previous: Option<&Lock>,
    seconds: u64,
    fetcher: &Fetcher<'_>,
    job: &Job,
) -> Result<Suite, PackagesError> {
    let mut errors = Vec::new();
    for mirror in mirror::candidates(request, source, seconds, fetcher.settings())? {
        let loading = Loading { mirror: &mirror, request, source, previous, fetcher, job };
        match loading.load() {
            Ok(suite) => {
                errors
                    .iter()
                    .for_each(|error| job.note(format!("passed over: {}", crate::base::whole(error))));
                return Ok(suite);
            }
            Err(PackagesError::Cancelled(cancelled)) => return Err(cancelled.into()),
            Err(error) => {
                let is_other = mirror.is_for_all && source.signed_by.is_some() && is_anothers(&error);
                let goes_on = mirror.is_guess || is_other || is_not_there(&error);
                errors.push(error);
                if !goes_on {
                    break;
                }
            }
        }
    }
    Err(PackagesError::of(errors))
}

fn is_not_there(error: &PackagesError) -> bool {
    matches!(error, PackagesError::Fetch { problem: FetchProblem::Missing | FetchProblem::Offline, .. })
}

/// Tells whether it may be that what is there belongs to another archive.
fn is_anothers(error: &PackagesError) -> bool {
    let PackagesError::Suite { problem, .. } = error else { return false };
    matches!(**problem, SuiteProblem::Signature(_) | SuiteProblem::OtherSuite { .. })
}

/// A suite on a mirror, as it is being loaded.
struct Loading<'a> {
    mirror: &'a Mirror,
    request: &'a Request,
    source: &'a SourceRequest,
    previous: Option<&'a Lock>,
    fetcher: &'a Fetcher<'a>,
    job: &'a Job,
}

impl Loading<'_> {
    /// Loads, and once more where an index is of another state than the Release: the mirror is being refreshed.
    fn load(&self) -> Result<Suite, PackagesError> {
        match self.attempt() {
            Err(PackagesError::Fetch { problem, .. }) if is_of_another_state(&problem) => self.attempt(),
            result => result,
        }
    }

    fn attempt(&self) -> Result<Suite, PackagesError> {
        let (release, inrelease) = self.release()?;
        let state =
            LockedSource { suite: self.source.suite.clone(), date_seconds: release.date_seconds, inrelease };
        self.check(&release).map_err(|problem| self.problem(problem))?;
        self.check_age(&state).map_err(|problem| self.problem(problem))?;
        let wanted = self.wanted(&release)?;
        let workers = self.job.workers.or_new(wanted.len().clamp(1, INDEXES_AT_ONCE));
        let load = |file: (&String, (Sha256, u64))| self.load_index(file.0, file.1, &release);
        let indexes = workers.try_map(wanted, load).map_err(PackagesError::of)?;
        Ok(Suite { state, indexes })
    }

    fn problem(&self, problem: SuiteProblem) -> PackagesError {
        let (suite, mirror) = (self.source.suite.clone(), self.mirror.shown());
        PackagesError::Suite { suite, mirror, problem: Box::new(problem) }
    }

    fn ask(&self, name: &str) -> Result<Vec<u8>, PackagesError> {
        let path = format!("dists/{}/{name}", self.source.suite);
        self.fetcher.ask(self.mirror, &path, None, RELEASE_BYTES_MAX, self.job)
    }

    /// Gets and verifies the Release: signed in itself, or by a signature that lies apart. Returns the digest of
    /// the file too.
    fn release(&self) -> Result<(Verified<Release>, Sha256), PackagesError> {
        let keyring = Keyring::of(self.request, self.source, self.mirror, self.fetcher)?;
        let now = self.fetcher.settings().now_seconds;
        let (text, bytes) = match self.ask("InRelease") {
            Err(error) if is_not_there(&error) => self.detached(&keyring, now, error)?,
            bytes => {
                let bytes = bytes?;
                (trust::verify_cleartext(&bytes, &keyring, now), bytes)
            }
        };
        let text = text.map_err(|problem| self.problem(SuiteProblem::Signature(problem)))?;
        let release = text.try_map(|text| Release::parse(&text));
        let release = release.map_err(|problem| self.problem(SuiteProblem::Release(problem)))?;
        Ok((release, Sha256::of(&bytes)))
    }

    #[allow(clippy::type_complexity, reason = "a file and what its signature says, used in one place")]
    fn detached(
        &self,
        keyring: &Keyring,
        now: u64,
        missing: PackagesError,
    ) -> Result<(Result<Verified<String>, SignatureProblem>, Vec<u8>), PackagesError> {
        let release = match self.ask("Release") {
            Err(error) if is_not_there(&error) => return Err(missing),
            release => release?,
        };
        let signature = match self.ask("Release.gpg") {
            Err(error) if is_not_there(&error) => return Err(self.problem(SuiteProblem::Unsigned)),
            signature => signature?,
        };
        Ok((trust::verify_detached(&release, &signature, keyring, now), release))
    }

    /// Checks that the Release is of the suite that was asked for, and of a time at which it may be used. What
    /// apt's sources offer under the suite's name from other archives is passed over.
    fn check(&self, release: &Verified<Release>) -> Result<(), SuiteProblem> {
        if !release.is_suite(&self.source.suite) {
            let names = [&release.suite, &release.codename].into_iter().flatten();
            let found = names.map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(SuiteProblem::OtherSuite { found });
        }
        let distribution = &self.request.distribution;
        let origin = release.origin.as_deref().unwrap_or_default();
        if self.mirror.is_guess && !origin.eq_ignore_ascii_case(distribution) {
            let (found, distribution) = (origin.to_owned(), distribution.clone());
            return Err(SuiteProblem::OtherOrigin { found, distribution });
        }
        let now = self.fetcher.settings().now_seconds;
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

    fn check_age(&self, state: &LockedSource) -> Result<(), SuiteProblem> {
        let locked =
            self.previous.and_then(|lock| lock.source(&self.request.distribution, &self.source.name));
        match locked.filter(|locked| locked.suite == state.suite) {
            Some(locked) if state.date_seconds < locked.date_seconds => Err(SuiteProblem::OlderThanLock {
                date: date::print(state.date_seconds),
                locked: date::print(locked.date_seconds),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the indexes that the request needs.
    fn wanted<'r>(
        &self,
        release: &'r Verified<Release>,
    ) -> Result<Vec<(&'r String, (Sha256, u64))>, PackagesError> {
        let mut wanted = Vec::new();
        let listed = |component: &str, architecture: &str| {
            let plain = format!("{component}/binary-{architecture}/Packages");
            FORMS.iter().find_map(|form| release.files.get_key_value(&format!("{plain}{form}")))
        };
        let native = &self.request.architecture;
        for architecture in [native].into_iter().chain(&self.request.foreign_architectures) {
            for component in &self.source.components {
                let Some((path, file)) = listed(component, architecture) else {
                    let (component, architecture) = (component.clone(), architecture.clone());
                    return Err(self.problem(SuiteProblem::NoIndex { component, architecture }));
                };
                wanted.push((path, *file));
            }
        }
        if release.lists_all_apart {
            let apart = self.source.components.iter().filter_map(|component| listed(component, "all"));
            wanted.extend(apart.map(|(path, file)| (path, *file)));
        }
        Ok(wanted)
    }

    fn load_index(
        &self,
        path: &str,
        file: (Sha256, u64),
        release: &Verified<Release>,
    ) -> Result<String, PackagesError> {
        let cache = self.fetcher.cache();
        let key = index_text::key(&file.0);
        let kept = cache.derived(&key).map_err(PackagesError::Cache)?;
        if let Some(Ok(text)) = kept.map(String::from_utf8) {
            return Ok(text);
        }
        let packed = self.fetch_index(path, file, release.by_hash)?;
        let plain = FORMS[..3].iter().find_map(|form| path.strip_suffix(form)).unwrap_or(path);
        let size_max = release.files.get(plain).map_or(INDEX_BYTES_MAX, |file| file.1.min(INDEX_BYTES_MAX));
        let failed = |problem| self.problem(SuiteProblem::Compression { path: path.to_owned(), problem });
        let text = index_text::read(&packed, size_max, self.job);
        self.job.check()?;
        let text = text.map_err(failed)?;
        cache.put_derived(&key, text.as_bytes()).map_err(PackagesError::Cache)?;
        Ok(text)
    }

    /// Gets an index by its digest where the archive offers that, so that a mirror that is just being
    /// refreshed serves either state, never a mixture.
    fn fetch_index(
        &self,
        path: &str,
        wanted: (Sha256, u64),
        by_hash: bool,
    ) -> Result<Vec<u8>, PackagesError> {
        let by_name = format!("dists/{}/{path}", self.source.suite);
        if by_hash {
            let folder = by_name.rsplit_once('/').map_or("", |split| split.0);
            let address = format!("{folder}/by-hash/SHA256/{}", wanted.0);
            match self.fetcher.ask(self.mirror, &address, Some(wanted), PACKED_BYTES_MAX, self.job) {
                Err(PackagesError::Fetch { problem: FetchProblem::Missing, .. }) => {}
                result => return result,
            }
        }
        self.fetcher.ask(self.mirror, &by_name, Some(wanted), PACKED_BYTES_MAX, self.job)
    }
}

fn is_of_another_state(problem: &FetchProblem) -> bool {
    matches!(
        problem,
        FetchProblem::Digest { .. }
            | FetchProblem::Size { .. }
            | FetchProblem::Length { .. }
            | FetchProblem::TooLarge { .. }
    )
}
