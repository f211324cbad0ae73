//! What a confirmed slot does that boots no further than its kernel image: it steps aside.
//!
//! Nobody counts the boots of a confirmed slot: where its root can't be used, every boot of it would end the same way,
//! for ever, while another confirmed slot stands beside it.

use mkimage::boot::slots::{Slot, SlotState, SlotTable};

/// Returns the state in which the other slot boots next. `None` where the loader counts the boots of this one, where
/// the other one was never found healthy, and where the loader goes on to this one although it is not the first.
pub fn step_aside(table: &SlotTable, booted: Slot) -> Option<SlotTable> {
    let confirmed = |slot: Slot| matches!(table.state(slot), SlotState::Blessed { .. });
    let is_first = table.choose().is_some_and(|choice| choice.slot == booted);
    let can = is_first && confirmed(booted) && confirmed(booted.other());
    can.then(|| table.rollback(booted.other()).ok()).flatten()
}
