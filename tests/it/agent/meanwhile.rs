//! What becomes of an agent's machine past the agent: people turn its slots, and kernel images rot.

use std::sync::{Arc, Mutex};

use mkimage::base::Job;
use mkimage::boot::slots::Slot;
use mkimage::disk::BlockDevice;
use mkimage::slots::{self, Disk};

use super::confined::Small;
use super::*;
use crate::remote::server::{Server, honest};
use crate::slots::kit::Kit;
use crate::trial::{open, sector, table, window};

fn staged() -> Small {
    let small = Small::new();
    assert_eq!(small.say(&["upgrade"])["state"], "staged");
    small
}

#[test]
fn an_update_that_somebody_called_off_by_hand_is_not_taken_again() {
    let small = staged();
    let device = open(&small.path("disk.img"));
    slots::rollback(&device, Some(Slot::A), &Job::quiet(1)).expect("called off");
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "fell_back");
    let last = &small.say(&["status"])["last"];
    assert_eq!((&last["what"], &last["slot"]), (&"rolled_back".into(), &"slot-b".into()), "{last}");
}

#[test]
fn an_older_slot_is_nothing_that_waits_where_the_kernel_image_of_the_running_one_rotted() {
    let mut small = staged();
    let device = open(&small.path("disk.img"));
    slots::confirm(&device, None, &Job::quiet(1)).expect("confirmed");
    assert_eq!(small.say(&["status"])["last"]["what"], "confirmed");
    slots::rollback(&device, Some(Slot::B), &Job::quiet(1)).expect("back in slot A");
    let esp = window(&device, "esp");
    let at = table(&esp).map().uki_offset(Slot::A) + 700;
    let byte = sector(&esp, at)[0];
    esp.write_at(at, &[byte ^ 1]).expect("written");
    small.reboot = "at_once";
    let status = small.say(&["status"]);
    assert_eq!((&status["disk"]["next"]["slot"], &status["waiting"]), (&"slot-b".into(), &Value::Null));
    let said = tool::fail_with(1, &mut small.agent(&[], &["upgrade"]));
    assert!(said.contains("slot-a is damaged: its kernel image is not what its record says"), "{said}");
    assert!(!small.path("data/state/store").exists(), "nothing was fetched for an update that can't be");
    let slot = &small.say(&["status"])["disk"]["slots"][1];
    assert_eq!((&slot["state"], &slot["version"]), (&"confirmed".into(), &"2.0".into()), "{slot}");
}

/// Serves a machine's site, and does something to its disk once, when what is fetched is on its way.
fn meanwhile(
    small: &mut Small,
    act: fn(&Disk) -> slots::Result<()>,
) -> Arc<Mutex<Option<slots::Result<()>>>> {
    let done = Arc::new(Mutex::new(None));
    let (site, disk, acted) = (small.path("site"), small.path("disk.img"), done.clone());
    let server = Server::start(move |request| {
        if request.path.contains("bundles/") {
            let act = || Disk::change(&disk).and_then(|disk| act(&disk));
            acted.lock().expect("a slot").get_or_insert_with(act);
        }
        honest(&site, request)
    });
    small.from = server.address();
    done
}

#[test]
fn the_disk_is_nobodys_while_an_update_is_fetched_and_what_is_done_to_it_then_counts() {
    let looks: fn(&Disk) -> slots::Result<()> =
        |disk| slots::confirm(disk.device(), Some(Slot::A), &Job::quiet(1)).map(drop);
    let mut small = Small::new();
    let done = meanwhile(&mut small, looks);
    assert_eq!(small.say(&["upgrade"])["state"], "staged");
    done.lock().expect("a slot").take().expect("something was fetched").expect("nobody holds the disk");

    let turns: fn(&Disk) -> slots::Result<()> = |disk| {
        let image = Kit::of(2);
        slots::stage(disk.device(), Some(Slot::A), &image.image(3), &Job::quiet(1)).map(drop)
    };
    let mut small = Small::new();
    let done = meanwhile(&mut small, turns);
    let said = tool::fail_with(1, &mut small.agent(&[], &["upgrade"]));
    assert!(said.contains("the slots were changed while the update was fetched"), "{said}");
    done.lock().expect("a slot").take().expect("something was fetched").expect("staged");
    let slot = &inspect(&small.path("disk.img"))["slots"][1];
    assert_eq!((&slot["version"], &slot["state"]), (&"3.0".into(), &"trial".into()), "{slot}");
}

#[test]
fn two_agents_never_share_what_they_fetch() {
    let small = Small::new();
    std::fs::create_dir_all(small.path("data/state")).expect("a folder");
    let folder = std::fs::File::open(small.path("data/state")).expect("opened");
    folder.lock().expect("taken");
    let said = tool::fail_with(1, &mut small.agent(&[], &["upgrade"]));
    assert!(said.contains("another agent updates this machine"), "{said}");
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "available", "who only asks takes nothing");
    folder.unlock().expect("let go");
    assert_eq!(small.say(&["upgrade"])["state"], "staged");
}
