//! Which partitions a disk has and where: layout versions 1 and 2, which differ on the ESP only ([`super::esp`]).
//!
//! In: a [`DiskRequest`] of sizes. Out: a [`DiskLayout`], valid by construction. On disk:
//!
//! ```text
//! 0        protective MBR, GPT
//! 1 MiB    p1 esp      FAT32: loader, and both UKIs
//!          p2 slot-a   [file system][verity tree], read-only
//!          p3 slot-b   the same, read-only, no-auto
//!          p4 data     grows to the end of the disk at first boot
//! end      backup GPT; the size is whole mebibytes
//! ```
//!
//! The table is never rewritten when slots switch. Both slots are read-only for everyone (bit 60). Only
//! slot-b is no-auto (bit 63): systemd-dissect and systemd-nspawn take the root partition with the
//! newest label, which would be an empty slot-b in a fresh image, and find no root at all when both are
//! no-auto. So they see slot-a, which every image fills, and nothing mounts two roots. The data
//! partition has the generic Linux type: /var's type would be claimed by systemd for /var.

use super::esp::{EspLayout, EspRequest};
use super::fat::FatError;
use super::gpt::{
    self, BACK_SECTORS, GROW_FILE_SYSTEM, GptError, Guid, NO_AUTO, Partition, PartitionTable, READ_ONLY,
};
use crate::base::units::SECTOR_BYTES;
use crate::base::{Bytes, Digest};
use crate::disk::{BlockDevice, Window};

/// The layout of systemd-boot, whose slot state is a directory sector. Once released, a version is written for
/// ever as it is.
pub const VERSION: u32 = 1;
/// The layout of our own loader, whose slot state is two record sectors.
pub const VERSION_RECORDS: u32 = 2;
/// Names of the slots' partitions.
pub const SLOT_NAMES: [&str; 2] = ["slot-a", "slot-b"];
/// Partitions begin and end on multiples of this.
pub const ALIGNMENT: Bytes = Bytes::mib(1);
/// Largest partition that we place: what ext4 with 4096-byte blocks and 32-bit block numbers holds.
const LARGEST: Bytes = Bytes::gib(16 << 10);

const ESP: Guid = Guid::literal("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const ROOT_X86_64: Guid = Guid::literal("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
const ROOT_ARM64: Guid = Guid::literal("b921b045-1df0-41c3-af44-4c6f280d3fae");
const LINUX_DATA: Guid = Guid::literal("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// What the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// Returns the file that firmware starts from a disk without boot entries (UEFI §3.5.1.1).
    pub fn loader_name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "BOOTX64.EFI",
            Architecture::Aarch64 => "BOOTAA64.EFI",
        }
    }

    /// Returns the type of root partitions (Discoverable Partitions Specification).
    pub fn root_type(self) -> Guid {
        match self {
            Architecture::X86_64 => ROOT_X86_64,
            Architecture::Aarch64 => ROOT_ARM64,
        }
    }
}

/// Asks for a disk.
#[derive(Clone, Debug)]
pub struct DiskRequest {
    /// The layout version: 1 for systemd-boot, 2 for our own loader.
    pub version: u32,
    pub architecture: Architecture,
    /// What all GUIDs and the FAT volume id derive from.
    pub seed: Digest,
    /// The time of everything on the ESP, in seconds since 1970.
    pub epoch_seconds: u64,
    /// Bytes of the loader.
    pub loader_size: u64,
    /// Bytes of the UKI in slot 0.
    pub uki_size: u64,
    /// Room for each slot's UKI. `None`: the UKI's size and room to grow.
    pub uki_room: Option<Bytes>,
    /// Bytes of file system and verity tree in slot-a.
    pub slot_content: Bytes,
    /// Size of each slot. `None`: the content's size and room to grow.
    pub slot_size: Option<Bytes>,
    pub data_size: Bytes,
}

