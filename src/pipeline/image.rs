//! The image of a commit, in a file.

use std::path::Path;

use super::error::{PipelineError, Result};
use super::output;
use crate::base::publish::Publication;
use crate::base::{CommitId, FileError, Job, whole};
use crate::disk::FileDevice;
use crate::image::Image;
use crate::store::Store;

/// What became of an image.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Written {
    pub commit: CommitId,
    /// False where the bytes were there already: then the file was not touched.
    pub changed: bool,
    /// Length of the disk.
    pub size_bytes: u64,
    /// What the file takes on the host's disk.
    pub allocated_bytes: u64,
}

/// Writes the image of a commit to a file, in one rename at the end; on failure nothing is left. Where
/// the file holds these bytes already it is not touched.
pub fn write(store: &Store, id: CommitId, output: &Path, job: &Job) -> Result<Written> {
    write_if(store, id, output, &|_| Ok(()), job)
}

/// Writes an image as [`write()`] does; it gets its name only once `approve` has seen the finished file.
pub fn write_if(
    store: &Store,
    id: CommitId,
    output: &Path,
    approve: &dyn Fn(&Path) -> Result<()>,
    job: &Job,
) -> Result<Written> {
    if let Some(written) = output::known(store, id, output) {
        job.cached(format!("write {}", output.display()));
        approve(output)?;
        return Ok(written);
    }
    let publication = Publication::create(output)?;
    let size = {
        let image = Image::of(store, id, job)?;
        let plan = image.place(job)?;
        let length = plan.disk.size.0;
        let file = publication.file();
        file.set_len(length).map_err(FileError::at("set the length of", output))?;
        let file = file.try_clone().map_err(FileError::at("open", output))?;
        let written = image.write(&plan, &FileDevice::new(file, length), job);
        written.map_err(|source| PipelineError::Writing { path: output.to_owned(), source })?;
        length
    };
    approve(publication.temporary())?;
    let changed = output::publish(publication, output, job)?;
    // Only so that the next build need not compare: a store that may not be written is no reason to fail.
    if let Err(error) = output::remember(store, id, output) {
        job.warn(format!("the store can't note what {} holds: {}", output.display(), whole(&error)));
    }
    Ok(Written { commit: id, changed, size_bytes: size, allocated_bytes: output::allocated(output)? })
}
