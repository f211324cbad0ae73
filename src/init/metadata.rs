//! Cloud metadata: looked for by a process of few rights, told to PID 1 over a pipe.
//!
//! The process opens the disks that may hold a seed, read-only, then gives up every right, and only then reads
//! from them or the network. PID 1 waits for its message, at most as long as the recipe says.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use mkimage::base::{Endpoint, fs};
use mkimage::boot::environment::{CREDENTIAL_PREFIX, is_name};
use mkimage::boot::service::{Configuration, MetadataSource};
use mkimage::boot::user_data::{self, USER_DATA_MAX_BYTES, UserDataError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::confine::give_up_everything;
use crate::disks::{self, node};
use crate::error::{Doing, Error, Result, chain};
use crate::logic::found::{Found, MESSAGE_MAX_BYTES};
use crate::logic::nocloud::{self, Serial};
use crate::logic::volume::Volume;
use crate::report::{now, say, seconds};
use crate::sys::{self, Fork};
use crate::watchdog::Watchdog;
use crate::web;

const SERIAL: &str = "/sys/class/dmi/id/product_serial";
const SERIAL_MAX_BYTES: u64 = 4096;
/// Where the instance metadata service of EC2, and of those who offer the same, is.
const SERVICE: &str = "http://169.254.169.254/";
const TOKEN_SECONDS: &str = "60";
const TOKEN_MAX_BYTES: usize = 4096;
const SMALL_MAX_BYTES: usize = 64 << 10;
const TAGS_MAX: usize = 128;
/// How long disks other than the slot's may take to appear.
const DISKS_PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);
/// Pause between two rounds of questions to a network that may not be up yet.
const ROUND: Duration = Duration::from_millis(200);
/// Kernel names of block devices that hold no seed: made by the machine itself.
const NO_SEEDS: [&str; 4] = ["loop", "ram", "dm-", "zram"];

const NOCLOUD_LABEL: &str = "cidata";
const CONFIG_DRIVE_LABEL: &str = "config-2";

/// A process that looks for metadata.
pub struct Search {
    pid: Pid,
    message: PipeReader,
    until: Duration,
    required: bool,
    sources: String,
}

/// Starts to look, where the recipe names a place. `service` is another address of the metadata service.
pub fn search(
    configuration: &Configuration,
    service: Option<&Endpoint>,
    slot_disk: &str,
) -> Result<Option<Search>> {
    if configuration.metadata.is_empty() {
        return Ok(None);
    }
    let until = now() + Duration::from_secs(configuration.wait_seconds.into());
    let names: Vec<String> = configuration.metadata.iter().map(ToString::to_string).collect();
    let (message, writer) = io::pipe().doing("make", "a pipe")?;
    match sys::fork().doing("start", "the search for metadata")? {
        Fork::Parent(pid) => {
            let (required, sources) = (configuration.required, names.join(", "));
            Ok(Some(Search { pid, message, until, required, sources }))
        }
        Fork::Child => {
            let result = look(configuration, service, slot_disk, until, writer);
            if let Err(error) = &result {
                say!("metadata: {}", chain(error));
            }
            std::process::exit(i32::from(result.is_err()))
        }
    }
}

impl Search {
    /// Waits for what is found. Fails where nothing is, and the recipe wants it.
    pub fn wait(mut self, watchdog: &mut Option<Watchdog>) -> Result<Found> {
        let message = self.read(watchdog);
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        let found = message.and_then(|message| Found::decode(&message)).unwrap_or_default();
        match &found.source {
            _ if found.refused && self.required => return Err(Error::NoMetadata { sources: self.sources }),
            Some(source) => say!("metadata from {source} after {}", seconds(now())),
            None if self.required => return Err(Error::NoMetadata { sources: self.sources }),
            None => say!("no metadata from {}: the app starts without", self.sources),
        }
        Ok(found)
    }

    /// Reads to the end of the message; `None` where that does not come in time.
    fn read(&mut self, watchdog: &mut Option<Watchdog>) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        let mut piece = [0; 4096];
        while message.len() <= MESSAGE_MAX_BYTES {
            let mut wake = self.until;
            if let Some(watchdog) = watchdog.as_mut() {
                watchdog.feed(now());
                wake = wake.min(watchdog.next());
            }
            let left = wake.saturating_sub(now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.message, PollFlags::IN)], Some(&timeout)) {
                Ok(0) if now() >= self.until => return None,
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return None,
            }
            match self.message.read(&mut piece).ok()? {
                0 => return Some(message),
                length => message.extend_from_slice(&piece[..length]),
            }
        }
        None
    }
}

