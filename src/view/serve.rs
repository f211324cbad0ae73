//! The child's side: an image is opened where nothing else can be, and questions about it are answered.
//!
//! ```text
//! opened    commit bytes (none: empty), then the outline (`wire.rs`)
//! question  'r' place u32 offset u64 length u32      bytes of a file, at most 1 MiB
//!           'd' (place u32 size u64)*                the digest of each, 32 bytes
//!           'o'                                      the section .origin of the slot's UKI; empty where it has none
//! answer    what was asked for, 0; or what is wrong with it, 1
//! ```

use serde_json::{Value, json};

use super::error::{Result, ViewError};
use super::image;
use super::outline::{self, Outline};
use super::partition::Partition;
use crate::base::{Job, whole};
use crate::boot::origin::Origin;
use crate::confine::{Channel, ConfineError};
use crate::disk::ext4::{Ext4ReadError, Ext4Reader};
use crate::disk::fat::{self, Listed, Listing};
use crate::disk::{BlockDevice, FileDevice};
use crate::store::Commit;
use crate::tree::content::PIECE_BYTES;

/// The verb of the confined child that is [`serve`].
pub const VERB: &str = "view";

pub(super) const READ: u8 = b'r';
pub(super) const DIGESTS: u8 = b'd';
pub(super) const ORIGIN: u8 = b'o';
/// Bytes of each file in a question for digests.
pub(super) const DIGEST_QUESTION_BYTES: usize = 12;

/// Says which partition of which file is meant; the file's name is for messages.
pub(super) fn arguments(file: &std::path::Path, part: Option<&str>) -> Value {
    json!({ "file": file.to_string_lossy(), "part": part })
}

/// Opens an image and answers questions about it until nobody asks any more. `rehearse` is shown recipe and lock before
/// they are sent: whatever they do to who reads them, they do it here first.
pub fn serve(
    arguments: &Value,
    device: FileDevice,
    channel: &mut Channel,
    rehearse: &dyn Fn(&Commit, &Origin),
    job: &Job,
) -> Result<()> {
    let file = arguments["file"].as_str().unwrap_or_default().as_ref();
    let (partition, said) = image::open(device, file, arguments["part"].as_str(), job)?;
    let (filesystem, outline) = Filesystem::open(partition, job)?;
    let mut opened = Vec::new();
    let commit = said.as_ref().map(|said| said.commit.encode()).unwrap_or_default();
    opened.extend_from_slice(&u32::try_from(commit.len()).unwrap_or_default().to_le_bytes());
    opened.extend_from_slice(&commit);
    opened.extend_from_slice(&super::wire::write(&outline));
    // What it was made of is much of what a small child may have.
    drop(outline);
    send(channel, &opened)?;
    while let Some(question) = channel.hear().map_err(talking)? {
        let answer = match question.split_first() {
            Some((&READ, question)) => filesystem.answer_read(question),
            Some((&DIGESTS, question)) => filesystem.answer_digests(question, job),
            Some((&ORIGIN, _)) => Ok(said.as_ref().map_or_else(Vec::new, |said| said.origin(rehearse))),
            _ => Err("nobody asks this".to_owned()),
        };
        let (mut answer, verdict) = match answer {
            Ok(bytes) => (bytes, 0),
            Err(problem) => (problem.into_bytes(), 1),
        };
        answer.push(verdict);
        send(channel, &answer)?;
    }
    Ok(())
}

fn send(channel: &mut Channel, part: &[u8]) -> Result<()> {
    channel.send(part).map_err(talking)
}

fn talking(source: std::io::Error) -> ViewError {
    ViewError::Confined { source: ConfineError::Start { doing: "talk as", source } }
}

impl image::Said {
    /// Returns recipe and lock, encoded, once somebody has read them.
    fn origin(&self, rehearse: &dyn Fn(&Commit, &Origin)) -> Vec<u8> {
        self.carried.as_ref().map_or_else(Vec::new, |origin| {
            rehearse(&self.commit, origin);
            origin.encode()
        })
    }
}

/// A filesystem of a stranger.
struct Filesystem {
    partition: Partition,
    /// Of a FAT volume all that is in it.
    fat: Option<Listing>,
}

