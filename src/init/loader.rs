//! How this boot came about: the loader's entry, whether it counts tries, and how the slot is blessed.
//!
//! systemd-boot says in EFI variables which entry it chose, from which ESP, and, where it counts tries, the
//! entry's name after it counted. Our own loader says slot and count in a variable of its own. The ESP's slot
//! table (`mkimage::boot::slots`) says whose entry that is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mkimage::base::fs;
use mkimage::boot::slots::{Slot, SlotMap, SlotState, SlotTable, map_offset};

use crate::disks::{self, Partition};
use crate::error::{Doing, Error, Result, chain};
use crate::logic::aside;
use crate::logic::gpt::ESP_TYPE;
use crate::logic::loader::{LOADER_GUID, REPORT_VARIABLE, Report, file_name, guid, text};
use crate::report::say;

const VARIABLES: &str = "/sys/firmware/efi/efivars";
const VARIABLE_MAX_BYTES: u64 = 64 * 1024;

/// What the loader said.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// Name of the entry that was counted, as it is now: `g2+2-1.efi`.
    counted: Option<String>,
    /// Name of the entry that was chosen, as it was then.
    selected: Option<String>,
    /// What our own loader did, where it was ours.
    report: Option<Report>,
    /// The EFI system partition that the loader came from.
    system_partition: Option<[u8; 16]>,
}

impl Loader {
    /// Reads the loader's variables; without UEFI there are none.
    pub fn read() -> Loader {
        let of_loader = |variable: &str| value(&format!("{variable}-{LOADER_GUID}"));
        let name = |variable| of_loader(variable).map(|path| file_name(&path).to_owned());
        let report = value(REPORT_VARIABLE).as_deref().and_then(Report::parse);
        for note in report.iter().flat_map(|report| &report.notes) {
            say!("the loader: {note}");
        }
        Loader {
            report,
            counted: name("LoaderBootCountPath"),
            selected: name("LoaderEntrySelected"),
            system_partition: of_loader("LoaderDevicePartUUID").and_then(|text| guid(&text)),
        }
    }

    /// Orders slots that hold the same tree: the one that the loader chose, then those of its disk.
    pub fn distance(&self, slot: &Partition) -> u8 {
        match self.entry(&slot.disk) {
            Ok(Some(entry)) if entry.boots(slot) => 0,
            Ok(Some(_)) => 1,
            _ => 2,
        }
    }

    /// Tells whether this boot is a trial of the slot that is mounted.
    pub fn trial(&self, slot: &Partition) -> Trial {
        let entry = match self.entry(&slot.disk) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Trial(None),
            Err(error) => {
                say!("the loader's entry is not known: {}", chain(&error));
                return Trial(None);
            }
        };
        let on_trial = matches!(entry.table.state(entry.slot), SlotState::Trial { .. });
        let is_counted = self.report.as_ref().map_or(self.counted.is_some(), |report| report.is_counted);
        let trouble = match (on_trial, is_counted, entry.boots(slot)) {
            (false, ..) => None,
            (true, false, _) => Some("the loader could not count this try: the ESP seems to be read-only"),
            (true, true, false) => Some("the root does not come from the partition of the loader's entry"),
            (true, true, true) => return Trial(Some(entry)),
        };
        if let Some(trouble) = trouble {
            say!("{} will not be blessed: {trouble}", entry.slot);
        }
        Trial(None)
    }

    /// Has the other slot boot next, where it is confirmed as this one is, whose root can't be used.
    pub fn step_aside(&self) {
        let partitions = disks::partitions();
        let entry = partitions.iter().find_map(|partition| self.entry(&partition.disk).ok().flatten());
        match entry.map(|entry| entry.step_aside()) {
            Some(Ok(Some(other))) => say!("this slot can't be used: {other} boots next"),
            Some(Err(error)) => say!("the other slot does not boot next: {}", chain(&error)),
            Some(Ok(None)) | None => {}
        }
    }

    /// Finds the loader's entry, if the loader came from this disk.
    fn entry(&self, disk: &str) -> Result<Option<Entry>> {
        let Some(wanted) = self.system_partition else { return Ok(None) };
        let table = disks::table(disk).doing("read the partition table of", disk)?;
        let partitions = table.map(|table| table.partitions()).unwrap_or_default();
        let Some(esp) = partitions.iter().find(|it| it.guid == wanted && it.type_guid == ESP_TYPE) else {
            return Ok(None);
        };
        let Some(seen) = disks::find(disk, esp.number) else { return Ok(None) };
        let node = disks::node(&seen.name);
        let device = File::open(&node).doing("open", &node)?;
        let map = SlotMap::parse(&read_sector(&device, map_offset(&read_sector(&device, 0)?)?)?)?;
        let table = read_table(&device, &map)?;
        let Some(slot) = self.slot(&table) else { return Ok(None) };
        let own = &map.slots[slot.index()].partition;
        let own = partitions.iter().find(|it| it.name == *own).map(|it| it.number);
        Ok(Some(Entry { node, table, slot, disk: disk.to_owned(), partition: own }))
    }

    /// Returns the slot that the loader started.
    fn slot(&self, table: &SlotTable) -> Option<Slot> {
        match (table, &self.report) {
            (SlotTable::Records(_), Some(report)) => Some(report.slot),
            _ => table.slot_named(self.counted.as_ref().or(self.selected.as_ref())?),
        }
    }
}

