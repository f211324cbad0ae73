//! Names in a UKI: the fields of its PE headers, its sections, the words of its command line.

use super::Place;
use crate::boot::pe::PeImage;
use crate::disk::field::{Field, Form, field_at};

/// A section: name, where its bytes are in the file, and what they say where that is one line.
struct Section {
    name: String,
    start: u64,
    end: u64,
    line: Option<String>,
}

/// The names of one UKI.
pub struct PeNames {
    headers: u64,
    signature: u64,
    table: u64,
    sections: Vec<Section>,
}

impl PeNames {
    /// Reads the headers; `None` where they are none.
    pub fn read(image: &[u8]) -> Option<Self> {
        let pe = PeImage::parse(image).ok()?;
        let signature = u32::from_le_bytes(image.get(0x3c..0x40)?.try_into().ok()?);
        let at = signature as usize + 20;
        let optional = u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?);
        let sections = pe.sections.iter().map(|section| Section {
            name: section.name.clone(),
            start: section.raw_offset.into(),
            end: u64::from(section.raw_offset) + u64::from(section.raw_size),
            line: match section.name.as_str() {
                ".cmdline" => String::from_utf8(pe.contents(section).to_vec()).ok(),
                _ => None,
            },
        });
        Some(PeNames {
            headers: pe.headers().len() as u64,
            signature: signature.into(),
            table: u64::from(signature) + 24 + u64::from(optional),
            sections: sections.collect(),
        })
    }

    /// Names an offset of the file.
    pub fn name(&self, offset: u64) -> Place {
        if let Some(section) = self.sections.iter().find(|one| (one.start..one.end).contains(&offset)) {
            return section.name(offset);
        }
        if offset >= self.headers {
            return Place::new("bytes between the sections", offset, 1);
        }
        let place = Place::new("PE headers", offset, 1);
        if let Some(at) = offset.checked_sub(self.table) {
            let number = (at / 40) as usize;
            let start = self.table + number as u64 * 40;
            return match self.sections.get(number) {
                Some(section) => {
                    let what = format!("PE header of section {}", section.name);
                    Place { what, ..place.with(field_at(SECTION, (at % 40) as usize), start) }
                }
                None => place,
            };
        }
        match offset.checked_sub(self.signature) {
            Some(at) => place.with(field_at(HEADERS, at as usize), self.signature),
            None => place,
        }
    }
}

impl Section {
    fn name(&self, offset: u64) -> Place {
        let place = Place::new(self.name.clone(), offset, 1);
        let Some(line) = &self.line else {
            return Place { field: Some(format!("byte {}", offset - self.start)), ..place };
        };
        let at = (offset - self.start) as usize;
        let Some((before, _)) = line.split_at_checked(at).filter(|_| at < line.len()) else {
            return Place { field: Some("padding".to_owned()), ..place };
        };
        let first = before.rfind(' ').map_or(0, |space| space + 1);
        let end = line[at..].find(' ').map_or(line.len(), |space| at + space);
        let word = line.get(first..end).unwrap_or_default();
        let key = word.split('=').next().unwrap_or_default();
        Place {
            field: Some(format!("word {key:?}")),
            offset: self.start + first as u64,
            bytes: (end - first).max(1) as u64,
            form: Form::Text,
            derived: key == "mkimage.verity",
            ..place
        }
    }
}

const fn number(offset: usize, bytes: usize, name: &'static str) -> Field {
    Field { offset, bytes, name, form: Form::Number, derived: false }
}

/// From the signature on ("PE Format", Microsoft).
const HEADERS: &[Field] = &[
    number(0, 4, "Signature"),
    number(4, 2, "Machine"),
    number(6, 2, "NumberOfSections"),
    number(8, 4, "TimeDateStamp"),
    number(12, 4, "PointerToSymbolTable"),
    number(16, 4, "NumberOfSymbols"),
    number(20, 2, "SizeOfOptionalHeader"),
    number(22, 2, "Characteristics"),
    number(24, 2, "Magic"),
    number(28, 4, "SizeOfCode"),
    number(32, 4, "SizeOfInitializedData"),
    number(36, 4, "SizeOfUninitializedData"),
    number(40, 4, "AddressOfEntryPoint"),
    number(44, 4, "BaseOfCode"),
    number(48, 8, "ImageBase"),
    number(56, 4, "SectionAlignment"),
    number(60, 4, "FileAlignment"),
    number(80, 4, "SizeOfImage"),
    number(84, 4, "SizeOfHeaders"),
    number(88, 4, "CheckSum"),
    number(92, 2, "Subsystem"),
    number(94, 2, "DllCharacteristics"),
    number(132, 4, "NumberOfRvaAndSizes"),
];

const SECTION: &[Field] = &[
    Field { offset: 0, bytes: 8, name: "Name", form: Form::Text, derived: false },
    number(8, 4, "VirtualSize"),
    number(12, 4, "VirtualAddress"),
    number(16, 4, "SizeOfRawData"),
    number(20, 4, "PointerToRawData"),
    number(36, 4, "Characteristics"),
];
