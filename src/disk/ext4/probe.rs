//! Where a hash says that something belongs. Changing anything here is a format break: every stable place follows
//! from it.

/// How many places are tried before the next free one is taken.
pub const ATTEMPTS: u64 = 24;

/// Spreads the bits of a number over all of it (the finaliser of SplitMix64).
pub fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Returns the places of a key among `count`, the one that it likes best first. Of two counts, the larger one
/// gives another place to as few keys as can be.
pub fn places(key: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..ATTEMPTS).map(move |attempt| jump(mix(key.wrapping_add(attempt << 32)), count))
}

/// Jump consistent hash (Lamping and Veach, 2014), in whole numbers: any machine gets the same. `count` is at
/// least 1 and at most 2^32.
fn jump(mut key: u64, count: u64) -> u64 {
    let (mut place, mut next) = (0, 0);
    while next < count {
        place = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((place + 1) << 31) / ((key >> 33) + 1);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_evenly_and_few_move_when_there_is_more_room() {
        let place = |key: u64, count| jump(mix(key), count);
        let mut load = [0u32; 64];
        (0..64_000).for_each(|key| load[place(key, 64) as usize] += 1);
        assert!(load.iter().all(|&keys| (850..1150).contains(&keys)), "{load:?}");
        let moved = (0..10_000).filter(|&key| place(key, 800) != place(key, 1000)).count();
        assert!((1800..2200).contains(&moved), "{moved} of 10000 moved, 2000 have to");
        assert!((0..1000).all(|key| place(key, 1) == 0 && place(key, 1 << 32) < 1 << 32));
    }

    #[test]
    fn places_are_pinned() {
        let found: Vec<u64> = places(7, 1000).take(3).collect();
        assert_eq!(found, [378, 988, 748]);
    }
}
