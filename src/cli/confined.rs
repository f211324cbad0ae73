//! What is done to foreign images in a confined child: one verb a line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Context;
use super::commands::Carried;
use super::failure::{Failure, Kind};
use crate::archive::{Compression, Limits, decompress};
use crate::base::{Job, base64, whole};
use crate::confine::{self, Channel, ConfineError, Input, Said, Verb};
use crate::disk::FileDevice;
use crate::image::{self, Inspection};
use crate::tree::content::is_zero;
use crate::verify::{self, VerifyError};
use crate::{pipeline, slots, view};

/// The verbs of the child.
const VERBS: &[(&str, Verb)] = &[
    ("verify", check),
    ("compare", compare),
    ("against", against),
    ("carried", carried),
    ("inspect", inspect),
    ("dump", dump),
    ("status", status),
    ("rehearse", rehearse),
    (view::VERB, look),
];

/// Pieces in which compressed images are unpacked.
const PIECE_BYTES: usize = 1 << 20;

/// Runs as the confined child.
pub fn child() -> ExitCode {
    confine::child(VERBS, open)
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
        let value = confine::confine(verb, arguments, &inputs, &self.job);
        let value = value.map_err(|error| named(error, images))?;
        serde_json::from_value(value).map_err(|error| Failure::of(Kind::Failed, &error))
    }

    /// Reads what an image holds, in a confined child. With `check`, each slot is held against its root hash.
    pub(super) fn inspect(&self, image: &Path, check: bool) -> Result<Inspection, Failure> {
        self.confined("inspect", &json!({ "file": image.to_string_lossy(), "check": check }), &[image])
    }

    /// Lets a confined child take a disk apart before a verb does that changes it: what kills its reader kills the
    /// child, and the verb is not begun. Call it with the disk locked, so that no other `mkimage` changes it between.
    pub(super) fn rehearse(&self, disk: &Path) -> Result<(), Failure> {
        let read = Input::open(disk)
            .and_then(|input| confine::confine("rehearse", &Value::Null, &[input], &self.job).map(drop));
        rehearsed(read, &self.job).map_err(|error| named(error, &[disk]))
    }

    /// Returns every field of an image's tables as text.
    pub(super) fn dump(&self, image: &Path) -> Result<String, Failure> {
        self.confined("dump", &json!({ "file": image.to_string_lossy() }), &[image])
    }
}

