//! The promise, by enumeration: whatever a power cut leaves of an update, a verified slot boots. And the same
//! with one protection taken away, which must be found out.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use mkimage::boot::slots::Slot;
use mkimage::image::OpenImage;
use mkimage::slots::{self, Outcome};

use super::explore::explore;
use super::kit::{Event, Kit, Recorder, apply, loader, one};
use super::model::{Boot, End, Fat, Model, SECTOR, State, Version, count_down};
use crate::store::tell;

/// One thing that happens to a disk.
struct Phase {
    name: &'static str,
    log: Vec<Event>,
    /// Versions that may run after a power cut in it.
    allowed: &'static [u32],
    /// The version that runs once it is over.
    after: u32,
}

/// A disk's life, with systemd-boot (layout 1) or our own loader (layout 2): v1, v2 confirmed, v4 replaced before its first boot by v3, which is bad, v5 confirmed, back to
/// v2, forth to v5, and v1 once more.
struct Story {
    kit: &'static Kit,
    model: Model,
    start: Vec<u8>,
    phases: Vec<Phase>,
}

const BAD: u32 = 3;

impl Story {
    fn of(layout: u32) -> &'static Story {
        static STORIES: [OnceLock<Story>; 2] = [const { OnceLock::new() }; 2];
        STORIES[layout as usize - 1].get_or_init(|| Story::new(layout))
    }

    fn new(layout: u32) -> Story {
        let kit = Kit::of(layout);
        let version = |number| (number, Version::new(kit.uki(number), number != BAD));
        let model = Model { versions: (1..=5).map(version).collect(), loader: loader(), layout };
        let mut teller = Teller { kit, layout, disk: kit.fresh(1), phases: Vec::new() };
        let start = teller.disk.clone();
        teller.update("v2 over an empty slot", 2, None, &[1, 2], 2);
        teller.boot("first boot of v2", &[2], 2);
        teller.act("v2 is confirmed", &[2], 2, |disk| {
            assert_eq!(slots::confirm(disk, Some(Slot::B), &one()).expect("confirmed").slot, Slot::B);
        });
        teller.update("v4 over v1", 4, Some(Slot::B), &[2, 4], 4);
        teller.update("v3 over v4, which was never booted", 3, None, &[2, 4], 2);
        for boot in ["first boot of v3", "second boot of v3", "third boot of v3"] {
            teller.boot(boot, &[2], 2);
        }
        teller.update("v5 over v3, which failed", 5, Some(Slot::B), &[2, 5], 5);
        teller.boot("first boot of v5", &[5], 5);
        teller.act("v5 is confirmed", &[5], 5, |disk| {
            slots::confirm(disk, None, &one()).expect("confirmed");
        });
        teller.act("back to v2", &[2, 5], 2, |disk| {
            assert_eq!(slots::rollback(disk, Some(Slot::A), &one()).expect("turned").slot, Slot::B);
        });
        teller.act("forth to v5", &[2, 5], 5, |disk| {
            slots::switch(disk, Slot::A, &one()).expect("turned");
        });
        teller.update("v1 over v2", 1, None, &[5, 1], 1);
        Story { kit, model, start, phases: teller.phases }
    }

    /// Returns the disk before a phase.
    fn before(&self, name: &str) -> (Vec<u8>, &Phase) {
        let mut disk = self.start.clone();
        for phase in &self.phases {
            if phase.name == name {
                return (disk, phase);
            }
            apply(&mut disk, &phase.log);
        }
        panic!("no phase {name}");
    }

    /// Counts where machines end that are cut off anywhere in a log.
    fn ends(&self, base: &[u8], log: &[Event]) -> BTreeMap<End, usize> {
        let mut ends = BTreeMap::new();
        explore(base, log, |state, _| *ends.entry(self.model.end(state)).or_default() += 1);
        ends
    }
}

struct Teller {
    kit: &'static Kit,
    layout: u32,
    disk: Vec<u8>,
    phases: Vec<Phase>,
}

impl Teller {
    fn act(&mut self, name: &'static str, allowed: &'static [u32], after: u32, act: impl FnOnce(&Recorder)) {
        let recorder = Recorder::new(std::mem::take(&mut self.disk));
        act(&recorder);
        let (disk, log) = recorder.end();
        self.disk = disk;
        self.phases.push(Phase { name, log, allowed, after });
    }

    fn update(
        &mut self,
        name: &'static str,
        version: u32,
        running: Option<Slot>,
        allowed: &'static [u32],
        after: u32,
    ) {
        let image = self.kit.image(version);
        self.act(name, allowed, after, |disk| {
            let staged = slots::stage(disk, running, &image, &one()).expect("staged");
            assert_eq!((staged.outcome, staged.tries), (Outcome::Staged, 3));
        });
    }

