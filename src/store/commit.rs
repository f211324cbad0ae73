//! The commit: everything that an image follows from, and where it came from.
//!
//! ```text
//! commit   = "MKICOMM" 01                        changing any of this is a format break: name a version 2
//!            identity                            the part that the image's bytes depend on
//!            recipe  count u32, (name text, id[32], size u64)*
//!            variables   map                     lock  option (id[32], size u64)
//!            inputs  count u32, (name text, hash u8 (1 BLAKE3, 2 SHA-256), digest[32], size u64)*
//!            parents count u32, id[32]*
//!            tool    text                        annotations map
//! identity = tree id[32] size u64                boot option (id[32] size u64)
//!            layout u32  architecture u8 (1 x86-64, 2 aarch64)
//!            filesystem u8 (1 ext4, 2 ext4 with stable places)
//!            slot_size option u64  uki_size option u64  data_size u64  data_path text  tries u8
//!            epoch u64  name text  version option text
//! text     = length u32, UTF-8                   option = 0, or 1 and the value
//! map      = count u32, (key text, value text)*  strictly ascending by key
//! ```
//!
//! Integers are little-endian. The id is BLAKE3 in derive-key mode, context `mkimage 2026 commit v1`, over
//! all of it. A commit holds no time of its making: the same inputs make the same commit.

use std::collections::BTreeMap;

use super::directory::TreeRef;
use super::encode::{Decoded, Decoder, Encoder, Malformed};
use crate::base::{BlobId, CommitId, Digest, ImagePath, TreeId};
use crate::tree::Content;

const MAGIC: &[u8; 8] = b"MKICOMM\x01";
pub(super) const CONTEXT: &str = "mkimage 2026 commit v1";
/// Domain of [`Commit::identity`]. Changing it changes every GUID, serial and salt: a format break.
const IDENTITY_CONTEXT: &str = "mkimage 2026 image identity v1";

/// Longest encoding of a commit, in bytes: a ref names a commit without its size.
pub const COMMIT_BYTES_MAX: u64 = 16 << 20;

/// Names everything that an image's bytes follow from, and what it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The root filesystem of a slot.
    pub tree: TreeRef,
    /// Kernel, stub, loader, init, modules, service description and command line. Absent where nobody boots.
    pub boot: Option<TreeRef>,
    pub disk: DiskSpec,
    /// Seconds since 1970 of every time stamp.
    pub epoch: u64,
    /// Name of the image: the host name, and the ref that builds move.
    pub name: String,
    pub version: Option<String>,
    /// Recipe texts: the name shown in messages, and the text. The main one first.
    pub recipe: Vec<(String, Content)>,
    /// Recipe variables with the values they got.
    pub variables: BTreeMap<String, String>,
    /// The lock file of the packages.
    pub lock: Option<Content>,
    pub inputs: Vec<Input>,
    pub parents: Vec<CommitId>,
    /// Version of the tool that made the commit.
    pub tool_version: String,
    pub annotations: BTreeMap<String, String>,
}

/// The disk that a commit is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// The layout version, from 1 on.
    pub layout: u32,
    pub architecture: Architecture,
    pub filesystem: Filesystem,
    /// Bytes of each slot partition. `None`: from the content.
    pub slot_size: Option<u64>,
    /// Bytes kept for each slot's UKI. `None`: from the UKI.
    pub uki_size: Option<u64>,
    /// Bytes of the data partition in the image.
    pub data_size: u64,
    /// Absolute path where the data partition is mounted.
    pub data_path: String,
    /// Boot attempts of a trial slot, 1 to 9.
    pub tries: u8,
}

/// The processor that an image is for. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Architecture {
    X86_64 = 1,
    Aarch64 = 2,
}

/// The filesystem of the slots. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Filesystem {
    Ext4 = 1,
    /// Every file where a hash of its path says, and identifiers that follow from the image's name: a new version
    /// rewrites little more than what changed.
    Ext4Stable = 2,
}

/// Something that was read to make the commit: an archive, a package, a host file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is called: a path as the recipe has it, or a package with its version.
    pub name: String,
    pub digest: InputDigest,
    /// Length in bytes.
    pub size: u64,
}

/// A digest and the hash that made it: what others sign names inputs by SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputDigest {
    Blake3(Digest),
    Sha256(Digest),
}

impl Commit {
    /// Returns a digest of exactly what the image's bytes depend on: tree, boot files, disk, epoch, name
    /// and version. All GUIDs, serials and salts come from it, so that two commits with other parents,
    /// annotations, inputs or recipe texts make the same image.
    pub fn identity(&self) -> Digest {
        let mut out = Encoder::default();
        self.encode_identity(&mut out);
        Digest::derive(IDENTITY_CONTEXT, &out.finish())
    }