/// Says what became of a child that read a disk before its parent does. What it refused is not told: the verb finds it
/// too. On a machine where no child can be started the verb goes on, as its own disk is what it is for.
fn rehearsed(done: Result<(), ConfineError>, job: &Job) -> Result<(), ConfineError> {
    match done {
        Err(error @ ConfineError::Start { .. }) => {
            job.warn(format!("the disk is read without a confined child: {}", whole(&error)));
            Ok(())
        }
        Err(ConfineError::Said(_)) => Ok(()),
        done => done,
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

/// Says of which images an error is, where it does not say so itself.
fn named(error: ConfineError, images: &[&Path]) -> Failure {
    let names: Vec<String> = images.iter().map(|path| path.display().to_string()).collect();
    let mut failure = Failure::from(error);
    if !names.iter().any(|name| failure.message.contains(name.as_str())) {
        failure.message = format!("{}: {}", names.join(", "), failure.message);
    }
    failure
}

impl From<ConfineError> for Failure {
    fn from(error: ConfineError) -> Self {
        let kind = match &error {
            ConfineError::Said(_) | ConfineError::Child { .. } | ConfineError::NotAFile { .. } => {
                Kind::Damaged
            }
            ConfineError::Start { .. } | ConfineError::File(_) => Kind::Failed,
            ConfineError::Cancelled(_) => Kind::Interrupted,
        };
        match error {
            ConfineError::File(error) => error.into(),
            ConfineError::Said(Said { kind, message, causes, hint }) => {
                let kind = Kind::named(&kind).unwrap_or(Kind::Failed);
                Failure { causes, hint, ..Failure::new(kind, message) }
            }
            error => Failure::of(kind, &error),
        }
    }
}

impl From<Failure> for Said {
    fn from(failure: Failure) -> Self {
        let Failure { kind, message, causes, hint, .. } = failure;
        Said { kind: kind.name().to_owned(), message, causes, hint }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let kind = match &error {
            VerifyError::NotAnImage { .. } | VerifyError::Verity(_) | VerifyError::Boot(_) => Kind::Damaged,
            VerifyError::NoOrigin { .. } | VerifyError::Policy { .. } => Kind::Damaged,
            VerifyError::Statement { .. } => Kind::Input,
            VerifyError::Cancelled(_) => Kind::Interrupted,
            VerifyError::Trust(_) | VerifyError::Device { .. } => Kind::Failed,
        };
        match error {
            VerifyError::Trust(error) => error.into(),
            error => Failure::of(kind, &error),
        }
    }
}

type Answer = Result<Value, Said>;

fn check(_: &Value, devices: Vec<FileDevice>, _: &mut Channel, job: &Job) -> Answer {
    answer(verify::verify(&devices[0], job))
}

fn compare(_: &Value, devices: Vec<FileDevice>, _: &mut Channel, job: &Job) -> Answer {
    answer(verify::compare(&devices[0], &devices[1], job))
}

fn against(_: &Value, devices: Vec<FileDevice>, _: &mut Channel, job: &Job) -> Answer {
    answer(verify::verify_against(&devices[0], &devices[1], job))
}

fn carried(_: &Value, devices: Vec<FileDevice>, _: &mut Channel, job: &Job) -> Answer {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone());
    answer(verify::carried(&devices[0], job).and_then(|carried| {
        let not_text = |_| VerifyError::NoOrigin { problem: "a recipe text is no UTF-8".to_owned() };
        let recipe =
            carried.origin.recipe.iter().map(text).collect::<Result<Vec<_>, _>>().map_err(not_text)?;
        let lock = carried.origin.lock.as_ref().map(text).transpose().map_err(not_text)?;
        // Whatever these texts do to who reads them, they do it here first.
        pipeline::rehearse(&carried.commit, &carried.origin);
        Ok(Carried { commit: base64::encode(&carried.commit.encode()), recipe, lock })
    }))
}

fn inspect(arguments: &Value, devices: Vec<FileDevice>, _: &mut Channel, job: &Job) -> Answer {
    let check = arguments["check"].as_bool().unwrap_or_default();
    let inspection = image::inspect(file(arguments), &devices[0], check, job).map_err(Failure::from)?;
    value(&inspection)
}

fn dump(arguments: &Value, devices: Vec<FileDevice>, _: &mut Channel, _: &Job) -> Answer {
    Ok(image::dump(file(arguments), &devices[0]).map_err(Failure::from)?.into())
}

/// Answers with the status of a disk, and with what its slots are told apart by.
fn status(arguments: &Value, devices: Vec<FileDevice>, _: &mut Channel, job: &Job) -> Answer {
    let verify = arguments["verify"].as_bool().unwrap_or_default();
    let status = slots::status(&devices[0], verify, job).map_err(Failure::from)?;
    value(&(status, slots::Marks::of(&devices[0]).map_err(Failure::from)?))
}

fn rehearse(_: &Value, devices: Vec<FileDevice>, _: &mut Channel, _: &Job) -> Answer {
    slots::rehearse(&devices[0]);
    Ok(Value::Null)
}

fn look(arguments: &Value, mut devices: Vec<FileDevice>, channel: &mut Channel, job: &Job) -> Answer {
    let served = view::serve(arguments, devices.remove(0), channel, &pipeline::rehearse, job);
    served.map_err(Failure::from)?;
    Ok(Value::Null)
}

/// The name of the image, for messages: here it could not be opened.
fn file(arguments: &Value) -> &Path {
    Path::new(arguments["file"].as_str().unwrap_or_default())
}

/// Writes a result as the child's answer.
pub fn answer<T: serde::Serialize>(result: Result<T, VerifyError>) -> Answer {
    value(&result.map_err(|error| {
        let message = whole(&error);
        Said::new(Failure::from(error).kind.name(), message)
    })?)
}

fn value(value: &impl serde::Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| Said::new("failed", error.to_string()))
}

/// Makes an image of a file: what is compressed is unpacked first, zeros as holes.
fn open(image: File, scratch: Option<File>) -> Result<FileDevice, Said> {
    let Some(scratch) = scratch else { return confine::plain(image, None) };
    let wrong = |error: &dyn std::fmt::Display| Said::new("damaged", format!("unpacking the image: {error}"));
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