    /// The loader counts a try and flushes. systemd-boot renames through EDK2, which writes 64 KiB from the first
    /// directory on; our loader writes one sector.
    fn boot(&mut self, name: &'static str, allowed: &'static [u32], after: u32) {
        let log = {
            let state = State::whole(&self.disk);
            let changes = count_down(&state, self.layout);
            let (first, length) = match self.layout {
                1 => (Fat::open(&state).offset(2), 65_536),
                _ => (changes[0].0 * SECTOR, SECTOR),
            };
            let mut bytes = self.disk[first..first + length].to_vec();
            for (sector, new) in changes {
                bytes[sector * SECTOR - first..][..SECTOR].copy_from_slice(&new);
            }
            vec![Event::Write { offset: first as u64, bytes }, Event::Flush]
        };
        apply(&mut self.disk, &log);
        self.phases.push(Phase { name, log, allowed, after });
    }
}

#[test]
fn whatever_a_power_cut_leaves_a_verified_slot_boots() {
    assert!(every_state_boots(Story::of(1)) > 2000);
}

#[test]
fn whatever_a_power_cut_leaves_a_verified_slot_boots_with_our_own_loader() {
    assert!(every_state_boots(Story::of(2)) > 2000);
}

/// Looks at each state and returns how many there are.
fn every_state_boots(story: &Story) -> usize {
    let mut disk = story.start.clone();
    let mut total = 0;
    for phase in &story.phases {
        let states = explore(&disk, &phase.log, |state, place| match story.model.end(state) {
            End::Runs(version) if phase.allowed.contains(&version) => {}
            end => panic!("{}, {place}: {end:?}; the first boot: {:?}", phase.name, story.model.boot(state)),
        });
        apply(&mut disk, &phase.log);
        assert_eq!(story.model.end(&State::whole(&disk)), End::Runs(phase.after), "{}", phase.name);
        assert!(matches!(phase.log.last(), Some(Event::Flush)), "{} ends unflushed", phase.name);
        total += states;
    }
    tell(&format!("{total} states of {} phases: a verified slot boots in each", story.phases.len()));
    total
}

#[test]
fn only_what_is_the_targets_is_written() {
    let story = Story::of(1);
    let (disk, phase) = story.before("v4 over v1");
    let device = Recorder::new(disk);
    let (slot, ours) = {
        let image = OpenImage::open(&device).expect("opened");
        let esp = image.table().named("esp").expect("the ESP").offset();
        let target = image.table().named("slot-a").expect("the slot");
        let slot = target.offset()..target.offset() + target.size().0;
        let map = image.map();
        let uki = esp + map.uki_offset(Slot::A);
        let fats = esp + 512..esp + map.data_offset;
        let sector = esp + map.directory_offset;
        (slot, [fats, sector..sector + 512, uki..uki + map.room(Slot::A)])
    };
    for event in &phase.log {
        let Event::Write { offset, bytes } = event else { continue };
        let end = offset + bytes.len() as u64;
        let inside = |range: &std::ops::Range<u64>| range.contains(offset) && end <= range.end;
        assert!(inside(&slot) || ours.iter().any(inside), "{} bytes at {offset}", bytes.len());
    }
}

#[test]
fn blocks_that_are_right_already_are_left_alone() {
    let story = Story::of(1);
    let kit = story.kit;
    let (mut disk, phase) = story.before("v4 over v1");
    apply(&mut disk, &phase.log);
    // The tree of v4 once more, over itself: nothing but the switch is written.
    let recorder = Recorder::new(disk);
    slots::switch(&recorder, Slot::B, &one()).expect("turned");
    let staged = slots::stage(&recorder, Some(Slot::B), &kit.image(4), &one()).expect("staged");
    assert_eq!((staged.outcome, staged.slot), (Outcome::Staged, Slot::A));
    assert_eq!((staged.root.written_bytes, staged.root.erased_bytes, staged.esp.written_bytes), (0, 0, 0));
    assert!(staged.root.kept_bytes > 40_000 && staged.esp.kept_bytes > 4000, "{staged:?}");
    let (_, log) = recorder.end();
    let written: usize =
        log.iter().map(|event| if let Event::Write { bytes, .. } = event { bytes.len() } else { 0 }).sum();
    assert_eq!(written, 3 * SECTOR, "switch, deactivate, trial");
}

#[test]
fn the_same_command_goes_on_wherever_it_was_cut() {
    for layout in [1, 2] {
        updates_go_on(Story::of(layout));
    }
}

