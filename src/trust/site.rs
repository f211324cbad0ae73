//! The index of a site: the one file there that changes, signed, and true only until it expires.
//!
//! ```text
//! {"site":NAME,"version":N,"created":S,"expires":S,
//!  "refs":{REF:{"commit":ID,"generation":N}, …},
//!  "bundles":[{"id":ID,"size":N,"table_bytes":N,"objects":N,"commits":[ID, …],"bases":[ID, …]}, …]}
//! ```
//!
//! in one line, members in this order, refs sorted by bytes, no space anywhere: a document has one encoding, and
//! everything else is refused. It travels in an [`Envelope`](super::Envelope) of type [`SITE_INDEX_TYPE`].
//! A change to any of this is a new type.
//!
//! Bundles stand in the order in which they were published. One holds what its `commits` need and what no commit
//! of its `bases` leads to; so the closure of a commit is in its bundle, those of the bases, and so on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::envelope::{Envelope, Verified};
use super::error::{Result, TrustError};
use super::json::{self, NUMBER_MAX, Object, Value};
use super::sign::Signer;
use super::trusted::Trusted;
use crate::base::{CommitId, Digest};

/// Type of the signed document. Changing it is a format break.
pub const SITE_INDEX_TYPE: &str = "application/vnd.mkimage.site-index.v1+json";
/// Largest index, with its signatures. It holds about 20,000 bundles of one commit each.
pub const SITE_INDEX_BYTES_MAX: usize = 8 << 20;
/// Refs that one index may hold.
pub const REFS_MAX: usize = 1 << 15;

/// A clock may differ from the signer's by so much.
const SKEW_SECONDS: u64 = 24 * 3600;
const REF_BYTES_MAX: usize = 519;

/// Names a site: 1 to 64 characters `a-z`, `0-9`, `.`, `_`, `-`, the first a letter or digit. Signed with the
/// index, so that the index of one site can't be served as that of another with the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteName(String);

/// What a site says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteIndex {
    pub site: SiteName,
    /// Counts the publications, from 1.
    pub version: u64,
    /// Seconds since 1970 when it was signed.
    pub created: u64,
    /// Seconds since 1970 from which on it must not be believed.
    pub expires: u64,
    /// By name. Whoever moves refs holds the names against the store's grammar.
    pub refs: BTreeMap<String, SiteRef>,
    pub bundles: Vec<BundleEntry>,
}

/// Where a ref of a site leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteRef {
    pub commit: CommitId,
    /// Counts the moves of the ref, from 1.
    pub generation: u64,
}

/// A file of objects at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEntry {
    /// Name of the file: the digest of its header and table, which holds those of all that stands behind them.
    pub id: Digest,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of its header and table, which say where each object lies.
    pub table_bytes: u64,
    /// Objects in it.
    pub objects: u64,
    /// Commits that it completes.
    pub commits: Vec<CommitId>,
    /// Commits whose objects it leaves out, and may hold differences to.
    pub bases: Vec<CommitId>,
}

/// What to remember of an index that was accepted. Prints as one line, and is read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub site: SiteName,
    pub version: u64,
    pub created: u64,
    /// Digest of the document.
    pub document: Digest,
}

/// What an index is held against.
#[derive(Clone, Debug)]
pub struct Expectation<'a> {
    /// The site that was asked for; `None` at the first contact only.
    pub site: Option<&'a SiteName>,
    /// What was accepted last.
    pub seen: Option<&'a Seen>,
    /// Seconds since 1970.
    pub now: u64,
    /// Accepts a document that has expired: for whoever renews it, or was told to.
    pub allow_expired: bool,
}

impl SiteIndex {
    /// Reads an index from its signed envelope. Checked in this order: size, signatures, type, form, site,
    /// version, expiry. What is to be remembered comes back beside it; of what is refused, nothing may be kept.
    pub fn accept(
        envelope: &[u8],
        trusted: &Trusted,
        expected: &Expectation<'_>,
    ) -> Result<(Verified<SiteIndex>, Seen)> {
        let payload = Envelope::parse(envelope, SITE_INDEX_BYTES_MAX)?.verify(SITE_INDEX_TYPE, trusted)?;
        let document = Digest::of(&payload);
        let index = payload.map(|payload| SiteIndex::decode(&payload))?;
        let (site, version, created) = (index.site.clone(), index.version, index.created);
        let seen = Seen { site, version, created, document };
        expected.check(&seen, index.expires)?;
        Ok((index, seen))
    }