/// The life of the process.
fn look(
    configuration: &Configuration,
    service: Option<&Endpoint>,
    slot_disk: &str,
    until: Duration,
    mut writer: PipeWriter,
) -> Result<()> {
    let wants = |source| configuration.metadata.contains(&source);
    let on_disks = wants(MetadataSource::Nocloud) || wants(MetadataSource::ConfigDrive);
    let disks = if on_disks { open_disks(slot_disk) } else { Vec::new() };
    let serial = fs::read_at_most(Path::new(SERIAL), SERIAL_MAX_BYTES).unwrap_or_default();
    let mut keep: Vec<_> = disks.iter().map(AsFd::as_fd).collect();
    keep.push(writer.as_fd());
    give_up_everything(&keep)?;
    let places = Places {
        volumes: disks.iter().filter_map(|disk| Some((disk, Volume::open(&reader(disk))?))).collect(),
        serial: wants(MetadataSource::Nocloud)
            .then(|| nocloud::serial(&String::from_utf8_lossy(&serial)))
            .flatten(),
        service: service.cloned().or_else(|| SERVICE.parse().ok()),
    };
    let mut trouble: Option<String> = None;
    while now() < until {
        for source in &configuration.metadata {
            match places.find(*source) {
                Ok(Some(found)) => {
                    return writer.write_all(&found.encode()).doing("hand on", "metadata");
                }
                Ok(None) => {}
                Err(error) => trouble = Some(format!("{source}: {error}")),
            }
        }
        if !places.may_change(&configuration.metadata) {
            break;
        }
        std::thread::sleep(ROUND);
    }
    if let Some(trouble) = trouble {
        say!("metadata: {trouble}");
    }
    Ok(())
}

/// Opens what may be a seed: every disk and partition but those of the slot's disk. They may come a little
/// later than it.
fn open_disks(slot_disk: &str) -> Vec<File> {
    let until = now() + DISKS_PATIENCE;
    loop {
        let names = disks::devices();
        let others: Vec<File> = names
            .iter()
            .filter(|device| device.disk != slot_disk)
            .filter(|device| NO_SEEDS.iter().all(|start| !device.name.starts_with(start)))
            .filter_map(|device| File::open(node(&device.name)).ok())
            .collect();
        if !others.is_empty() || now() >= until {
            return others;
        }
        std::thread::sleep(POLL);
    }
}

fn reader(disk: &File) -> impl Fn(u64, &mut [u8]) -> io::Result<()> {
    |at, buffer| disk.read_exact_at(buffer, at)
}

/// Where metadata may be.
struct Places<'a> {
    volumes: Vec<(&'a File, Volume)>,
    serial: Option<Serial>,
    service: Option<Endpoint>,
}

