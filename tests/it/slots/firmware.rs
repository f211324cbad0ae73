//! The model before the real thing: states that a power cut leaves boot in UEFI firmware, systemd-boot, Linux and
//! PID 1, and come to what the model says.
//!
//! The firmware is run once up to where it first touches the disk, and kept there; every boot begins from that
//! copy, which takes seconds off each.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mkimage::base::{CommitId, Job, Stopwatch};
use mkimage::disk::MemoryDevice;
use mkimage::image::Image;
use mkimage::slots;
use mkimage::store::Store;
use serde_json::{Value, json};

use super::explore::{Picked, differing, pick};
use super::kit::{Event, Recorder, apply};
use super::model::{Boot, Model, SECTOR, State, Version, count_down};
use crate::store::tell;
use crate::tool::{hello_app, hello_image, kept, mkimage, root, succeed, tool};

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// A boot that has not come to its root by then hangs.
const BOOT_SECONDS: u64 = 240;
const HANG_SECONDS: u64 = 30;

/// An emulator with its control connection (QMP).
struct Machine {
    child: Child,
    control: BufReader<UnixStream>,
}

impl Machine {
    fn start(disk: &Path, variables: &Path, folder: &Path, seconds: u64, more: &[String]) -> Machine {
        let socket = folder.join("control");
        let mut command = Command::new("timeout");
        command.arg(seconds.to_string()).arg("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-m", "256", "-M", "q35", "-nodefaults", "-display", "none"]);
        command.args(["-no-reboot", "-serial", "stdio"]);
        command.args(["-drive".to_owned(), format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}")]);
        let variables = variables.display();
        command.args(["-drive".to_owned(), format!("if=pflash,format=raw,unit=1,file={variables}")]);
        let disk = disk.display();
        command.args(["-drive".to_owned(), format!("if=none,id=d0,format=raw,file={disk},cache=unsafe")]);
        command.args(["-device", "virtio-blk-pci,drive=d0"]);
        command.args(["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().expect("timeout and qemu-system-x86_64: `make test` installs them");
        let control = (0..6000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            UnixStream::connect(&socket).ok()
        });
        let mut machine = Machine { child, control: BufReader::new(control.expect("a control connection")) };
        machine.line();
        machine.ask("qmp_capabilities", json!({}));
        machine
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.control.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        self.control.get_mut().write_all(format!("{text}\n").as_bytes()).expect("asked");
        loop {
            let mut answer = self.line();
            if answer.get("event").is_none() {
                assert!(answer.get("error").is_none(), "{command}: {answer}");
                return answer["return"].take();
            }
        }
    }

    fn state(&mut self) -> String {
        self.ask("query-status", json!({}))["status"].as_str().expect("a status").to_owned()
    }

    fn end(mut self) {
        let _ = self.control.get_mut().write_all(b"{\"execute\":\"quit\"}\n");
        self.child.wait().expect("ended");
    }
}

/// Firmware just before it reads the disk, as a file, with the variables of that moment.
struct Firmware {
    memory: PathBuf,
    variables: PathBuf,
}

impl Firmware {
    fn run_up(disk: &Path, folder: &Path) -> Firmware {
        let firmware = Firmware { memory: folder.join("memory"), variables: folder.join("variables") };
        let live = folder.join("live-variables");
        std::fs::copy(VARIABLES, &live).expect("OVMF: `make test` installs it");
        let mut machine = Machine::start(disk, &live, folder, 120, &[]);
        let started = Stopwatch::start();
        while started.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(150));
            machine.ask("stop", json!({}));
            let statistics = machine.ask("query-blockstats", json!({}));
            let drives = statistics.as_array().expect("drives");
            let drive = drives.iter().find(|drive| drive["device"] == "d0").expect("the disk");
            if drive["stats"]["rd_operations"] != 0 {
                break;
            }
            let new = folder.join("memory.new");
            machine.ask("migrate", json!({ "uri": format!("exec:cat > {}", new.display()) }));
            while machine.ask("query-migrate", json!({}))["status"] != "completed" {
                std::thread::sleep(Duration::from_millis(10));
            }
            mkimage::base::fs::rename(&new, &firmware.memory).expect("renamed");
            std::fs::copy(&live, &firmware.variables).expect("copied");
            machine.ask("cont", json!({}));
        }
        machine.end();
        assert!(firmware.memory.exists(), "the firmware read the disk at once");
        firmware
    }

    /// Boots a disk and returns the partition whose root came up; `None` where none did in time. What the
    /// console said comes with it.
    fn boot(&self, disk: &Path, folder: &Path, seconds: u64) -> (Option<String>, String) {
        let variables = folder.join("variables");
        std::fs::copy(&self.variables, &variables).expect("copied");
        let incoming = ["-incoming".to_owned(), format!("exec:cat {}", self.memory.display())];
        let mut machine = Machine::start(disk, &variables, folder, seconds, &incoming);
        while machine.state() == "inmigrate" {
            std::thread::sleep(Duration::from_millis(10));
        }
        machine.ask("cont", json!({}));
        let mut console = BufReader::new(machine.child.stdout.take().expect("a console"));
        let (mut said, mut line) = (String::new(), Vec::new());
        let mut came_up = None;
        while came_up.is_none() {
            line.clear();
            if console.by_ref().take(1 << 16).read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            came_up = text
                .split_once("mkimage: root ")
                .and_then(|(_, rest)| rest.split(' ').next())
                .map(str::to_owned);
            said.push_str(&text);
        }
        drop(console);
        machine.end();
        (came_up, said)
    }
}

