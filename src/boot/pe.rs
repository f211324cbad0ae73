//! PE32+ images, as far as UEFI needs them: a strict reader of the headers, and a writer that appends
//! sections ("PE Format", Microsoft; UEFI 2.10 §2.1.1).

use super::error::BootError;

/// Most sections that an image may have: the limit of Windows' loader, far above any UEFI image.
pub const SECTIONS_MAX: usize = 96;
/// Longest name of a section, in bytes. (String tables for longer ones exist in object files only.)
pub const SECTION_NAME_BYTES_MAX: usize = 8;

const SECTION_HEADER_BYTES: usize = 40;
const FILE_HEADER_BYTES: usize = 20;
const PE32_PLUS_MAGIC: u16 = 0x20b;
const DIRECTORIES_OFFSET: usize = 112;
const DIRECTORY_SECURITY: usize = 4;
const DIRECTORY_DEBUG: usize = 6;
/// Firmware pages: sections begin on one, so that an image may be mapped with their rights.
const PAGE_BYTES: u32 = 4096;

/// What a section holds and how its pages may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionKind {
    /// Initialised data, readable.
    Data,
    /// Code: a kernel that a stub may start in place.
    Code,
}

impl SectionKind {
    const fn characteristics(self) -> u32 {
        match self {
            SectionKind::Data => 0x4000_0040,
            SectionKind::Code => 0x6000_0020,
        }
    }
}

/// One section of an image that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    pub name: String,
    /// Address in memory, relative to the image.
    pub virtual_address: u32,
    pub virtual_size: u32,
    /// Offset in the file.
    pub raw_offset: u32,
    pub raw_size: u32,
    pub characteristics: u32,
}

/// A section to append.
#[derive(Clone, Debug)]
pub struct NewSection<'a> {
    /// 1 to 8 bytes, ASCII.
    pub name: &'a str,
    pub contents: &'a [u8],
    /// Bytes that it takes in memory, at least: what passes the contents is zero.
    pub memory_bytes_min: u32,
    pub kind: SectionKind,
}

/// The headers of an image, checked: every section's bytes lie inside the file.
#[derive(Clone, Debug)]
pub struct PeImage<'a> {
    bytes: &'a [u8],
    pub sections: Vec<Section>,
    /// `IMAGE_FILE_MACHINE_*`: 0x8664 is x86-64, 0xaa64 is AArch64.
    pub machine: u16,
    pub size_of_image: u32,
    section_alignment: u32,
    file_alignment: u32,
    size_of_headers: u32,
    file_header: usize,
    optional_header: usize,
    section_table: usize,
}

