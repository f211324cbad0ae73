//! The hash of names in indexed directories: half of MD4 over 32-byte pieces, with a seed.

/// Returns (hash, minor hash) of a name. Bytes count as signed, on every machine: the superblock's
/// flags say so. The lowest bit of a hash is free for "continued from the block before".
pub fn half_md4(name: &[u8], seed: &[u8; 16]) -> (u32, u32) {
    let mut state = initial(seed);
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    let hash = state[1] & !1;
    // The end of a directory, as a position of readdir: no name may have it.
    let hash = if hash == 0xffff_fffe { 0xffff_fffc } else { hash };
    (hash, state[2])
}

fn initial(seed: &[u8; 16]) -> [u32; 4] {
    if *seed == [0; 16] {
        return [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    }
    std::array::from_fn(|index| super::format::get32(seed, index * 4))
}

/// Spreads up to 32 bytes over eight words; what is missing is filled with the length.
fn words(rest: &[u8]) -> [u32; 8] {
    let length = rest.len() as u32;
    let pad = length | length << 8;
    let pad = pad | pad << 16;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add(byte as i8 as u32);
        }
    }
    words
}

fn transform(state: &mut [u32; 4], input: &[u32; 8]) {
    let select = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut s = *state;
    round(&mut s, input, select, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]);
    round(&mut s, input, majority, 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]);
    round(&mut s, input, parity, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]);
    for (word, add) in state.iter_mut().zip(s) {
        *word = word.wrapping_add(add);
    }
}

#[inline(always)]
fn round(
    state: &mut [u32; 4],
    input: &[u32; 8],
    mix: impl Fn(u32, u32, u32) -> u32,
    constant: u32,
    order: [usize; 8],
    shifts: [u32; 4],
) {
    let [mut a, mut b, mut c, mut d] = *state;
    for (step, &word) in order.iter().enumerate() {
        let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(input[word]).wrapping_add(constant);
        (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
    }
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are what `debugfs -R "dx_hash -h half_md4 -s SEED NAME"` prints.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed: [u8; 16] = std::array::from_fn(|index| index as u8 + 1);
        assert_eq!(half_md4(b"a", &[0; 16]), (0xd5fa_7d7a, 0xacb4_8187));
        assert_eq!(half_md4(b"lost+found", &seed), (0x694c_8bb4, 0x74b3_9433));
        assert_eq!(half_md4("é".repeat(60).as_bytes(), &seed), (0x049f_aff4, 0x1efd_0f3f));
    }
}
