//! apt's way: depth first, the first alternative that can be had, only best versions.
//!
//! The walk keeps its own stack, so that no chain of dependencies is too deep for it.

use std::collections::HashSet;
use std::rc::Rc;
use std::vec::IntoIter;

use super::super::universe::PackageId;
use super::state::{Reason, State};
use super::view::{Need, Needs, View, Wish};

/// Steps after which an attempt is given up; a thousand packages need some ten thousand.
const STEPS_MAX: usize = 2_000_000;

/// Chooses all wishes and what they need; `None` at a dead end.
pub(super) fn run<'v, 'u>(view: &'v View<'u>, wishes: &[Wish<'u>]) -> Option<State<'v, 'u>> {
    let mut greedy = Greedy { state: State::new(view), failed: HashSet::new(), steps: 0 };
    let mut taken = Vec::new();
    for wish in wishes {
        let id = *wish.options.first()?;
        if !greedy.state.has(id) {
            greedy.state.opponent(id).is_none().then(|| greedy.state.take(id, wish.reason))?;
            taken.push(id);
        }
    }
    taken.into_iter().all(|id| greedy.expand(id)).then_some(greedy.state)
}

/// Adds to a finished state what its packages recommend, where it can be had.
pub(super) fn add_recommended<'v, 'u>(state: State<'v, 'u>) -> State<'v, 'u> {
    let mut greedy = Greedy { state, failed: HashSet::new(), steps: 0 };
    let chosen: Vec<PackageId> = greedy.state.taken().iter().map(|taken| taken.0).collect();
    for id in chosen {
        greedy.expand(id);
    }
    greedy.state
}

struct Greedy<'v, 'u> {
    state: State<'v, 'u>,
    /// Packages that could not be had. They are not tried again.
    failed: HashSet<PackageId>,
    steps: usize,
}

/// A chosen package whose relations are being satisfied, one after the other.
struct Frame<'u> {
    package: PackageId,
    needs: Rc<Needs<'u>>,
    next: usize,
    /// Where the search for the relation at hand stands, once it has been looked at.
    search: Option<Search>,
    /// How many packages were chosen when the last option was taken.
    mark: usize,
}

/// What is left to try for a relation: packages of the name of the first alternative, then those that provide it,
/// then the next alternative. Providers are only sorted where it comes to them.
#[derive(Default)]
struct Search {
    stage: usize,
    options: IntoIter<PackageId>,
    /// How many options of this stage are worth the same.
    peers: usize,
}

enum Step<'u> {
    Done,
    Take(PackageId, Reason<'u>),
    Failed,
}

impl<'u> Greedy<'_, 'u> {
    fn frame(&self, package: PackageId) -> Frame<'u> {
        let needs = self.state.view.needs(package);
        Frame { package, needs, next: 0, search: None, mark: self.state.taken().len() }
    }

    /// Chooses what a chosen package needs. What failed leaves no trace.
    fn expand(&mut self, root: PackageId) -> bool {
        let mut frames = vec![self.frame(root)];
        let mut has_failed = false;
        while let Some(frame) = frames.last_mut() {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return false;
            }
            if std::mem::take(&mut has_failed) {
                self.state.undo(frame.mark);
            }
            match self.step(frame) {
                Step::Done => {
                    frames.pop();
                    if let Some(parent) = frames.last_mut() {
                        parent.next += 1;
                        parent.search = None;
                    }
                }
                Step::Take(package, reason) => {
                    frame.mark = self.state.taken().len();
                    self.state.take(package, reason);
                    frames.push(self.frame(package));
                }
                Step::Failed => {
                    self.failed.insert(frame.package);
                    frames.pop();
                    has_failed = true;
                }
            }
        }
        !has_failed
    }

    /// Goes on in a frame until something must be chosen.
    fn step(&self, frame: &mut Frame<'u>) -> Step<'u> {
        if frame.needs.malformed.is_some() {
            return Step::Failed;
        }
        let machine = self.state.view.universe.machine(frame.package);
        while let Some(need) = frame.needs.needs.get(frame.next) {
            if frame.search.is_none() && self.state.satisfier(need, machine).is_some() {
                frame.next += 1;
                continue;
            }
            let search = frame.search.get_or_insert_default();
            if let Some(id) = self.find(search, need, machine) {
                let (by, others) = (frame.package, search.peers.saturating_sub(1));
                return Step::Take(id, Reason::Needed { by, kind: need.kind, text: need.text, others });
            }
            if !need.is_soft() {
                return Step::Failed;
            }
            frame.next += 1;
            frame.search = None;
        }
        Step::Done
    }

    /// Returns the next option that can be had.
    fn find(&self, search: &mut Search, need: &Need<'u>, machine: usize) -> Option<PackageId> {
        let view = self.state.view;
        loop {
            let can_be_had = |id: &PackageId| !self.failed.contains(id) && self.state.opponent(*id).is_none();
            if let Some(id) = search.options.find(can_be_had) {
                return Some(id);
            }
            let link = need.links.get(search.stage / 2)?;
            let is_virtual = search.stage % 2 == 1;
            let options = if is_virtual { view.provided(link, machine) } else { view.real(link, machine) };
            let rank = |id: &PackageId| view.universe.rank(*id);
            let best = options.first().map(rank);
            search.peers =
                if is_virtual { options.iter().filter(|id| Some(rank(id)) == best).count() } else { 1 };
            search.options = options.into_iter();
            search.stage += 1;
        }
    }
}
