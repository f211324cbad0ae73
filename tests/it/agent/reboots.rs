//! Slots that are to boot next and never do, as an agent sees them: no machine reboots for ever.

use mkimage::base::Job;
use mkimage::boot::slots::{Slot, SlotTable, record::Record};
use mkimage::disk::BlockDevice;

use super::confined::Small;
use super::*;
use crate::trial::{open, sector, table, window};

/// Makes a machine that runs v1 from slot A, with v2 staged in slot B.
fn staged() -> Small {
    let small = Small::new();
    assert_eq!(small.say(&["upgrade"])["state"], "staged");
    small
}

/// Makes the agent remember that it asked for reboots in three boots before this one.
fn in_vain(small: &Small, state: &str) {
    let commit = crate::slots::kit::Kit::of(2).commits[1];
    std::fs::write(small.path("data/state/reboots"), format!("slot-b 2 {state} {commit} one two three\n"))
        .expect("written");
}

fn confirm(small: &Small) {
    let device = open(&small.path("disk.img"));
    mkimage::slots::confirm(&device, None, &Job::quiet(1)).expect("confirmed");
}

#[test]
fn a_trial_that_the_loader_never_starts_is_rebooted_for_three_times_and_given_up() {
    let mut small = Small::new();
    small.reboot = "at_once";
    let reboots = || {
        tool::fail_with(75, &mut small.agent(&[], &["run"]));
        std::fs::read_to_string(small.path("data/state/reboots")).expect("noted")
    };
    let first = reboots();
    assert!(first.starts_with("slot-b 2 ") && first.split_whitespace().count() == 5, "{first}");
    assert_eq!(reboots(), first, "asked twice in one boot is asked once");

    in_vain(&small, "Trial");
    let mut staying = small.stay(&[]);
    small.wait(&mut staying, "fell back here and is not tried again");
    assert!(staying.child.try_wait().expect("asked").is_none(), "it does not ask for a reboot");
    let status = small.say(&["status"]);
    assert_eq!((&status["waiting"], &status["in_vain"]), (&Value::Null, &true.into()), "{status}");
    assert_eq!(status["last"]["what"], "fell_back", "{status}");
    let why = status["last"]["detail"].as_str().expect("why");
    assert!(why.contains("was to boot next and did not"), "{status}");
    assert_eq!(small.say(&["upgrade"])["state"], "waiting", "told so");
    let ended = tool::ends(&mut staying.child, std::time::Duration::from_secs(120));
    assert_eq!(ended.code(), Some(75), "and it is rebooted for once more");
    assert_eq!(small.say(&["status"])["in_vain"], false);
}

#[test]
fn a_confirmed_slot_that_the_loader_does_not_start_is_written_anew() {
    let small = staged();
    confirm(&small);
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "waiting");
    in_vain(&small, "Confirmed");
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "available");
    assert_eq!(small.say(&["upgrade"])["state"], "staged");
    let status = small.say(&["status"]);
    assert_eq!(status["disk"]["slots"][1]["state"], "trial", "{status}");
    assert_eq!(
        (&status["waiting"], &status["in_vain"]),
        (&status["disk"]["slots"][1]["commit"], &false.into())
    );
}

#[test]
fn a_kernel_image_that_rotted_is_no_reason_to_reboot_and_is_written_anew() {
    let small = staged();
    confirm(&small);
    let device = open(&small.path("disk.img"));
    let esp = window(&device, "esp");
    let at = table(&esp).map().uki_offset(Slot::B) + 700;
    let byte = sector(&esp, at)[0];
    esp.write_at(at, &[byte ^ 1]).expect("written");
    let status = small.say(&["status"]);
    assert_eq!((&status["waiting"], &status["disk"]["next"]["slot"]), (&Value::Null, &"slot-a".into()));
    assert_eq!(small.say(&["upgrade"])["state"], "staged");
    let status = small.say(&["status"]);
    assert_eq!(
        (&status["disk"]["slots"][1]["problem"], &status["disk"]["next"]["slot"]),
        (&Value::Null, &"slot-b".into())
    );
}

#[test]
fn what_used_up_its_tries_is_not_taken_again_where_the_history_was_lost() {
    let small = staged();
    let device = open(&small.path("disk.img"));
    let esp = window(&device, "esp");
    let SlotTable::Records(table) = table(&esp) else { panic!("another layout") };
    let spent: Record = (0..3).fold(table.record(), |record, _| record.counted(1));
    let place = mkimage::boot::slots::record::RECORD_SECTORS[spent.place()];
    esp.write_at(place * 512, &spent.encode()).expect("written");
    std::fs::remove_file(small.path("data/state/history")).expect("lost");
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "fell_back");
    assert_eq!(small.say(&["upgrade"])["state"], "staged", "told so");
}

#[test]
fn a_machine_whose_data_partition_is_full_goes_back_all_the_same() {
    let small = staged();
    confirm(&small);
    let state = small.path("data/state");
    let script = "mount -t tmpfs -o size=4k,nr_inodes=2 full \"$0\"; exec \"$@\"";
    let under = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, &state.to_string_lossy()];
    let output = run(&mut small.agent(&under, &["rollback"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("may be taken again, since that was not written down"), "{said}");
}

#[test]
fn what_waits_for_its_first_boot_can_be_called_off_and_is_left_alone_then() {
    let small = staged();
    assert_eq!(small.say(&["rollback"])["slot"], "slot-a");
    let status = small.say(&["status"]);
    assert_eq!((&status["waiting"], &status["disk"]["next"]["slot"]), (&Value::Null, &"slot-a".into()));
    let (last, second) = (&status["last"], &status["disk"]["slots"][1]["commit"]);
    assert_eq!(
        (&last["what"], &last["commit"], &last["slot"]),
        (&"rolled_back".into(), second, &"slot-b".into())
    );
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "fell_back");
    assert_eq!(small.say(&["upgrade"])["state"], "staged", "told so");
    // Nobody is there who could have the machine reboot.
    let said = tool::fail_with(1, &mut small.agent(&[], &["reboot"]));
    assert!(said.contains("there is no agent"), "{said}");
}