impl Filesystem {
    fn open(partition: Partition, job: &Job) -> Result<(Filesystem, Outline)> {
        if image::is_fat(&partition) {
            let listing = fat::read(&partition).map_err(|source| in_fat(&partition, source))?;
            let outline = outline::of_fat(&listing);
            return Ok((Filesystem { partition, fat: Some(listing) }, outline));
        }
        let walked = Ext4Reader::open(&partition).and_then(|reader| reader.walk(job));
        let outline = outline::of_ext4(&walked.map_err(|source| in_ext4(&partition, source))?);
        Ok((Filesystem { partition, fat: None }, outline))
    }

    fn answer_read(&self, question: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let wrong = || "it asks for something else than a piece of a file".to_owned();
        let parts = question.split_first_chunk::<4>().and_then(|(place, rest)| {
            let (offset, length) = rest.split_first_chunk::<8>()?;
            Some((*place, *offset, length.try_into().ok()?))
        });
        let (place, offset, length) = parts.ok_or_else(wrong)?;
        let length = u32::from_le_bytes(length);
        if u64::from(length) > PIECE_BYTES {
            return Err(wrong());
        }
        // With room for the verdict behind it.
        let mut bytes = Vec::with_capacity(length as usize + 1);
        bytes.resize(length as usize, 0);
        self.read_at(u32::from_le_bytes(place), u64::from_le_bytes(offset), &mut bytes)?;
        Ok(bytes)
    }

    fn answer_digests(&self, question: &[u8], job: &Job) -> std::result::Result<Vec<u8>, String> {
        let files = question.chunks_exact(DIGEST_QUESTION_BYTES).map(|file| {
            let (place, size) = file.split_at(4);
            let place = u32::from_le_bytes(place.try_into().unwrap_or_default());
            (place, u64::from_le_bytes(size.try_into().unwrap_or_default()))
        });
        let digests = job.workers.try_map(files.collect(), |(place, size)| self.digest(place, size));
        let digests: Vec<[u8; 32]> = digests.map_err(|mut errors: Vec<String>| errors.swap_remove(0))?;
        Ok(digests.concat())
    }

    fn digest(&self, place: u32, size: u64) -> std::result::Result<[u8; 32], String> {
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE_BYTES.min(size) as usize];
        let mut at = 0;
        while at < size {
            let length = PIECE_BYTES.min(size - at) as usize;
            self.read_at(place, at, &mut piece[..length])?;
            hasher.update(&piece[..length]);
            at += length as u64;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn read_at(&self, place: u32, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), String> {
        let Some(listing) = &self.fat else {
            let reader = Ext4Reader::open(&self.partition);
            let read = reader.and_then(|reader| reader.read_inode_at(place, offset, buffer));
            return read.map_err(|error| whole(&in_ext4(&self.partition, error)));
        };
        let entry = listing.entries.get(place as usize).ok_or_else(|| "it is not there".to_owned())?;
        read_fat(&self.partition, listing, entry, offset, buffer).map_err(|error| error.to_string())
    }
}

fn in_ext4(partition: &Partition, source: Ext4ReadError) -> ViewError {
    match source {
        Ext4ReadError::Cancelled(error) => error.into(),
        source => ViewError::Ext4 { file: partition.file.clone(), part: partition.name.clone(), source },
    }
}

fn in_fat(partition: &Partition, source: fat::FatError) -> ViewError {
    ViewError::Fat { file: partition.file.clone(), part: partition.name.clone(), source }
}

/// Reads a range of a file of a FAT volume.
fn read_fat(
    device: &Partition,
    listing: &Listing,
    entry: &Listed,
    offset: u64,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    let end = offset.checked_add(buffer.len() as u64);
    if end.is_none_or(|end| end > u64::from(entry.size_bytes)) {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
    }
    let (mut begin, mut done) = (0, 0);
    for extent in &entry.extents {
        let length = u64::from(extent.clusters) * listing.geometry.cluster_bytes();
        let at = offset + done as u64;
        if done < buffer.len() && at < begin + length {
            let from = at - begin;
            let take = (length - from).min((buffer.len() - done) as u64) as usize;
            let place = listing.geometry.cluster_offset(extent.start_cluster) + from;
            device.read_at(place, &mut buffer[done..done + take])?;
            done += take;
        }
        begin += length;
    }
    match done == buffer.len() {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    }
}
