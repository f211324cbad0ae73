//! One ELF file, as far as the dynamic loader and `ldconfig` look at it (System V ABI, "Object Files" and
//! "Dynamic Linking"; the GNU property note is described in the x86-64 psABI, "Program Property").

use std::borrow::Cow;

use elf::abi;
use elf::dynamic::Dyn;
use elf::endian::{AnyEndian, EndianParse};
use elf::file::FileHeader;
use elf::parse::ParseAt;
use elf::segment::ProgramHeader;

use super::bytes::Bytes;
use super::error::ElfError;
use super::machine::Machine;

/// Longest string that a dynamic section may name, in bytes: no longer path exists on Linux.
const STRING_BYTES_MAX: u64 = 4096;
/// Most bytes of all names of one dynamic section: a thousand libraries.
const NAMES_BYTES_MAX: usize = 64 << 10;
/// Largest dynamic section, in bytes. Those of the largest browsers have a few thousand.
const DYNAMIC_BYTES_MAX: u64 = 1 << 20;
/// Largest segment of notes that is looked at, in bytes.
const NOTES_BYTES_MAX: u64 = 64 << 10;
/// Length of what is read of a string at first, in bytes.
const STRING_GUESS_BYTES: u64 = 64;

/// The width of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Class {
    Bits32,
    Bits64,
}

/// What an ELF file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An object file or kernel module.
    Relocatable,
    /// A program at a fixed address.
    Program,
    /// A library, or a program at any address.
    Shared,
    /// A core dump, or something of an operating system's own.
    Other(u16),
}

/// What one ELF file says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    pub machine: Machine,
    pub kind: Kind,
    pub big_endian: bool,
    /// Flags of the header, whose meaning is the machine's.
    pub flags: u32,
    /// The loader that the kernel starts; absent in libraries and static programs.
    pub interpreter: Option<Vec<u8>>,
    /// Whether there is a dynamic section at all.
    pub dynamic: bool,
    /// Names of libraries, in order.
    pub needed: Vec<Vec<u8>>,
    pub soname: Option<Vec<u8>>,
    /// Parted by `:`. The loader ignores it where `runpath` is there.
    pub rpath: Option<Vec<u8>>,
    /// Parted by `:`.
    pub runpath: Option<Vec<u8>>,
    /// Asks the loader not to search its own directories (`-z nodefaultlib`).
    pub no_default_libraries: bool,
    /// Bits of GNU_PROPERTY_X86_ISA_1_NEEDED: what the processor must have. 0 on other machines.
    pub needed_isa: u32,
}

impl Image {
    /// Reads a file that is in memory.
    pub fn parse(bytes: &[u8]) -> Result<Image, ElfError> {
        Image::read(bytes)
    }

    /// Reads headers, dynamic section and names, and nothing else of a file. Sections are not looked at:
    /// the loader does not need them, and stripped files may have none.
    pub fn read(bytes: &(impl Bytes + ?Sized)) -> Result<Image, ElfError> {
        let header = read_header(bytes)?;
        let segments = read_segments(bytes, &header)?;
        let mut image = Image::without_segments(&header);
        for segment in &segments {
            match segment.p_type {
                abi::PT_INTERP => image.interpreter = Some(read_interpreter(bytes, segment)?),
                abi::PT_GNU_PROPERTY => image.needed_isa |= read_isa(bytes, &header, segment),
                _ => {}
            }
        }
        if let Some(dynamic) = segments.iter().find(|segment| segment.p_type == abi::PT_DYNAMIC) {
            image.dynamic = true;
            image.read_dynamic(bytes, &header, &segments, dynamic)?;
        }
        Ok(image)
    }

    fn without_segments(header: &FileHeader<AnyEndian>) -> Image {
        let class = match header.class {
            elf::file::Class::ELF32 => Class::Bits32,
            elf::file::Class::ELF64 => Class::Bits64,
        };
        Image {
            machine: Machine { number: header.e_machine, class },
            kind: match header.e_type {
                abi::ET_REL => Kind::Relocatable,
                abi::ET_EXEC => Kind::Program,
                abi::ET_DYN => Kind::Shared,
                other => Kind::Other(other),
            },
            big_endian: matches!(header.endianness, AnyEndian::Big),
            flags: header.e_flags,
            interpreter: None,
            dynamic: false,
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            no_default_libraries: false,
            needed_isa: 0,
        }
    }

