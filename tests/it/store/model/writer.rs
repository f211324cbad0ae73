//! A writer of the model: `store/publish`, step by step.

use super::{Actor, Lease, Objects, Rules, World, closure};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// Notes the generation and the ref that it will move.
    #[default]
    Begin,
    /// The same, after it found that something is gone.
    BeginAgain,
    /// Lists the packs and finds or stages what it wants, under a lease.
    List,
    /// Looks whether the generation moved.
    LookAgain,
    /// It did: looks for everything again, and copies what is in the trash.
    Rescue,
    Lock,
    /// Looks again under the lock, then gives what it staged its name.
    Fence,
    Compare,
    Move,
    Done,
    Dead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writer {
    at: At,
    noted: u8,
    relied: Objects,
    staged: Objects,
    expected: u8,
}

impl Writer {
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    pub fn begins_again(&self) -> bool {
        self.at == At::BeginAgain
    }

    pub fn die(&mut self) -> bool {
        let lives = !matches!(self.at, At::Done | At::Dead);
        if lives {
            *self = Writer { at: At::Dead, ..Writer::default() };
        }
        lives
    }
}

/// What a writer wants the ref to lead to.
fn wanted(number: usize) -> Objects {
    [0b101, 0b011][number]
}

/// Takes the next step of a writer; returns false where it can't.
pub fn step(world: &mut World, number: usize, rules: &Rules) -> bool {
    let mut writer = world.writers[number];
    let me = Actor::Writer(number);
    let is_even = world.generation.is_multiple_of(2);
    writer.at = match writer.at {
        At::Begin | At::BeginAgain => {
            writer.noted = world.generation;
            writer.expected = world.moves;
            At::List
        }
        At::List => {
            // The first one asks for the object that names the other: if that is there, it asks no more.
            let asked = if number == 0 && world.packs & 4 != 0 { 4 } else { wanted(number) };
            writer.relied = asked & world.packs;
            writer.staged = asked & !world.packs;
            if writer.staged != 0 {
                take_lease(world, number, writer.noted);
            }
            At::LookAgain
        }
        At::LookAgain if world.generation == writer.noted && is_even => At::Lock,
        At::LookAgain => {
            writer.noted = world.generation;
            At::Rescue
        }
        At::Rescue => {
            let missing = relied(&writer, rules) & !world.packs & !writer.staged;
            if missing & !world.trashed() != 0 {
                return begin_again(world, number);
            }
            if missing != 0 && writer.staged == 0 {
                take_lease(world, number, writer.noted);
            }
            writer.staged |= missing;
            At::Lock
        }
        At::Lock => {
            if rules.lock && world.lock.is_some() {
                return false;
            }
            if rules.lock {
                world.lock = Some(me);
            }
            At::Fence
        }
        At::Fence => {
            let lease_lost = writer.staged != 0 && world.leases[number].is_none();
            let unmoved = world.generation == writer.noted && is_even;
            let missing = relied(&writer, rules) & !world.packs & !writer.staged != 0;
            if rules.fence && (lease_lost || (!unmoved && missing)) {
                return begin_again(world, number);
            }
            world.packs |= writer.staged;
            (writer.relied, writer.staged, writer.noted) = (0, 0, 0);
            At::Compare
        }
        At::Compare if world.moves != writer.expected => return begin_again(world, number),
        // Under the lock nobody comes in between.
        At::Compare if !rules.lock => At::Move,
        At::Compare | At::Move => {
            world.moves = writer.expected + 1;
            world.leads_to = wanted(number);
            world.moved += 1;
            leave(world, number);
            world.writers[number] = Writer { at: At::Done, ..Writer::default() };
            return true;
        }
        At::Done | At::Dead => return false,
    };
    world.writers[number] = writer;
    true
}

fn relied(writer: &Writer, rules: &Rules) -> Objects {
    if rules.closure { closure(writer.relied) } else { writer.relied }
}

fn take_lease(world: &mut World, number: usize, generation: u8) {
    world.leases[number] = Some(Lease { generation, since: world.clock, holder_lives: true });
}

fn leave(world: &mut World, number: usize) {
    world.leases[number] = None;
    world.lock = world.lock.filter(|holder| *holder != Actor::Writer(number));
}

fn begin_again(world: &mut World, number: usize) -> bool {
    leave(world, number);
    world.writers[number] = Writer { at: At::BeginAgain, ..Writer::default() };
    true
}
