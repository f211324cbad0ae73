//! One section of an ELF file by its name (System V ABI, "Section Header"). The loader needs none; programs carry
//! notes for people and tools in them.

use elf::endian::AnyEndian;
use elf::file::FileHeader;
use elf::parse::ParseAt;
use elf::section::SectionHeader;

use super::bytes::Bytes;
use super::image::read_header;

/// Most sections that are looked at.
const SECTIONS_MAX: u16 = 4096;

/// Returns the bytes of a section; `None` where the file is no ELF file, has no such section, or one that is longer
/// than `limit_bytes` or lies outside of the file.
pub fn section(bytes: &(impl Bytes + ?Sized), name: &str, limit_bytes: u64) -> Option<Vec<u8>> {
    let header = read_header(bytes).ok()?;
    let sections = sections(bytes, &header)?;
    let names = sections.get(usize::from(header.e_shstrndx))?;
    let found = sections.iter().find(|section| is_named(bytes, names, section, name))?;
    if found.sh_type == elf::abi::SHT_NOBITS || found.sh_size > limit_bytes {
        return None;
    }
    bytes.range(found.sh_offset, found.sh_size).map(std::borrow::Cow::into_owned)
}

fn sections(bytes: &(impl Bytes + ?Sized), header: &FileHeader<AnyEndian>) -> Option<Vec<SectionHeader>> {
    if header.e_shnum == 0 || header.e_shnum > SECTIONS_MAX {
        return None;
    }
    let size = SectionHeader::validate_entsize(header.class, header.e_shentsize.into()).ok()?;
    let table = bytes.range(header.e_shoff, size as u64 * u64::from(header.e_shnum))?;
    let mut offset = 0;
    let parse = |_| SectionHeader::parse_at(header.endianness, header.class, &mut offset, &table).ok();
    (0..header.e_shnum).map(parse).collect()
}

fn is_named(
    bytes: &(impl Bytes + ?Sized),
    names: &SectionHeader,
    section: &SectionHeader,
    name: &str,
) -> bool {
    let at = u64::from(section.sh_name);
    let length = name.len() as u64 + 1;
    if at.checked_add(length).is_none_or(|end| end > names.sh_size) {
        return false;
    }
    let found = names.sh_offset.checked_add(at).and_then(|offset| bytes.range(offset, length));
    found.is_some_and(|found| found.strip_suffix(&[0]) == Some(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_found_by_its_name_in_this_very_program() {
        let program = std::fs::read("/proc/self/exe").expect("this program");
        let found = section(&program[..], ".shstrtab", 1 << 20).expect("a section");
        assert!(found.windows(10).any(|window| window == b".shstrtab\0"));
        assert_eq!(section(&program[..], ".shstrtab", 1), None);
        assert_eq!(section(&program[..], ".no-such-section", 1 << 20), None);
        assert_eq!(section(&b"no ELF file"[..], ".shstrtab", 1 << 20), None);
    }

    #[test]
    fn a_file_that_is_cut_has_no_sections() {
        let program = std::fs::read("/proc/self/exe").expect("this program");
        for length in [0, 16, 63, 64, 4096, program.len() - 1] {
            let _ = section(&program[..length], ".shstrtab", 1 << 20);
        }
        assert_eq!(section(&program[..4096], ".shstrtab", 1 << 20), None);
    }
}