    /// Signs the index, and returns the envelope that is published.
    pub fn sign(&self, signers: &[&dyn Signer]) -> Result<Vec<u8>> {
        let bytes = Envelope::sign(SITE_INDEX_TYPE, &self.encode()?, signers)?.encode();
        if bytes.len() > SITE_INDEX_BYTES_MAX {
            return Err(TrustError::TooLarge { what: "the index of the site", limit: SITE_INDEX_BYTES_MAX });
        }
        Ok(bytes)
    }

    /// Writes the one encoding of the index, without signatures.
    ///
    /// # Errors
    /// An index that would not be accepted, whoever signs it.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check().map_err(|problem| TrustError::Document { problem })?;
        Ok(self.written().into_bytes())
    }

    /// Reads the one encoding of an index. Nothing says yet who wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let index = read(bytes).and_then(|index| {
            index.check()?;
            Ok(index)
        });
        let index = index.map_err(|problem| TrustError::Document { problem })?;
        if index.written().as_bytes() != bytes {
            let problem = "it is not in its one encoding (order, spaces, escapes)".to_owned();
            return Err(TrustError::Document { problem });
        }
        Ok(index)
    }

    fn check(&self) -> json::Read<()> {
        in_range("version", self.version, 1)?;
        in_range("expires", self.expires, 1)?;
        if self.created >= self.expires {
            return Err(format!("it was created at {} and expires at {}", self.created, self.expires));
        }
        if self.refs.len() > REFS_MAX {
            return Err(format!("it has {} refs, and {REFS_MAX} are possible", self.refs.len()));
        }
        for (name, value) in &self.refs {
            if !is_ref(name) {
                return Err(format!("{:?} is no name of a ref", name.chars().take(100).collect::<String>()));
            }
            in_range("generation", value.generation, 1)?;
        }
        let mut ids = BTreeSet::new();
        for bundle in &self.bundles {
            bundle.check()?;
            if !ids.insert(bundle.id) {
                return Err(format!("the bundle {} stands there twice", bundle.id));
            }
        }
        Ok(())
    }

    fn written(&self) -> String {
        let reference = |(name, value): (&String, &SiteRef)| {
            let (commit, generation) = (value.commit, value.generation);
            format!("{}:{{\"commit\":\"{commit}\",\"generation\":{generation}}}", json::quoted(name))
        };
        let refs: Vec<String> = self.refs.iter().map(reference).collect();
        let bundles: Vec<String> = self.bundles.iter().map(BundleEntry::written).collect();
        format!(
            "{{\"site\":\"{}\",\"version\":{},\"created\":{},\"expires\":{},\"refs\":{{{}}},\"bundles\":[{}]}}",
            self.site,
            self.version,
            self.created,
            self.expires,
            refs.join(","),
            bundles.join(",")
        )
    }
}

impl BundleEntry {
    fn check(&self) -> json::Read<()> {
        in_range("size", self.size, 1)?;
        in_range("objects", self.objects, 1)?;
        in_range("table_bytes", self.table_bytes, 1)?;
        if self.table_bytes > self.size {
            return Err(format!(
                "the bundle {} has {} bytes, its table {}",
                self.id, self.size, self.table_bytes
            ));
        }
        Ok(())
    }

    fn written(&self) -> String {
        let list = |commits: &[CommitId]| {
            commits.iter().map(|commit| format!("\"{commit}\"")).collect::<Vec<_>>().join(",")
        };
        format!(
            "{{\"id\":\"{}\",\"size\":{},\"table_bytes\":{},\"objects\":{},\"commits\":[{}],\"bases\":[{}]}}",
            self.id,
            self.size,
            self.table_bytes,
            self.objects,
            list(&self.commits),
            list(&self.bases)
        )
    }
}

