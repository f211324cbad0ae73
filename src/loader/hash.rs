//! BLAKE3 of bytes in memory (the BLAKE3 paper, §2), without the machine's vector units: what object ids and
//! `b3sum` are. Tests hold it against the `blake3` crate (`tests/it/loader.rs` includes this file).

const CHUNK_BYTES: usize = 1024;
const BLOCK_BYTES: usize = 64;
/// Chaining values that wait for their right neighbour: one for each bit of the number of chunks.
const DEPTH_MAX: usize = 54;

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;

const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// How the words of a block are mixed up from round to round.
const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

type ChainingValue = [u32; 8];

/// The last compression of a chunk or a parent, not done yet: only then is it known whether it is the root.
struct Node {
    value: ChainingValue,
    words: [u32; 16],
    counter: u64,
    length: u32,
    flags: u32,
}

impl Node {
    fn finish(&self, flags: u32) -> ChainingValue {
        compress(&self.value, &self.words, self.counter, self.length, self.flags | flags)
    }
}

/// Returns the BLAKE3 digest of bytes.
pub fn blake3(bytes: &[u8]) -> [u8; 32] {
    let mut waiting = [[0; 8]; DEPTH_MAX];
    let mut depth = 0;
    let mut rest = bytes;
    let mut counter = 0;
    while rest.len() > CHUNK_BYTES {
        let (chunk, behind) = rest.split_at(CHUNK_BYTES);
        let mut value = chunk_node(chunk, counter).finish(0);
        rest = behind;
        counter += 1;
        // A subtree of two to the n chunks is complete for each zero at the end of their number.
        for _ in 0..counter.trailing_zeros() {
            depth -= 1;
            value = parent(&waiting[depth], &value).finish(0);
        }
        waiting[depth] = value;
        depth += 1;
    }
    let mut node = chunk_node(rest, counter);
    for left in waiting[..depth].iter().rev() {
        node = parent(left, &node.finish(0));
    }
    let mut digest = [0; 32];
    for (place, word) in digest.chunks_exact_mut(4).zip(node.finish(ROOT)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

fn chunk_node(chunk: &[u8], counter: u64) -> Node {
    let mut node = Node { value: IV, words: [0; 16], counter, length: 0, flags: CHUNK_START };
    let mut rest = chunk;
    while rest.len() > BLOCK_BYTES {
        let (block, behind) = rest.split_at(BLOCK_BYTES);
        let value = compress(&node.value, &words(block), counter, BLOCK_BYTES as u32, node.flags);
        (node.value, node.flags) = (value, 0);
        rest = behind;
    }
    let mut last = [0; BLOCK_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    Node { words: words(&last), length: rest.len() as u32, flags: node.flags | CHUNK_END, ..node }
}

fn parent(left: &ChainingValue, right: &ChainingValue) -> Node {
    let mut words = [0; 16];
    words[..8].copy_from_slice(left);
    words[8..].copy_from_slice(right);
    Node { value: IV, words, counter: 0, length: BLOCK_BYTES as u32, flags: PARENT }
}

fn words(block: &[u8]) -> [u32; 16] {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

fn compress(
    value: &ChainingValue,
    block: &[u32; 16],
    counter: u64,
    length: u32,
    flags: u32,
) -> ChainingValue {
    let mut state = [0; 16];
    state[..8].copy_from_slice(value);
    state[8..12].copy_from_slice(&IV[..4]);
    state[12..].copy_from_slice(&[counter as u32, (counter >> 32) as u32, length, flags]);
    let mut words = *block;
    for _ in 0..7 {
        round(&mut state, &words);
        words = PERMUTATION.map(|from| words[from]);
    }
    core::array::from_fn(|index| state[index] ^ state[index + 8])
}

#[inline(always)]
fn round(state: &mut [u32; 16], words: &[u32; 16]) {
    mix(state, [0, 4, 8, 12], words[0], words[1]);
    mix(state, [1, 5, 9, 13], words[2], words[3]);
    mix(state, [2, 6, 10, 14], words[4], words[5]);
    mix(state, [3, 7, 11, 15], words[6], words[7]);
    mix(state, [0, 5, 10, 15], words[8], words[9]);
    mix(state, [1, 6, 11, 12], words[10], words[11]);
    mix(state, [2, 7, 8, 13], words[12], words[13]);
    mix(state, [3, 4, 9, 14], words[14], words[15]);
}

#[inline(always)]
fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], x: u32, y: u32) {
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(x);
    state[d] = (state[d] ^ state[a]).rotate_right(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(12);
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(y);
    state[d] = (state[d] ^ state[a]).rotate_right(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(7);
}
