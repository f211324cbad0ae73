//! Where a hash says that something belongs. Changing anything here is a format break: every stable place follows
//! from it.

/// How many places are tried before the next free one is taken.
const ATTEMPTS: u64 = 24;

/// Spreads the bits of a number over all of it (the finaliser of SplitMix64).
pub fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Returns the first free one of the places of a key among `count`, else the next free one behind the best. Among
/// more places, as few keys as can be get another one. `count` is at most 2^32; `None` where none is free.
pub fn find(key: u64, count: u64, is_free: impl Fn(u64) -> bool) -> Option<u64> {
    if count == 0 {
        return None;
    }
    let place = |attempt: u64| jump(mix(key.wrapping_add(attempt << 32)), count);
    let found = (0..ATTEMPTS).map(place).find(|&place| is_free(place));
    found.or_else(|| {
        let best = place(0);
        (best..count).chain(0..best).find(|&place| is_free(place))
    })
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
        let find = |taken: &[u64]| find(7, 1000, |place| !taken.contains(&place));
        assert_eq!([find(&[]), find(&[378]), find(&[378, 988])], [378, 988, 748].map(Some));
        let most: Vec<u64> = (0..1000).filter(|&place| place != 377).collect();
        assert_eq!([find(&most), super::find(7, 1000, |_| false)], [Some(377), None]);
    }
}