/// Says why no such disk can be made.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("layout {found} is not known, {VERSION} and {VERSION_RECORDS} are")]
    Version { found: u32 },
    #[error("the {what} needs {need}, but has {given}; {hint}")]
    TooSmall { what: &'static str, need: Bytes, given: Bytes, hint: &'static str },
    #[error("the {what} of {given} is larger than {LARGEST}")]
    TooLarge { what: &'static str, given: Bytes },
    #[error("the {what} of {given} is no multiple of {ALIGNMENT}; {below} and {above} are")]
    Unaligned { what: &'static str, given: Bytes, below: Bytes, above: Bytes },
    #[error("placing the EFI system partition")]
    Esp(#[from] FatError),
    #[error("placing the partitions")]
    Table(#[from] GptError),
}

/// The partitions of every layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Esp,
    SlotA,
    SlotB,
    Data,
}

/// Holds a disk that was placed and not yet written. Its partitions are aligned, apart, and inside.
#[derive(Clone, Debug)]
pub struct DiskLayout {
    /// The layout version, to be recorded by whoever records the disk.
    pub version: u32,
    /// Size of the disk: whole mebibytes.
    pub size: Bytes,
    pub table: PartitionTable,
    pub esp: EspLayout,
}

/// Least size of a slot where the recipe names none: what is not written costs nothing, and the next
/// version must fit. A format constant of layout 1.
pub const SLOT_ROOM_MIN: Bytes = Bytes::mib(64);

/// Returns what a UKI of this size gets where the recipe names no room: half as much again, in whole
/// mebibytes. A format constant of layout 1, as it decides sizes.
pub fn uki_room_for(content: Bytes) -> Bytes {
    Bytes(content.0.saturating_add(content.0 / 2)).round_up(ALIGNMENT)
}

/// Returns the size of a slot for a content of this size where the recipe names none: twice as much, and
/// at least [`SLOT_ROOM_MIN`]. A format constant of layout 1, as it decides sizes.
pub fn slot_room_for(content: Bytes) -> Bytes {
    Bytes(content.0.saturating_mul(2)).round_up(ALIGNMENT).max(SLOT_ROOM_MIN)
}

/// Decides where everything goes. Writes nothing; what doesn't fit is an error with the numbers.
pub fn place(request: &DiskRequest) -> Result<DiskLayout, LayoutError> {
    if ![VERSION, VERSION_RECORDS].contains(&request.version) {
        return Err(LayoutError::Version { found: request.version });
    }
    let slot_size = request.slot_size.unwrap_or_else(|| slot_room_for(request.slot_content)).max(ALIGNMENT);
    check_size("slot", slot_size, request.slot_content, "raise disk.slot_size")?;
    check_size("data partition", request.data_size, ALIGNMENT, "raise disk.data_size")?;
    let esp = place_esp(request)?;
    let sizes = [esp.size(), slot_size, slot_size, request.data_size];
    let mut next = ALIGNMENT;
    let mut partitions = Vec::new();
    for ((number, role), size) in (1..).zip(Role::ALL).zip(sizes) {
        partitions.push(partition(request, number, role, next, size));
        next = Bytes(next.0 + size.0);
    }
    let size = Bytes(next.0 + BACK_SECTORS * SECTOR_BYTES).round_up(ALIGNMENT);
    let disk = Guid(request.seed.uuid("disk"));
    let table = PartitionTable { disk, disk_sectors: size.sectors().0, partitions };
    table.check()?;
    Ok(DiskLayout { version: request.version, size, table, esp })
}

fn check_size(what: &'static str, given: Bytes, need: Bytes, hint: &'static str) -> Result<(), LayoutError> {
    let below = Bytes(given.0 / ALIGNMENT.0 * ALIGNMENT.0);
    if given < need {
        Err(LayoutError::TooSmall { what, need, given, hint })
    } else if given > LARGEST {
        Err(LayoutError::TooLarge { what, given })
    } else if below != given {
        Err(LayoutError::Unaligned { what, given, below, above: given.round_up(ALIGNMENT) })
    } else {
        Ok(())
    }
}

fn place_esp(request: &DiskRequest) -> Result<EspLayout, LayoutError> {
    let need = Bytes(request.uki_size);
    let uki_room = request.uki_room.unwrap_or_else(|| uki_room_for(need));
    if uki_room < need {
        let (what, hint) = ("UKI", "raise disk.uki_size");
        return Err(LayoutError::TooSmall { what, need, given: uki_room, hint });
    }
    let esp = EspRequest {
        version: request.version,
        architecture: request.architecture,
        loader_size: request.loader_size,
        uki_room,
        epoch_seconds: request.epoch_seconds,
        seed: request.seed,
        first_sector: ALIGNMENT.sectors().0 as u32,
        alignment: ALIGNMENT,
    };
    Ok(esp.place()?)
}

fn partition(request: &DiskRequest, number: u32, role: Role, offset: Bytes, size: Bytes) -> Partition {
    let (kind, attributes) = match role {
        Role::Esp => (ESP, 0),
        Role::SlotA => (request.architecture.root_type(), READ_ONLY),
        Role::SlotB => (request.architecture.root_type(), READ_ONLY | NO_AUTO),
        Role::Data => (LINUX_DATA, GROW_FILE_SYSTEM),
    };
    Partition {
        number,
        kind,
        id: Guid(request.seed.uuid(role.name())),
        first_sector: offset.sectors().0,
        sectors: size.sectors().0,
        attributes,
        name: role.name().to_owned(),
    }
}

impl Role {
    /// All of them, in the order of their partitions.
    pub const ALL: [Role; 4] = [Role::Esp, Role::SlotA, Role::SlotB, Role::Data];

    /// Returns the partition's name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Esp => "esp",
            Role::SlotA => SLOT_NAMES[0],
            Role::SlotB => SLOT_NAMES[1],
            Role::Data => "data",
        }
    }
}

