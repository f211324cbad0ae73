//! Where an app's libraries are looked for, and what the bytes of its files say.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;

use super::{OPENSSL_ROOTS, ZONES};
use crate::archive::Digesting;
use crate::base::{BlobId, ImagePath};
use crate::elf::{ElfError, HostLibrary, Image, Library, TreeLibrary};
use crate::tree::follow::resolve;
use crate::tree::{Content, ContentError, ContentSink, Directory, Node};

const MAGIC: &[u8] = b"\x7fELF";
/// Largest ELF file of an app that is looked at, in bytes.
const ELF_BYTES_MAX: u64 = 1 << 30;

/// What a file of the app says of what it needs.
pub struct Seen {
    pub(super) image: Result<Image, ElfError>,
    pub(super) mentions: Mentions,
}

/// Which paths the bytes of a program hold.
#[derive(Clone, Copy, Default)]
pub(super) struct Mentions {
    pub(super) roots: bool,
    pub(super) openssl: [bool; 2],
    pub(super) zones: bool,
}

impl Mentions {
    pub(super) fn of(bytes: &[u8]) -> Mentions {
        let mut mentions = Mentions::default();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'/') {
            rest = &rest[at..];
            for (holds, path) in mentions.openssl.iter_mut().zip(OPENSSL_ROOTS) {
                *holds |= rest.starts_with(path.as_bytes());
            }
            mentions.roots |= rest.starts_with(b"/etc/ssl/");
            mentions.zones |= rest.starts_with(ZONES.as_bytes());
            rest = &rest[1..];
        }
        mentions.roots |= mentions.openssl.contains(&true);
        mentions
    }

    pub(super) fn add(&mut self, other: Mentions) {
        self.roots |= other.roots;
        self.zones |= other.zones;
        self.openssl = [self.openssl[0] || other.openssl[0], self.openssl[1] || other.openssl[1]];
    }
}

/// Names contents and remembers what ELF files say; keeps no bytes.
#[derive(Default)]
pub struct ElfSink {
    pub(super) elves: Mutex<HashMap<BlobId, Seen>>,
}

impl ContentSink for ElfSink {
    fn put(&self, bytes: &[u8]) -> Result<Content, ContentError> {
        let content = Content::of(bytes);
        if bytes.starts_with(MAGIC) {
            let seen = Seen { image: Image::parse(bytes), mentions: Mentions::of(bytes) };
            let mut elves = self.elves.lock().expect("because no worker panics while it holds the table");
            elves.insert(content.id, seen);
        }
        Ok(content)
    }

    fn put_reader(&self, reader: &mut dyn Read) -> Result<Content, ContentError> {
        let mut start = Vec::new();
        reader.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(ContentError::Input)?;
        if start != MAGIC {
            return Digesting.put_reader(&mut start.chain(reader));
        }
        reader.take(ELF_BYTES_MAX).read_to_end(&mut start).map_err(ContentError::Input)?;
        if start.len() as u64 >= ELF_BYTES_MAX {
            let problem = format!("an ELF file of more than {ELF_BYTES_MAX} bytes");
            return Err(ContentError::Input(std::io::Error::other(problem)));
        }
        self.put(&start)
    }
}

/// The app's own tree over a root of the host.
pub(super) struct Layered<'a> {
    pub(super) tree: &'a Directory,
    pub(super) elves: &'a HashMap<BlobId, Seen>,
    pub(super) host: &'a HostLibrary,
    /// Directories that are searched before the configured ones: for all, and for the app's libraries only.
    pub(super) first: (Vec<ImagePath>, Vec<ImagePath>),
}

impl Layered<'_> {
    /// Returns the content of a file of the app.
    pub(super) fn own(&self, path: &ImagePath) -> Option<BlobId> {
        match resolve(self.tree, path)?.1? {
            Node::File(file) => Some(file.content.id),
            Node::HardLink(target) => match self.tree.get(target)? {
                Node::File(file) => Some(file.content.id),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Library for Layered<'_> {
    /// The app's bytes are not kept: nobody asks for them.
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        if self.own(path).is_some() { None } else { Library::read(self.host, path) }
    }

    fn follow(&self, path: &ImagePath) -> Option<ImagePath> {
        match resolve(self.tree, path) {
            Some(found) => Some(found.0),
            None => self.host.follow(path),
        }
    }

    fn directories(&self) -> Vec<ImagePath> {
        [self.first.0.clone(), self.host.directories()].concat()
    }

    fn image(&self, path: &ImagePath) -> Option<Result<Image, ElfError>> {
        match self.own(path) {
            Some(id) => Some(self.elves.get(&id).map_or(Err(ElfError::NotElf), |seen| seen.image.clone())),
            None => self.host.image(path),
        }
    }
}

/// The finished tree, as the loader of the app sees it.
pub(super) struct Finished<'a> {
    pub(super) look: TreeLibrary<'a>,
    pub(super) first: Vec<ImagePath>,
}

impl Library for Finished<'_> {
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
        Library::read(&self.look, path)
    }

    fn follow(&self, path: &ImagePath) -> Option<ImagePath> {
        self.look.follow(path)
    }

    fn directories(&self) -> Vec<ImagePath> {
        [self.first.clone(), self.look.directories()].concat()
    }

    fn image(&self, path: &ImagePath) -> Option<Result<Image, ElfError>> {
        self.look.image(path)
    }
}
