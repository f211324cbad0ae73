//! The protocol of leases, collections and refs as a model: every order in which two writers, two collectors,
//! a reader and the clock can take their steps is tried, and each of them may die before any step.
//!
//! What is modelled is written down in `store/publish`, `store/generation`, `store/lease` and `store/gc`.
//! There are three objects, each in a pack of its own: 0 and 1 name nothing, 2 names 0. At first all are in
//! `packs/` and the ref leads to 1. One writer wants 2, which it finds by its id alone, the other 0 and 1.
//! There is no grace and no reflog: what nothing leads to is garbage at once.
//!
//! Each safeguard is taken away in turn, and the model must find what goes wrong then: a model that finds
//! nothing without them would prove nothing with them.

mod collector;
mod writer;

use collector::Collector;
use stateright::{Checker, HasDiscoveries, Model, Property};
use writer::Writer;

/// A set of objects: bit N is object N.
type Objects = u8;

const WRITERS: usize = 2;
const COLLECTORS: usize = 2;
/// Ticks after which a lease without a sign of life ends.
const LEASE_TICKS: u8 = 1;
/// Ticks after which trash may be emptied: what readers without a lease may rely on.
const TRASH_TICKS: u8 = 1;

/// The safeguards; a test takes one away.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Writers look under the lock whether lease and generation are as they were.
    fence: bool,
    /// Trash stays for a while, and as long as leases that are older.
    trash: bool,
    /// Refs move under a lock.
    lock: bool,
    /// The generation is odd before the first pack goes, and even after the last.
    odd_first: bool,
    /// What a found object leads to is looked for again too.
    closure: bool,
    /// Collectors look at the refs again under the lock.
    again: bool,
}

const ALL: Rules =
    Rules { fence: true, trash: true, lock: true, odd_first: true, closure: true, again: true };

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    ticks: u8,
    deaths: u8,
    /// Of each collector.
    collections: u8,
    reader: bool,
}