    fn read_dynamic(
        &mut self,
        bytes: &(impl Bytes + ?Sized),
        header: &FileHeader<AnyEndian>,
        segments: &[ProgramHeader],
        dynamic: &ProgramHeader,
    ) -> Result<(), ElfError> {
        let entries = read_entries(bytes, header, dynamic)?;
        let value = |tag: i64| entries.iter().find(|entry| entry.d_tag == tag).map(Dyn::d_val);
        self.no_default_libraries =
            value(abi::DT_FLAGS_1).is_some_and(|flags| flags & abi::DF_1_NODEFLIB as u64 != 0);
        let named = [abi::DT_NEEDED, abi::DT_SONAME, abi::DT_RPATH, abi::DT_RUNPATH];
        if !entries.iter().any(|entry| named.contains(&entry.d_tag)) {
            return Ok(());
        }
        let address = value(abi::DT_STRTAB)
            .ok_or_else(|| ElfError::damaged("its dynamic section names libraries and has no strings"))?;
        let strings = file_offset(segments, address).ok_or_else(|| {
            ElfError::damaged(format!("the dynamic strings at address {address:#x} are in no segment"))
        })?;
        let mut left = NAMES_BYTES_MAX;
        for entry in entries.iter().filter(|entry| named.contains(&entry.d_tag)) {
            let name = read_string(bytes, strings.checked_add(entry.d_val()))?;
            left = left.checked_sub(name.len() + 1).ok_or_else(|| {
                ElfError::damaged(format!("its names have more than {NAMES_BYTES_MAX} bytes"))
            })?;
            match entry.d_tag {
                abi::DT_NEEDED => self.needed.push(name),
                abi::DT_SONAME => self.soname = Some(name),
                abi::DT_RPATH => self.rpath = Some(name),
                _ => self.runpath = Some(name),
            }
        }
        Ok(())
    }
}

fn damaged(what: &'static str) -> impl Fn() -> ElfError {
    move || ElfError::damaged(format!("{what} passes the end of the file"))
}

pub(super) fn read_header(bytes: &(impl Bytes + ?Sized)) -> Result<FileHeader<AnyEndian>, ElfError> {
    let ident = bytes.range(0, abi::EI_NIDENT as u64).ok_or(ElfError::NotElf)?;
    if !ident.starts_with(&abi::ELFMAGIC) {
        return Err(ElfError::NotElf);
    }
    let ident =
        elf::file::parse_ident::<AnyEndian>(&ident).map_err(|error| ElfError::damaged(error.to_string()))?;
    let length = match ident.1 {
        elf::file::Class::ELF32 => elf::file::ELF32_EHDR_TAILSIZE,
        elf::file::Class::ELF64 => elf::file::ELF64_EHDR_TAILSIZE,
    };
    let tail = bytes.range(abi::EI_NIDENT as u64, length as u64).ok_or_else(damaged("its header"))?;
    FileHeader::parse_tail(ident, &tail).map_err(|error| ElfError::damaged(error.to_string()))
}

fn read_segments(
    bytes: &(impl Bytes + ?Sized),
    header: &FileHeader<AnyEndian>,
) -> Result<Vec<ProgramHeader>, ElfError> {
    if header.e_phnum == 0 {
        return Ok(Vec::new());
    }
    let size = ProgramHeader::validate_entsize(header.class, header.e_phentsize.into());
    let size = size.map_err(|error| ElfError::damaged(error.to_string()))?;
    let table = bytes.range(header.e_phoff, size as u64 * u64::from(header.e_phnum));
    let table = table.ok_or_else(damaged("its table of segments"))?;
    let mut offset = 0;
    let parse = |_| ProgramHeader::parse_at(header.endianness, header.class, &mut offset, &table);
    (0..header.e_phnum)
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(|error| ElfError::damaged(error.to_string()))
}