impl<'a> PeImage<'a> {
    /// Reads the headers. Anything that leads outside the file is an error; the cost is that of the
    /// headers, whatever the image's size.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BootError> {
        if bytes.get(..2) != Some(b"MZ") {
            return Err(fault(0, "it does not begin with \"MZ\""));
        }
        let signature = u32_at(bytes, 0x3c)? as usize;
        if bytes.get(signature..).and_then(|rest| rest.get(..4)) != Some(b"PE\0\0") {
            return Err(fault(signature, "no \"PE\" signature stands where the header points"));
        }
        let file_header = signature + 4;
        let optional_header = file_header + FILE_HEADER_BYTES;
        let count = usize::from(u16_at(bytes, file_header + 2)?);
        if count > SECTIONS_MAX {
            return Err(fault(file_header + 2, format!("{count} sections, more than {SECTIONS_MAX}")));
        }
        let optional_size = usize::from(u16_at(bytes, file_header + 16)?);
        check_optional_header(bytes, optional_header, optional_size)?;
        let section_table = optional_header + optional_size;
        let sections = (0..count)
            .map(|index| read_section(bytes, section_table + index * SECTION_HEADER_BYTES))
            .collect::<Result<_, _>>()?;
        let image = PeImage {
            bytes,
            sections,
            machine: u16_at(bytes, file_header)?,
            size_of_image: u32_at(bytes, optional_header + 56)?,
            section_alignment: alignment_at(bytes, optional_header + 32)?,
            file_alignment: alignment_at(bytes, optional_header + 36)?,
            size_of_headers: u32_at(bytes, optional_header + 60)?,
            file_header,
            optional_header,
            section_table,
        };
        if image.size_of_headers as usize > bytes.len() || image.table_end() > image.size_of_headers as usize
        {
            let problem = format!("headers of {} bytes are impossible", image.size_of_headers);
            return Err(fault(optional_header + 60, problem));
        }
        Ok(image)
    }

    /// Returns the first section of a name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Returns a section's bytes: those in the file, without the padding behind its virtual size. (A
    /// section that is larger in memory keeps the padding of the file: fewer zeros than its alignment.)
    pub fn contents(&self, section: &Section) -> &'a [u8] {
        let length = section.raw_size.min(section.virtual_size) as usize;
        let start = section.raw_offset as usize;
        self.bytes.get(start..).and_then(|rest| rest.get(..length)).unwrap_or_default()
    }

    /// Returns the headers: what stands in front of the first section.
    pub fn headers(&self) -> &'a [u8] {
        &self.bytes[..self.size_of_headers as usize]
    }

    /// Names the machine for people.
    pub fn machine_name(&self) -> &'static str {
        match self.machine {
            0x8664 => "x86-64",
            0xaa64 => "AArch64",
            0x014c => "32-bit x86",
            _ => "another machine",
        }
    }

    fn table_end(&self) -> usize {
        self.section_table + self.sections.len() * SECTION_HEADER_BYTES
    }

    /// Returns offset and size of a data directory; zeros where the image has fewer.
    fn directory(&self, index: usize) -> (u32, u32) {
        let offset = self.optional_header + DIRECTORIES_OFFSET;
        let count = u32_at(self.bytes, offset - 4).unwrap_or_default() as usize;
        let entry = offset + index * 8;
        match (u32_at(self.bytes, entry), u32_at(self.bytes, entry + 4)) {
            (Ok(address), Ok(size)) if index < count => (address, size),
            _ => (0, 0),
        }
    }
}