fn updates_go_on(story: &Story) {
    let mut resumed = 0;
    for (name, version, running) in [
        ("v2 over an empty slot", 2, Some(Slot::A)),
        ("v3 over v4, which was never booted", 3, Some(Slot::B)),
        ("v5 over v3, which failed", 5, None),
    ] {
        let (disk, phase) = story.before(name);
        let image = story.kit.image(version);
        let mut number = 0;
        explore(&disk, &phase.log, |state, place| {
            number += 1;
            if number % 25 != 0 {
                return;
            }
            let recorder = Recorder::new(state.to_bytes());
            let staged = slots::stage(&recorder, running, &image, &one());
            let staged = staged.unwrap_or_else(|error| panic!("{name}, {place}: {error}"));
            assert_eq!(staged.commit, story.kit.commits[version as usize - 1]);
            let (after, log) = recorder.end();
            let whole = State::whole(&after);
            assert!(
                matches!(story.model.boot(&whole), Boot::Up { version: up, .. } if up == version),
                "{place}"
            );
            resumed += 1;
            // Cut once more.
            if resumed % 8 == 0 {
                let ends = story.ends(&state.to_bytes(), &log);
                let fine = |end: &End| matches!(end, End::Runs(version) if phase.allowed.contains(version));
                assert!(ends.keys().all(fine), "{name}, {place}: {ends:?}");
            }
        });
    }
    tell(&format!("{resumed} updates went on after a power cut"));
    assert!(resumed > 40, "{resumed}");
}

// What the protections are for: without one of them, states are found in which nobody boots.

/// Leaves the flush of a number out.
fn without_flush(log: &[Event], number: usize) -> Vec<Event> {
    let mut flushes = 0..;
    let keep = |event: &&Event| !matches!(event, Event::Flush) || flushes.next() != Some(number);
    log.iter().filter(keep).cloned().collect()
}

/// Cuts an update's log: the sector that makes the target unselectable, the slot, the sector that selects it;
/// each ends with a flush.
fn steps(log: &[Event]) -> [Vec<Event>; 3] {
    let steps: Vec<Vec<Event>> =
        log.split_inclusive(|event| matches!(event, Event::Flush)).map(<[Event]>::to_vec).collect();
    steps.try_into().expect("three flushes")
}

fn lost(ends: &BTreeMap<End, usize>) -> usize {
    let is_lost = |end: &&End| matches!(end, End::Hangs | End::Dead(_));
    ends.keys().filter(is_lost).map(|end| ends[end]).sum()
}

#[test]
fn without_the_flush_before_the_sector_machines_are_lost() {
    let story = Story::of(1);
    for name in ["v2 over an empty slot", "v4 over v1", "v5 over v3, which failed"] {
        let (disk, phase) = story.before(name);
        assert_eq!(lost(&story.ends(&disk, &phase.log)), 0);
        let ends = story.ends(&disk, &without_flush(&phase.log, 1));
        tell(&format!("without the second flush, {name}: {ends:?}"));
        assert!(lost(&ends) > 0, "{name}: {ends:?}");
    }
}

#[test]
fn without_the_flush_behind_the_first_sector_machines_are_lost() {
    let story = Story::of(1);
    let (disk, phase) = story.before("v3 over v4, which was never booted");
    let ends = story.ends(&disk, &without_flush(&phase.log, 0));
    assert!(lost(&ends) > 0, "{ends:?}");
}

#[test]
fn without_making_the_target_unselectable_machines_are_lost() {
    let story = Story::of(1);
    let (disk, phase) = story.before("v3 over v4, which was never booted");
    let [_, data, commit] = steps(&phase.log);
    let ends = story.ends(&disk, &[data, commit].concat());
    assert!(lost(&ends) > 0, "{ends:?}");
}

#[test]
fn with_the_sector_before_the_data_machines_are_lost() {
    let story = Story::of(1);
    let (disk, phase) = story.before("v2 over an empty slot");
    let [first, data, commit] = steps(&phase.log);
    let ends = story.ends(&disk, &[first, commit, data].concat());
    assert!(lost(&ends) > 0, "{ends:?}");
}

#[test]
fn without_any_flush_machines_are_lost() {
    let story = Story::of(1);
    let (disk, phase) = story.before("v3 over v4, which was never booted");
    let log: Vec<Event> = phase.log.iter().filter(|event| !matches!(event, Event::Flush)).cloned().collect();
    let ends = story.ends(&disk, &log);
    assert!(lost(&ends) > 0, "{ends:?}");
}

#[test]
fn our_own_loader_finds_the_other_slot_even_where_nothing_was_flushed() {
    let story = Story::of(2);
    for name in ["v2 over an empty slot", "v3 over v4, which was never booted"] {
        let (disk, phase) = story.before(name);
        let log: Vec<Event> =
            phase.log.iter().filter(|event| !matches!(event, Event::Flush)).cloned().collect();
        let ends = story.ends(&disk, &log);
        tell(&format!("our own loader without any flush, {name}: {ends:?}"));
        assert_eq!(lost(&ends), 0, "{ends:?}");
    }
}
