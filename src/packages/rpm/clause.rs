//! Rich dependencies as clauses: "one of these is there, or none of those". What a package needs is that all of its
//! clauses hold.

use std::collections::BTreeSet;

use super::relation::{Plain, Rich};
use super::universe::{Kind, PackageId};

/// Most clauses that one dependency may become.
const CLAUSES_MAX: usize = 256;

/// Packages that serve alike, best first.
pub type Set = Vec<PackageId>;

/// Holds where one of `any` is installed, or where of one set of `none` nothing is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clause {
    pub any: Set,
    pub none: Vec<Set>,
}

impl Clause {
    /// Tells whether the clause holds where these are installed.
    pub fn holds(&self, installed: &BTreeSet<PackageId>) -> bool {
        let is_there = |set: &Set| set.iter().any(|id| installed.contains(id));
        is_there(&self.any) || self.none.iter().any(|set| !is_there(set))
    }

    fn or(&self, other: &Clause) -> Clause {
        let mut both = self.clone();
        both.any.extend(other.any.iter().filter(|id| !self.any.contains(id)));
        both.none.extend(other.none.iter().filter(|set| !self.none.contains(set)).cloned());
        both
    }
}

/// Turns a dependency, or its contrary, into clauses. `set` says which packages a plain one means.
pub fn clauses(rich: &Rich, wanted: bool, set: &dyn Fn(&Plain) -> Set) -> Result<Vec<Clause>, String> {
    let part = |rich: &Rich, wanted: bool| clauses(rich, wanted, set);
    match rich {
        Rich::Plain(_) | Rich::With(_) | Rich::Without(..) => {
            let set = packages(rich, set)?;
            Ok(vec![match wanted {
                true => Clause { any: set, none: Vec::new() },
                false => Clause { any: Vec::new(), none: vec![set] },
            }])
        }
        Rich::All(parts) | Rich::Any(parts) => {
            let parts = parts.iter().map(|rich| part(rich, wanted)).collect::<Result<Vec<_>, String>>()?;
            let is_all = matches!(rich, Rich::All(_)) == wanted;
            if is_all { all(parts) } else { one_of(parts) }
        }
        Rich::If(then, condition, otherwise) => {
            // `then`, or not the condition; and: `otherwise`, or the condition.
            let holds = one_of(vec![part(then, wanted)?, part(condition, false)?]);
            let fails = match otherwise {
                Some(otherwise) => one_of(vec![part(otherwise, wanted)?, part(condition, true)?])?,
                None if wanted => Vec::new(),
                None => part(condition, true)?,
            };
            all(vec![holds?, fails])
        }
        Rich::Unless(then, condition, otherwise) => {
            let holds = one_of(vec![part(then, wanted)?, part(condition, true)?]);
            match otherwise {
                Some(otherwise) => {
                    all(vec![holds?, one_of(vec![part(otherwise, wanted)?, part(condition, false)?])?])
                }
                None if wanted => all(vec![part(then, true)?, part(condition, false)?]),
                None => holds,
            }
        }
    }
}

/// Returns the packages that fit a dependency on one package.
fn packages(rich: &Rich, set: &dyn Fn(&Plain) -> Set) -> Result<Set, String> {
    match rich {
        Rich::Plain(plain) => Ok(set(plain)),
        Rich::With(parts) => {
            let mut sets =
                parts.iter().map(|part| packages(part, set)).collect::<Result<Vec<_>, String>>()?.into_iter();
            let first = sets.next().unwrap_or_default();
            Ok(sets.fold(first, |kept, set| kept.into_iter().filter(|id| set.contains(id)).collect()))
        }
        Rich::Without(first, second) => {
            let without = packages(second, set)?;
            Ok(packages(first, set)?.into_iter().filter(|id| !without.contains(id)).collect())
        }
        Rich::Any(parts) => {
            let mut all = Set::new();
            for part in parts {
                let more = packages(part, set)?;
                all.extend(more.into_iter().filter(|id| !all.contains(id)).collect::<Vec<_>>());
            }
            Ok(all)
        }
        _ => Err("with and without combine single packages only".to_owned()),
    }
}

