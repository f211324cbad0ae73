//! The child: takes what it was handed, locks itself in, does one thing, answers.

use std::fs::File;
use std::io::Seek;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value;

use super::frame::{Channel, ERROR, VALUE, WARNINGS};
use super::{Handed, Limits, Request, Said, filter};
use crate::base::Job;
use crate::disk::gpt::{self, Guid, PartitionTable};
use crate::disk::{FileDevice, MemoryDevice};

/// Something that is done to images in a child: arguments and images in, a value or what can't be done out. What takes
/// questions hears and answers them over the channel.
pub type Verb = fn(&Value, Vec<FileDevice>, &mut Channel, &Job) -> Result<Value, Said>;

/// Makes the image of a file and, where it was handed one, a scratch file.
pub type Open = fn(File, Option<File>) -> Result<FileDevice, Said>;

/// Runs as the child: the request is the second argument of the command line. `open` makes an image of a file and
/// its scratch file, when nothing but them can be reached any more; without one a file is an image as it is.
pub fn child(verbs: &[(&str, Verb)], open: Open) -> ExitCode {
    let mut channel = Channel::default();
    let (kind, bytes) = match answer(verbs, open, &mut channel) {
        Ok(value) => (VALUE, json(&value)),
        Err(said) => (ERROR, json(&said)),
    };
    match channel.frame(kind, &bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(verbs: &[(&str, Verb)], open: Open, channel: &mut Channel) -> Result<Value, Said> {
    let wrong = |problem: &str| Said::new("usage", problem);
    let text = std::env::args().nth(2).ok_or_else(|| wrong("the confined child is not for people"))?;
    let request: Request = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    let known = verbs.iter().find(|(name, _)| *name == request.verb);
    let (_, verb) = known.ok_or_else(|| wrong("the confined child does not know this verb"))?;
    let files = request.images.iter().map(take).collect::<std::io::Result<Vec<_>>>();
    let files = files.map_err(|error| wrong(&format!("an image that was handed over: {error}")))?;
    take_random_numbers();
    let warnings = lock_in(&request.limits);
    channel.frame(WARNINGS, &json(&warnings)).map_err(|error| Said::new("failed", error.to_string()))?;
    // Threads from here on: what holds this one holds them.
    let job = Job::quiet(request.workers);
    let devices = files.into_iter().map(|taken| taken.open(open));
    let devices = devices.collect::<Result<Vec<_>, _>>()?;
    verb(&request.arguments, devices, channel, &job)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("because an answer has string keys only")
}

/// An image that was handed over.
struct Taken {
    image: File,
    scratch: Option<File>,
    /// The image once more, for who reads past the cache.
    direct: Option<File>,
}

/// Takes the descriptors of an image, by their numbers.
fn take(handed: &Handed) -> std::io::Result<Taken> {
    let path = |number: i32| format!("/proc/self/fd/{number}");
    let image = File::open(path(handed.image))?;
    let scratch = |number| std::fs::OpenOptions::new().read(true).write(true).open(path(number));
    let scratch = handed.scratch.map(scratch).transpose()?;
    // What is unpacked into a scratch file was never on a medium.
    let direct = if scratch.is_none() { FileDevice::direct(&image) } else { None };
    Ok(Taken { image, scratch, direct })
}

impl Taken {
    fn open(self, open: Open) -> Result<FileDevice, Said> {
        Ok(open(self.image, self.scratch)?.with_direct(self.direct))
    }
}

/// Opens the system's source of random numbers: the crate that writes partition tables asks for some, though nothing
/// of what it writes depends on them, and in a static program it asks a file.
fn take_random_numbers() {
    let disk = Guid([1; 16]);
    let table = PartitionTable { disk, disk_sectors: 256, partitions: Vec::new() };
    // What it writes goes to memory and is dropped; a failure shows when a table is written in earnest.
    let _ = gpt::write(&MemoryDevice::new(256 * 512), &table);
}

/// Makes a device of a file as it is.
pub fn plain(mut image: File, _: Option<File>) -> Result<FileDevice, Said> {
    let size = image.seek(std::io::SeekFrom::End(0));
    let size =
        size.map_err(|error| Said::new("failed", format!("cannot find the length of the image: {error}")))?;
    Ok(FileDevice::new(image, size))
}

/// Gives up all that reading an image does not take. Returns what the kernel could not do.
fn lock_in(limits: &Limits) -> Vec<String> {
    let mut warnings = Vec::new();
    for (resource, value) in [
        (Resource::As, Some(limits.memory_bytes)),
        (Resource::Cpu, limits.seconds),
        (Resource::Fsize, Some(limits.file_bytes)),
        (Resource::Core, Some(0)),
        (Resource::Nofile, Some(64)),
    ] {
        let limit = Rlimit { current: value, maximum: value };
        if let Err(error) = setrlimit(resource, limit) {
            warnings.push(format!("the confined reader could not limit {resource:?}: {error}"));
        }
    }
    if let Err(problem) = without_paths() {
        warnings.push(format!("the confined reader goes on without Landlock: {problem}"));
    }
    if let Err(problem) = filter::install() {
        warnings.push(format!("the confined reader goes on without a system call filter: {problem}"));
    }
    warnings
}

/// Takes every path and every connection away: what is open stays open.
fn without_paths() -> Result<(), String> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
    };
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(ABI::V6));
    let ruleset = ruleset.and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V6)));
    let ruleset = ruleset.and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)));
    let restricted = ruleset.and_then(|ruleset| ruleset.create()).and_then(|created| created.restrict_self());
    match restricted {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => Err("this kernel has none".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