    /// Returns the canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC);
        self.encode_identity(&mut out);
        out.count(self.recipe.len());
        for (name, content) in &self.recipe {
            out.text(name);
            encode_content(&mut out, content);
        }
        encode_map(&mut out, &self.variables);
        out.option(self.lock.as_ref(), encode_content);
        out.count(self.inputs.len());
        for input in &self.inputs {
            encode_input(&mut out, input);
        }
        out.count(self.parents.len());
        for parent in &self.parents {
            out.raw(parent.as_bytes());
        }
        out.text(&self.tool_version);
        encode_map(&mut out, &self.annotations);
        out.finish()
    }

    /// Returns the id of the canonical encoding.
    pub fn id(&self) -> CommitId {
        Self::id_of(&self.encode())
    }

    pub(super) fn id_of(encoding: &[u8]) -> CommitId {
        CommitId(Digest::derive(CONTEXT, encoding))
    }

    /// Reads a canonical encoding, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Decoder::new(bytes, MAGIC)?;
        let tree = decode_tree(&mut input)?;
        let boot = input.option(decode_tree)?;
        let disk = decode_disk(&mut input)?;
        let commit = Commit {
            tree,
            boot,
            disk,
            epoch: input.u64()?,
            name: input.text()?,
            version: input.option(Decoder::text)?,
            recipe: input.list(|input| Ok((input.text()?, decode_content(input)?)))?,
            variables: decode_map(&mut input)?,
            lock: input.option(decode_content)?,
            inputs: input.list(decode_input)?,
            parents: input.list(|input| input.digest().map(CommitId::from))?,
            tool_version: input.text()?,
            annotations: decode_map(&mut input)?,
        };
        if let Err(problem) = commit.check() {
            return input.fail(problem);
        }
        input.end()?;
        Ok(commit)
    }

    /// Refuses values that no image can have.
    pub(super) fn check(&self) -> Result<(), String> {
        let disk = &self.disk;
        if self.name.is_empty() {
            return Err("a commit has a name, this one is empty".to_owned());
        }
        if disk.layout == 0 {
            return Err("layouts count from 1, this one is 0".to_owned());
        }
        if !(1..=9).contains(&disk.tries) {
            return Err(format!("a trial slot has 1 to 9 boot attempts, not {}", disk.tries));
        }
        let path = ImagePath::new(disk.data_path.as_bytes()).map_err(|error| error.to_string())?;
        if path.as_bytes() != disk.data_path.as_bytes() {
            return Err(format!("the data partition's path is {:?}, not {path:?}", disk.data_path));
        }
        for tree in [Some(&self.tree), self.boot.as_ref()].into_iter().flatten() {
            if tree.size > super::directory::DIRECTORY_BYTES_MAX {
                return Err(format!("a directory of {} bytes is too large", tree.size));
            }
        }
        Ok(())
    }

    fn encode_identity(&self, out: &mut Encoder) {
        encode_tree(out, &self.tree);
        out.option(self.boot.as_ref(), encode_tree);
        let disk = &self.disk;
        out.u32(disk.layout);
        out.u8(disk.architecture as u8);
        out.u8(disk.filesystem as u8);
        out.option(disk.slot_size.as_ref(), |out, size| out.u64(*size));
        out.option(disk.uki_size.as_ref(), |out, size| out.u64(*size));
        out.u64(disk.data_size);
        out.text(&disk.data_path);
        out.u8(disk.tries);
        out.u64(self.epoch);
        out.text(&self.name);
        out.option(self.version.as_ref(), |out, version| out.text(version));
    }
}

fn encode_tree(out: &mut Encoder, tree: &TreeRef) {
    out.raw(tree.id.as_bytes());
    out.u64(tree.size);
}

fn encode_content(out: &mut Encoder, content: &Content) {
    out.raw(content.id.as_bytes());
    out.u64(content.size);
}

fn encode_input(out: &mut Encoder, input: &Input) {
    out.text(&input.name);
    let (hash, digest) = match &input.digest {
        InputDigest::Blake3(digest) => (1, digest),
        InputDigest::Sha256(digest) => (2, digest),
    };
    out.u8(hash);
    out.raw(digest.as_bytes());
    out.u64(input.size);
}

fn encode_map(out: &mut Encoder, map: &BTreeMap<String, String>) {
    out.count(map.len());
    for (key, value) in map {
        out.text(key);
        out.text(value);
    }
}

fn decode_tree(input: &mut Decoder<'_>) -> Decoded<TreeRef> {
    Ok(TreeRef { id: TreeId::from(input.digest()?), size: input.u64()? })
}

fn decode_content(input: &mut Decoder<'_>) -> Decoded<Content> {
    Ok(Content { id: BlobId::from(input.digest()?), size: input.u64()? })
}

fn decode_disk(input: &mut Decoder<'_>) -> Decoded<DiskSpec> {
    let layout = input.u32()?;
    let architecture = match input.u8()? {
        1 => Architecture::X86_64,
        2 => Architecture::Aarch64,
        other => return input.fail(format!("unknown architecture {other}")),
    };
    let filesystem = match input.u8()? {
        1 => Filesystem::Ext4,
        2 => Filesystem::Ext4Stable,
        other => return input.fail(format!("unknown filesystem {other}")),
    };
    Ok(DiskSpec {
        layout,
        architecture,
        filesystem,
        slot_size: input.option(Decoder::u64)?,
        uki_size: input.option(Decoder::u64)?,
        data_size: input.u64()?,
        data_path: input.text()?,
        tries: input.u8()?,
    })
}

fn decode_input(input: &mut Decoder<'_>) -> Decoded<Input> {
    let name = input.text()?;
    let hash = input.u8()?;
    let digest = Digest(input.digest()?);
    let digest = match hash {
        1 => InputDigest::Blake3(digest),
        2 => InputDigest::Sha256(digest),
        other => return input.fail(format!("unknown hash {other}")),
    };
    Ok(Input { name, digest, size: input.u64()? })
}

fn decode_map(input: &mut Decoder<'_>) -> Decoded<BTreeMap<String, String>> {
    let pairs = input.list(|input| Ok((input.text()?, input.text()?)))?;
    if pairs.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return input.fail("keys of a map must ascend");
    }
    Ok(pairs.into_iter().collect())
}
