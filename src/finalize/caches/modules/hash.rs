//! The hash by which kmod orders its tables: Paul Hsieh's, as kmod computes it. Changing it changes the order
//! of lines in `modules.symbols`.

/// Number of buckets of kmod's table of modules.
pub(super) const MODULE_BUCKETS: u32 = 512;
/// Number of buckets of kmod's table of symbols.
pub(super) const SYMBOL_BUCKETS: u32 = 2048;

/// Returns what to sort keys by so that they come as kmod goes through a table: by bucket, then by name.
pub(super) fn place(key: &[u8], buckets: u32) -> (u32, &[u8]) {
    (hash(key) & (buckets - 1), key)
}

fn hash(key: &[u8]) -> u32 {
    let pair = |at: usize| u32::from(u16::from_le_bytes([key[at], key[at + 1]]));
    let mut hash = key.len() as u32;
    let whole = key.len() / 4 * 4;
    for at in (0..whole).step_by(4) {
        hash = hash.wrapping_add(pair(at));
        let mixed = (pair(at + 2) << 11) ^ hash;
        hash = (hash << 16) ^ mixed;
        hash = hash.wrapping_add(hash >> 11);
    }
    // Bytes are signed here, as in the C.
    let signed = |at: usize| i32::from(key[at] as i8) as u32;
    match key.len() % 4 {
        3 => {
            hash = hash.wrapping_add(pair(whole));
            hash ^= hash << 16;
            hash ^= signed(whole + 2) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        2 => {
            hash = hash.wrapping_add(pair(whole));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        1 => {
            hash = hash.wrapping_add(signed(whole));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}
