//! A whole system on trial: what PID 1's process that stays behind makes of the state of a unit. The code is PID 1's own;
//! the disk is one that records, the machine and its clock are played, and its systemd is a script.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mkimage::agent::Place;
use mkimage::boot::service::{Check, Health};
use mkimage::boot::slots::{Slot, SlotState};
use mkimage::disk::MemoryDevice;
use mkimage::image::OpenImage;
use mkimage::slots;

use super::kit::{Kit, Recorder, loader, one};
use super::model::{Boot, Model, State, Version, count_down};
use crate::init::vigil::{self, System};
use crate::init::{inquiry, word};

const UNIT: &str = "app.service";
const TRIES: u32 = 3;

fn health(hold_seconds: u32, start_seconds: u32) -> Health {
    let check = Check::Unit(UNIT.to_owned());
    Health { check, interval_seconds: 1, timeout_seconds: 5, hold_seconds, start_seconds }
}

/// A machine that runs from slot B.
struct Played<'a> {
    disk: &'a Recorder,
    now: Duration,
    /// Asks for the state of the unit, at a time.
    asks: Box<dyn FnMut(&Health, Duration) -> bool + 'a>,
    held_until: Duration,
    /// How often the disk refuses to be written.
    refused_blessings: u32,
    data: PathBuf,
    root_hash: String,
    /// What was done to the machine, in order.
    acts: Vec<String>,
}

impl System for Played<'_> {
    fn now(&self) -> Duration {
        self.now
    }

    fn sleep(&mut self, time: Duration) {
        if self.acts.last().is_some_and(|act| act == "asked init to reboot") {
            self.acts.push(format!("waited {} s", time.as_secs()));
        }
        self.now += time;
    }

    fn is_healthy(&mut self, health: &Health) -> bool {
        self.now += Duration::from_millis(10);
        (self.asks)(health, self.now)
    }

    fn is_held(&mut self) -> bool {
        self.now < self.held_until
    }

    fn bless(&mut self) -> bool {
        if self.refused_blessings > 0 {
            self.refused_blessings -= 1;
            self.acts.push(format!("not blessed after {} s", self.now.as_secs()));
            return false;
        }
        let _ = slots::confirm(self.disk, Some(Slot::B), &one()).expect("a slot on trial");
        self.acts.push("blessed".to_owned());
        true
    }

    fn leave_word(&mut self, why: &str) {
        let (path, written) = word::leave(&self.data.to_string_lossy(), &self.root_hash, why);
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.acts.push("left a word".to_owned());
    }

    fn ask_for_reboot(&mut self) {
        self.acts.push("asked init to reboot".to_owned());
    }

    fn reboot(&mut self) {
        self.acts.push("rebooted".to_owned());
    }
}

const GIVEN_UP: [&str; 4] = ["left a word", "asked init to reboot", "waited 90 s", "rebooted"];

/// A disk with v1 confirmed in slot A and v2 on trial in slot B, and what boots from such disks.
fn on_trial(layout: u32) -> (Vec<u8>, Model) {
    let kit = Kit::of(layout);
    let recorder = Recorder::new(kit.fresh(1));
    let staged = slots::stage(&recorder, None, &kit.image(2), &one()).expect("staged");
    assert_eq!((staged.slot, staged.tries), (Slot::B, TRIES));
    let version = |number: u32| (number, Version::new(kit.uki(number), number == 1));
    let versions = [1, 2].into_iter().map(version).collect();
    (recorder.end().0, Model { versions, loader: loader(), layout })
}

fn root_hash(disk: &[u8], slot: Slot) -> String {
    let device = MemoryDevice::new(disk.len() as u64);
    mkimage::disk::BlockDevice::write_at(&device, 0, disk).expect("written");
    OpenImage::open(&device).and_then(|disk| disk.verity(slot)).expect("a root hash").root_hash_hex()
}

/// A `systemctl` to whom the unit is active once a file is there.
fn systemd(folder: &Path) -> impl FnMut(&Health, Duration) -> bool {
    let script = format!("#!/bin/sh\n[ \"$*\" = 'is-active --quiet -- {UNIT}' ] && [ -e \"$0.active\" ]\n");
    crate::tool::script(&script, &folder.join("systemctl"));
    let search_path = folder.to_string_lossy().into_owned();
    move |health, _| inquiry::is_healthy(&health.check, Duration::from_secs(20), &search_path)
}

