//! What a kernel module says of itself: the `.modinfo` section of an ELF64 object (System V ABI,
//! "Object Files"; Linux `include/linux/moduleparam.h`).

const SECTION_HEADER_BYTES: usize = 64;
const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01\x01";
const RELOCATABLE: u16 = 1;

/// What a module says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Absent in modules of kernels before 4.10 only.
    pub name: Option<String>,
    /// Names of the modules that must be loaded before it.
    pub depends: Vec<String>,
    /// Version of the kernel that it was built for: the first word of `vermagic`.
    pub kernel_version: Option<String>,
}

/// Reads a module's `.modinfo`. The cost is that of the section headers and that section.
pub fn parse(bytes: &[u8]) -> Result<ModuleInfo, String> {
    let section = find_section(bytes, b".modinfo")?;
    let mut info = ModuleInfo { name: None, depends: Vec::new(), kernel_version: None };
    for entry in section.split(|&byte| byte == 0).filter(|entry| !entry.is_empty()) {
        let Some(at) = entry.iter().position(|&byte| byte == b'=') else {
            return Err("an entry of .modinfo has no \"=\"".into());
        };
        let text = || {
            str::from_utf8(&entry[at + 1..]).map(str::to_owned).map_err(|_| {
                format!("the value of {:?} in .modinfo is no text", String::from_utf8_lossy(&entry[..at]))
            })
        };
        match &entry[..at] {
            b"name" => info.name = Some(text()?),
            b"depends" => {
                let names = text()?;
                info.depends.extend(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            b"vermagic" => {
                info.kernel_version = text()?.split_ascii_whitespace().next().map(str::to_owned);
            }
            _ => {}
        }
    }
    Ok(info)
}

fn find_section<'a>(bytes: &'a [u8], wanted: &[u8]) -> Result<&'a [u8], String> {
    if !bytes.starts_with(ELF64_LITTLE_ENDIAN) {
        return Err("it is no 64-bit little-endian ELF file".into());
    }
    if number(bytes, 16, 2)? != u64::from(RELOCATABLE) {
        return Err("it is no relocatable ELF file".into());
    }
    let (table, size) = (number(bytes, 40, 8)?, number(bytes, 58, 2)?);
    let (count, names) = (number(bytes, 60, 2)?, number(bytes, 62, 2)?);
    if size != SECTION_HEADER_BYTES as u64 || names >= count {
        return Err("its section headers are damaged".into());
    }
    let header = |index: u64| {
        table
            .checked_add(index * size)
            .and_then(|start| slice(bytes, start, size))
            .ok_or_else(|| "its section headers are cut off".to_owned())
    };
    let contents = |header: &[u8]| {
        let (offset, length) = (number(header, 24, 8)?, number(header, 32, 8)?);
        slice(bytes, offset, length).ok_or_else(|| "a section passes the end of the file".to_owned())
    };
    let names = contents(header(names)?)?;
    for index in 0..count {
        let header = header(index)?;
        let name = names.get(number(header, 0, 4)? as usize..).unwrap_or_default();
        if name.strip_prefix(wanted).is_some_and(|rest| rest.first() == Some(&0)) {
            return contents(header);
        }
    }
    Err(format!("it has no section {}", String::from_utf8_lossy(wanted)))
}

fn slice(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let end = start.checked_add(length)?;
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn number(bytes: &[u8], at: usize, size: usize) -> Result<u64, String> {
    let range = bytes.get(at..at + size).ok_or("its headers are cut off")?;
    Ok(range.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_of_a_header_panics() {
        let mut bytes = ELF64_LITTLE_ENDIAN.to_vec();
        bytes.resize(64, 0xff);
        bytes[16..18].copy_from_slice(&1u16.to_le_bytes());
        for length in 0..=bytes.len() {
            assert!(parse(&bytes[..length]).is_err());
        }
        bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
        bytes[62..64].copy_from_slice(&0u16.to_le_bytes());
        assert_eq!(parse(&bytes), Err("its section headers are cut off".into()));
    }
}
