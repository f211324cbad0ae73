//! "Did you mean …", by edit distance.

/// Returns the candidate that a misspelt word most likely stands for. The first one of equals wins.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let longest = word.chars().count().max(candidate.chars().count());
        let allowed = (longest / 3).max(1);
        let apart = distance(&normal(word), &normal(candidate));
        if apart <= allowed && apart < longest && best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn normal(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Counts the insertions, removals, replacements and swaps of neighbours between two words.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_the_word() {
        for (wrong, right) in
            [("comand", "command"), ("prots", "ports"), ("Source", "source"), ("slot-size", "slot_size")]
        {
            assert_eq!(closest(wrong, ["command", "ports", "source", "slot_size"]), Some(right), "{wrong}");
        }
    }

    #[test]
    fn an_unrelated_word_finds_nothing() {
        for wrong in ["zebra", "x", "", "anything_else_at_all"] {
            assert_eq!(closest(wrong, ["command", "ports"]), None, "{wrong}");
        }
    }
}
