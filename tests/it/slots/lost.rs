//! Disks of our own loader whose two slot records are lost: what can still be said of them, and how they are put right.

use mkimage::boot::slots::record::{RECORD_SECTORS, Record, SEAL_SECTORS};
use mkimage::boot::slots::{Slot, SlotState};
use mkimage::disk::BlockDevice;

use super::verbs::Disk;
use crate::tool::{fail_with, run};
use crate::trial::{open, sector, table, window};

/// Overwrites sectors of the ESP.
fn lose(disk: &Disk, sectors: &[u64]) {
    let device = open(&disk.path);
    let esp = window(&device, "esp");
    for number in sectors {
        esp.write_at(number * 512, &[0xa5; 512]).expect("written");
    }
}

/// Makes a disk with v1 in slot A and v2 in slot B, confirmed, that lost its records.
fn lost() -> Disk {
    let disk = Disk::of(2);
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    lose(&disk, &RECORD_SECTORS);
    disk
}

/// Returns what a verb says of a damaged disk. It ends with 6.
fn told(disk: &Disk, verb: &str, more: &[&str]) -> String {
    let output = run(&mut disk.call(verb, more));
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(disk: &Disk, verb: &str) -> serde_json::Value {
    serde_json::from_str(&told(disk, verb, &["--json"])).expect("JSON")
}

#[test]
fn what_is_left_is_told_with_the_damage_and_what_to_do() {
    let disk = lost();
    for verb in ["status", "inspect"] {
        let said = told(&disk, verb, &["--verify"]);
        assert!(said.contains("DAMAGED: both slot records are lost: the first: it does not begin"), "{said}");
        assert!(said.contains("`mkimage switch DISK SLOT` writes the records anew"), "{said}");
        assert!(
            said.contains("app 1.0") && said.contains("app 2.0") && said.contains("(verified)"),
            "{said}"
        );
        assert!(said.contains("boots next: slot-a"), "{said}");
        let value = json(&disk, verb);
        let (next, slots) = (&value["next"], &value["slots"]);
        assert_eq!((&next["slot"], &next["trial"]), (&"slot-a".into(), &true.into()), "{value}");
        assert!(slots[0]["state"] == "trial" && slots[1]["state"] == "trial", "{value}");
        assert!(next["why"].as_str().is_some_and(|why| why.contains("nobody knows")), "{value}");
    }
    assert_eq!(json(&disk, "inspect")["partitions"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_switch_writes_both_records_anew_and_the_disk_lives_on() {
    for (slot, state) in [("slot-a", 0), ("slot-b", 1)] {
        let disk = lost();
        let said = disk.say("switch", &[slot]);
        assert_eq!(said, format!("{slot} boots next, on trial; both slot records are written anew\n"));
        let device = open(&disk.path);
        let esp = window(&device, "esp");
        let records = RECORD_SECTORS.map(|number| Record::decode(&sector(&esp, number * 512)));
        let [Ok(one), Ok(other)] = records else { panic!("{records:?}") };
        assert_eq!((one.entries, one.sequence.abs_diff(other.sequence)), (other.entries, 1));
        let status = disk.status();
        assert_eq!((&status["damage"], &status["next"]["slot"]), (&().into(), &slot.into()), "{status}");
        assert_eq!(status["slots"][state]["verified"], true);
        assert_eq!(disk.say("confirm", &[]), format!("{slot} is confirmed\n"));
        disk.say("update", &["app/v3"]);
        assert_eq!(disk.status()["slots"][1 - state]["version"], "3.0");
    }
}

#[test]
fn a_slot_that_is_not_whole_is_never_switched_to() {
    let disk = lost();
    let before = std::fs::read(&disk.path).expect("read");
    let device = open(&disk.path);
    window(&device, "slot-b").write_at(3 * 4096, &[0xa5; 4096]).expect("written");
    let said = fail_with(6, &mut disk.call("switch", &["slot-b"]));
    assert!(said.contains("slot-b is damaged"), "{said}");
    window(&device, "slot-b").write_at(0, &vec![0; 4096]).expect("written");
    let seal =
        mkimage::boot::slots::record::decode_seal(&sector(&window(&device, "esp"), SEAL_SECTORS[0] * 512));
    let uki = u64::from(seal.expect("a seal").first_sector) * 512;
    window(&device, "esp").write_at(uki + 3000, &[0xa5; 64]).expect("written");
    let said = fail_with(6, &mut disk.call("switch", &["slot-a"]));
    assert!(said.contains("slot-a is damaged"), "{said}");
    let records = |bytes: &[u8]| bytes[(1 << 20)..][..64 * 512].to_vec();
    assert!(records(&std::fs::read(&disk.path).expect("read")) == records(&before), "something was written");
}

#[test]
fn what_needs_a_healthy_slot_names_the_repair() {
    let disk = lost();
    for (verb, more) in [("update", &["app/v3"][..]), ("rollback", &[]), ("confirm", &[])] {
        let said = fail_with(6, &mut disk.call(verb, more));
        assert!(said.contains("both slot records are lost") && said.contains("mkimage switch"), "{said}");
    }
}

#[test]
fn a_disk_that_lost_its_seals_too_has_its_partitions_left() {
    let disk = lost();
    lose(&disk, &SEAL_SECTORS[..1]);
    let value = json(&disk, "status");
    assert_eq!((&value["slots"][0]["state"], &value["next"]["slot"]), (&"empty".into(), &"slot-b".into()));
    lose(&disk, &SEAL_SECTORS);
    let value = json(&disk, "inspect");
    assert!(value["next"].is_null() && value["partitions"][3]["name"] == "data", "{value}");
    let said = fail_with(1, &mut disk.call("switch", &["slot-a"]));
    assert!(said.contains("holds nothing that could boot"), "{said}");
}

/// What the loader writes down for a disk whose slot B was never written has no place for it.
#[test]
fn after_the_loader_counted_on_a_disk_with_one_slot_it_is_confirmed_and_updated() {
    let disk = Disk::of(2);
    lose(&disk, &RECORD_SECTORS);
    let device = open(&disk.path);
    let esp = window(&device, "esp");
    let seals = SEAL_SECTORS
        .map(|number| mkimage::boot::slots::record::decode_seal(&sector(&esp, number * 512)).ok());
    let counted = Record::recovered(seals).expect("one seal").counted(0);
    esp.write_at(RECORD_SECTORS[counted.place()] * 512, &counted.encode()).expect("written");
    assert!(matches!(table(&esp).state(Slot::A), SlotState::Trial { left: 2, done: 1, .. }));
    assert_eq!(disk.say("confirm", &[]), "slot-a is confirmed\n");
    disk.say("update", &["app/v2"]);
    assert_eq!(disk.status()["slots"][1]["state"], "trial");
}
