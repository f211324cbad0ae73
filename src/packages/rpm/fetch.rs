//! Repositories over the room's own fetcher: its mirrors of every form, its cache, its patience.

use super::super::digest::Sha256;
use super::super::error::{FetchProblem, PackagesError};
use super::super::fetch::Fetcher;
use super::super::mirror::Mirror;
use super::repository::RepositoryFiles;
use super::request::Source;
use crate::base::Job;

impl RepositoryFiles for Fetcher<'_> {
    /// Files of a known digest come from the cache where they are there, and are kept in it.
    fn read(
        &self,
        source: &Source,
        path: &str,
        expected: Option<(Sha256, u64)>,
        bytes_max: u64,
        job: &Job,
    ) -> Result<Option<Vec<u8>>, PackagesError> {
        if let Some((sha256, size_bytes)) = expected
            && let Some(bytes) = self.cached(sha256, size_bytes)?
        {
            return Ok(Some(bytes));
        }
        let mirror = Mirror::parse(&source.mirror, self.settings().now_seconds)?;
        match self.ask(&mirror, path, expected, bytes_max, job) {
            Ok(bytes) => {
                if let Some((sha256, _)) = expected {
                    self.cache().put(&sha256.0, &bytes).map_err(PackagesError::Cache)?;
                }
                Ok(Some(bytes))
            }
            Err(PackagesError::Fetch { problem: FetchProblem::Missing, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