#[test]
fn a_system_whose_unit_never_comes_is_given_up_until_the_other_slot_boots() {
    for layout in [1, 2] {
        let (mut disk, model) = on_trial(layout);
        let folder = crate::store::folder();
        let hash = root_hash(&disk, Slot::B);
        for left in (1..=TRIES).rev() {
            let (version, partition) = (2, "slot-b".to_owned());
            let boot = model.boot(&State::whole(&disk));
            assert_eq!(boot, Boot::Up { version, partition, left: Some(left) });
            for (sector, bytes) in count_down(&State::whole(&disk), layout) {
                disk[sector * 512..][..512].copy_from_slice(&bytes);
            }
            let recorder = Recorder::new(disk);
            let mut machine = Played {
                disk: &recorder,
                now: Duration::from_secs(7),
                asks: Box::new(systemd(folder.path())),
                held_until: Duration::ZERO,
                refused_blessings: 0,
                data: folder.path().join(format!("data-{left}")),
                root_hash: hash.clone(),
                acts: Vec::new(),
            };
            vigil::watch(Some(&health(1, 2)), &mut machine);
            assert_eq!(machine.acts, GIVEN_UP, "layout {layout}, {left} tries left");
            let (data, state) = (machine.data.clone(), folder.path().join("state"));
            drop(machine);
            let (after, written) = recorder.end();
            assert!(written.is_empty(), "a trial that is given up writes nothing to its disk: {written:?}");
            disk = after;
            // The agent of the slot that runs next knows why.
            let next = Place { disk: PathBuf::new(), running: Some(Slot::A), state, data };
            assert_eq!(next.gave_up(&hash).as_deref(), Some(vigil::NOT_HEALTHY));
            assert_eq!(next.gave_up(&root_hash(&disk, Slot::A)), None, "it is no word on another slot");
        }
        let (version, partition) = (1, "slot-a".to_owned());
        assert_eq!(model.boot(&State::whole(&disk)), Boot::Up { version, partition, left: None });
    }
}

#[test]
fn a_system_whose_unit_comes_is_blessed_by_what_systemctl_says() {
    let (disk, model) = on_trial(2);
    let folder = crate::store::folder();
    let mut ask = systemd(folder.path());
    let recorder = Recorder::new(disk);
    let (mut asked, active) = (0, folder.path().join("systemctl.active"));
    let mut machine = Played {
        disk: &recorder,
        now: Duration::from_secs(7),
        asks: Box::new(move |health, now| {
            asked += 1;
            if asked == 3 {
                std::fs::write(&active, "").expect("written");
            }
            ask(health, now)
        }),
        held_until: Duration::ZERO,
        refused_blessings: 2,
        data: folder.path().join("data"),
        root_hash: String::new(),
        acts: Vec::new(),
    };
    vigil::watch(Some(&health(1, 60)), &mut machine);
    let seconds = machine.now.as_secs();
    let after = |minutes: u64| format!("not blessed after {} s", seconds.saturating_sub(60 * minutes));
    assert_eq!(machine.acts, [after(2), after(1), "blessed".to_owned()], "it is tried until it lands");
    drop(machine);
    let (disk, written) = recorder.end();
    assert_eq!(written.len(), 2, "one sector and a flush: {written:?}");
    let (version, partition) = (2, "slot-b".to_owned());
    assert_eq!(model.boot(&State::whole(&disk)), Boot::Up { version, partition, left: None });
    assert!(!folder.path().join("data").exists(), "no word is left");
}

#[test]
fn when_a_system_is_believed_and_when_it_is_given_up() {
    type Unit = fn(u64) -> bool;
    let never: Unit = |_| false;
    let always: Unit = |_| true;
    let late: Unit = |second| second >= 50;
    let sick_in_its_hold: Unit = |second| (5..9).contains(&second);
    let again: Unit = |second| (5..9).contains(&second) || second >= 30;
    // Health of the recipe, until when a unit holds the trial up, the unit's state, whether the slot is blessed, and from
    // which second on of the machine's time, until which.
    for (case, health, held, unit, is_blessed, seconds) in [
        ("never", Some(health(10, 60)), 0, never, false, 60..63),
        ("at once", Some(health(10, 60)), 0, always, true, 10..13),
        ("just in time", Some(health(10, 60)), 0, late, true, 60..63),
        ("sick before it held", Some(health(10, 60)), 0, sick_in_its_hold, false, 69..72),
        ("sick, then sound", Some(health(10, 60)), 0, again, true, 40..43),
        ("held up for ever", Some(health(10, 60)), 1 << 40, always, false, 60..63),
        ("held up for a while", Some(health(10, 60)), 20, always, true, 30..33),
        ("nothing to ask for", None, 0, never, true, 20..21),
        ("nothing to ask for, held up", None, 300, never, true, 300..302),
    ] {
        let (disk, _) = on_trial(2);
        let (folder, recorder) = (crate::store::folder(), Recorder::new(disk));
        let mut machine = Played {
            disk: &recorder,
            now: Duration::ZERO,
            asks: Box::new(move |_, now| unit(now.as_secs())),
            held_until: Duration::from_secs(held),
            refused_blessings: 0,
            data: folder.path().join("data"),
            root_hash: "0".to_owned(),
            acts: Vec::new(),
        };
        vigil::watch(health.as_ref(), &mut machine);
        let expected: &[&str] = if is_blessed { &["blessed"] } else { &GIVEN_UP };
        assert_eq!(machine.acts, expected, "{case}");
        let patience = if is_blessed { 0 } else { 90 };
        let end = machine.now.as_secs() - patience;
        assert!(seconds.contains(&end), "{case}: after {end} s");
        drop(machine);
        let (disk, _) = recorder.end();
        let device = MemoryDevice::new(disk.len() as u64);
        mkimage::disk::BlockDevice::write_at(&device, 0, &disk).expect("written");
        let state = OpenImage::open(&device).expect("opened").slots().state(Slot::B);
        assert_eq!(matches!(state, SlotState::Blessed { .. }), is_blessed, "{case}: {state:?}");
    }
}
