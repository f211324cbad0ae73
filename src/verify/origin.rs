//! A slot's UKI against the commit that it carries: each part by its digest, then all of it built again.

use super::error::{Result, VerifyError};
use super::report::Findings;
use crate::base::{BlobId, CommitId, Job};
use crate::boot::command_line::{self, VerityRoot};
use crate::boot::origin::Origin;
use crate::boot::pe::PeImage;
use crate::boot::uki;
use crate::disk::BlockDevice;
use crate::image::{BootFiles, OpenImage};
use crate::store::{Commit, StoredDirectory, StoredNode, TreeRef};
use crate::tree::{Content, Node};

/// What an image says of itself and of where it came from, each part held against the commit.
#[derive(Clone, Debug)]
pub struct Carried {
    pub commit: Commit,
    pub id: CommitId,
    pub origin: Origin,
    /// The parts of the boot tree, by name.
    boot: std::collections::BTreeMap<String, Content>,
    pub verity: VerityRoot,
}

/// Reads what the slot that boots next carries, for a rebuild. The slot itself is not looked at.
pub fn carried(device: &dyn BlockDevice, job: &Job) -> Result<Carried> {
    let problem = |error: &dyn std::error::Error| VerifyError::NoOrigin { problem: error.to_string() };
    let image = OpenImage::open(device)
        .map_err(|error| VerifyError::NotAnImage { problem: crate::base::whole(&error) })?;
    job.check()?;
    let slot = image.slots().choose().map(|choice| choice.slot);
    let slot = slot.ok_or_else(|| VerifyError::NoOrigin { problem: "no slot is selectable".to_owned() })?;
    let bytes = image.uki(slot).map_err(|error| problem(&error))?;
    Carried::read(&bytes)
}

impl Carried {
    /// Reads a UKI's commit and origin, and holds the one against the other.
    pub fn read(image: &[u8]) -> Result<Self> {
        let sections = uki::read(image)?;
        let wrong = |problem: String| VerifyError::NoOrigin { problem };
        let commit =
            Commit::decode(sections.commit).map_err(|error| wrong(format!("its commit: {error}")))?;
        let origin = Origin::decode(sections.origin)?;
        let id = commit.id();
        if *id.as_bytes() != origin.commit {
            let stated = CommitId::from(origin.commit);
            return Err(wrong(format!("the commit in .mkimage is {id}, .origin is of {stated}")));
        }
        let tree = commit.boot.ok_or_else(|| wrong("its commit does not boot".to_owned()))?;
        if TreeRef::of(&origin.boot_tree) != tree {
            let found = TreeRef::of(&origin.boot_tree).id;
            return Err(wrong(format!("the boot tree in .origin is {found}, the commit names {}", tree.id)));
        }
        if origin.recipe.len() != commit.recipe.len() || origin.lock.is_some() != commit.lock.is_some() {
            return Err(wrong("its recipe texts are not those that the commit names".to_owned()));
        }
        let named = commit.recipe.iter().map(|(name, content)| (name.as_str(), content)).zip(&origin.recipe);
        let lock = commit.lock.iter().map(|content| ("the lock", content)).zip(&origin.lock);
        for ((name, content), text) in named.chain(lock) {
            if Content::of(text) != *content {
                let found = BlobId::of(text);
                return Err(wrong(format!("{name} in .origin is {found}, the commit names {}", content.id)));
            }
        }
        let boot = boot_files(&origin.boot_tree).map_err(wrong)?;
        let verity = command_line::parse(sections.command_line);
        let verity = verity.map_err(|error| wrong(format!("its command line: {error}")))?.verity;
        Ok(Carried { commit, id, origin, boot, verity })
    }

    /// Returns what the boot tree says of a part.
    pub fn part(&self, name: &str) -> Option<&Content> {
        self.boot.get(name)
    }

    /// Takes the boot files out of the UKI, each held against its id. `loader` is what stands on the ESP; where it
    /// is none of this commit's, an empty one takes its place, and the caller says so.
    pub fn boot_files(
        &self,
        image: &[u8],
        offset: u64,
        loader: Vec<u8>,
        findings: &Findings,
    ) -> Option<BootFiles> {
        let sections = uki::read(image).ok()?;
        let found = |name: &str, bytes: Option<&[u8]>| {
            let expected = self.part(name);
            let bytes = expected.zip(bytes).filter(|(expected, bytes)| Content::of(bytes) == **expected);
            if bytes.is_none() {
                let id = expected.map_or("nothing".to_owned(), |content| content.id.to_string());
                let problem = format!("its {name} is not what the commit names: {id}");
                findings.note(format!("UKI section {}", section_of(name)), offset, problem);
            }
            bytes.map(|(_, bytes)| bytes.to_vec())
        };
        let cut = |name: &str, bytes: &'_ [u8]| {
            let size = usize::try_from(self.part(name)?.size).ok()?;
            bytes.get(..size).map(<[u8]>::to_vec)
        };
        let kernel = found("kernel", cut("kernel", sections.kernel).as_deref());
        let initrd = found("initrd", Some(sections.initrd));
        let version = found("kernel_version", Some(sections.uname.as_bytes()));
        let stub = found("stub", self.stub(image).as_deref());
        let lines = command_line::further_words(sections.command_line);
        let text: String = lines.iter().map(|word| format!("{word}\n")).collect();
        let line = found("command_line", Some(text.as_bytes()));
        Some(BootFiles {
            kernel: kernel?,
            kernel_version: String::from_utf8(version?).ok()?,
            initrd: initrd?,
            stub: stub?,
            loader,
            command_line: line.map(|_| lines)?,
        })
    }

    /// Puts the stub together again: its headers from `.origin`, the rest from the UKI.
    fn stub(&self, image: &[u8]) -> Option<Vec<u8>> {
        let size = usize::try_from(self.part("stub")?.size).ok()?;
        let behind = size.checked_sub(self.origin.stub_headers.len())?;
        let headers = PeImage::parse(image).ok()?.headers().len();
        let rest = image.get(headers..)?.get(..behind)?;
        Some([&self.origin.stub_headers, rest].concat())
    }
}

/// Names the section that holds a part.
fn section_of(part: &str) -> &'static str {
    match part {
        "kernel" => ".linux",
        "initrd" => ".initrd",
        "kernel_version" => ".uname",
        "command_line" => ".cmdline",
        _ => ".text and its like (the stub)",
    }
}

fn boot_files(encoding: &[u8]) -> std::result::Result<std::collections::BTreeMap<String, Content>, String> {
    let directory = StoredDirectory::decode(encoding).map_err(|error| format!("its boot tree: {error}"))?;
    let file = |(name, node): (crate::base::Name, StoredNode)| match node {
        StoredNode::Leaf(Node::File(file)) => Some((name.to_string(), file.content)),
        _ => None,
    };
    Ok(directory.entries.into_iter().filter_map(file).collect())
}
