//! From a position-independent ELF program to the PE32+ image that firmware loads ("PE Format", Microsoft; ELF-64 and
//! its x86-64 supplement): for our loader, as the compiler has no UEFI target here.
//!
//! Each loadable segment becomes a section at the same address, behind one page of headers; relative
//! relocations become base relocations. The image follows from the program alone: no time, no checksum.

use super::error::BootError;

const PAGE_BYTES: u64 = 4096;
const FILE_ALIGNMENT: usize = 512;
/// Addresses of the program are moved by this, so that the headers have the first page.
const BASE: u64 = PAGE_BYTES;
/// Most loadable segments: a linker makes four or five.
const SEGMENTS_MAX: usize = 8;
/// Largest program in memory, far above a loader.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const TAG_RELA: u64 = 7;
const TAG_RELA_SIZE: u64 = 8;
const RELATIVE: u64 = 8;
const RELA_BYTES: u64 = 24;
const PROGRAM_HEADER_BYTES: usize = 56;

/// A loadable segment: its bytes in the file, and what it takes in memory.
struct Segment {
    address: u64,
    memory_bytes: u64,
    bytes: Vec<u8>,
    is_writable: bool,
    is_code: bool,
}

impl Segment {
    fn range(&self, address: u64, length: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.bytes.len()).then_some(start..end)
    }
}

/// Turns a program into an image that UEFI starts: x86-64, a boot application.
pub fn elf_to_pe(elf: &[u8]) -> Result<Vec<u8>, BootError> {
    let program = Program::read(elf)?;
    let (segments, relocations) = program.relocated()?;
    let image = Image { entry: program.entry + BASE, segments, relocations: relocation_blocks(&relocations) };
    Ok(image.bytes())
}

fn fault(offset: usize, problem: impl Into<String>) -> BootError {
    BootError::Elf { offset, problem: problem.into() }
}

