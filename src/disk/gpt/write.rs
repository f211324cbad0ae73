//! Writes tables through the `gpt` crate, which checks nothing itself: everything is checked before.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{GptError, Guid, Partition, PartitionTable};
use crate::base::Bytes;
use crate::base::units::SECTOR_BYTES;
use crate::disk::BlockDevice;

/// Writes protective MBR, primary table and backup table. Other bytes of the device stay as they are.
///
/// Fails before the first byte where the table does not fit the device. Partitions must be numbered
/// 1, 2, 3 …: the crate writes them one behind the other.
pub fn write(device: &dyn BlockDevice, table: &PartitionTable) -> Result<(), GptError> {
    let found = device.size() / SECTOR_BYTES;
    if !device.size().is_multiple_of(SECTOR_BYTES) {
        return Err(GptError::DiskSize { size: Bytes(device.size()) });
    }
    if found != table.disk_sectors {
        return Err(GptError::WrongDisk { expected: table.disk_sectors, found });
    }
    table.check()?;
    for (partition, expected) in table.partitions.iter().zip(1..) {
        if partition.number != expected {
            return Err(GptError::Number { found: partition.number, expected });
        }
    }
    put(device, table).map_err(|source| GptError::Device { doing: "write", source })
}

fn put(device: &dyn BlockDevice, table: &PartitionTable) -> io::Result<()> {
    let mut stream = Stream { device, position: 0 };
    let protected = u32::try_from(table.disk_sectors - 1).unwrap_or(u32::MAX);
    let record = ::gpt::mbr::ProtectiveMBR::with_lb_size(protected);
    record.overwrite_lba0(&mut stream).map_err(|error| match error {
        ::gpt::mbr::MBRError::Io(error) => error,
        error => io::Error::other(error),
    })?;
    let config = ::gpt::GptConfig::new().writable(true);
    let disk = crate_guid(table.disk);
    let mut writer = config.create_from_device(stream, Some(disk)).map_err(as_io_error)?;
    let entries: BTreeMap<u32, _> =
        table.partitions.iter().map(|partition| (partition.number, entry(partition))).collect();
    writer.update_partitions(entries).map_err(as_io_error)?;
    writer.write_inplace().map_err(as_io_error)
}

/// Takes the host's own answer out of the crate's error, so that a full disk is known as one.
fn as_io_error(error: ::gpt::GptError) -> io::Error {
    match error {
        ::gpt::GptError::Io(error) | ::gpt::GptError::Header(::gpt::header::HeaderError::Io(error)) => error,
        error => io::Error::other(error),
    }
}

fn entry(partition: &Partition) -> ::gpt::partition::Partition {
    ::gpt::partition::Partition {
        part_type_guid: ::gpt::partition_types::Type {
            guid: crate_guid(partition.kind),
            os: ::gpt::partition_types::OperatingSystem::None,
        },
        part_guid: crate_guid(partition.id),
        first_lba: partition.first_sector,
        last_lba: partition.first_sector + partition.sectors - 1,
        flags: partition.attributes,
        name: partition.name.clone(),
    }
}

/// Makes the crate's GUID type, which it does not re-export.
fn crate_guid<T: std::str::FromStr<Err: fmt::Debug>>(guid: Guid) -> T {
    guid.to_string().parse().expect("because a GUID prints in the standard form")
}

/// Shows a device as the crate wants it. Flushing is left to whoever publishes the image.
struct Stream<'a> {
    device: &'a dyn BlockDevice,
    position: u64,
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a device of {} bytes", self.device.size())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.device.size().saturating_sub(self.position).min(buffer.len() as u64) as usize;
        self.device.read_at(self.position, &mut buffer[..length])?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.device.write_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.device.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