/// A pair of versions of the hello image, and what happens to a disk of the first.
struct Story {
    model: Model,
    start: Vec<u8>,
    /// What happens, and how many states of each epoch are booted.
    logs: Vec<(&'static str, Vec<Event>, usize)>,
}

/// Composes a version of the hello image with one of the two loaders.
fn version(store: &Store, loader: &str, number: u32) -> CommitId {
    let recipe = std::fs::read_to_string(root().join("recipes/hello/hello.hcl")).expect("the recipe");
    let recipe = recipe.replace("\"1.0.0\"", &format!("\"{number}.0.0\""));
    let app = hello_app().display().to_string();
    let recipe = recipe.replace("target/x86_64-unknown-linux-gnu/release/hello", &app);
    let recipe = format!("{recipe}\nboot {{\n  loader = \"{loader}\"\n}}\n");
    let path = kept("slots").join(format!("hello-{loader}-{number}.hcl"));
    std::fs::write(&path, recipe).expect("written");
    let lock = root().join("recipes/hello/hello.lock");
    if lock.exists() {
        std::fs::copy(lock, path.with_extension("lock")).expect("copied");
    }
    let said = succeed(&mut mkimage(["compose".as_ref(), path.as_os_str()]));
    store.resolve(said.trim()).expect("the commit")
}

fn story(store: &Store, loader: &str, job: &Job) -> Story {
    let commits: Vec<CommitId> = (1..=3).map(|number| version(store, loader, number)).collect();
    let images: Vec<Image<'_>> =
        commits.iter().map(|&commit| Image::of(store, commit, job).expect("an image")).collect();
    let versions = (1..).zip(&images).map(|(number, image)| {
        let root = image.place_root(job).expect("placed");
        let slot = MemoryDevice::new(mkimage::image::slot_bytes(&root));
        (number, Version::new(image.write_slot(&root, &slot, job).expect("written").uki, true))
    });
    let layout = images[0].commit().disk.layout;
    let model = Model { versions: versions.collect(), loader: images[0].boot_files().loader.clone(), layout };
    let placed = images[0].place(job).expect("placed");
    let fresh = MemoryDevice::new(placed.disk.size.0);
    images[0].write(&placed, &fresh, job).expect("written");
    let start = fresh.into_bytes();

    let mut disk = start.clone();
    let mut logs = Vec::new();
    let mut act = |name, states, act: &dyn Fn(&Recorder)| {
        let recorder = Recorder::new(std::mem::take(&mut disk));
        act(&recorder);
        let (after, log) = recorder.end();
        disk = after;
        logs.push((name, log, states));
    };
    let update = |device: &Recorder, version: usize| {
        drop(slots::stage(device, None, &images[version - 1], job).expect("staged"));
    };
    act("v2 over an empty slot", 2, &|device| update(device, 2));
    act("first boot of v2", 1, &|device| count_a_try(device, layout));
    act("v2 is confirmed", 1, &|device| {
        slots::confirm(device, None, job).expect("confirmed");
    });
    act("v3 over v1", 1, &|device| update(device, 3));
    act("back to v2", 2, &|device| {
        slots::rollback(device, None, job).expect("turned");
    });
    Story { model, start, logs }
}

/// Writes what the loader writes through EDK2's FAT driver when it counts a try.
fn count_a_try(device: &Recorder, layout: u32) {
    use mkimage::disk::BlockDevice;
    let mut bytes = vec![0; device.size() as usize];
    device.read_at(0, &mut bytes).expect("read");
    for (sector, new) in count_down(&State::whole(&bytes), layout) {
        device.write_at((sector * SECTOR) as u64, &new).expect("written");
    }
    device.flush().expect("flushed");
}

/// A state to boot: what differs from the first disk, and what is to come of it.
struct Case {
    place: String,
    changed: Picked,
    expected: Boot,
}

fn cases(story: &Story) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut disk = story.start.clone();
    let add = |cases: &mut Vec<Case>, disk: &[u8], log: &[Event], states, name: &str| {
        for (place, changed) in pick(&story.start, disk, log, states) {
            let state = State { base: &story.start, changed: changed.clone() };
            cases.push(Case {
                place: format!("{name}: {place}"),
                expected: story.model.boot(&state),
                changed,
            });
        }
    };
    for (name, log, states) in &story.logs {
        add(&mut cases, &disk, log, *states, name);
        apply(&mut disk, log);
    }
    if story.model.layout != 1 {
        return cases;
    }
    cases.push(without_flushes(story));
    cases
}

