//! The loader in real firmware: whatever happens to a slot, the other one boots in the same boot, and nobody touches a
//! key.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use mkimage::base::Stopwatch;
use mkimage::boot::slots::record::{RECORD_SECTORS, Record, SEAL_SECTORS, State};
use mkimage::boot::slots::{Measured, Slot, SlotState, SlotTable, write_uki};
use mkimage::disk::{BlockDevice, FileDevice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::tool::{guarded, hello_image, inspect, inspect_with, kept, succeed, tool};
use crate::trial::{install_second_slot, open, sector, table, uki, window, write};

/// How long a boot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const FIRST: &str = "root vda2 verified and mounted";
const SECOND: &str = "root vda3 verified and mounted";

/// Returns a copy of the hello image with a system in each slot: the older one in slot A, and in slot B the newer
/// one, which is blessed too.
fn two_slots(name: &str) -> PathBuf {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let base = copy(&hello_image(), "two.img");
        install_second_slot(&base, 3);
        let device = open(&base);
        let esp = window(&device, "esp");
        write(&esp, &table(&esp).bless(Slot::B).expect("on trial"));
        base
    });
    copy(base, name)
}

fn copy(image: &Path, name: &str) -> PathBuf {
    let to = kept("images").join(format!("loader-{name}"));
    succeed(&mut tool("cp", ["--sparse=always".as_ref(), image.as_os_str(), to.as_os_str()]));
    to
}

/// Changes what is on the ESP of an image.
fn change(image: &Path, change: impl FnOnce(&dyn BlockDevice)) {
    let device: FileDevice = open(image);
    change(&window(&device, "esp"));
    device.flush().expect("flushed");
}

/// Changes the record that counts, as only a test may.
fn rewrite(esp: &dyn BlockDevice, change: impl FnOnce(&mut Record)) {
    let SlotTable::Records(records) = table(esp) else { panic!("layout 2") };
    let mut record = records.record();
    record.sequence += 1;
    change(&mut record);
    esp.write_at(RECORD_SECTORS[record.place()] * 512, &record.encode()).expect("written");
}

/// Puts bytes where slot B has its UKI, with a record that calls them right.
fn replace_second_uki(esp: &dyn BlockDevice, bytes: &[u8]) {
    let now = table(esp);
    write_uki(esp, &now, Slot::B, bytes).expect("fits");
    let measured = Measured::of(bytes);
    rewrite(esp, |record| {
        (record.entries[1].size_bytes, record.entries[1].digest) = (bytes.len() as u32, measured.digest.0);
    });
}

struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots an image, without a hand on the keyboard, until its console says `until`. Returns all that it said.
fn boot(image: &Path, more_of_drive: &str, until: &str) -> String {
    let variables = tempfile::NamedTempFile::new().expect("a file");
    std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", variables.path())
        .expect("OVMF: install the package ovmf");
    let drive = format!("if=none,id=d0,format=raw,cache=unsafe{more_of_drive},file={}", image.display());
    let flash = format!("if=pflash,format=raw,unit=1,file={}", variables.path().display());
    let child = guarded("qemu-system-x86_64")
        .args(["-accel", "tcg", "-m", "256", "-M", "q35", "-nodefaults"])
        .args(["-display", "none", "-serial", "stdio"])
        .args(["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"])
        .args(["-drive", &flash, "-drive", &drive, "-device", "virtio-blk-pci,drive=d0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut machine = Machine(child.expect("setpriv runs: install util-linux"));
    let mut output = machine.0.stdout.take().expect("piped");
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    let started = Stopwatch::start();
    loop {
        let left = PATIENCE.saturating_sub(started.elapsed());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&left)).expect("polled");
        let so_far = || String::from_utf8_lossy(&said).into_owned();
        assert!(ready > 0, "after {PATIENCE:?} the console has not said {until:?}: {}", so_far());
        let count = output.read(&mut piece).expect("read");
        said.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&said);
        if text.contains(until) {
            return text.into_owned();
        }
        assert!(count > 0, "the console never said {until:?}: {text}");
    }
}

#[test]
fn a_flipped_byte_in_a_blessed_uki_costs_no_boot() {
    let image = two_slots("flipped.img");
    change(&image, |esp| {
        let at = table(esp).map().uki_offset(Slot::B) + 3_000_000;
        let mut byte = [0];
        esp.read_at(at, &mut byte).expect("read");
        esp.write_at(at, &[byte[0] ^ 1]).expect("written");
    });
    let said = boot(&image, "", FIRST);
    assert!(said.contains("mkimage: slot-b can't be started: its UKI is not what its record says"), "{said}");
    assert!(said.contains("mkimage: the loader: slot-b can't be started"), "PID 1 tells it too: {said}");
    let facts = inspect_with(&[], &image);
    let problem = facts["slots"][1]["problem"].as_str().expect("a problem");
    assert!(problem.contains("the loader does not start it"), "{problem}");
}

#[test]
fn a_hole_in_a_blessed_uki_costs_no_boot() {
    let image = two_slots("hole.img");
    change(&image, |esp| {
        let at = table(esp).map().uki_offset(Slot::B) + (4 << 20);
        esp.write_at(at, &vec![0; 4 << 20]).expect("written");
    });
    assert!(boot(&image, "", FIRST).contains("its UKI is not what its record says"));
}

