//! `usr/lib/udev/hwdb.bin`: properties of devices by patterns of their names, from `hwdb.d` (hwdb(7),
//! systemd-hwdb(8)), as `systemd-hwdb --usr update` writes it when it runs inside the tree.

mod format;
mod parse;
mod trie;

use super::super::FinalizeError;
use super::view::{Outcome, View, path};
use crate::base::ImagePath;
use crate::elf::Image;
use parse::Record;
use trie::{Origin, Trie};

const CACHE: &str = "hwdb.bin";
/// Most bytes of all sources: so the strings stay far below 4 GiB.
const SOURCE_BYTES_MAX: usize = 512 << 20;
/// Folders of sources; a file of the first hides one of the second with its name.
const FOLDERS: [&str; 2] = ["/etc/udev/hwdb.d", "/usr/lib/udev/hwdb.d"];
const PROGRAM: &str = "/usr/bin/systemd-hwdb";
/// The library of a release of systemd: its name ends in the number that goes into the file.
const RELEASE_LIBRARY: &[u8] = b"libsystemd-shared-";
/// What programs that don't use the library say their release with: `systemd 252 (…`.
const RELEASE_TEXT: &[u8] = b"systemd ";

/// Writes the database where `systemd-hwdb` is in the tree.
pub(super) fn write(view: &View<'_>) -> Result<Outcome, FinalizeError> {
    let mut outcome = Outcome::default();
    let files = view.configuration(&FOLDERS, ".hwdb");
    let Some(bytes) = view.read(CACHE, &path(PROGRAM))? else { return Ok(outcome) };
    if files.is_empty() {
        return Ok(outcome);
    }
    let release = release(&bytes).ok_or_else(|| {
        fail(
            &path(PROGRAM),
            "neither a library that it needs nor a text in it says which release of systemd it is of".into(),
        )
    })?;
    let bytes = build(view, files, release)?;
    outcome.files.push((view.place(&path("/usr/lib/udev/hwdb.bin")), 0o444, bytes));
    Ok(outcome)
}

fn build(view: &View<'_>, files: Vec<ImagePath>, release: u64) -> Result<Vec<u8>, FinalizeError> {
    let read = |file: ImagePath| {
        let text = view.read(CACHE, &file)?.unwrap_or_default();
        parse::check(&text).map_err(|problem| fail(&file, problem))?;
        Ok((file, text))
    };
    let texts = view.job.workers.try_map(files, read);
    let texts = texts.map_err(|errors: Vec<FinalizeError>| {
        errors.into_iter().next().expect("because there is one error at least")
    })?;
    if texts.iter().map(|(_, text)| text.len()).sum::<usize>() > SOURCE_BYTES_MAX {
        return Err(fail(&path(FOLDERS[1]), format!("its files have more than {SOURCE_BYTES_MAX} bytes")));
    }
    let parsed: Vec<Vec<Record<'_>>> =
        view.job.workers.map(texts.iter().map(|(_, text)| &text[..]).collect(), parse::records);
    let mut trie = Trie::new();
    for (priority, ((file, _), records)) in texts.iter().zip(&parsed).enumerate() {
        view.job.check()?;
        let priority =
            u16::try_from(priority + 1).map_err(|_| fail(file, "there are more than 65535 files".into()))?;
        for record in records {
            for property in &record.properties {
                let origin = Origin { file: file.as_bytes(), priority, line: property.line };
                for pattern in &record.patterns {
                    if !trie.insert(pattern, property.key, property.value, origin) {
                        return Err(fail(file, "there are too many properties".into()));
                    }
                }
            }
        }
    }
    Ok(format::encode(&trie, release))
}

/// Reads the release of systemd from what its program needs, or says.
fn release(program: &[u8]) -> Option<u64> {
    let image = Image::parse(program).ok()?;
    let number = |text: &[u8], behind: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = text.split_at(digits);
        rest.starts_with(behind).then(|| str::from_utf8(digits).ok()?.parse().ok())?
    };
    let named = image.needed.iter().find_map(|name| number(name.strip_prefix(RELEASE_LIBRARY)?, b"."));
    let texts = program.windows(RELEASE_TEXT.len()).enumerate().filter(|(_, text)| *text == RELEASE_TEXT);
    named
        .or_else(|| texts.map(|(at, _)| at).find_map(|at| number(&program[at + RELEASE_TEXT.len()..], b" (")))
}

fn fail(path: &ImagePath, problem: String) -> FinalizeError {
    FinalizeError::Cache { cache: CACHE, path: path.clone(), problem }
}