struct Protocol {
    rules: Rules,
    bounds: Bounds,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    packs: Objects,
    /// Oldest first.
    trash: Vec<Trash>,
    generation: u8,
    clock: u8,
    /// How often the ref was moved, as its file says, and where it leads.
    moves: u8,
    leads_to: Objects,
    /// How often it really was moved: nobody in the model sees this.
    moved: u8,
    lock: Option<Actor>,
    collecting: Option<Actor>,
    leases: [Option<Lease>; WRITERS],
    writers: [Writer; WRITERS],
    collectors: [Collector; COLLECTORS],
    reader: Option<Reader>,
    deaths: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Trash {
    number: u8,
    objects: Objects,
    since: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    generation: u8,
    since: u8,
    holder_lives: bool,
}

/// Reads what the ref led to when it began, without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reader {
    objects: Objects,
    since: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Actor {
    Writer(usize),
    Collector(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Step(Actor),
    /// Killed: what it held of the kernel's is free, what it wrote stays.
    Die(Actor),
    Tick,
    /// A reader reads the ref.
    Read,
}

/// Returns objects with all that they lead to.
fn closure(objects: Objects) -> Objects {
    if objects & 4 != 0 { objects | 1 } else { objects }
}

impl World {
    fn trashed(&self) -> Objects {
        self.trash.iter().fold(0, |all, trash| all | trash.objects)
    }

    fn is_expired(&self, lease: &Lease) -> bool {
        !lease.holder_lives || self.clock - lease.since >= LEASE_TICKS
    }

    fn actors() -> impl Iterator<Item = Actor> {
        (0..WRITERS).map(Actor::Writer).chain((0..COLLECTORS).map(Actor::Collector))
    }

    /// Collectors are all alike: which is which makes no other world.
    fn in_order(mut self) -> Self {
        if self.collectors[0] > self.collectors[1] {
            self.collectors.swap(0, 1);
            for holder in [&mut self.lock, &mut self.collecting].into_iter().flatten() {
                if let Actor::Collector(number) = holder {
                    *number = 1 - *number;
                }
            }
        }
        self
    }

    fn step(&mut self, actor: Actor, model: &Protocol) -> bool {
        match actor {
            Actor::Writer(number) => writer::step(self, number, &model.rules),
            Actor::Collector(number) => collector::step(self, number, model),
        }
    }

    fn die(&mut self, actor: Actor) -> bool {
        let died = match actor {
            Actor::Writer(number) => self.writers[number].die(),
            Actor::Collector(number) => self.collectors[number].die(),
        };
        if let Actor::Writer(number) = actor
            && let Some(lease) = &mut self.leases[number]
        {
            lease.holder_lives = false;
        }
        for lock in [&mut self.lock, &mut self.collecting] {
            *lock = lock.filter(|holder| *holder != actor);
        }
        self.deaths += u8::from(died);
        died
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            packs: 0b111,
            trash: Vec::new(),
            generation: 0,
            clock: 0,
            moves: 1,
            leads_to: 0b010,
            moved: 1,
            lock: None,
            collecting: None,
            leases: [None; WRITERS],
            writers: [Writer::default(); WRITERS],
            collectors: [Collector::default(); COLLECTORS],
            reader: None,
            deaths: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(World::actors().map(Action::Step));
        if world.deaths < self.bounds.deaths {
            actions.extend(World::actors().map(Action::Die));
        }
        if world.clock < self.bounds.ticks {
            actions.push(Action::Tick);
        }
        if self.bounds.reader && world.reader.is_none() {
            actions.push(Action::Read);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        let happened = match action {
            Action::Step(actor) => next.step(actor, self),
            Action::Die(actor) => next.die(actor),
            Action::Tick => {
                next.clock += 1;
                true
            }
            Action::Read => {
                next.reader = Some(Reader { objects: closure(next.leads_to), since: next.clock });
                true
            }
        };
        happened.then(|| next.in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(REACHABLE, |_, world: &World| {
                closure(world.leads_to) & !(world.packs | world.trashed()) == 0
            }),
            Property::always(IN_PACKS, |_, world: &World| {
                world.lock.is_some() || closure(world.leads_to) & !world.packs == 0
            }),
            Property::always(CLOSED, |_, world: &World| {
                let resting = world.lock.is_none() && world.generation.is_multiple_of(2);
                !resting || closure(world.packs) == world.packs
            }),
            Property::always(NO_LOST_UPDATE, |_, world: &World| world.moves == world.moved),
            Property::sometimes(BOTH, |_, world: &World| world.writers.iter().all(Writer::is_done)),
            Property::sometimes(EMPTIED, |_, world: &World| {
                world.packs | world.trashed() != 0b111 && world.generation > 0
            }),
            Property::sometimes(BEGAN_AGAIN, |_, world: &World| {
                world.writers.iter().any(Writer::begins_again)
            }),
        ];
        if self.bounds.reader {
            properties.push(Property::always(READER, |_, world: &World| {
                world.reader.is_none_or(|reader| {
                    world.clock - reader.since >= TRASH_TICKS
                        || reader.objects & !(world.packs | world.trashed()) == 0
                })
            }));
        }
        properties
    }
}

const REACHABLE: &str = "what the ref leads to is in the store";
const IN_PACKS: &str = "where nobody holds the lock, what the ref leads to is in packs/";
const CLOSED: &str = "at rest, what is in packs/ has its closure in packs/";
const NO_LOST_UPDATE: &str = "no move of the ref is lost";
const READER: &str = "a reader without a lease finds everything for as long as trash stays";
const BOTH: &str = "both writers can end";
const EMPTIED: &str = "trash can be emptied";
const BEGAN_AGAIN: &str = "a writer can be made to begin again";

fn check(rules: Rules, bounds: Bounds, until: HasDiscoveries) -> impl Checker<Protocol> {
    Protocol { rules, bounds }.checker().threads(2).finish_when(until).spawn_bfs().join()
}

const QUICK: Bounds = Bounds { ticks: 1, deaths: 1, collections: 1, reader: false };

fn expect_sound(bounds: Bounds) {
    let checker = check(ALL, bounds, HasDiscoveries::All);
    checker.assert_properties();
    super::tell(&format!("model: {} states, {bounds:?}", checker.unique_state_count()));
}

/// Takes a safeguard away: the model must show how one of some properties is violated then.
fn expect_violation(rules: Rules, bounds: Bounds, violated: &[&'static str]) {
    let checker = check(rules, bounds, HasDiscoveries::AnyOf(violated.iter().copied().collect()));
    let found: Vec<&&str> = violated.iter().filter(|name| checker.discovery(name).is_some()).collect();
    assert!(!found.is_empty(), "without a safeguard nothing went wrong: {rules:?}");
    for name in found {
        let path = checker.discovery(name).expect("found before");
        super::tell(&format!("model: {rules:?}: {name:?} fails after {:?}", path.into_actions()));
    }
}

#[test]
fn nothing_reachable_is_lost_in_any_order_of_steps() {
    expect_sound(Bounds { ticks: 2, ..QUICK });
}

#[test]
fn readers_without_a_lease_find_everything_for_as_long_as_trash_stays() {
    expect_sound(Bounds { ticks: 1, deaths: 0, collections: 1, reader: true });
}

#[test]
fn without_the_fence_a_ref_leads_to_what_was_collected() {
    expect_violation(Rules { fence: false, ..ALL }, QUICK, &[REACHABLE, IN_PACKS]);
}

#[test]
fn without_the_lock_a_move_is_lost() {
    expect_violation(Rules { lock: false, ..ALL }, QUICK, &[NO_LOST_UPDATE]);
}

#[test]
fn where_trash_is_emptied_at_once_readers_lose_what_they_read() {
    let bounds = Bounds { ticks: 0, deaths: 0, collections: 1, reader: true };
    expect_violation(Rules { trash: false, ..ALL }, bounds, &[READER]);
}

#[test]
fn where_the_generation_moves_too_late_a_dead_collector_goes_unnoticed() {
    expect_violation(Rules { odd_first: false, ..ALL }, QUICK, &[REACHABLE, IN_PACKS]);
}

#[test]
fn where_only_the_found_object_is_looked_for_again_what_it_names_may_be_gone() {
    expect_violation(Rules { closure: false, ..ALL }, QUICK, &[REACHABLE, IN_PACKS]);
}

#[test]
fn where_refs_are_not_looked_at_again_under_the_lock_what_they_lead_to_is_collected() {
    expect_violation(Rules { again: false, ..ALL }, QUICK, &[REACHABLE, IN_PACKS]);
}

mod nightly {
    use super::*;

    #[test]
    #[ignore = "some minutes: make nightly"]
    fn nothing_reachable_is_lost_with_more_time_and_more_deaths() {
        expect_sound(Bounds { ticks: 3, deaths: 2, collections: 2, reader: false });
        expect_sound(Bounds { ticks: 3, deaths: 1, collections: 1, reader: true });
    }
}
