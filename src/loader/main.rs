//! The boot loader of disk layout 2: a UEFI application that starts the newest slot that can start.
//!
//! In: the slot records of the ESP that it was loaded from (`boot/slots/record.rs`), and the UKIs that they name.
//! Out: a running UKI; a try written down before a trial starts; volatile variables that tell PID 1 what was
//! done; one line on the console for each thing that is not as it should be.
//!
//! Always true
//! - A UKI is started only if its bytes have the digest that its record names, and the firmware takes it.
//! - What can't be started gives way to the other slot in the same boot. Where neither starts, the machine is
//!   reset after a message: no menu, no shell, nobody needed.
//! - No number runs out: a slot without tries left is started where nothing better is there.
//! - The try of a trial is on the disk before the trial runs. Where it can't be written, a slot that is blessed
//!   goes first.
//! - At most one sector is written in a boot: the older record.
//! - The firmware's watchdog resets a machine whose UKI doesn't come to its kernel.
//!
//! Not here: who writes UKIs and records (`slots/`), who blesses (PID 1), a menu, the FAT volume: places are
//! fixed. Unsafe code is in `efi` and `memory`.
//!
//! `build.rs` compiles this alone, without Cargo's dependencies; `boot/loader.rs` makes a PE image of it.
#![no_std]
#![no_main]

mod efi;
mod hash;
mod memory;
#[path = "../boot/slots/record.rs"]
mod record;
mod report;

use core::fmt::Write;

use efi::{Firmware, Guid, Handle, Partition, Status, SystemTable};
use record::{Attempt, RECORD_SECTORS, Record, SEAL_SECTORS, SECTOR_BYTES, decode_seal};
use report::{Note, device_path, partition_guid};

/// Whose variables the Boot Loader Interface names.
const LOADER_VENDOR: Guid =
    Guid(0x4a67_b082, 0x0a4c, 0x41cf, [0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f]);
/// Our own variable's.
const OWN_VENDOR: Guid = Guid(0x7e0c_4b1d, 0x52a6, 0x4d8f, [0x9b, 0x37, 0x1c, 0x5e, 0x84, 0xd0, 0x6a, 0x29]);
/// A UKI that has not come to its kernel in this time does not.
const WATCHDOG_SECONDS: usize = 300;
/// How long the message of defeat stays.
const DEFEAT_SECONDS: usize = 10;
/// A UKI is read in pieces of this size: some firmware refuses greater ones.
const PIECE_BYTES: usize = 1 << 20;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    match Firmware::known() {
        Some(firmware) => give_up(&firmware, "the loader came upon a fault of its own"),
        None => loop {
            core::hint::spin_loop();
        },
    }
}

fn give_up(firmware: &Firmware, why: &str) -> ! {
    firmware.print("mkimage: ");
    firmware.print(why);
    firmware.print("; the machine is reset in 10 seconds\r\n");
    firmware.wait(DEFEAT_SECONDS);
    firmware.reset()
}

/// # Safety
/// For firmware to call.
#[unsafe(no_mangle)]
pub unsafe extern "efiapi" fn efi_main(image: Handle, system: *mut SystemTable) -> Status {
    // SAFETY: this is what firmware hands us.
    let firmware = unsafe { Firmware::new(image, system) };
    firmware.watch(WATCHDOG_SECONDS);
    let Some(partition) = firmware.own_partition() else {
        give_up(&firmware, "the firmware does not say which disk the loader came from")
    };
    if partition.block_bytes() as usize != SECTOR_BYTES {
        give_up(&firmware, "the disk does not have sectors of 512 bytes")
    }
    let mut loader = Loader { firmware, partition, note: Note::new() };
    loader.run();
    give_up(&loader.firmware, "no slot of this disk can be started")
}

struct Loader {
    firmware: Firmware,
    partition: Partition,
    /// What was not as it should be.
    note: Note,
}

impl Loader {
    /// Tries the slots in their order. Comes back where none starts.
    fn run(&mut self) {
        let Some(mut record) = self.record() else { return };
        let mut can_count = !self.partition.is_read_only();
        if !can_count {
            self.tell(format_args!("the disk is read-only: tries can't be counted"));
        }
        let mut tried = [false; 2];
        // A second look where writing failed: then other slots come first.
        while let Some(attempt) = next(&record, can_count, tried) {
            if attempt.counts {
                match self.count(&record, attempt.slot) {
                    Some(counted) => record = counted,
                    None => {
                        can_count = false;
                        self.tell(format_args!("the disk can't be written: tries can't be counted"));
                        continue;
                    }
                }
            }
            tried[attempt.slot] = true;
            let why = self.start(&record, attempt);
            self.tell(format_args!("{} can't be started: {why}", name(attempt.slot)));
        }
    }

