//! The parent's side: an image that a confined child reads.

use std::path::Path;
use std::sync::Mutex;

use super::error::{Result, ViewError};
use super::outline::Outline;
use super::serve::{self, DIGEST_QUESTION_BYTES, DIGESTS, ORIGIN, READ};
use super::wire;
use crate::base::Job;
use crate::boot::origin::Origin;
use crate::confine::{ConfineError, Input, QUESTION_BYTES_MAX, Session, Term};
use crate::store::Commit;
use crate::tree::content::PIECE_BYTES;

/// Files whose digests are asked for at once.
pub(super) const DIGESTS_MAX: usize = (QUESTION_BYTES_MAX - 1) / DIGEST_QUESTION_BYTES;

/// An image in the hands of a child. Whatever it says is data: names and numbers that were checked, and bytes.
pub(super) struct Stranger {
    session: Mutex<Session>,
}

/// What the child said when it had opened an image.
pub(super) struct Opened {
    pub stranger: Stranger,
    pub outline: Outline,
    /// What the UKI of the slot says that it is; nobody has checked it.
    pub commit: Option<Commit>,
}

/// Has a child open a partition of a file.
pub(super) fn open(file: &Path, part: Option<&str>, term: Term, job: &Job) -> Result<Opened> {
    job.check()?;
    let failed = |source| of_child(file, source);
    let input = Input::open(file).map_err(failed)?;
    let arguments = serve::arguments(file, part);
    let mut session = Session::start(serve::VERB, &arguments, &[input], term, job).map_err(failed)?;
    let answer = session.part().map_err(failed)?;
    let (commit, outline) = read_opened(&answer).ok_or_else(|| failed(nonsense()))?;
    Ok(Opened { stranger: Stranger { session: Mutex::new(session) }, outline, commit })
}

fn read_opened(answer: &[u8]) -> Option<(Option<Commit>, Outline)> {
    let (length, rest) = answer.split_first_chunk::<4>()?;
    let (commit, outline) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let commit = match commit {
        [] => None,
        commit => Some(Commit::decode(commit).ok()?),
    };
    Some((commit, wire::read(outline)?))
}

fn of_child(file: &Path, source: ConfineError) -> ViewError {
    match source {
        ConfineError::Cancelled(error) => error.into(),
        ConfineError::File(error) => error.into(),
        // What these say names the file already.
        source @ (ConfineError::Said(_) | ConfineError::NotAFile { .. }) => ViewError::Confined { source },
        source => ViewError::Unread { file: file.to_owned(), source },
    }
}

fn nonsense() -> ConfineError {
    ConfineError::Child { problem: "answered what is no answer".to_owned() }
}

impl Stranger {
    fn ask(&self, question: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let mut session = self.session.lock().map_err(|_| "an earlier question ended badly".to_owned())?;
        let mut answer = session.ask(question).map_err(|error| crate::base::whole(&error))?;
        match answer.pop() {
            Some(0) => Ok(answer),
            Some(_) => Err(String::from_utf8_lossy(&answer).into_owned()),
            None => Err("the answer is empty".to_owned()),
        }
    }

    /// Fills a buffer with bytes of a file, by its place.
    pub fn read_at(&self, place: u32, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), String> {
        let pieces = buffer.chunks_mut(PIECE_BYTES as usize);
        for (piece, at) in pieces.zip((offset..).step_by(PIECE_BYTES as usize)) {
            let length = u32::try_from(piece.len()).unwrap_or_default();
            let question =
                [&[READ][..], &place.to_le_bytes(), &at.to_le_bytes(), &length.to_le_bytes()].concat();
            let answer = self.ask(&question)?;
            if answer.len() != piece.len() {
                return Err(format!("{} bytes were asked for, {} came", piece.len(), answer.len()));
            }
            piece.copy_from_slice(&answer);
        }
        Ok(())
    }

    /// Returns the digests of files, by place and size: of at most [`DIGESTS_MAX`] at once.
    pub fn digests(&self, files: &[(u32, u64)]) -> std::result::Result<Vec<[u8; 32]>, String> {
        let files_bytes = files.iter().flat_map(|(place, size)| {
            place.to_le_bytes().into_iter().chain(size.to_le_bytes()).collect::<Vec<u8>>()
        });
        let question: Vec<u8> = [DIGESTS].into_iter().chain(files_bytes).collect();
        let answer = self.ask(&question)?;
        let (digests, rest) = answer.as_chunks::<32>();
        match digests.len() == files.len() && rest.is_empty() {
            true => Ok(digests.to_vec()),
            false => Err(format!("{} digests were asked for, {} came", files.len(), digests.len())),
        }
    }

    /// Returns what the image carries of its own provenance, which the child has read before us.
    pub fn origin(&self) -> Option<Origin> {
        Origin::decode(&self.ask(&[ORIGIN]).ok()?).ok()
    }
}
