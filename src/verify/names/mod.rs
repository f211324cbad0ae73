//! What stands at an offset of an image, by name: partition, structure, field, path.

mod esp;
mod pe;
mod slot;
mod table;

use std::sync::OnceLock;

use crate::base::Job;
use crate::disk::field::{Field, Form};
use crate::disk::gpt::{self, PartitionTable};
use crate::disk::{BlockDevice, Window};
use esp::EspNames;
use slot::SlotNames;

/// A place in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: Option<String>,
    /// The structure, such as `ext4 superblock` or `UKI of slot-a: .cmdline`.
    pub what: String,
    pub field: Option<String>,
    /// A file or directory of the root, or of the ESP.
    pub path: Option<String>,
    /// Where the field begins in the image, and how long it is; of the whole structure where no field is known.
    pub offset: u64,
    pub bytes: u64,
    pub form: Form,
    /// Whether it follows from other bytes of the image, such as a checksum or a hash.
    pub derived: bool,
}

impl Place {
    fn new(what: impl Into<String>, offset: u64, bytes: u64) -> Self {
        let what = what.into();
        Place {
            partition: None,
            what,
            field: None,
            path: None,
            offset,
            bytes,
            form: Form::Hex,
            derived: false,
        }
    }

    /// Takes a field of the structure, which begins at `start`.
    fn with(self, field: Option<Field>, start: u64) -> Self {
        match field {
            Some(field) => Place {
                field: Some(field.name.to_owned()),
                offset: start + field.offset as u64,
                bytes: field.bytes as u64,
                form: field.form,
                derived: field.derived,
                ..self
            },
            None => self,
        }
    }

    /// Names the partition and what stands there.
    pub fn structure(&self) -> String {
        match &self.partition {
            Some(partition) => format!("{partition}: {}", self.what),
            None => self.what.clone(),
        }
    }

    /// Shows bytes that stand here, shortened.
    pub fn value(&self, bytes: &[u8]) -> String {
        let shown = self.form.show(&bytes[..bytes.len().min(64)]);
        match self.bytes > 64 || shown.len() > 160 {
            true => format!("{}…", shown.chars().take(160).collect::<String>()),
            false => shown,
        }
    }
}

/// The names of an image. What is behind them is read when it is first asked for.
pub struct Names<'a> {
    device: &'a dyn BlockDevice,
    table: Option<PartitionTable>,
    job: &'a Job,
    esp: OnceLock<Option<EspNames>>,
    slots: [OnceLock<Option<SlotNames>>; 3],
}

/// Partitions that hold an ext4.
const FILESYSTEMS: [&str; 3] = ["slot-a", "slot-b", "data"];

impl<'a> Names<'a> {
    pub fn of(device: &'a dyn BlockDevice, job: &'a Job) -> Self {
        let table = gpt::read(device).ok();
        Names { device, table, job, esp: OnceLock::new(), slots: Default::default() }
    }

    /// Names what stands at an offset of the image.
    pub fn name(&self, offset: u64) -> Place {
        let Some(table) = &self.table else { return table::name(self.device.size() / 512, offset) };
        let inside = |partition: &&gpt::Partition| {
            (partition.offset()..partition.offset() + partition.size().0).contains(&offset)
        };
        let Some(partition) = table.partitions.iter().find(inside) else {
            return table::name(table.disk_sectors, offset);
        };
        let (base, size) = (partition.offset(), partition.size().0);
        let place = match Window::new(self.device, base, size) {
            Ok(window) => self.in_partition(&partition.name, &window, offset - base),
            Err(_) => Place::new("behind the end of the image", offset - base, 1),
        };
        Place { partition: Some(partition.name.clone()), offset: place.offset + base, ..place }
    }

    fn in_partition(&self, name: &str, window: &Window<'_>, offset: u64) -> Place {
        if name == "esp" {
            let names = self.esp.get_or_init(|| EspNames::read(window));
            return match names {
                Some(names) => names.name(offset),
                None => Place::new("FAT volume", offset / 512 * 512, 512),
            };
        }
        let unknown = || Place::new("bytes", offset / 4096 * 4096, 4096);
        let Some(at) = FILESYSTEMS.iter().position(|known| *known == name) else { return unknown() };
        let names = self.slots[at].get_or_init(|| SlotNames::read(window, self.job));
        names.as_ref().map_or_else(unknown, |names| names.name(offset))
    }
}