#[test]
fn a_truncated_uki_that_its_record_calls_right_costs_no_boot() {
    let image = two_slots("truncated.img");
    change(&image, |esp| {
        let whole = uki(esp, &table(esp), Slot::B);
        replace_second_uki(esp, &whole[..whole.len() / 3]);
    });
    let said = boot(&image, "", FIRST);
    assert!(said.contains("mkimage: slot-b can't be started: "), "{said}");
}

#[test]
fn what_is_no_program_at_all_costs_no_boot() {
    let image = two_slots("noise.img");
    change(&image, |esp| replace_second_uki(esp, b"This is no program, and its record calls it right."));
    let said = boot(&image, "", FIRST);
    assert!(said.contains("slot-b can't be started: the firmware refuses its UKI"), "{said}");
}

#[test]
fn a_torn_record_loses_the_change_and_nothing_else() {
    let image = two_slots("torn.img");
    change(&image, |esp| {
        let SlotTable::Records(records) = table(esp).rollback(Slot::A).expect("blessed") else { panic!() };
        let (offset, sector) = records.encode();
        esp.write_at(offset, &sector[..100]).expect("written");
    });
    let said = boot(&image, "", SECOND);
    assert!(said.contains("one of the two slot records is damaged; the other one counts"), "{said}");
}

#[test]
fn with_both_records_lost_a_whole_slot_boots_and_is_blessed_anew() {
    let image = two_slots("lost.img");
    change(&image, |esp| {
        for at in RECORD_SECTORS {
            esp.write_at(at * 512, &[0xa5; 512]).expect("written");
        }
        // And what stood in slot A is torn.
        esp.write_at(table_of_layout_2(esp) + 5_000_000, &[0xa5; 512]).expect("written");
    });
    let said = boot(&image, "", "slot-b blessed");
    assert!(said.contains("both slot records are damaged") && said.contains(SECOND), "{said}");
    let device = open(&image);
    let after = table(&window(&device, "esp"));
    assert!(matches!(after.state(Slot::B), SlotState::Blessed { .. }), "{after:?}");
    assert!(matches!(after.state(Slot::A), SlotState::Trial { left: 2, .. }), "{after:?}");
}

/// Returns where the UKI of slot A is, on an ESP whose records are lost.
fn table_of_layout_2(esp: &dyn BlockDevice) -> u64 {
    let seal = mkimage::boot::slots::record::decode_seal(&sector(esp, SEAL_SECTORS[0] * 512));
    u64::from(seal.expect("a seal").first_sector) * 512
}

#[test]
fn on_a_disk_that_is_read_only_the_blessed_slot_goes_before_a_trial() {
    let image = two_slots("read-only.img");
    change(&image, |esp| {
        rewrite(esp, |record| record.entries[1].state = State::Trial { generation: 2, left: 3, done: 0 });
    });
    let before = std::fs::read(&image).expect("the image");
    let said = boot(&image, ",readonly=on", FIRST);
    assert!(said.contains("mkimage: the disk is read-only: tries can't be counted"), "{said}");
    assert!(before == std::fs::read(&image).expect("the image"), "nothing was written");
}

#[test]
fn a_trial_that_never_comes_up_is_counted_down_and_gives_way() {
    let image = two_slots("dead.img");
    change(&image, |esp| {
        // A kernel that starts and finds no root: PID 1 gives up and reboots.
        let mut dead = uki(esp, &table(esp), Slot::B);
        let word = b"mkimage.verity=";
        let at = dead.windows(word.len()).position(|it| it == word).expect("the command line") + word.len();
        dead[at] = if dead[at] == b'0' { b'1' } else { b'0' };
        replace_second_uki(esp, &dead);
        rewrite(esp, |record| record.entries[1].state = State::Trial { generation: 2, left: 1, done: 0 });
    });
    let said = boot(&image, "", "mkimage: ready");
    assert!(said.contains("cannot boot: no partition holds the tree") && said.contains(FIRST), "{said}");
    let facts = inspect_with(&[], &image);
    assert_eq!((&facts["slots"][1]["state"], &facts["slots"][1]["tries_left"]), (&"trial".into(), &0.into()));
    assert_eq!(facts["next"]["slot"], "slot-a", "{facts}");
}

#[test]
fn two_slots_without_tries_left_still_boot() {
    let image = two_slots("spent.img");
    change(&image, |esp| {
        rewrite(esp, |record| {
            record.entries[0].state = State::Trial { generation: 1, left: 0, done: 3 };
            record.entries[1].state = State::Trial { generation: 2, left: 0, done: 3 };
        });
    });
    boot(&image, "", "slot-b blessed");
    let facts = inspect(&image);
    assert_eq!(facts["slots"][1]["state"], "blessed", "health counts, also after the last try: {facts}");
}

#[test]
fn a_trial_that_comes_up_is_blessed_in_its_record() {
    let image = copy(&hello_image(), "trial.img");
    install_second_slot(&image, 3);
    let said = boot(&image, "", "slot-b blessed");
    assert!(said.contains(SECOND) && !said.contains("mkimage: the loader:"), "a good boot is quiet: {said}");
    let device = open(&image);
    let SlotTable::Records(after) = table(&window(&device, "esp")) else { panic!("layout 2") };
    let record = after.record();
    // One record for the trial, one for its first try, one for the blessing.
    assert_eq!((record.sequence, record.entries[1].state), (4, State::Blessed { generation: 2 }));
    let facts = inspect(&image);
    assert_eq!(facts["slots"][1]["problem"], serde_json::Value::Null, "{facts}");
}
