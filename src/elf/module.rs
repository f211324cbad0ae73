//! What a kernel module says of itself: its `.modinfo`, the symbols that it gives and those that it needs
//! (Linux `include/linux/moduleparam.h`, `export.h`; System V ABI, "Symbol Table").

use std::collections::HashSet;

use elf::ElfBytes;
use elf::abi;
use elf::endian::AnyEndian;
use elf::section::SectionHeader;
use elf::string_table::StringTable;
use elf::symbol::SymbolTable;

use super::error::ElfError;

/// What a module says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Module {
    /// The entries of `.modinfo` in their order; a key may come many times.
    pub info: Vec<(Vec<u8>, Vec<u8>)>,
    /// Symbols for other modules.
    pub exports: Names,
    /// Symbols of others that it uses, in the order of its symbol table, then those that only its table of
    /// versions names.
    pub imports: Names,
}

/// Names in one piece of memory: modules have thousands of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Each name with a NUL behind it.
    bytes: Vec<u8>,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    /// Returns the names in order. None is empty or holds a NUL.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == 0).filter(|name| !name.is_empty())
    }
}

/// Length of the longest name in an entry of `__versions`, with its NUL.
const VERSION_NAME_BYTES: [usize; 2] = [60, 56];
/// What the names of checksum symbols begin with, behind which the exported name stands.
const CHECKSUM_PREFIX: &[u8] = b"__crc_";

type Symbols<'a> = (SymbolTable<'a, AnyEndian>, StringTable<'a>);

impl Module {
    /// Reads an uncompressed module. Costs one pass over its symbols.
    pub fn parse(bytes: &[u8]) -> Result<Module, ElfError> {
        if !bytes.starts_with(&abi::ELFMAGIC) {
            return Err(ElfError::NotElf);
        }
        let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).map_err(damaged)?;
        if file.ehdr.e_type != abi::ET_REL {
            return Err(ElfError::damaged("it is no relocatable file, so no kernel module"));
        }
        let sections = Sections::read(bytes, &file)?;
        let info = sections.find(b".modinfo")?.map(parse_info).unwrap_or_default();
        let symbols = file.symbol_table().map_err(damaged)?;
        let mut module = Module { info, ..Module::default() };
        if let Some(symbols) = &symbols {
            module.exports = checksummed(symbols)?;
        }
        if module.exports.bytes.is_empty() {
            for name in strings(sections.find(b"__ksymtab_strings")?.unwrap_or_default()) {
                module.exports.push(name);
            }
        }
        if let Some(symbols) = &symbols {
            let names = undefined(symbols)?;
            let versions = sections.find(b"__versions")?.unwrap_or_default();
            let wide = usize::from(file.ehdr.class == elf::file::Class::ELF64);
            module.imports = with_versions(names, versions, VERSION_NAME_BYTES[wide]);
        }
        Ok(module)
    }

    /// Returns the values of a key of `.modinfo`, in order.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.info.iter().filter(move |entry| entry.0 == key.as_bytes()).map(|entry| entry.1.as_slice())
    }
}

fn damaged(error: elf::ParseError) -> ElfError {
    ElfError::damaged(error.to_string())
}

/// The sections of a file, by name.
struct Sections<'a> {
    bytes: &'a [u8],
    headers: Vec<(&'a [u8], SectionHeader)>,
}

impl<'a> Sections<'a> {
    fn read(bytes: &'a [u8], file: &ElfBytes<'a, AnyEndian>) -> Result<Self, ElfError> {
        let (Some(headers), Some(names)) = file.section_headers_with_strtab().map_err(damaged)? else {
            return Err(ElfError::damaged("it has no named sections"));
        };
        let named = |header: SectionHeader| {
            let name = names.get_raw(header.sh_name as usize).map_err(damaged)?;
            Ok((name, header))
        };
        Ok(Sections { bytes, headers: headers.iter().map(named).collect::<Result<_, _>>()? })
    }

    fn find(&self, name: &[u8]) -> Result<Option<&'a [u8]>, ElfError> {
        let Some((_, header)) = self.headers.iter().find(|header| header.0 == name) else { return Ok(None) };
        if header.sh_type == abi::SHT_NOBITS {
            return Ok(Some(&[]));
        }
        let section = header.sh_offset.checked_add(header.sh_size).and_then(|end| {
            self.bytes.get(usize::try_from(header.sh_offset).ok()?..usize::try_from(end).ok()?)
        });
        section.map(Some).ok_or_else(|| ElfError::damaged("a section passes the end of the file"))
    }
}

fn strings(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section.split(|&byte| byte == 0).filter(|text| !text.is_empty())
}

fn parse_info(section: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entry = |text: &[u8]| {
        let at = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
        (text[..at].to_vec(), text.get(at + 1..).unwrap_or_default().to_vec())
    };
    strings(section).map(entry).collect()
}

/// Returns the names of exported symbols as their checksums tell them.
fn checksummed((table, names): &Symbols<'_>) -> Result<Names, ElfError> {
    let mut found = Names::default();
    for symbol in table.iter().skip(1) {
        let name = names.get_raw(symbol.st_name as usize).map_err(damaged)?;
        if let Some(name) = name.strip_prefix(CHECKSUM_PREFIX) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Returns the names of symbols that are used and not defined.
fn undefined<'a>((table, names): &Symbols<'a>) -> Result<Vec<&'a [u8]>, ElfError> {
    let mut found = Vec::new();
    for symbol in table.iter().skip(1).filter(|symbol| symbol.st_shndx == abi::SHN_UNDEF) {
        let name = names.get_raw(symbol.st_name as usize).map_err(damaged)?;
        if !name.is_empty() {
            found.push(name);
        }
    }
    Ok(found)
}

/// Adds what only the table of versions names: entries of 64 bytes, a checksum and a name.
fn with_versions(names: Vec<&[u8]>, versions: &[u8], name_bytes: usize) -> Names {
    let mut all = Names::default();
    names.iter().for_each(|name| all.push(name));
    let known: HashSet<&[u8]> = names.into_iter().collect();
    for entry in versions.chunks_exact(64) {
        let name = entry[64 - name_bytes..].split(|&byte| byte == 0).next().unwrap_or_default();
        if !known.contains(name) {
            all.push(name);
        }
    }
    all
}