/// Appends sections behind those of an image and returns the new image: each on a page of its own, in
/// the order given, after the image's last byte in memory and in the file. Time stamp and checksum
/// become 0, so that the result follows from the arguments alone.
///
/// Where the headers have no room for the new entries, everything behind them moves down in the file.
pub fn append_sections(image: &[u8], new: &[NewSection<'_>]) -> Result<Vec<u8>, BootError> {
    let pe = PeImage::parse(image)?;
    let name = new.first().map_or("", |section| section.name);
    check_appendable(&pe, new).map_err(|problem| BootError::Section { section: name.into(), problem })?;
    let shift = header_shift(&pe, new.len())
        .map_err(|problem| BootError::Section { section: name.into(), problem })?;
    let mut out =
        Vec::with_capacity(image.len() + new.iter().map(|s| s.contents.len() + 8192).sum::<usize>());
    let headers = pe.size_of_headers as usize;
    out.extend_from_slice(&image[..headers]);
    out.resize(headers + shift as usize, 0);
    out.extend_from_slice(&image[headers..]);
    move_sections(&mut out, &pe, shift);
    let mut address = first_free_address(&pe);
    let mut initialised = u32_at(image, pe.optional_header + 8)?;
    for (index, section) in new.iter().enumerate() {
        let full = || BootError::Section {
            section: section.name.into(),
            problem: "the image would be larger than 4 GiB".into(),
        };
        pad(&mut out, pe.file_alignment);
        let raw_offset = u32::try_from(out.len()).map_err(|_| full())?;
        let size = u32::try_from(section.contents.len()).map_err(|_| full())?.max(section.memory_bytes_min);
        out.extend_from_slice(section.contents);
        pad(&mut out, pe.file_alignment);
        let raw_size = u32::try_from(out.len()).map_err(|_| full())? - raw_offset;
        let placed = Section {
            name: section.name.into(),
            virtual_address: address,
            virtual_size: size,
            raw_offset,
            raw_size,
            characteristics: section.kind.characteristics(),
        };
        write_section(&mut out, pe.table_end() + index * SECTION_HEADER_BYTES, &placed);
        address = address.checked_add(size).and_then(|end| align(end, page(&pe))).ok_or_else(full)?;
        initialised = initialised.saturating_add(raw_size);
    }
    put(&mut out, pe.file_header + 2, &((pe.sections.len() + new.len()) as u16).to_le_bytes());
    put(&mut out, pe.file_header + 4, &[0; 4]);
    put(&mut out, pe.optional_header + 8, &initialised.to_le_bytes());
    put(&mut out, pe.optional_header + 56, &address.to_le_bytes());
    put(&mut out, pe.optional_header + 60, &(pe.size_of_headers + shift).to_le_bytes());
    put(&mut out, pe.optional_header + 64, &[0; 4]);
    Ok(out)
}

fn check_appendable(pe: &PeImage<'_>, new: &[NewSection<'_>]) -> Result<(), String> {
    if pe.sections.len() + new.len() > SECTIONS_MAX {
        return Err(format!("with it the image has more than {SECTIONS_MAX} sections"));
    }
    if pe.directory(DIRECTORY_SECURITY) != (0, 0) {
        return Err("the image is signed, and the signature would no longer hold".into());
    }
    if let Some(section) = pe.sections.iter().find(|s| s.raw_size > 0 && s.raw_offset < pe.size_of_headers) {
        return Err(format!("section {} lies among the headers, which change", section.name));
    }
    for (index, section) in new.iter().enumerate() {
        let length = section.name.len();
        if length == 0 || length > SECTION_NAME_BYTES_MAX || !section.name.bytes().all(is_name_byte) {
            return Err(format!("{:?} is no name of 1 to 8 printable characters", section.name));
        }
        let again = new[..index].iter().any(|other| other.name == section.name);
        if again || pe.section(section.name).is_some() {
            return Err(format!("a section {} is there already", section.name));
        }
    }
    Ok(())
}

/// Returns by how many bytes all that follows the headers must move for `count` more section headers.
fn header_shift(pe: &PeImage<'_>, count: usize) -> Result<u32, String> {
    let end = pe.table_end() + count * SECTION_HEADER_BYTES;
    let headers = pe.size_of_headers as usize;
    let free = &pe.bytes[pe.table_end()..end.min(headers).max(pe.table_end())];
    if free.iter().any(|&byte| byte != 0) {
        return Err("something else stands behind the section headers".into());
    }
    if end <= headers {
        return Ok(0);
    }
    let shift = (end - headers).next_multiple_of(pe.file_alignment.max(512) as usize) as u32;
    let first = pe.sections.iter().map(|section| section.virtual_address).min().unwrap_or(u32::MAX);
    if pe.size_of_headers + shift > first {
        return Err("the headers have no room for it, and in memory a section follows them at once".into());
    }
    if pe.directory(DIRECTORY_DEBUG) != (0, 0) {
        return Err("the headers have no room for it, and debug data keeps the rest from moving".into());
    }
    Ok(shift)
}

fn move_sections(out: &mut [u8], pe: &PeImage<'_>, shift: u32) {
    if shift == 0 {
        return;
    }
    let symbols = pe.file_header + 8;
    if let Ok(offset) = u32_at(out, symbols)
        && offset != 0
    {
        put(out, symbols, &offset.saturating_add(shift).to_le_bytes());
    }
    for (index, section) in pe.sections.iter().enumerate().filter(|(_, section)| section.raw_size > 0) {
        let offset = section.raw_offset + shift;
        put(out, pe.section_table + index * SECTION_HEADER_BYTES + 20, &offset.to_le_bytes());
    }
}

fn first_free_address(pe: &PeImage<'_>) -> u32 {
    let end = pe.sections.iter().map(|s| s.virtual_address.saturating_add(s.virtual_size)).max();
    let end = end.unwrap_or_default().max(pe.size_of_image).max(pe.size_of_headers);
    // A saturated end makes the first section's own end overflow, which is an error there.
    align(end, page(pe)).unwrap_or(u32::MAX)
}