/// The entry that the loader started, on its ESP.
#[derive(Clone, Debug)]
struct Entry {
    /// The ESP's device.
    node: String,
    table: SlotTable,
    slot: Slot,
    disk: String,
    /// Number of the slot's own partition.
    partition: Option<u32>,
}

impl Entry {
    fn boots(&self, slot: &Partition) -> bool {
        slot.disk == self.disk && Some(slot.number) == self.partition
    }

    /// Writes the sector that ends the trial.
    fn bless(&self) -> Result<()> {
        self.change(|now| Ok(Some(now.bless(self.slot)?)))?;
        Ok(())
    }

    /// Writes the sector that has the other slot boot next, where it is to, and returns that.
    fn step_aside(&self) -> Result<Option<Slot>> {
        let changed = self.change(|now| Ok(aside::step_aside(now, self.slot)))?;
        Ok(changed.then(|| self.slot.other()))
    }

    /// Reads the state anew, writes the sector that makes another of it, and flushes that. Returns whether there was
    /// anything to write.
    fn change(&self, change: impl FnOnce(&SlotTable) -> Result<Option<SlotTable>>) -> Result<bool> {
        let device = File::options().read(true).write(true).open(&self.node).doing("open", &self.node)?;
        let Some(changed) = change(&read_table(&device, self.table.map())?)? else { return Ok(false) };
        let (offset, sector) = changed.encode();
        device.write_all_at(&sector, offset).doing("write the slot state of", &self.node)?;
        device.sync_all().doing("flush", &self.node)?;
        Ok(true)
    }
}

/// A boot that the loader counts as a try of its slot, or one that it doesn't.
#[derive(Clone, Debug)]
pub struct Trial(Option<Entry>);

impl Trial {
    pub fn is_counted(&self) -> bool {
        self.0.is_some()
    }

    /// Ends the trial: the slot boots from now on without being counted. Returns whether there is no trial any more: a
    /// failure is told, and then the slot is a trial still.
    pub fn bless(&self) -> bool {
        let Some(entry) = &self.0 else { return true };
        let blessed = entry.bless();
        match &blessed {
            Ok(()) => say!("{} blessed", entry.slot),
            Err(error) => say!("{} is not blessed, which is tried again: {}", entry.slot, chain(error)),
        }
        blessed.is_ok()
    }
}

fn read_sector(device: &File, offset: u64) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    device.read_exact_at(&mut sector, offset).doing("read the ESP at byte", offset)?;
    Ok(sector)
}

fn read_table(device: &File, map: &SlotMap) -> Result<SlotTable> {
    SlotTable::read::<Error>(map, |offset| read_sector(device, offset))
}

/// Reads a variable by its name in efivarfs.
fn value(variable: &str) -> Option<String> {
    let path = Path::new(VARIABLES).join(variable);
    text(&fs::read_at_most(&path, VARIABLE_MAX_BYTES).ok()?)
}
