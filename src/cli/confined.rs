//! What is done to foreign images in a confined child: one verb a line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::Context;
use super::commands::Carried;
use super::failure::{Failure, Kind};
use crate::archive::{Compression, Limits, decompress};
use crate::base::{Job, base64, whole};
use crate::disk::FileDevice;
use crate::tree::content::is_zero;
use crate::verify::{self, Input, Verb, VerifyError};

/// The verbs of the child.
const VERBS: &[(&str, Verb)] = &[("verify", check), ("compare", compare), ("carried", carried)];

/// Pieces in which compressed images are unpacked.
const PIECE_BYTES: usize = 1 << 20;

/// Runs as the confined child.
pub fn child() -> ExitCode {
    verify::child(VERBS, open)
}

impl Context {
    /// Runs a verb on images in a confined child. Compressed images are unpacked there, into a scratch file.
    pub(super) fn confined<T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        arguments: &Value,
        images: &[&Path],
    ) -> Result<T, Failure> {
        let inputs = images.iter().map(|path| self::input(path)).collect::<Result<Vec<_>, _>>()?;
        let confined = verify::confine(verb, arguments, &inputs, &self.job);
        let confined = confined.map_err(|error| named(error, images))?;
        confined.warnings.iter().for_each(|warning| self.job.warn(warning.clone()));
        serde_json::from_value(confined.value).map_err(|error| Failure::of(Kind::Failed, &error))
    }
}

/// Opens an image for the child.
fn input(path: &Path) -> Result<Input, Failure> {
    let input = Input::open(path)?;
    let start = input.start().map_err(|error| Failure::of(Kind::Failed, &error))?;
    match Compression::of(&start) {
        Compression::None => Ok(input),
        _ => Ok(input.with_scratch(&std::env::temp_dir())?),
    }
}

/// Says of which images an error is.
fn named(error: VerifyError, images: &[&Path]) -> Failure {
    let names: Vec<String> = images.iter().map(|path| path.display().to_string()).collect();
    let mut failure = Failure::from(error);
    failure.message = format!("{}: {}", names.join(", "), failure.message);
    failure
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let kind = match &error {
            VerifyError::Said { kind, .. } => match kind.as_str() {
                "damaged" => Kind::Damaged,
                "input" => Kind::Input,
                "usage" => Kind::Usage,
                "no_space" => Kind::NoSpace,
                _ => Kind::Failed,
            },
            VerifyError::NotAnImage { .. } | VerifyError::Child { .. } | VerifyError::Boot(_) => {
                Kind::Damaged
            }
            VerifyError::NoOrigin { .. } | VerifyError::Policy { .. } => Kind::Damaged,
            VerifyError::Statement { .. } => Kind::Input,
            VerifyError::Cancelled(_) => Kind::Interrupted,
            VerifyError::Trust(_) | VerifyError::Device { .. } | VerifyError::Start { .. } => Kind::Failed,
        };
        match error {
            VerifyError::Trust(error) => error.into(),
            error => Failure::of(kind, &error),
        }
    }
}

type Answer = Result<Value, (String, String)>;

fn check(_: &Value, devices: &[FileDevice], job: &Job) -> Answer {
    answer(verify::verify(&devices[0], job))
}

fn compare(_: &Value, devices: &[FileDevice], job: &Job) -> Answer {
    answer(verify::compare(&devices[0], &devices[1], job))
}

fn carried(_: &Value, devices: &[FileDevice], job: &Job) -> Answer {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone());
    answer(verify::carried(&devices[0], job).and_then(|carried| {
        let not_text = |_| VerifyError::NoOrigin { problem: "a recipe text is no UTF-8".to_owned() };
        let recipe =
            carried.origin.recipe.iter().map(text).collect::<Result<Vec<_>, _>>().map_err(not_text)?;
        let lock = carried.origin.lock.as_ref().map(text).transpose().map_err(not_text)?;
        Ok(Carried { commit: base64::encode(&carried.commit.encode()), recipe, lock })
    }))
}

/// Writes a result as the child's answer.
pub fn answer<T: serde::Serialize>(result: Result<T, VerifyError>) -> Answer {
    let value = result.map_err(|error| {
        let message = whole(&error);
        (message, Failure::from(error).kind.name().to_owned())
    })?;
    serde_json::to_value(value).map_err(|error| (error.to_string(), "failed".to_owned()))
}

/// Makes an image of a file: what is compressed is unpacked first, zeros as holes.
fn open(image: File, scratch: Option<File>) -> Result<FileDevice, (String, String)> {
    let Some(scratch) = scratch else { return verify::plain(image, None) };
    let wrong =
        |error: &dyn std::fmt::Display| (format!("unpacking the image: {error}"), "damaged".to_owned());
    let mut image = image;
    image.seek(SeekFrom::Start(0)).map_err(|error| wrong(&error))?;
    let (_, mut stream) = decompress(image, &Limits::default()).map_err(|error| wrong(&whole(&error)))?;
    let (mut piece, mut length) = (vec![0; PIECE_BYTES], 0u64);
    loop {
        let filled = fill(&mut stream, &mut piece).map_err(|error| wrong(&error))?;
        if !is_zero(&piece[..filled]) {
            scratch.write_all_at(&piece[..filled], length).map_err(|error| wrong(&error))?;
        }
        length += filled as u64;
        if filled < piece.len() {
            break;
        }
    }
    scratch.set_len(length).map_err(|error| wrong(&error))?;
    Ok(FileDevice::new(scratch, length))
}

fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
