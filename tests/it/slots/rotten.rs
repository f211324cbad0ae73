//! Slots that rot after they were found healthy: what the loader refuses is nothing to build on, and what boots no
//! further steps aside.

use std::io;
use std::sync::Mutex;

use mkimage::boot::slots::{Slot, SlotState};
use mkimage::disk::BlockDevice;
use mkimage::image::OpenImage;
use mkimage::slots::{self, Outcome, SlotsError};

use super::kit::{Event, Kit, Recorder, one};
use crate::init::logic::aside;

/// A disk of our loader, with v1 confirmed in slot A and v2 in slot B.
fn both_confirmed() -> Vec<u8> {
    let kit = Kit::of(2);
    let disk = Recorder::new(kit.fresh(1));
    slots::stage(&disk, None, &kit.image(2), &one()).expect("staged");
    slots::confirm(&disk, None, &one()).expect("confirmed");
    disk.end().0
}

/// Changes the last byte of a slot's kernel image, which is all zeros there: whoever takes it apart sees no difference.
fn rot(disk: Vec<u8>, slot: Slot) -> Recorder {
    let disk = Recorder::new(disk);
    let image = OpenImage::open(&disk).expect("an image");
    let at = image.map().uki_offset(slot) + u64::from(image.slots().state(slot).size_bytes()) - 1;
    let at = at + image.table().named("esp").expect("the ESP").offset();
    let mut byte = [0];
    disk.read_at(at, &mut byte).expect("read");
    disk.write_at(at, &[byte[0] ^ 1]).expect("written");
    Recorder::new(disk.end().0)
}

#[test]
fn a_running_slot_whose_kernel_image_rotted_is_not_the_only_one_that_stays() {
    let disk = rot(both_confirmed(), Slot::A);
    let refused = slots::stage(&disk, Some(Slot::A), &Kit::of(2).image(3), &one());
    let Err(SlotsError::Damaged { slot: Slot::A, source }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, SlotsError::Kernel), "{source}");
    assert!(disk.end().1.is_empty(), "the sound slot is as it was");
    let other = rot(both_confirmed(), Slot::A);
    let staged = slots::stage(&other, Some(Slot::B), &Kit::of(2).image(3), &one()).expect("staged");
    assert_eq!(
        (staged.slot, staged.outcome),
        (Slot::A, Outcome::Staged),
        "from the sound one it is written anew"
    );
}

#[test]
fn an_offline_update_writes_the_slot_that_the_loader_refuses() {
    for version in [2, 3] {
        let disk = rot(both_confirmed(), Slot::B);
        let staged = slots::stage(&disk, None, &Kit::of(2).image(version), &one());
        let staged = staged.unwrap_or_else(|error| panic!("v{version}: {}", mkimage::base::whole(&error)));
        assert_eq!((staged.slot, staged.outcome), (Slot::B, Outcome::Staged), "v{version}");
        let status = slots::status(&disk, true, &one()).expect("a status");
        assert_eq!((&status.slots[1].problem, status.slots[1].verified), (&None, Some(true)), "v{version}");
        assert_eq!(status.slots[0].verified, Some(true), "v{version}: what stays is as it was");
    }
    let disk = rot(both_confirmed(), Slot::B);
    let staged = slots::stage(&disk, None, &Kit::of(2).image(1), &one()).expect("nothing to do");
    assert_eq!((staged.slot, staged.outcome), (Slot::A, Outcome::AlreadyThere), "that boots next");
    assert!(!disk.end().1.iter().any(|event| matches!(event, Event::Write { .. })));
}

#[test]
fn nothing_is_there_where_the_loader_refuses_the_only_slot() {
    let disk = rot(Kit::of(2).fresh(1), Slot::A);
    for version in [1, 2] {
        let refused = slots::stage(&disk, None, &Kit::of(2).image(version), &one());
        assert!(matches!(refused, Err(SlotsError::Damaged { slot: Slot::A, .. })), "v{version}: {refused:?}");
    }
    assert!(disk.end().1.is_empty());
}

/// A disk that notes what is read of it: from where, to where.
struct Noting(Recorder, Mutex<Vec<(u64, u64)>>);

impl BlockDevice for Noting {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.lock().expect("a list").push((offset, offset + buffer.len() as u64));
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn whether_a_slot_is_on_trial_is_told_by_its_record_and_no_kernel_image() {
    for layout in [1, 2] {
        let kit = Kit::of(layout);
        let disk = Recorder::new(kit.fresh(1));
        slots::stage(&disk, None, &kit.image(2), &one()).expect("staged");
        let disk = Noting(disk, Mutex::default());
        let asked = |slot| {
            let table = slots::table(&disk).expect("an image");
            matches!(table.state(slot), SlotState::Trial { .. })
        };
        assert_eq!((asked(Slot::A), asked(Slot::B)), (false, true), "layout {layout}");
        slots::confirm(&disk.0, None, &one()).expect("confirmed");
        assert!(!asked(Slot::B), "layout {layout}");

        let read = std::mem::take(&mut *disk.1.lock().expect("a list"));
        let image = OpenImage::open(&disk.0).expect("an image");
        let esp = image.table().named("esp").expect("the ESP").offset();
        let kernels = Slot::BOTH.map(|slot| esp + image.map().uki_offset(slot));
        for (start, end) in &read {
            let met = kernels.iter().any(|kernel| (start..end).contains(&kernel));
            assert!(!met, "layout {layout}: a kernel image at {start}");
        }
        let bytes: u64 = read.iter().map(|(start, end)| end - start).sum();
        assert!(
            (512..3 * (64 << 10)).contains(&bytes),
            "layout {layout}: {bytes} bytes are read in three times"
        );
    }
}

/// Does what PID 1 does where the root of the slot that was booted can't be used, and returns what boots next.
fn step_aside(disk: &Recorder, booted: Slot) -> Option<Slot> {
    let image = OpenImage::open(disk).expect("an image");
    let changed = aside::step_aside(image.slots(), booted)?;
    let (offset, sector) = changed.encode();
    let offset = image.table().named("esp").expect("the ESP").offset() + offset;
    disk.write_at(offset, &sector).expect("written");
    slots::status(disk, false, &one()).expect("a status").next.map(|next| next.slot)
}

#[test]
fn a_confirmed_slot_whose_root_is_of_no_use_steps_aside_for_a_confirmed_one_only() {
    for layout in [1, 2] {
        let kit = Kit::of(layout);
        let disk = Recorder::new(kit.fresh(1));
        assert_eq!(step_aside(&disk, Slot::A), None, "layout {layout}: there is no other");
        slots::stage(&disk, None, &kit.image(2), &one()).expect("staged");
        assert_eq!(step_aside(&disk, Slot::B), None, "layout {layout}: its tries are counted");
        assert_eq!(step_aside(&disk, Slot::A), None, "layout {layout}: the other was never found healthy");
        slots::confirm(&disk, None, &one()).expect("confirmed");
        assert_eq!(step_aside(&disk, Slot::B), Some(Slot::A), "layout {layout}");
        assert_eq!(
            step_aside(&disk, Slot::B),
            None,
            "layout {layout}: the loader came back, for it refuses that"
        );
        assert_eq!(step_aside(&disk, Slot::A), Some(Slot::B), "layout {layout}");
        let state = OpenImage::open(&disk).expect("an image").slots().state(Slot::A);
        assert!(matches!(state, SlotState::Blessed { .. }), "layout {layout}: {state:?}");
    }
}