/// Returns the sets whose presence makes a package need what a clause wants. What a package needs, it may be itself;
/// against itself it never is.
pub fn others(id: PackageId, kind: Kind, clause: &Clause) -> Vec<Set> {
    let without_own = |set: &Set| set.iter().copied().filter(|other| *other != id).collect::<Set>();
    match kind {
        Kind::Conflicts => clause.none.iter().map(without_own).collect(),
        _ => clause.none.iter().filter(|set| !set.contains(&id)).cloned().collect(),
    }
}

/// Returns every way to take one of each set.
pub fn choices(sets: &[Set]) -> Vec<Set> {
    sets.iter().fold(vec![Set::new()], |choices, set| {
        let with = |choice: &Set, id: &PackageId| choice.iter().copied().chain([*id]).collect::<Set>();
        choices.iter().flat_map(|choice| set.iter().map(|id| with(choice, id)).collect::<Vec<_>>()).collect()
    })
}

fn all(parts: Vec<Vec<Clause>>) -> Result<Vec<Clause>, String> {
    bounded(parts.into_iter().flatten().collect())
}

fn one_of(parts: Vec<Vec<Clause>>) -> Result<Vec<Clause>, String> {
    let mut combined = vec![Clause::default()];
    for part in parts {
        if combined.len() * part.len() > CLAUSES_MAX {
            return bounded(vec![Clause::default(); CLAUSES_MAX + 1]);
        }
        combined = combined.iter().flat_map(|left| part.iter().map(|right| left.or(right))).collect();
    }
    bounded(combined)
}

fn bounded(clauses: Vec<Clause>) -> Result<Vec<Clause>, String> {
    match clauses.len() {
        0..=CLAUSES_MAX => Ok(clauses),
        _ => Err(format!("a dependency of more than {CLAUSES_MAX} clauses")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::relation::parse;
    use super::*;

    /// Evaluates as the manual describes it, on names of one letter.
    fn truth(rich: &Rich, installed: &BTreeSet<PackageId>) -> bool {
        let holds = |rich: &Rich| truth(rich, installed);
        match rich {
            Rich::Plain(plain) => installed.contains(&id(plain)),
            Rich::All(parts) | Rich::With(parts) => parts.iter().all(holds),
            Rich::Any(parts) => parts.iter().any(holds),
            Rich::If(then, condition, otherwise) => match holds(condition) {
                true => holds(then),
                false => otherwise.as_ref().is_none_or(|otherwise| holds(otherwise)),
            },
            Rich::Unless(then, condition, otherwise) => match holds(condition) {
                false => holds(then),
                true => otherwise.as_ref().is_some_and(|otherwise| holds(otherwise)),
            },
            Rich::Without(first, second) => holds(first) && !holds(second),
        }
    }

    fn id(plain: &Plain) -> PackageId {
        PackageId(u32::from(plain.name.as_bytes()[0] - b'a'))
    }

    #[test]
    fn clauses_mean_what_the_dependency_means() {
        for text in [
            "a",
            "(a and b)",
            "(a or b or c)",
            "(a if b)",
            "(a if b else c)",
            "(a unless b)",
            "(a unless b else c)",
            "((a and b) or (c and d))",
            "((a or b) if (c and d) else (a and d))",
            "((a if b) or (c unless d))",
            "((a if (b or c)) and (d or (a and c)))",
        ] {
            let rich = parse(text).expect("a dependency");
            for wanted in [true, false] {
                let clauses = clauses(&rich, wanted, &|plain: &Plain| vec![id(plain)]).expect("clauses");
                for bits in 0..16u32 {
                    let installed = (0..4).filter(|bit| bits & 1 << bit != 0).map(PackageId).collect();
                    let found = clauses.iter().all(|clause| clause.holds(&installed));
                    assert_eq!(found, truth(&rich, &installed) == wanted, "{text} {wanted} {bits:04b}");
                }
            }
        }
    }

    #[test]
    fn a_dependency_that_would_explode_is_refused() {
        let arm = "(a and b and c and d)";
        let text = format!("({})", [arm; 8].join(" or "));
        let rich = parse(&text).expect("a dependency");
        assert!(clauses(&rich, true, &|plain: &Plain| vec![id(plain)]).is_err());
    }
}
