//! The certificates of authorities: links, names by which OpenSSL finds them, and the bundle, as
//! update-ca-certificates(8) makes them.

mod name;

use std::collections::BTreeMap;

use super::FinalizeError;
use super::world::{World, path};
use crate::base::{ImagePath, Name, base64};
use crate::tree::Node;

const BROUGHT: &str = "/usr/share/ca-certificates";
const LOCAL: &str = "/usr/local/share/ca-certificates";
const CERTIFICATES: &str = "/etc/ssl/certs";
const LIST: &str = "/etc/ca-certificates.conf";
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Trusts all certificates that packages bring, and those of the tree's `/usr/local`.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    if world.package("ca-certificates").is_none() || world.directory(&path(BROUGHT)).is_none() {
        return Ok(());
    }
    let brought = below(world, &path(BROUGHT));
    let list = list(world, &brought)?;
    world.write(&path(LIST), list.as_bytes(), 0o644)?;
    let mut bundle = Vec::new();
    let mut links = BTreeMap::<String, ImagePath>::new();
    for certificate in brought.into_iter().chain(below(world, &path(LOCAL))) {
        let mut text = world.read(&certificate)?.unwrap_or_default();
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        bundle.extend_from_slice(&text);
        links.insert(link_name(&certificate), certificate);
    }
    for (name, certificate) in &links {
        world.link(&entry(name), certificate.as_bytes())?;
    }
    write_hashes(world, &links)?;
    world.write(&path(BUNDLE), &bundle, 0o644)?;
    if world.directory(&path("/etc/ca-certificates/update.d")).is_some_and(|hooks| !hooks.entries.is_empty())
    {
        world.note("hooks of /etc/ca-certificates/update.d are left out");
    }
    Ok(())
}

/// Returns the certificates below a folder, by path.
fn below(world: &World<'_>, folder: &ImagePath) -> Vec<ImagePath> {
    let Some(directory) = world.directory(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for (at, node) in directory.paths() {
        if !matches!(node, Node::Directory(_)) && at.as_bytes().ends_with(b".crt") {
            let names = at.names().map(|name| Name::new(name).expect("because a path holds valid names"));
            found.push(names.fold(folder.clone(), |path, name| path.join(&name)));
        }
    }
    found.sort();
    found
}

/// Returns the text of the list: what the package itself writes above it, and the certificates.
fn list(world: &World<'_>, brought: &[ImagePath]) -> Result<String, FinalizeError> {
    let package = world.package("ca-certificates").expect("because it was asked for");
    let script = world.info(package.info, "postinst")?.unwrap_or_default();
    let script = String::from_utf8_lossy(&script).into_owned();
    let mut text = String::new();
    if let Some((_, behind)) = script.split_once("cat > /etc/ca-certificates.conf <<EOF\n") {
        text.extend(behind.split_inclusive('\n').take_while(|line| line.trim_end() != "EOF"));
    }
    for certificate in brought {
        text.push_str(&certificate.to_string()[BROUGHT.len() + 1..]);
        text.push('\n');
    }
    Ok(text)
}

/// Returns the name of the link to a certificate.
fn link_name(certificate: &ImagePath) -> String {
    let name = certificate.name().map(|name| name.to_string()).unwrap_or_default();
    let stem = name.strip_suffix(".crt").unwrap_or(&name);
    stem.replace([' ', ','], "_").replace(['(', ')'], "=") + ".pem"
}

fn entry(name: &str) -> ImagePath {
    path(CERTIFICATES).join(&Name::new(name.as_bytes()).expect("because it is the name of a file, or digits"))
}

/// Links each certificate under the hash of its subject; those of one hash are counted. A certificate that
/// was linked already gets no second link.
fn write_hashes(world: &mut World<'_>, links: &BTreeMap<String, ImagePath>) -> Result<(), FinalizeError> {
    let mut counts = BTreeMap::<u32, Vec<Vec<u8>>>::new();
    for (link, certificate) in links {
        let text = world.read(certificate)?.unwrap_or_default();
        let [der] = &decode(&text)[..] else {
            world.note(format!("{certificate} holds not exactly one certificate and has no link by hash"));
            continue;
        };
        let Some(hash) = name::subject_hash(der) else {
            world.note(format!("{certificate} is no certificate that can be read"));
            continue;
        };
        let there = counts.entry(hash).or_default();
        if there.contains(der) {
            continue;
        }
        let place = entry(&format!("{hash:08x}.{}", there.len()));
        there.push(der.clone());
        world.link(&place, link.as_bytes())?;
    }
    Ok(())
}

/// Returns the certificates in a PEM file (RFC 7468).
fn decode(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    for part in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let Some((body, _)) = part.split_once("-----END CERTIFICATE-----") else { continue };
        let body: String = body.split_whitespace().collect();
        found.extend(base64::decode(body.as_bytes()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_links_have_no_blanks_and_brackets() {
        assert_eq!(link_name(&path("/usr/share/ca-certificates/m/A b,(c).crt")), "A_b_=c=.pem");
    }

    #[test]
    fn every_certificate_of_a_file_is_found() {
        let one = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        assert_eq!(decode(format!("x\n{one}{one}").as_bytes()), [vec![0, 1, 2], vec![0, 1, 2]]);
        assert!(decode(b"-----BEGIN CERTIFICATE-----\nAAEC\n").is_empty());
    }
}
