//! Small sound inputs, written byte by byte.

use std::io::Write;

/// Writes one entry of a ustar archive: header, content, padding.
pub fn entry(path: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    header[100..108].copy_from_slice(if kind == b'5' { b"0000755\0" } else { b"0000644\0" });
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    if matches!(kind, b'3' | b'4') {
        header[329..337].copy_from_slice(b"0000001\0");
        header[337..345].copy_from_slice(b"0000003\0");
    }
    sum(&mut header);
    let mut bytes = [&header[..], content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Puts the checksum of a tar header right.
pub fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Writes a record of an extended header.
pub fn record(key: &str, value: &str) -> String {
    let body = key.len() + value.len() + 3;
    let digits = (1..).find(|digits| (body + digits).to_string().len() == *digits).expect("some length fits");
    format!("{} {key}={value}\n", body + digits)
}

/// Ends an archive of entries.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// Writes an `ar` archive.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644");
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// Writes lzma without xz's container.
pub fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(0).expect("a preset");
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).expect("an encoder");
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("compressed")
}

/// Writes a PE32+ image with these sections, one behind the other from 4096 on, 512 bytes each in the file.
pub fn pe(sections: &[(&str, &[u8])], headers: u32) -> Vec<u8> {
    let mut bytes = vec![0; headers as usize];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"MZ");
    put(0x3c, &64u32.to_le_bytes());
    put(64, b"PE\0\0");
    put(68, &0x8664u16.to_le_bytes());
    put(70, &(sections.len() as u16).to_le_bytes());
    put(84, &240u16.to_le_bytes());
    put(88, &0x20bu16.to_le_bytes());
    put(88 + 32, &4096u32.to_le_bytes());
    put(88 + 36, &512u32.to_le_bytes());
    put(88 + 56, &(4096 * (sections.len() as u32 + 1)).to_le_bytes());
    put(88 + 60, &headers.to_le_bytes());
    put(88 + 108, &16u32.to_le_bytes());
    for (index, (name, contents)) in (0..).zip(sections) {
        let at = 328 + index as usize * 40;
        put(at, name.as_bytes());
        for (field, value) in
            [contents.len() as u32, 4096 * (index + 1), 512, headers + 512 * index].into_iter().enumerate()
        {
            put(at + 8 + field * 4, &value.to_le_bytes());
        }
        put(at + 36, &0x4000_0040u32.to_le_bytes());
    }
    for (_, contents) in sections {
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}

/// Writes a kernel module that consists of its description.
pub fn module(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    bytes[16..18].copy_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(info);
    bytes.extend_from_slice(names);
    let table = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    for (at, value) in [(58, 64u16), (60, 3), (62, 2)] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    let sections = [(0, 0, 0), (1, 64, info.len()), (10, 64 + info.len(), names.len())];
    for (name, offset, length) in sections {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&(name as u32).to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
    }
    bytes
}