    /// Reads the newer sound record; where there is none, makes one of what the seals say.
    fn record(&mut self) -> Option<Record> {
        let mut read = [None; 2];
        for (place, sector) in read.iter_mut().zip(RECORD_SECTORS) {
            *place = self.sector(sector).and_then(|bytes| Record::decode(&bytes).ok());
        }
        if let Some(record) = Record::newest(read) {
            if read.contains(&None) {
                self.tell(format_args!("one of the two slot records is damaged; the other one counts"));
            }
            return Some(record);
        }
        self.tell(format_args!("both slot records are damaged: whichever slot is whole is tried"));
        let seals = SEAL_SECTORS.map(|sector| self.sector(sector).and_then(|bytes| decode_seal(&bytes).ok()));
        Record::recovered(seals)
    }

    fn sector(&self, sector: u64) -> Option<[u8; SECTOR_BYTES]> {
        let mut bytes = [0; SECTOR_BYTES];
        self.partition.read(sector, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Writes a try down, in the place of the older record, and looks whether it is there.
    fn count(&self, record: &Record, slot: usize) -> Option<Record> {
        let counted = record.counted(slot);
        let (place, bytes) = (RECORD_SECTORS[counted.place()], counted.encode());
        self.partition.write(place, &bytes).ok()?;
        (self.sector(place)? == bytes).then_some(counted)
    }

    /// Starts a slot, and says why not where it comes back.
    fn start(&mut self, record: &Record, attempt: Attempt) -> Why {
        let entry = &record.entries[attempt.slot];
        let (first, size) = (u64::from(entry.first_sector), entry.size_bytes as usize);
        if first + u64::from(entry.sectors) > self.partition.blocks() {
            return Why::Place;
        }
        let Ok(mut pages) = self.firmware.allocate(size) else { return Why::Memory };
        let whole = &mut pages.bytes()[..size.next_multiple_of(SECTOR_BYTES)];
        for (piece, sector) in
            whole.chunks_mut(PIECE_BYTES).zip((first..).step_by(PIECE_BYTES / SECTOR_BYTES))
        {
            if self.partition.read(sector, piece).is_err() {
                return Why::Read;
            }
        }
        let uki = &whole[..size];
        if hash::blake3(uki) != entry.digest {
            return Why::Digest;
        }
        let path = device_path(self.partition.path, attempt.slot);
        let program = match self.firmware.load(path.as_bytes(), uki) {
            Ok(program) => program,
            Err(status) => return Why::Refused(status.number()),
        };
        drop(pages);
        self.report(record, attempt);
        self.firmware.watch(WATCHDOG_SECONDS);
        Why::Returned(self.firmware.start(program).number())
    }

    /// Tells PID 1, by variables, what is started.
    fn report(&self, record: &Record, attempt: Attempt) {
        let counted = match record.entries[attempt.slot].state {
            record::State::Trial { .. } if attempt.counts => "counted",
            record::State::Trial { .. } => "uncounted",
            _ => "plain",
        };
        let mut words = Note::new();
        let _ = write!(words, "{} {counted}\n{}", name(attempt.slot), self.note.text());
        self.firmware.set_variable("MkimageBoot", &OWN_VENDOR, words.text());
        self.firmware.set_variable(
            "LoaderInfo",
            &LOADER_VENDOR,
            concat!("mkimage-loader ", env!("MKIMAGE_VERSION")),
        );
        self.firmware.set_variable("LoaderEntrySelected", &LOADER_VENDOR, FILES[attempt.slot]);
        if let Some(guid) = partition_guid(self.partition.path) {
            self.firmware.set_variable("LoaderDevicePartUUID", &LOADER_VENDOR, guid.text());
        }
    }

    fn tell(&mut self, words: core::fmt::Arguments<'_>) {
        let mut line = Note::new();
        let _ = writeln!(line, "{words}");
        let _ = self.note.write_str(line.text());
        self.firmware.print("mkimage: ");
        self.firmware.print(line.text());
        self.firmware.print("\r");
    }
}

/// Names of the slots' UKIs on the ESP.
const FILES: [&str; 2] = ["slot-a.efi", "slot-b.efi"];

fn name(slot: usize) -> &'static str {
    &FILES[slot][.."slot-a".len()]
}

fn next(record: &Record, can_count: bool, tried: [bool; 2]) -> Option<Attempt> {
    record.attempts(can_count).into_iter().flatten().find(|attempt| !tried[attempt.slot])
}

/// Why a slot was not started.
enum Why {
    Place,
    Memory,
    Read,
    Digest,
    Refused(usize),
    Returned(usize),
}

impl core::fmt::Display for Why {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Why::Place => f.write_str("its UKI lies beyond the end of the partition"),
            Why::Memory => f.write_str("there is too little memory for its UKI"),
            Why::Read => f.write_str("its UKI can't be read"),
            Why::Digest => f.write_str("its UKI is not what its record says"),
            Why::Refused(number) => write!(f, "the firmware refuses its UKI (error {number})"),
            Why::Returned(number) => write!(f, "its UKI came back (error {number})"),
        }
    }
}
