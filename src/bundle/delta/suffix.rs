//! Suffix arrays by induced sorting (Nong, Zhang, Chan 2009): linear time, 32-bit positions.

/// Returns the starts of all suffixes, in the order of the suffixes.
pub(super) fn suffix_array(text: &[u8]) -> Vec<u32> {
    let text: Vec<u32> = text.iter().map(|&byte| u32::from(byte)).collect();
    sort(&text, 255)
}

const EMPTY: u32 = u32::MAX;

/// Sorts the suffixes of a text whose letters are 0 to `upper`. Recursion halves the text each time.
fn sort(text: &[u32], upper: u32) -> Vec<u32> {
    let length = text.len();
    match length {
        0 => return Vec::new(),
        1 => return vec![0],
        _ => {}
    }
    // small[i]: the suffix at i is smaller than the one behind it.
    let mut small = vec![false; length];
    for at in (0..length - 1).rev() {
        small[at] = if text[at] == text[at + 1] { small[at + 1] } else { text[at] < text[at + 1] };
    }
    let starts = bucket_starts(text, &small, upper);
    let is_left_most = |at: usize| at > 0 && small[at] && !small[at - 1];
    let marks: Vec<u32> = (1..length).filter(|&at| is_left_most(at)).map(|at| at as u32).collect();
    let mut sorted = vec![EMPTY; length];
    induce(text, &small, &starts, &marks, &mut sorted);
    if !marks.is_empty() {
        let order = order_marks(text, &marks, &sorted, is_left_most);
        induce(text, &small, &starts, &order, &mut sorted);
    }
    sorted
}

/// Where the buckets of each letter begin: first those suffixes that are larger than what follows, then the
/// smaller ones.
struct Starts {
    large: Vec<u32>,
    small: Vec<u32>,
}

fn bucket_starts(text: &[u32], small: &[bool], upper: u32) -> Starts {
    let mut large_count = vec![0u32; upper as usize + 2];
    let mut small_count = vec![0u32; upper as usize + 2];
    for (&letter, &is_small) in text.iter().zip(small) {
        if is_small {
            small_count[letter as usize] += 1;
        } else {
            large_count[letter as usize] += 1;
        }
    }
    let mut at = 0;
    for letter in 0..=upper as usize + 1 {
        let (large, small) = (large_count[letter], small_count[letter]);
        large_count[letter] = at;
        small_count[letter] = at + large;
        at += large + small;
    }
    Starts { large: large_count, small: small_count }
}

/// Sorts all suffixes from the order of the marked ones.
fn induce(text: &[u32], small: &[bool], starts: &Starts, marks: &[u32], sorted: &mut [u32]) {
    let length = text.len();
    sorted.fill(EMPTY);
    let mut next = starts.small.clone();
    for &mark in marks {
        let letter = text[mark as usize] as usize;
        sorted[next[letter] as usize] = mark;
        next[letter] += 1;
    }
    next.copy_from_slice(&starts.large);
    let last = text[length - 1] as usize;
    sorted[next[last] as usize] = length as u32 - 1;
    next[last] += 1;
    for at in 0..length {
        let suffix = sorted[at];
        if suffix != EMPTY && suffix > 0 && !small[suffix as usize - 1] {
            let letter = text[suffix as usize - 1] as usize;
            sorted[next[letter] as usize] = suffix - 1;
            next[letter] += 1;
        }
    }
    // From behind: the ends of the buckets are the starts of the next letters' ones.
    next.copy_from_slice(&starts.large);
    for at in (0..length).rev() {
        let suffix = sorted[at];
        if suffix != EMPTY && suffix > 0 && small[suffix as usize - 1] {
            let letter = text[suffix as usize - 1] as usize;
            next[letter + 1] -= 1;
            sorted[next[letter + 1] as usize] = suffix - 1;
        }
    }
}

/// Sorts the marked suffixes: names their pieces by rank, and sorts the text of these names.
fn order_marks(
    text: &[u32],
    marks: &[u32],
    sorted: &[u32],
    is_left_most: impl Fn(usize) -> bool,
) -> Vec<u32> {
    let mut number = vec![EMPTY; text.len()];
    for (index, &mark) in marks.iter().enumerate() {
        number[mark as usize] = index as u32;
    }
    let in_order: Vec<u32> = sorted.iter().copied().filter(|&at| is_left_most(at as usize)).collect();
    let end = |mark: u32| {
        let next = number[mark as usize] as usize + 1;
        marks.get(next).map_or(text.len(), |&next| next as usize)
    };
    let mut names = vec![0u32; marks.len()];
    let mut rank = 0;
    for pair in in_order.windows(2) {
        let (left, right) = (pair[0] as usize, pair[1] as usize);
        let (left_end, right_end) = (end(pair[0]), end(pair[1]));
        let same = left_end - left == right_end - right
            && left_end < text.len()
            && right_end < text.len()
            && text[left..=left_end] == text[right..=right_end];
        rank += u32::from(!same);
        names[number[pair[1] as usize] as usize] = rank;
    }
    sort(&names, rank).into_iter().map(|index| marks[index as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_come_in_their_order() {
        let mut state = 1u32;
        for round in 0..300 {
            let letters = 1 + round % 7;
            let text: Vec<u8> = (0..round % 97)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8 % letters as u8
                })
                .collect();
            let mut expected: Vec<u32> = (0..text.len() as u32).collect();
            expected.sort_by_key(|&at| &text[at as usize..]);
            assert_eq!(suffix_array(&text), expected, "{text:?}");
        }
    }
}