impl Places<'_> {
    /// Tells whether asking again may bring more: networks come up late, disks are read once.
    fn may_change(&self, sources: &[MetadataSource]) -> bool {
        let seed = self.serial.as_ref().is_some_and(|serial| serial.from.is_some());
        seed || sources.contains(&MetadataSource::Ec2)
    }

    fn find(&self, source: MetadataSource) -> io::Result<Option<Found>> {
        let found = match source {
            MetadataSource::Ec2 => self.service.as_ref().map(ask_service).transpose()?.flatten(),
            MetadataSource::Nocloud => self.nocloud()?,
            MetadataSource::ConfigDrive => self.config_drive()?,
        };
        Ok(found.map(|found| Found { source: Some(source.to_string()), ..found }))
    }

    fn labelled(&self, label: &str) -> Option<&(&File, Volume)> {
        self.volumes.iter().find(|(_, volume)| volume.label().eq_ignore_ascii_case(label))
    }

    fn nocloud(&self) -> io::Result<Option<Found>> {
        if let Some((disk, volume)) = self.labelled(NOCLOUD_LABEL) {
            let file = |name, limit| volume.file(&reader(disk), name, limit);
            let instance_id = nocloud::instance_id(&file("meta-data", SMALL_MAX_BYTES)?.unwrap_or_default());
            let mut found = Found { instance_id, ..Found::default() };
            take_user_data(&mut found, &file("user-data", USER_DATA_MAX_BYTES)?.unwrap_or_default());
            return Ok(Some(found));
        }
        let Some(Serial { from: Some(from), instance_id }) = &self.serial else { return Ok(None) };
        let get = |name: &str, limit| web::ask(from, "GET", &format!("{}{name}", from.path), &[], limit);
        let (status, meta_data) = get("meta-data", SMALL_MAX_BYTES)?;
        if status != 200 {
            return Err(io::Error::other(format!("status {status} for meta-data")));
        }
        let instance_id = nocloud::instance_id(&meta_data).or_else(|| instance_id.clone());
        let mut found = Found { instance_id, ..Found::default() };
        if let Some(user_data) = present(get("user-data", USER_DATA_MAX_BYTES)?)? {
            take_user_data(&mut found, &user_data);
        }
        Ok(Some(found))
    }

    fn config_drive(&self) -> io::Result<Option<Found>> {
        let Some((disk, volume)) = self.labelled(CONFIG_DRIVE_LABEL) else { return Ok(None) };
        let file = |name, limit| volume.file(&reader(disk), name, limit);
        let meta_data = file("openstack/latest/meta_data.json", SMALL_MAX_BYTES)?.unwrap_or_default();
        let mut found = Found { instance_id: nocloud::instance_id(&meta_data), ..Found::default() };
        let object: serde_json::Value = serde_json::from_slice(&meta_data).unwrap_or_default();
        for (name, value) in object.get("meta").and_then(|meta| meta.as_object()).into_iter().flatten() {
            if let (Some(name), Some(value)) = (name.strip_prefix(CREDENTIAL_PREFIX), value.as_str()) {
                found.variables.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
        take_user_data(
            &mut found,
            &file("openstack/latest/user_data", USER_DATA_MAX_BYTES)?.unwrap_or_default(),
        );
        Ok(Some(found))
    }
}

/// Asks the instance metadata service, version 2: nothing without a token, which a PUT brings.
fn ask_service(service: &Endpoint) -> io::Result<Option<Found>> {
    let below = |path: &str| format!("{}/latest/{path}", service.path.trim_end_matches('/'));
    let seconds = [("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)];
    let (status, token) = web::ask(service, "PUT", &below("api/token"), &seconds, TOKEN_MAX_BYTES)?;
    let token = String::from_utf8(token).unwrap_or_default();
    if status != 200 || token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::other(format!("no token: status {status}")));
    }
    let headers = [("X-aws-ec2-metadata-token", token.as_str())];
    let get = |path: &str, limit| present(web::ask(service, "GET", &below(path), &headers, limit)?);
    let id = get("meta-data/instance-id", SMALL_MAX_BYTES)?;
    let mut found = Found {
        instance_id: id.and_then(|id| nocloud::id(String::from_utf8(id).ok()?.trim())),
        ..Found::default()
    };
    let tags = get("meta-data/tags/instance", SMALL_MAX_BYTES)?.unwrap_or_default();
    let tags = String::from_utf8(tags).unwrap_or_default();
    let names = tags.lines().filter_map(|tag| tag.trim().strip_prefix(CREDENTIAL_PREFIX));
    for name in names.filter(|name| is_name(name)).take(TAGS_MAX) {
        let path = format!("meta-data/tags/instance/{CREDENTIAL_PREFIX}{name}");
        if let Some(value) = get(&path, SMALL_MAX_BYTES)? {
            found.variables.push((name.to_owned(), value));
        }
    }
    if let Some(user_data) = get("user-data", USER_DATA_MAX_BYTES)? {
        take_user_data(&mut found, &user_data);
    }
    Ok(Some(found))
}

/// Tells what is there from what is not; anything else is no answer.
fn present((status, body): (u16, Vec<u8>)) -> io::Result<Option<Vec<u8>>> {
    match status {
        200 => Ok(Some(body)),
        404 => Ok(None),
        status => Err(io::Error::other(format!("status {status}"))),
    }
}

fn take_user_data(found: &mut Found, bytes: &[u8]) {
    match user_data::parse(bytes) {
        Ok(read) => {
            found
                .variables
                .extend(read.variables.into_iter().map(|(name, value)| (name, value.into_bytes())));
            found.files.extend(read.files);
            found.log = read.log;
        }
        Err(error) => {
            say!("user data: {error}");
            found.refused = !matches!(error, UserDataError::Foreign(_));
        }
    }
}
