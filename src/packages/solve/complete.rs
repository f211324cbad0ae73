//! What is said at a dead end of apt's way.

use super::explain::{self, Unsolvable};
use super::state::State;
use super::view::{View, Wish};

/// Explains that no solution was found.
pub(super) fn run<'v, 'u>(view: &'v View<'u>, wishes: &[Wish<'u>]) -> Result<State<'v, 'u>, Unsolvable> {
    let dead_ends = wishes.iter().map(|wish| explain::barred(view, wish)).collect();
    Err(Unsolvable { dead_ends })
}
