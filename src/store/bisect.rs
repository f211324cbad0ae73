//! Finding the first bad one in a row by halving it: which to try next, and when it is found.

/// What a trial said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
    /// It can't be told.
    Skip,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The first bad one.
    First(usize),
    /// The first bad one is among these: those before the last can't be told.
    Among(Vec<usize>),
}

/// A row whose first is good and whose last is bad, and what is known of those between.
#[derive(Clone, Debug)]
pub struct Bisection {
    verdicts: Vec<Option<Verdict>>,
}

impl Bisection {
    /// Begins with a row of a length of at least two.
    pub fn new(length: usize) -> Self {
        let mut verdicts = vec![None; length.max(2)];
        verdicts[0] = Some(Verdict::Good);
        *verdicts.last_mut().expect("because there are two") = Some(Verdict::Bad);
        Bisection { verdicts }
    }

    /// Returns the last good one and the first bad one behind it.
    fn span(&self) -> (usize, usize) {
        let is = |index: &usize, verdict| self.verdicts[*index] == Some(verdict);
        let bad = (0..self.verdicts.len()).find(|index| is(index, Verdict::Bad)).unwrap_or(0);
        let good = (0..bad).rev().find(|index| is(index, Verdict::Good)).unwrap_or(0);
        (good, bad)
    }

    /// Returns how many are left that may be the first bad one.
    pub fn left(&self) -> usize {
        let (good, bad) = self.span();
        bad - good
    }

    /// Returns which to try next: the one nearest to the middle that was not tried. `None` once there is
    /// nothing to learn.
    pub fn next(&self) -> Option<usize> {
        let (good, bad) = self.span();
        let middle = good + (bad - good) / 2;
        let untried = (good + 1..bad).filter(|index| self.verdicts[*index].is_none());
        untried.min_by_key(|index| index.abs_diff(middle))
    }

    /// Takes what a trial said.
    pub fn tell(&mut self, index: usize, verdict: Verdict) {
        self.verdicts[index] = Some(verdict);
    }

    /// Returns what was found; `None` while there is something to try.
    pub fn finding(&self) -> Option<Finding> {
        let (good, bad) = self.span();
        match self.next() {
            Some(_) => None,
            None if bad - good == 1 => Some(Finding::First(bad)),
            None => Some(Finding::Among((good + 1..=bad).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a row in which `verdict` is the truth; returns the finding and the number of trials.
    fn search(length: usize, verdict: impl Fn(usize) -> Verdict) -> (Finding, usize) {
        let mut bisection = Bisection::new(length);
        let mut trials = 0;
        loop {
            if let Some(finding) = bisection.finding() {
                return (finding, trials);
            }
            let index = bisection.next().expect("something to try");
            bisection.tell(index, verdict(index));
            trials += 1;
        }
    }

    #[test]
    fn the_first_bad_one_is_found_in_few_trials() {
        for length in [2, 3, 10, 1000] {
            for first in [1, length / 2, length - 1].into_iter().filter(|first| *first > 0) {
                let truth = |index| if index < first { Verdict::Good } else { Verdict::Bad };
                let (finding, trials) = search(length, truth);
                assert_eq!(finding, Finding::First(first));
                assert!(trials <= length.ilog2() as usize + 1, "{trials} trials for {length}");
            }
        }
    }

    #[test]
    fn what_cannot_be_told_is_gone_around_or_named() {
        let around = |index| match index {
            4..=6 => Verdict::Skip,
            0..=7 => Verdict::Good,
            _ => Verdict::Bad,
        };
        assert_eq!(search(12, around).0, Finding::First(8));
        let inside = |index| match index {
            4..=6 => Verdict::Skip,
            0..=3 => Verdict::Good,
            _ => Verdict::Bad,
        };
        assert_eq!(search(12, inside).0, Finding::Among(vec![4, 5, 6, 7]));
        assert_eq!(search(5, |_| Verdict::Skip).0, Finding::Among(vec![1, 2, 3, 4]));
    }
}
