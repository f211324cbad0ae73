//! A collector of the model: `store/gc`, step by step.

use super::{Actor, Objects, Protocol, TRASH_TICKS, Trash, World, closure};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// Waits for its turn, then lists packs and trash.
    #[default]
    Idle,
    /// Marks from the ref as it is now.
    Mark,
    /// Takes the lock, marks from what changed since, and ends leases.
    Again,
    Odd,
    /// Moves one pack to the trash.
    Move,
    /// Ends the collection, and gives the lock back.
    Even,
    /// Empties the oldest trash if it may go.
    Empty,
    Dead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collector {
    at: At,
    seen: Objects,
    dead: Objects,
    /// Trash with a higher number was not there when the plan was made.
    newest: u8,
    number: u8,
    collections: u8,
}

impl Collector {
    pub fn die(&mut self) -> bool {
        // One that does nothing may as well not be started.
        let works = !matches!(self.at, At::Idle | At::Dead);
        if works {
            *self = Collector { at: At::Dead, ..Collector::default() };
        }
        works
    }
}

/// Takes the next step of a collector; returns false where it can't.
pub fn step(world: &mut World, number: usize, model: &Protocol) -> bool {
    let rules = &model.rules;
    let mut collector = world.collectors[number];
    let me = Actor::Collector(number);
    collector.at = match collector.at {
        At::Idle => {
            if world.collecting.is_some() || collector.collections == model.bounds.collections {
                return false;
            }
            world.collecting = Some(me);
            collector.seen = world.packs;
            collector.newest = world.generation;
            At::Mark
        }
        At::Mark => {
            collector.dead = collector.seen & !closure(world.leads_to);
            At::Again
        }
        At::Again => {
            if world.lock.is_some() {
                return false;
            }
            if rules.again {
                let fresh = world.packs & !collector.seen;
                collector.dead &= !closure(world.leads_to | fresh);
            }
            collector.dead &= world.packs;
            collector.seen = 0;
            for lease in 0..world.leases.len() {
                world.leases[lease] = world.leases[lease].filter(|lease| !world.is_expired(lease));
            }
            if collector.dead == 0 {
                At::Empty
            } else {
                world.lock = Some(me);
                At::Odd
            }
        }
        At::Odd => {
            let odd = world.generation + 1 + world.generation % 2;
            collector.number = odd;
            if rules.odd_first {
                world.generation = odd;
            }
            At::Move
        }
        At::Move => {
            let pack = collector.dead & collector.dead.wrapping_neg();
            collector.dead &= !pack;
            world.packs &= !pack;
            put_into_trash(world, collector.number, pack);
            if collector.dead == 0 { At::Even } else { At::Move }
        }
        At::Even => {
            world.generation = collector.number + 1;
            collector.number = 0;
            world.lock = None;
            At::Empty
        }
        At::Empty if may_go(world, &collector, rules.trash) => {
            world.trash.remove(0);
            At::Empty
        }
        At::Empty => {
            world.collecting = None;
            let collections = collector.collections + 1;
            collector = Collector { collections, ..Collector::default() };
            At::Idle
        }
        At::Dead => return false,
    };
    world.collectors[number] = collector;
    true
}

fn put_into_trash(world: &mut World, number: u8, pack: Objects) {
    match world.trash.iter_mut().find(|trash| trash.number == number) {
        Some(trash) => trash.objects |= pack,
        None => world.trash.push(Trash { number, objects: pack, since: world.clock }),
    }
}

fn may_go(world: &World, collector: &Collector, patient: bool) -> bool {
    let Some(oldest) = world.trash.first() else { return false };
    let mut leases = world.leases.iter().flatten().filter(|lease| !world.is_expired(lease));
    !patient
        || (oldest.number <= collector.newest
            && world.clock - oldest.since >= TRASH_TICKS
            && leases.all(|lease| lease.generation > oldest.number))
}
