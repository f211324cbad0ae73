//! ELF files made byte by byte: for the tests here and for the fuzzer's seeds.

/// Makes a little ELF file of 64-bit x86 with a dynamic section: `(tag, text)`.
pub fn elf(interpreter: Option<&str>, entries: &[(u64, &str)]) -> Vec<u8> {
    const HEADERS: usize = 64 + 3 * 56;
    let mut strings = vec![0u8];
    let mut dynamic = Vec::new();
    for (tag, text) in entries {
        dynamic.extend([*tag, strings.len() as u64]);
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
    }
    let interpreter = format!("{}\0", interpreter.unwrap_or_default());
    let interpreter_at = HEADERS;
    let strings_at = interpreter_at + interpreter.len();
    dynamic.extend([5, strings_at as u64, 10, strings.len() as u64, 0, 0]);
    let dynamic_at = (strings_at + strings.len()).next_multiple_of(8);
    let end = dynamic_at + dynamic.len() * 8;

    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for half in [3u16, 62] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1u32.to_le_bytes());
    for word in [0u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let kind = if interpreter.len() > 1 { 3u32 } else { 0 };
    let segments =
        [(1u32, 0, end), (2, dynamic_at, end - dynamic_at), (kind, interpreter_at, interpreter.len())];
    for (kind, start, length) in segments {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(4u32.to_le_bytes());
        for word in [start, start, start, length, length, 8] {
            bytes.extend((word as u64).to_le_bytes());
        }
    }
    bytes.extend_from_slice(interpreter.as_bytes());
    bytes.extend_from_slice(&strings);
    bytes.resize(dynamic_at, 0);
    bytes.extend(dynamic.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

/// Makes a little kernel module of 64-bit x86: sections by name, and symbols, defined or not.
pub fn module(sections: &[(&str, &[u8])], symbols: &[(&str, bool)]) -> Vec<u8> {
    let mut strings = vec![0u8];
    let mut table = vec![0u8; 24];
    for (name, defined) in symbols {
        table.extend((strings.len() as u32).to_le_bytes());
        table.extend([0x10, 0, u8::from(*defined), 0]);
        table.extend([0; 16]);
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
    }
    let mut all: Vec<(&str, u32, u32, &[u8])> = vec![("", 0, 0, &[])];
    all.extend(sections.iter().map(|(name, bytes)| (*name, 1, 0, *bytes)));
    let link = all.len() as u32 + 1;
    all.push((".symtab", 2, link, &table));
    all.push((".strtab", 3, 0, &strings));
    let mut names: Vec<u8> = all.iter().flat_map(|section| [section.0.as_bytes(), b"\0"].concat()).collect();
    let own = names.len();
    names.extend_from_slice(b".shstrtab\0");

    let mut bodies = Vec::new();
    let mut headers = Vec::new();
    let mut name_at = 0;
    let last = (".shstrtab", 3, 0, &names[..]);
    for (name, kind, link, bytes) in all.iter().chain([&last]) {
        let name_at_own = if *name == ".shstrtab" { own } else { name_at };
        headers.extend((name_at_own as u32).to_le_bytes());
        headers.extend(kind.to_le_bytes());
        for word in [0, 0, 64 + bodies.len() as u64, bytes.len() as u64] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend(link.to_le_bytes());
        headers.extend(0u32.to_le_bytes());
        for word in [1u64, if *kind == 2 { 24 } else { 0 }] {
            headers.extend(word.to_le_bytes());
        }
        name_at += name.len() + 1;
        bodies.extend_from_slice(bytes);
    }
    let count = all.len() as u16 + 1;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([1, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend([0; 16]);
    bytes.extend((64 + bodies.len() as u64).to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for half in [64, 0, 0, 64, count, count - 1] {
        bytes.extend(half.to_le_bytes());
    }
    [bytes, bodies, headers].concat()
}
