//! Dead ends in sentences: who wants what, and what stands against it.

use std::collections::BTreeSet;

use resolvo::Solver;
use resolvo::conflict::{Conflict, ConflictCause, ConflictEdge, ConflictNode};

use super::clause::Clause;
use super::relation::{Plain, Sense};
use super::request::fits;
use super::solve::Problem;
use super::universe::{Kind, PackageId};
use super::version::Evr;

/// Most sentences of one explanation.
const SENTENCES_MAX: usize = 12;

/// Explains a conflict, each sentence once, nearest to the request first.
pub fn sentences(conflict: &Conflict, solver: &Solver<Problem<'_>>) -> Vec<String> {
    let found = conflict.graph(solver);
    let problem = solver.provider();
    let mut sentences: Vec<String> = Vec::new();
    let mut seen = BTreeSet::from([found.root_node]);
    let mut waiting = std::collections::VecDeque::from([found.root_node]);
    while let Some(node) = waiting.pop_front() {
        let mut edges: Vec<_> = found
            .graph
            .edge_indices()
            .filter_map(|edge| {
                let (from, to) = found.graph.edge_endpoints(edge)?;
                (from == node)
                    .then(|| (sentence(problem, found.graph[from], found.graph[edge], found.graph[to]), to))
            })
            .collect();
        edges.sort();
        for (sentence, to) in edges {
            if !sentence.is_empty() && !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
            if seen.insert(to) {
                waiting.push_back(to);
            }
        }
    }
    if sentences.len() > SENTENCES_MAX {
        let more = sentences.split_off(SENTENCES_MAX).len();
        sentences.push(format!("and {more} more of this kind"));
    }
    sentences
}

fn sentence(problem: &Problem<'_>, from: ConflictNode, edge: ConflictEdge, to: ConflictNode) -> String {
    let who = match from {
        ConflictNode::Solvable(id) => problem.shown_or_absent(PackageId(id.into_raw())),
        _ => "the recipe".to_owned(),
    };
    match (edge, to) {
        (ConflictEdge::Requires(requirement), ConflictNode::UnresolvedDependency) => {
            let text = problem.requirement_text(requirement);
            format!("{who} needs {text}, and {}", nothing(problem, &text))
        }
        (ConflictEdge::Requires(requirement), ConflictNode::Solvable(id)) => {
            let (text, id) = (problem.requirement_text(requirement), PackageId(id.into_raw()));
            match problem.absence_of(id) {
                Some(absent) => {
                    format!("{who} needs {text}, or that {} is away", problem.universe.shown(absent))
                }
                None => format!("{who} needs {text}, which {} brings", problem.universe.shown(id)),
            }
        }
        (ConflictEdge::Conflict(ConflictCause::Constrains(_)), ConflictNode::Solvable(other)) => match from {
            ConflictNode::Solvable(id) if problem.absence_of(PackageId(id.into_raw())).is_none() => {
                against(problem, PackageId(id.into_raw()), PackageId(other.into_raw()))
            }
            _ => String::new(),
        },
        (ConflictEdge::Conflict(ConflictCause::Excluded), ConflictNode::Excluded(reason)) => {
            format!("{who} can't be installed: {}", resolvo::Interner::display_string(problem, reason))
        }
        _ => String::new(),
    }
}

/// Says why a requirement has no package.
fn nothing(problem: &Problem<'_>, text: &str) -> String {
    let Ok(super::relation::Rich::Plain(wanted)) = super::relation::parse(text) else {
        return "no combination of packages gives that".to_owned();
    };
    let mut unusable = problem.universe.providers(&wanted);
    // The recipe asks for versions by a pattern.
    if let Some((name, pattern)) = text.split_once('=').filter(|_| !text.contains(' ')) {
        let named = problem.universe.named(name).iter().copied();
        unusable.extend(named.filter(|id| fits(pattern, &problem.universe.package(*id).evr)));
    }
    let reasons: BTreeSet<String> = unusable
        .iter()
        .filter_map(|id| Some(format!("{}: {}", problem.universe.shown(*id), problem.unusable.get(id)?)))
        .take(3)
        .collect();
    if !reasons.is_empty() {
        return format!(
            "what has it can't be taken ({})",
            reasons.into_iter().collect::<Vec<_>>().join("; ")
        );
    }
    let any = Plain { name: wanted.name.clone(), sense: Sense::ANY, evr: Evr::default() };
    let others: BTreeSet<String> =
        problem.universe.providers(&any).into_iter().take(3).map(|id| problem.universe.shown(id)).collect();
    match others.is_empty() {
        true => "no package of the repositories provides it".to_owned(),
        false => {
            format!("only other versions are there: {}", others.into_iter().collect::<Vec<_>>().join(", "))
        }
    }
}

/// Says why two packages can't be installed together.
fn against(problem: &Problem<'_>, id: PackageId, other: PackageId) -> String {
    let universe = problem.universe;
    let (first, second) = (universe.shown(id), universe.shown(other));
    if universe.name(id) == universe.name(other) {
        let both: BTreeSet<&str> = [&*first, &*second].into();
        let both: Vec<&str> = both.into_iter().collect();
        return format!(
            "{} and {} are versions of one package, of which only one can be installed",
            both[0], both[1]
        );
    }
    for relation in &universe.package(id).obsoletes {
        if universe.named_within(&universe.plain(relation)).contains(&other) {
            return format!("{first} takes the place of {second} (it obsoletes {})", problem.shown(relation));
        }
    }
    for relation in universe.package(id).relations(Kind::Conflicts) {
        let conflicts = problem.rich(relation).is_ok_and(|rich| match rich {
            super::relation::Rich::Plain(plain) => problem.set(&plain).contains(&other),
            _ => false,
        });
        if conflicts {
            return format!(
                "{first} conflicts with {second} (it conflicts with {})",
                problem.shown(relation)
            );
        }
    }
    // A condition that came true, and nothing that can be taken for what it asks.
    let needs = problem.needs(id, Kind::Requires).unwrap_or_default();
    let asks = |clause: &Clause| clause.any.is_empty() && clause.none.iter().any(|set| set.contains(&other));
    match needs.iter().find(|(clause, _)| asks(clause)) {
        Some((_, text)) => format!("{first} can't be installed beside {second} (it needs {text})"),
        None => format!("{first} can't be installed beside {second}"),
    }
}