fn read_interpreter(bytes: &(impl Bytes + ?Sized), segment: &ProgramHeader) -> Result<Vec<u8>, ElfError> {
    if segment.p_filesz > STRING_BYTES_MAX {
        return Err(ElfError::damaged("the name of its loader is longer than a path can be"));
    }
    let name =
        bytes.range(segment.p_offset, segment.p_filesz).ok_or_else(damaged("the name of its loader"))?;
    Ok(name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
}

/// Returns the entries before DT_NULL, those of the whole segment where there is none.
fn read_entries(
    bytes: &(impl Bytes + ?Sized),
    header: &FileHeader<AnyEndian>,
    segment: &ProgramHeader,
) -> Result<Vec<Dyn>, ElfError> {
    if segment.p_filesz > DYNAMIC_BYTES_MAX {
        return Err(ElfError::damaged(format!("its dynamic section has {} bytes", segment.p_filesz)));
    }
    let table = bytes.range(segment.p_offset, segment.p_filesz).ok_or_else(damaged("its dynamic section"))?;
    let mut entries = Vec::new();
    let mut offset = 0;
    while let Ok(entry) = Dyn::parse_at(header.endianness, header.class, &mut offset, &table) {
        if entry.d_tag == abi::DT_NULL {
            break;
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Returns where in the file the byte at an address of memory lies.
fn file_offset(segments: &[ProgramHeader], address: u64) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD).find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr).filter(|&inside| inside < segment.p_filesz)?;
        segment.p_offset.checked_add(inside)
    })
}

fn read_string(bytes: &(impl Bytes + ?Sized), offset: Option<u64>) -> Result<Vec<u8>, ElfError> {
    let wrong = || ElfError::damaged("a name in its dynamic section does not end inside the file");
    let left = offset.and_then(|offset| bytes.size().checked_sub(offset)).ok_or_else(wrong)?;
    let mut length = STRING_GUESS_BYTES;
    loop {
        let range: Cow<[u8]> = bytes.range(offset.unwrap_or_default(), length.min(left)).ok_or_else(wrong)?;
        if let Some(end) = range.iter().position(|&byte| byte == 0) {
            return Ok(range[..end].to_vec());
        }
        if length >= left.min(STRING_BYTES_MAX) {
            return Err(wrong());
        }
        length *= 2;
    }
}

/// Number of the note that holds properties.
const GNU_PROPERTY_NOTE: u32 = abi::NT_GNU_PROPERTY_TYPE_0 as u32;
/// Number of the property that says which level of x86-64 a file needs.
const X86_ISA_1_NEEDED: u32 = 0xc000_8002;

/// Reads the instruction sets that the processor must have. Damaged notes count as none, as for the loader.
fn read_isa(bytes: &(impl Bytes + ?Sized), header: &FileHeader<AnyEndian>, segment: &ProgramHeader) -> u32 {
    let step = if header.class == elf::file::Class::ELF64 { 8 } else { 4 };
    let x86 = [abi::EM_X86_64, abi::EM_386].contains(&header.e_machine);
    if !x86 || segment.p_filesz > NOTES_BYTES_MAX || segment.p_align != step as u64 {
        return 0;
    }
    let Some(notes) = bytes.range(segment.p_offset, segment.p_filesz) else { return 0 };
    let word = |at: usize| {
        let mut at = at;
        header.endianness.parse_u32_at(&mut at, &notes).ok()
    };
    let mut at = 0;
    while let (Some(name), Some(length), Some(kind)) = (word(at), word(at + 4), word(at + 8)) {
        let start = at + 12 + (name as usize).next_multiple_of(4);
        let end = start.saturating_add(length as usize);
        if name == 4 && kind == GNU_PROPERTY_NOTE && notes.get(at + 12..at + 16) == Some(b"GNU\0") {
            return find_property(start, end.min(notes.len()), step, word);
        }
        at = end.next_multiple_of(step).max(at + 12);
    }
    0
}

fn find_property(start: usize, end: usize, step: usize, word: impl Fn(usize) -> Option<u32>) -> u32 {
    let mut at = start;
    while at + 8 <= end {
        let (Some(kind), Some(length)) = (word(at), word(at + 4)) else { return 0 };
        if kind == X86_ISA_1_NEEDED && length == 4 {
            return if at + 12 <= end { word(at + 8).unwrap_or(0) } else { 0 };
        }
        at = (at + 8).saturating_add(length as usize).next_multiple_of(step);
    }
    0
}