fn page(pe: &PeImage<'_>) -> u32 {
    pe.section_alignment.max(PAGE_BYTES)
}

fn align(value: u32, unit: u32) -> Option<u32> {
    value.checked_next_multiple_of(unit)
}

fn pad(out: &mut Vec<u8>, unit: u32) {
    out.resize(out.len().next_multiple_of(unit as usize), 0);
}

fn write_section(out: &mut [u8], at: usize, section: &Section) {
    let mut header = [0u8; SECTION_HEADER_BYTES];
    header[..section.name.len()].copy_from_slice(section.name.as_bytes());
    put(&mut header, 8, &section.virtual_size.to_le_bytes());
    put(&mut header, 12, &section.virtual_address.to_le_bytes());
    put(&mut header, 16, &section.raw_size.to_le_bytes());
    put(&mut header, 20, &section.raw_offset.to_le_bytes());
    put(&mut header, 36, &section.characteristics.to_le_bytes());
    put(out, at, &header);
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn check_optional_header(bytes: &[u8], at: usize, size: usize) -> Result<(), BootError> {
    if bytes.len() < at + size || size < DIRECTORIES_OFFSET {
        return Err(fault(at, format!("an optional header of {size} bytes is cut off or too short")));
    }
    let magic = u16_at(bytes, at)?;
    if magic != PE32_PLUS_MAGIC {
        return Err(fault(at, format!("the image is no PE32+ one (magic {magic:#x}, not 0x20b)")));
    }
    let directories = u32_at(bytes, at + DIRECTORIES_OFFSET - 4)?;
    if directories > 16 || DIRECTORIES_OFFSET + directories as usize * 8 > size {
        return Err(fault(at, format!("{directories} data directories don't fit the optional header")));
    }
    Ok(())
}

fn read_section(bytes: &[u8], at: usize) -> Result<Section, BootError> {
    let header = bytes.get(at..).and_then(|rest| rest.get(..SECTION_HEADER_BYTES));
    let header = header.ok_or_else(|| fault(at, "the section headers are cut off"))?;
    let name = header[..8].split(|&byte| byte == 0).next().unwrap_or_default();
    if !name.iter().copied().all(is_name_byte) {
        return Err(fault(at, "the name of a section holds characters that can't be printed"));
    }
    let section = Section {
        name: String::from_utf8_lossy(name).into_owned(),
        virtual_size: u32_at(header, 8)?,
        virtual_address: u32_at(header, 12)?,
        raw_size: u32_at(header, 16)?,
        raw_offset: u32_at(header, 20)?,
        characteristics: u32_at(header, 36)?,
    };
    let end = u64::from(section.raw_offset) + u64::from(section.raw_size);
    if section.raw_size > 0 && end > bytes.len() as u64 {
        let problem = format!("section {} ends at byte {end}, the file at {}", section.name, bytes.len());
        return Err(fault(at, problem));
    }
    if section.virtual_address.checked_add(section.virtual_size).is_none() {
        return Err(fault(at, format!("section {} passes the end of memory", section.name)));
    }
    Ok(section)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

fn alignment_at(bytes: &[u8], at: usize) -> Result<u32, BootError> {
    match u32_at(bytes, at)? {
        unit if unit.is_power_of_two() && unit <= 1 << 16 => Ok(unit),
        unit => Err(fault(at, format!("an alignment of {unit} bytes is impossible"))),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, BootError> {
    Ok(u16::from_le_bytes(array_at(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, BootError> {
    Ok(u32::from_le_bytes(array_at(bytes, at)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BootError> {
    let range = bytes.get(at..).and_then(|rest| rest.first_chunk());
    range.copied().ok_or_else(|| fault(at, "the headers are cut off"))
}

fn fault(offset: usize, problem: impl Into<String>) -> BootError {
    BootError::Pe { offset: offset as u64, problem: problem.into() }
}