impl Expectation<'_> {
    fn check(&self, found: &Seen, expires: u64) -> Result<()> {
        let known = self.site.or(self.seen.map(|seen| &seen.site));
        if let Some(site) = known.filter(|site| **site != found.site) {
            let (expected, found) = (site.to_string(), found.site.to_string());
            return Err(TrustError::OtherSite { expected, found });
        }
        // A clock that stands before what was already accepted is wrong: that much time has passed at least.
        let now = self.now.max(self.seen.map_or(0, |seen| seen.created));
        if let Some(seen) = self.seen {
            if found.version < seen.version {
                return Err(TrustError::Rollback { found: found.version, seen: seen.version });
            }
            if found.version == seen.version && found.document != seen.document {
                let (version, found, seen) = (found.version, found.document, seen.document);
                return Err(TrustError::Equivocation { version, found, seen });
            }
        }
        if found.created > now.saturating_add(SKEW_SECONDS) {
            return Err(TrustError::FromTheFuture { created: found.created, now });
        }
        if now >= expires && !self.allow_expired {
            return Err(TrustError::Expired { expires, now });
        }
        Ok(())
    }
}

fn read(bytes: &[u8]) -> json::Read<SiteIndex> {
    let mut members = json::parse(bytes)?.object("the index")?;
    let refs = members.take("refs")?.object("refs")?.members().map(read_ref).collect::<json::Read<_>>()?;
    let index = SiteIndex {
        site: members.text("site")?.parse()?,
        version: members.number("version")?,
        created: members.number("created")?,
        expires: members.number("expires")?,
        refs,
        bundles: members.list("bundles")?.into_iter().map(read_bundle).collect::<json::Read<_>>()?,
    };
    members.finish()?;
    Ok(index)
}

fn read_ref((name, value): (String, Value)) -> json::Read<(String, SiteRef)> {
    let mut members = value.object(&name)?;
    let commit = id(members.take("commit")?, "commit")?;
    let value = SiteRef { commit, generation: members.number("generation")? };
    members.finish()?;
    Ok((name, value))
}

fn read_bundle(value: Value) -> json::Read<BundleEntry> {
    let mut members = value.object("a bundle")?;
    let bundle = BundleEntry {
        id: id(members.take("id")?, "id")?,
        size: members.number("size")?,
        table_bytes: members.number("table_bytes")?,
        objects: members.number("objects")?,
        commits: ids(&mut members, "commits")?,
        bases: ids(&mut members, "bases")?,
    };
    members.finish()?;
    Ok(bundle)
}

fn ids(members: &mut Object, name: &str) -> json::Read<Vec<CommitId>> {
    members.list(name)?.into_iter().map(|value| id(value, name)).collect()
}

fn id<T: FromStr<Err: fmt::Display>>(value: Value, what: &str) -> json::Read<T> {
    value.text(what)?.parse().map_err(|error| format!("{what:?}: {error}"))
}

fn in_range(what: &str, number: u64, least: u64) -> json::Read<()> {
    match (least..=NUMBER_MAX).contains(&number) {
        true => Ok(()),
        false => Err(format!("{what:?} is {number}: from {least} to 2^53 is possible")),
    }
}

/// Tells whether a text has the letters of a ref's name and can't climb out of a directory.
fn is_ref(name: &str) -> bool {
    let component =
        |part: &str| part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    name.len() <= REF_BYTES_MAX && name.bytes().all(letter) && name.split('/').all(component)
}

impl FromStr for SiteName {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name.len() <= 64 && !name.contains('/') && is_ref(name) {
            true => Ok(SiteName(name.to_owned())),
            false => {
                let shown: String = name.chars().take(100).collect();
                Err(format!("{shown:?} is no name of a site: 1 to 64 of a-z, 0-9, \".\", \"_\", \"-\""))
            }
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.site, self.version, self.created, self.document)
    }
}

impl FromStr for Seen {
    type Err = String;

    fn from_str(line: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{line:?} does not say what was seen of a site");
        let fields: Vec<&str> = line.split(' ').collect();
        let [site, version, created, document] = fields[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let document = document.parse().map_err(|_| wrong())?;
        let seen =
            Seen { site: site.parse()?, version: number(version)?, created: number(created)?, document };
        if seen.to_string() == line { Ok(seen) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests;