impl DiskLayout {
    /// Returns a partition's entry.
    pub fn partition(&self, role: Role) -> &Partition {
        self.table.named(role.name()).expect("because a layout has a partition for every role")
    }

    /// Returns a partition of a disk that has this layout.
    pub fn window<'a>(&self, device: &'a dyn BlockDevice, role: Role) -> std::io::Result<Window<'a>> {
        let partition = self.partition(role);
        Window::new(device, partition.offset(), partition.size().0)
    }

    /// Writes both partition tables.
    pub fn write_table(&self, device: &dyn BlockDevice) -> Result<(), GptError> {
        gpt::write(device, &self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> DiskRequest {
        DiskRequest {
            version: VERSION,
            architecture: Architecture::X86_64,
            seed: Digest::of(b"seed"),
            epoch_seconds: 0,
            loader_size: 100_000,
            uki_size: 15_000_000,
            uki_room: None,
            slot_content: Bytes::mib(5),
            slot_size: None,
            data_size: Bytes::mib(16),
        }
    }

    #[test]
    fn partitions_follow_one_another_on_whole_mebibytes() {
        let layout = place(&request()).expect("places");
        let mut next = ALIGNMENT.0;
        for role in Role::ALL {
            let partition = layout.partition(role);
            assert_eq!(partition.offset(), next);
            assert!(partition.size().0.is_multiple_of(ALIGNMENT.0));
            next += partition.size().0;
        }
        assert_eq!(layout.size, Bytes(next + ALIGNMENT.0));
        assert_eq!(layout.partition(Role::SlotB).size(), Bytes::mib(64));
        assert_eq!(layout.esp.map().slots[0].room(), Bytes::mib(22));
    }

    #[test]
    fn guids_follow_from_the_seed() {
        let one = place(&request()).expect("places");
        assert_eq!(one.table, place(&request()).expect("places").table);
        let other = place(&DiskRequest { seed: Digest::of(b"other"), ..request() }).expect("places");
        assert_ne!(one.table.disk, other.table.disk);
        for role in Role::ALL {
            assert_ne!(one.partition(role).id, other.partition(role).id);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_the_numbers() {
        let message = |request: DiskRequest| place(&request).expect_err("refused").to_string();
        let slot = DiskRequest { slot_size: Some(Bytes::mib(4)), ..request() };
        assert_eq!(message(slot), "the slot needs 5 MiB, but has 4 MiB; raise disk.slot_size");
        let uki = DiskRequest { uki_room: Some(Bytes::mib(10)), ..request() };
        assert_eq!(message(uki), "the UKI needs 15000000 B, but has 10 MiB; raise disk.uki_size");
        let odd = DiskRequest { slot_size: Some(Bytes(5_500_000)), ..request() };
        assert_eq!(message(odd), "the slot of 5500000 B is no multiple of 1 MiB; 5 MiB and 6 MiB are");
        let none = DiskRequest { data_size: Bytes(0), ..request() };
        assert_eq!(message(none), "the data partition needs 1 MiB, but has 0 B; raise disk.data_size");
        let huge = DiskRequest { data_size: Bytes(u64::MAX), ..request() };
        assert!(message(huge).contains("is larger than 16 TiB"));
        let room = DiskRequest { uki_room: Some(Bytes(u64::MAX)), ..request() };
        assert!(matches!(place(&room), Err(LayoutError::Esp(FatError::ClusterCount { .. }))));
        assert!(matches!(
            place(&DiskRequest { version: 3, ..request() }),
            Err(LayoutError::Version { found: 3 })
        ));
    }
}