fn number<const BYTES: usize>(bytes: &[u8], offset: usize) -> Result<u64, BootError> {
    let found = bytes.get(offset..).and_then(|rest| rest.get(..BYTES));
    let found = found.ok_or_else(|| fault(offset, "the file ends here"))?;
    Ok(found.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// An ELF program, its segments checked: each lies inside the file, apart from the others.
struct Program {
    entry: u64,
    segments: Vec<Segment>,
    /// Address and size of the relocations.
    relocations: Option<(u64, u64)>,
}

impl Program {
    fn read(elf: &[u8]) -> Result<Program, BootError> {
        if elf.get(..7) != Some(b"\x7fELF\x02\x01\x01") || number::<4>(elf, 16)? != 62 << 16 | 3 {
            return Err(fault(0, "it is no position-independent program for x86-64"));
        }
        let entry = number::<8>(elf, 24)?;
        let (table, count) = (number::<8>(elf, 32)?, number::<2>(elf, 56)? as usize);
        let mut program = Program { entry, segments: Vec::new(), relocations: None };
        for index in 0..count {
            let offset =
                usize::try_from(table).ok().and_then(|table| table.checked_add(index * PROGRAM_HEADER_BYTES));
            let offset = offset.ok_or_else(|| fault(32, "the program headers have no place"))?;
            match number::<4>(elf, offset)? as u32 {
                LOAD => program.add(elf, offset)?,
                DYNAMIC => program.relocations = dynamic(elf, offset)?,
                _ => {}
            }
        }
        let is_code = |segment: &Segment| segment.is_code && segment.range(entry, 1).is_some();
        match program.segments.iter().any(is_code) {
            true => Ok(program),
            false => Err(fault(24, format!("the entry point {entry:#x} is in no code"))),
        }
    }

    fn add(&mut self, elf: &[u8], offset: usize) -> Result<(), BootError> {
        let flags = number::<4>(elf, offset + 4)?;
        let field = |index: usize| number::<8>(elf, offset + 8 + index * 8);
        let (file_offset, address, file_bytes, memory_bytes) = (field(0)?, field(1)?, field(3)?, field(4)?);
        let bytes = usize::try_from(file_offset).ok().and_then(|start| elf.get(start..));
        let bytes = bytes.and_then(|rest| rest.get(..usize::try_from(file_bytes).ok()?));
        let bytes = bytes.ok_or_else(|| fault(offset + 8, "a segment lies outside of the file"))?;
        let end = self.segments.last().map_or(0, |last| last.address + last.memory_bytes);
        let fits = address.is_multiple_of(PAGE_BYTES)
            && address >= end.next_multiple_of(PAGE_BYTES)
            && memory_bytes >= file_bytes
            && address.checked_add(memory_bytes).is_some_and(|end| end <= MEMORY_BYTES_MAX)
            && self.segments.len() < SEGMENTS_MAX;
        if !fits {
            return Err(fault(offset + 16, "a segment has no page of its own, or too much memory"));
        }
        let (is_writable, is_code) = (flags & 2 != 0, flags & 1 != 0);
        self.segments.push(Segment { address, memory_bytes, bytes: bytes.to_vec(), is_writable, is_code });
        Ok(())
    }

    /// Returns the segments with all relocations done for their new base, and where these are.
    fn relocated(&self) -> Result<(Vec<Segment>, Vec<u32>), BootError> {
        let mut segments: Vec<Segment> = Vec::new();
        for it in &self.segments {
            segments.push(Segment { bytes: it.bytes.clone(), ..*it });
        }
        let mut places = Vec::new();
        let (table, size) = self.relocations.unwrap_or((0, 0));
        for address in (table..table.saturating_add(size)).step_by(RELA_BYTES as usize) {
            let wrong = || fault(0, format!("the relocation at {address:#x} can't be done"));
            let read = |at: u64| self.read_at(at, 8).ok_or_else(wrong);
            let (place, kind, addend) = (read(address)?, read(address + 8)?, read(address + 16)?);
            let target =
                segments.iter_mut().find_map(|it| it.range(place, 8).map(|range| &mut it.bytes[range]));
            let target = target.filter(|_| kind == RELATIVE).ok_or_else(wrong)?;
            target.copy_from_slice(&addend.wrapping_add(BASE).to_le_bytes());
            places.push((place + BASE) as u32);
        }
        places.sort_unstable();
        Ok((segments, places))
    }

    fn read_at(&self, address: u64, length: usize) -> Option<u64> {
        let bytes =
            self.segments.iter().find_map(|it| it.range(address, length).map(|range| &it.bytes[range]))?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

/// Finds the relocations in the dynamic section: address and size, both within the program's memory.
fn dynamic(elf: &[u8], header: usize) -> Result<Option<(u64, u64)>, BootError> {
    let (start, size) = (number::<8>(elf, header + 8)?, number::<8>(elf, header + 32)?);
    let bytes = usize::try_from(start).ok().and_then(|start| elf.get(start..));
    let bytes = bytes.and_then(|rest| rest.get(..usize::try_from(size).ok()?));
    let bytes = bytes.ok_or_else(|| fault(header + 8, "the dynamic section lies outside of the file"))?;
    let tag = |wanted: u64| {
        let mut entries = bytes.chunks_exact(16);
        entries
            .find(|entry| number::<8>(entry, 0).is_ok_and(|tag| tag == wanted))
            .map(|it| number::<8>(it, 8))
    };
    let (address, size) = (tag(TAG_RELA).transpose()?, tag(TAG_RELA_SIZE).transpose()?);
    match address.zip(size) {
        Some((address, size)) if address < MEMORY_BYTES_MAX && size < MEMORY_BYTES_MAX => {
            Ok(Some((address, size)))
        }
        Some(_) => Err(fault(header, "the relocations lie outside of the program")),
        None => Ok(None),
    }
}

/// Writes base relocations: a block a page (PE Format, "The .reloc Section"). An empty table has one block of
/// nothing: images without one are not moved by firmware.
fn relocation_blocks(places: &[u32]) -> Vec<u8> {
    const POINTER: u16 = 10 << 12;
    let mut blocks = Vec::new();
    for page in places.chunk_by(|one, next| one >> 12 == next >> 12) {
        let mut entries: Vec<u16> = page.iter().map(|place| POINTER | (place & 0xfff) as u16).collect();
        entries.resize(entries.len().next_multiple_of(2), 0);
        blocks.extend((page[0] & !0xfff).to_le_bytes());
        blocks.extend((8 + 2 * entries.len() as u32).to_le_bytes());
        blocks.extend(entries.into_iter().flat_map(u16::to_le_bytes));
    }
    if blocks.is_empty() {
        blocks.extend([0u32.to_le_bytes(), 8u32.to_le_bytes()].concat());
    }
    blocks
}

/// What the image is made of.
struct Image {
    entry: u64,
    segments: Vec<Segment>,
    relocations: Vec<u8>,
}

/// A section's header and bytes.
struct Section<'a> {
    name: &'static [u8; 8],
    address: u64,
    memory_bytes: u64,
    bytes: &'a [u8],
    characteristics: u32,
}

impl Image {
    fn sections(&self) -> Vec<Section<'_>> {
        let mut sections: Vec<Section<'_>> = self.segments.iter().map(section).collect();
        let end = sections.last().map_or(BASE, |last| last.address + last.memory_bytes);
        sections.push(Section {
            name: b".reloc\0\0",
            address: end.next_multiple_of(PAGE_BYTES),
            memory_bytes: self.relocations.len() as u64,
            bytes: &self.relocations,
            characteristics: 0x4200_0040,
        });
        sections
    }

    fn bytes(&self) -> Vec<u8> {
        let sections = self.sections();
        let mut image = self.headers(&sections);
        image.resize(image.len().next_multiple_of(FILE_ALIGNMENT), 0);
        for section in &sections {
            image.extend(section.bytes);
            image.resize(image.len().next_multiple_of(FILE_ALIGNMENT), 0);
        }
        image
    }

    /// Writes all headers (PE Format, "File Headers"): a DOS header that only points on, the optional header
    /// with the relocation directory, the section table.
    fn headers(&self, sections: &[Section<'_>]) -> Vec<u8> {
        const DOS_BYTES: u32 = 64;
        const OPTIONAL_BYTES: u16 = 112 + 16 * 8;
        let size = DOS_BYTES as usize + 24 + usize::from(OPTIONAL_BYTES) + sections.len() * 40;
        let header_bytes = size.next_multiple_of(FILE_ALIGNMENT) as u32;
        let last = &sections[sections.len() - 1];
        let image_bytes = (last.address + last.memory_bytes).next_multiple_of(PAGE_BYTES) as u32;
        let mut out = Vec::new();
        let mut words = |words: &[u32]| out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        words(&[u32::from_le_bytes(*b"MZ\0\0")]);
        words(&[0; 14]);
        words(&[DOS_BYTES, u32::from_le_bytes(*b"PE\0\0")]);
        // x86-64; executable, addresses above 2 GiB, no debug information.
        words(&[0x8664 | (sections.len() as u32) << 16, 0, 0, 0, u32::from(OPTIONAL_BYTES) | 0x0222 << 16]);
        words(&[0x20b, 0, 0, 0, self.entry as u32, sections[0].address as u32, 0, 0]);
        words(&[PAGE_BYTES as u32, FILE_ALIGNMENT as u32, 0, 0, 0, 0, image_bytes, header_bytes, 0]);
        // A UEFI application whose data is not executable.
        words(&[10 | 0x0100 << 16]);
        words(&[1 << 20, 0, 1 << 12, 0, 1 << 20, 0, 1 << 12, 0, 0, 16]);
        for index in 0..16 {
            match index {
                5 => words(&[last.address as u32, last.memory_bytes as u32]),
                _ => words(&[0, 0]),
            }
        }
        let mut offset = header_bytes;
        for section in sections {
            let raw = section.bytes.len().next_multiple_of(FILE_ALIGNMENT) as u32;
            out.extend(section.name);
            let place = if raw == 0 { 0 } else { offset };
            let fields = [section.memory_bytes as u32, section.address as u32, raw, place, 0, 0, 0];
            out.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
            out.extend(section.characteristics.to_le_bytes());
            offset += raw;
        }
        out
    }
}

fn section(segment: &Segment) -> Section<'_> {
    let (name, characteristics) = match (segment.is_code, segment.is_writable) {
        (true, _) => (b".text\0\0\0", 0x6000_0020),
        (false, true) => (b".data\0\0\0", 0xc000_0040),
        (false, false) => (b".rodata\0", 0x4000_0040),
    };
    Section {
        name,
        address: segment.address + BASE,
        memory_bytes: segment.memory_bytes,
        bytes: &segment.bytes,
        characteristics,
    }
}