/// Without flushes there are states in which nobody boots, and the machine must agree there, too: the switch lies on
/// the disk, and half of what was written before it, the middle of the kernel image, does not.
fn without_flushes(story: &Story) -> Case {
    let (_, log, _) = &story.logs[0];
    let mut disk = story.start.clone();
    apply(&mut disk, log);
    let changed = differing(&story.start, &disk);
    let (quarter, count) = (changed.len() / 4, changed.len());
    let is_there = |at: &usize| *at < quarter || *at >= count - quarter;
    let changed: Picked =
        changed.into_iter().enumerate().filter(|(at, _)| is_there(at)).map(|(_, sector)| sector).collect();
    let expected = story.model.boot(&State { base: &story.start, changed: changed.clone() });
    assert!(matches!(expected, Boot::Hangs { .. }), "without flushes: {expected:?}");
    Case { place: format!("without flushes: {} of {count} sectors", changed.len()), changed, expected }
}

/// Makes the disk of a case: the first one, and what differs.
fn disk_of(start: &Path, case: &Case, path: &Path) {
    succeed(&mut tool("cp", ["--sparse=always".as_ref(), start.as_os_str(), path.as_os_str()]));
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("the disk");
    for (sector, bytes) in &case.changed {
        file.write_all_at(bytes, (sector * SECTOR) as u64).expect("written");
    }
}

fn check(case: &Case, came_up: Option<&str>, said: &str) {
    let agrees = match &case.expected {
        Boot::Up { partition, .. } => {
            let expected = if partition == "slot-a" { "vda2" } else { "vda3" };
            came_up == Some(expected)
        }
        // A machine that is only slow does not come to its loader.
        Boot::Hangs { .. } => came_up.is_none() && said.contains("BdsDxe: starting"),
        _ => false,
    };
    assert!(
        agrees,
        "{}: the model says {:?}, the machine came to {came_up:?}:\n{said}",
        case.place, case.expected
    );
}

/// A state, the first disk of its story, and the firmware that knows disks of this size.
struct Boots<'a> {
    case: &'a Case,
    start: &'a Path,
    firmware: &'a Firmware,
}

/// Writes the first disk of a story to a file with holes.
fn write_start(story: &Story, folder: &Path, name: &str) -> PathBuf {
    let (whole, start) = (folder.join("whole.img"), folder.join(name));
    std::fs::write(&whole, &story.start).expect("written");
    succeed(&mut tool("cp", ["--sparse=always".as_ref(), whole.as_os_str(), start.as_os_str()]));
    std::fs::remove_file(whole).expect("removed");
    start
}

fn boot(boots: &Boots<'_>, folder: &Path) -> (Option<String>, String) {
    std::fs::create_dir(folder).expect("a folder");
    let disk = folder.join("disk.img");
    disk_of(boots.start, boots.case, &disk);
    let seconds = if matches!(boots.case.expected, Boot::Hangs { .. }) { HANG_SECONDS } else { BOOT_SECONDS };
    let came_up = boots.firmware.boot(&disk, folder, seconds);
    std::fs::remove_dir_all(folder).expect("removed");
    came_up
}

#[test]
fn states_after_a_power_cut_boot_in_real_firmware_as_the_model_says() {
    let started = Stopwatch::start();
    hello_image();
    let job = Job::quiet(2);
    let store = Store::open(kept("store")).expect("the store");
    let stories = ["systemd-boot", "mkimage"].map(|loader| story(&store, loader, &job));
    let folder = tempfile::tempdir_in(kept("slots")).expect("a folder");
    let starts =
        [0, 1].map(|number| write_start(&stories[number], folder.path(), &format!("start{number}.img")));
    // A kept firmware has seen how large its disk is.
    let one_size = stories[0].start.len() == stories[1].start.len();
    let firmwares: Vec<Firmware> = (0..if one_size { 1 } else { 2 })
        .map(|number| {
            let own = folder.path().join(format!("firmware{number}"));
            std::fs::create_dir(&own).expect("a folder");
            Firmware::run_up(&starts[number], &own)
        })
        .collect();
    let cases = stories.each_ref().map(cases);
    let all: Vec<Boots<'_>> = (0..2)
        .flat_map(|number| cases[number].iter().map(move |case| (number, case)))
        .map(|(number, case)| Boots {
            case,
            start: &starts[number],
            firmware: &firmwares[number.min(firmwares.len() - 1)],
        })
        .collect();
    assert!(all.len() >= 20, "{} states", all.len());
    let prepared = started.elapsed();
    let numbered = (0..).zip(&all).collect();
    let booted = job.workers.map(numbered, |(number, boots): (u32, &Boots<'_>)| {
        boot(boots, &folder.path().join(number.to_string()))
    });
    for (boots, (came_up, said)) in all.iter().zip(&booted) {
        check(boots.case, came_up.as_deref(), said);
    }
    tell(&format!(
        "{} states booted as the model says: {:.1} s to prepare, {:.1} s in all",
        all.len(),
        prepared.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
}
