//! Rust programs that say what they were built of: the section `.dep-v0`, zlib-compressed JSON, as `cargo auditable`
//! writes it. Only programs that belong to no package are asked.

use std::io::Read;

use serde_json::Value;

use super::bill::{BilledFile, Component, Family, Subject};
use super::components::Found;
use super::error::Result;
use crate::base::Job;
use crate::elf::{self, ContentBytes};
use crate::tree::Node;

/// The section's name.
const SECTION: &str = ".dep-v0";
/// Largest section, and largest list after decompression, in bytes: as much as the format's own readers take.
const SECTION_BYTES_MAX: u64 = 8 << 20;
/// Most crates of one program.
const CRATES_MAX: usize = 10_000;

/// Lists the crates of all programs below the paths of the app.
pub fn crates(subject: &Subject<'_>, files: &[BilledFile], job: &Job) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.is_link && is_program(subject, file)) {
        job.check()?;
        let bytes = ContentBytes::new(subject.contents, file.content);
        let Some(section) = elf::section(&bytes, SECTION, SECTION_BYTES_MAX) else { continue };
        found.extend(parse(&section).into_iter().map(Found::bare));
    }
    Ok(found)
}

/// Tells whether a file may be executed and lies where a part of the recipe puts files.
fn is_program(subject: &Subject<'_>, file: &BilledFile) -> bool {
    let executable = match subject.tree.get(&file.path) {
        Some(Node::File(file)) => file.metadata.mode & 0o111 != 0,
        _ => false,
    };
    let is_of = |path: &crate::base::ImagePath| file.path.is_within(path);
    let paths = subject.parts.iter().filter_map(|part| part.path.as_ref());
    executable && paths.filter(|path| !path.is_root()).any(is_of)
}

/// Reads a section. What is no such list says nothing.
fn parse(section: &[u8]) -> Vec<Component> {
    let mut text = Vec::new();
    let mut inflated = flate2::read::ZlibDecoder::new(section).take(SECTION_BYTES_MAX);
    if inflated.read_to_end(&mut text).is_err() {
        return Vec::new();
    }
    let Ok(list) = serde_json::from_slice::<Value>(&text) else { return Vec::new() };
    let packages = list["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let used = packages.iter().filter(|one| one["kind"] != "build" && one["root"] != true);
    used.take(CRATES_MAX).filter_map(component).collect()
}

fn component(one: &Value) -> Option<Component> {
    let is_plain =
        |text: &&str| !text.is_empty() && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic());
    let mut component = Component::named(Family::Crate, one["name"].as_str().filter(is_plain)?);
    component.version = Some(one["version"].as_str().filter(is_plain)?.to_owned());
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).expect("packed");
        encoder.finish().expect("packed")
    }

    #[test]
    fn crates_that_run_are_named_and_the_program_itself_is_not() {
        let text = r#"{"packages":[
            {"name":"serde","version":"1.0.2","source":"crates.io","dependencies":[]},
            {"name":"cc","version":"1.0","source":"crates.io","kind":"build"},
            {"name":"bad name","version":"1"}, {"version":"1"}, 7,
            {"name":"app","version":"0.1.0","source":"local","root":true}]}"#;
        let found = parse(&packed(text));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].version.as_deref()), ("serde", Some("1.0.2")));
    }

    #[test]
    fn what_is_no_list_says_nothing() {
        for section in [&b"nonsense"[..], b"", &packed("{"), &packed("[]"), &packed("{\"packages\":{}}")] {
            assert!(parse(section).is_empty());
        }
    }
}
