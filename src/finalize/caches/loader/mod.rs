//! `etc/ld.so.cache`: where the dynamic loader finds libraries (ldconfig(8), glibc `elf/ldconfig.c`), and the
//! links from a library's DT_SONAME to its file that packages did not bring.

mod format;
mod library;
mod scan;

use super::super::FinalizeError;
use super::view::{Outcome, View, find_text, path};
use crate::elf::{ContentBytes, Image, TreeLibrary, configured_directories};
use library::Rules;
use scan::Scan;

const CACHE: &str = "ld.so.cache";
/// What the text begins with that `ldconfig` signs a cache with.
const GENERATOR_START: &[u8] = b"ldconfig (";
/// Where `ldconfig` may be. Ubuntu's `/sbin/ldconfig` is a script around the second.
const PROGRAMS: &[&str] =
    &["/sbin/ldconfig", "/sbin/ldconfig.real", "/usr/sbin/ldconfig", "/usr/sbin/ldconfig.real"];

/// Writes the cache where `ldconfig` is in the tree.
pub(super) fn write(view: &View<'_>) -> Result<Outcome, FinalizeError> {
    let Some((generator, image)) = find_program(view)? else { return Ok(Outcome::default()) };
    let Some(rules) = Rules::of(&image, &generator) else {
        let note = format!(
            "etc/ld.so.cache is not written for machine {}: the loader searches without it",
            image.machine.number
        );
        return Ok(Outcome { notes: vec![note], ..Outcome::default() });
    };
    let library = TreeLibrary::new(view.tree, view.source);
    let mut directories = configured_directories(&library, &path("/etc/ld.so.conf"));
    directories.extend(rules.system_directories.iter().map(|text| path(text)));
    let scan = Scan::run(view, &rules, &directories)?;
    let bytes = format::encode(&scan.entries, &scan.subdirectories, &generator).ok_or_else(|| {
        let problem = "there are too many libraries".to_owned();
        FinalizeError::Cache { cache: CACHE, path: path("/etc/ld.so.cache"), problem }
    })?;
    let mut outcome = scan.outcome;
    outcome.files.push((view.place(&path("/etc/ld.so.cache")), 0o644, bytes));
    Ok(outcome)
}

/// Returns what `ldconfig` of the tree signs with, and its ELF header; none where there is no such program.
fn find_program(view: &View<'_>) -> Result<Option<(Vec<u8>, Image)>, FinalizeError> {
    for program in PROGRAMS {
        let Some((at, file)) = view.file(&path(program)) else { continue };
        let bytes = view.read_file(CACHE, &at, file)?;
        let generator =
            find_text(&bytes, GENERATOR_START).filter(|text| contains(text, b" release version "));
        if let (Some(generator), Ok(image)) = (generator, Image::parse(&bytes)) {
            return Ok(Some((generator.to_vec(), image)));
        }
    }
    Ok(None)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Reads what the loader's cache needs to know of a file; `None` where it is no library.
fn read_image(view: &View<'_>, file: &crate::tree::File) -> Result<Option<Image>, FinalizeError> {
    let bytes = ContentBytes::new(view.source, file.content);
    let image = Image::read(&bytes);
    match bytes.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(image.ok()),
    }
}
