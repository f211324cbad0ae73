//! The file format of a package: lead, signature header, main header, payload (RPM's reference manual, "RPM V4
//! Package format").

use super::super::digest::Sha256;
use super::error::{HeaderError, RpmError};
use super::header::Header;
use super::tags;

/// The lead: a hundred bytes of the nineties, of which magic, major version, kind and signature form still count.
const LEAD_BYTES: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// A header behind the lead (`RPMSIGTYPE_HEADERSIG`).
const HEADER_SIGNATURE: u16 = 5;
/// Where the main header starts, behind the signature header: a multiple of this.
const ALIGNMENT: usize = 8;

/// Holds the parts of a package, digests checked.
#[derive(Debug)]
pub struct Package<'a> {
    pub signatures: Header,
    pub header: Header,
    /// Compressed.
    pub payload: &'a [u8],
}

impl<'a> Package<'a> {
    /// Reads a package and checks the digests that it carries: SHA-256 of the main header and of the payload, and
    /// their sizes. Source packages are refused. Costs one hash of the payload.
    pub fn parse(bytes: &'a [u8]) -> Result<Package<'a>, RpmError> {
        let (signatures, header, payload) = parts(bytes)?;
        let package = Package { signatures, header, payload };
        package.check_header()?;
        package.check_payload()?;
        Ok(package)
    }

    fn check_header(&self) -> Result<(), RpmError> {
        if let Some(expected) = self.signatures.text(tags::SIG_SHA256) {
            equal("main header", Sha256::of(self.header.as_bytes()), expected)?;
        }
        let found = (self.header.as_bytes().len() + self.payload.len()) as u64;
        let sizes = [tags::SIG_SIZE, tags::SIG_LONGSIZE].map(|tag| self.signatures.number(tag));
        match sizes.into_iter().flatten().find(|size| *size != found) {
            None => Ok(()),
            Some(size) => Err(RpmError::Form {
                what: "length of header and payload",
                expected: size.to_string(),
                found: found.to_string(),
            }),
        }
    }

    fn check_payload(&self) -> Result<(), RpmError> {
        let algorithm = self.header.number(tags::PAYLOADDIGESTALGO);
        match self.header.text(tags::PAYLOADDIGEST) {
            Some(expected) if algorithm == Some(tags::ALGORITHM_SHA256.into()) => {
                equal("payload", Sha256::of(self.payload), expected)
            }
            _ => Ok(()),
        }
    }
}

/// Cuts a package into its parts; only the main header is looked at closely.
fn parts(bytes: &[u8]) -> Result<(Header, Header, &[u8]), RpmError> {
    let lead = bytes.get(..LEAD_BYTES).ok_or(RpmError::Truncated("lead"))?;
    check_lead(lead)?;
    let in_signatures = |problem| RpmError::Header { header: "signature header", problem };
    let in_main = |problem| RpmError::Header { header: "main header", problem };
    let rest = &bytes[LEAD_BYTES..];
    let (signatures, length) = Header::read(rest, tags::HEADER_SIGNATURES).map_err(in_signatures)?;
    let rest = rest.get(length.next_multiple_of(ALIGNMENT)..);
    let rest = rest.ok_or(in_signatures(HeaderError::Truncated))?;
    let (header, length) = Header::read(rest, tags::HEADER_IMMUTABLE).map_err(in_main)?;
    Ok((signatures, header, &rest[length..]))
}

fn check_lead(lead: &[u8]) -> Result<(), RpmError> {
    let wrong = |what, expected: &str, found: String| {
        Err(RpmError::Form { what, expected: expected.to_owned(), found })
    };
    let number = |at: usize| u16::from_be_bytes([lead[at], lead[at + 1]]);
    if lead[..4] != LEAD_MAGIC {
        return wrong("magic", "ed ab ee db", format!("{:02x?}", &lead[..4]));
    }
    match (lead[4], number(6), number(78)) {
        (3 | 4, 0, HEADER_SIGNATURE) => Ok(()),
        (3 | 4, 0, form) => wrong("form of the signature", "5", form.to_string()),
        (3 | 4, 1, _) => wrong("kind", "a binary package", "a source package".to_owned()),
        (3 | 4, kind, _) => wrong("kind", "0", kind.to_string()),
        (major, ..) => wrong("version of the format", "3 or 4", major.to_string()),
    }
}

fn equal(what: &str, found: Sha256, expected: &str) -> Result<(), RpmError> {
    match found.to_string() {
        found if found.eq_ignore_ascii_case(expected) => Ok(()),
        found => Err(RpmError::Digest {
            what: what.to_owned(),
            algorithm: "SHA-256",
            found,
            expected: expected.chars().take(64).collect(),
        }),
    }
}
