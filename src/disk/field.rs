//! Fields of structures by name: for messages that say where two images differ.

use crate::base::id::hex;

/// How a field's bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A little-endian number.
    Number,
    Octal,
    Hex,
    Text,
    /// A GUID as partition tables store it.
    Guid,
}

/// A field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the beginning of the structure.
    pub offset: usize,
    pub bytes: usize,
    pub name: &'static str,
    pub form: Form,
    /// Whether it follows from other bytes, as checksums do: then these are to blame.
    pub derived: bool,
}

/// Returns the field that a byte of a structure belongs to.
pub fn field_at(fields: &'static [Field], at: usize) -> Option<Field> {
    let behind = fields.partition_point(|field| field.offset <= at);
    let field = fields[behind.checked_sub(1)?];
    (at < field.offset + field.bytes).then_some(field)
}

impl Form {
    /// Shows bytes.
    pub fn show(self, bytes: &[u8]) -> String {
        let number = || bytes.iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
        match self {
            Form::Number if bytes.len() <= 8 => number().to_string(),
            Form::Octal if bytes.len() <= 8 => format!("{:#o}", number()),
            Form::Text => format!("{:?}", String::from_utf8_lossy(bytes).trim_end_matches('\0')),
            Form::Guid => match bytes.try_into() {
                Ok(bytes) => super::gpt::Guid::from_disk(bytes).to_string(),
                Err(_) => hex(bytes),
            },
            _ => hex(bytes),
        }
    }
}
