//! Power cuts on real ext4, xfs and btrfs: every write and flush of a disk is logged while stores are worked
//! on, and disks are built from the log as a power cut would have left them.
//!
//! A state is a disk with all writes up to some entry of the log, or the same with half of the writes lost
//! that no flush had made durable. Each is mounted, and judged as in the simulated directory: what was
//! acknowledged before that entry must be there. Needs root, loop devices and FUSE: where one is missing the
//! tests fail and say so.

mod device;
mod log;

use std::path::Path;

use device::{Machine, Mounted};
use log::Log;

use super::simulation::Lot;
use super::tell;
use super::workloads::{ALL, Done, Place, Seen, Workload, judge, judge_rerun};
use crate::tool::{mkimage, run, succeed, tool};

/// A file system, how it is made, and how many bytes it needs at least.
struct Filesystem {
    name: &'static str,
    make: &'static [&'static str],
    size: &'static str,
}

const EXT4: Filesystem = Filesystem { name: "ext4", make: &["mkfs.ext4", "-q", "-F"], size: "128M" };
const XFS: Filesystem = Filesystem { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], size: "320M" };
const BTRFS: Filesystem = Filesystem { name: "btrfs", make: &["mkfs.btrfs", "-q", "-f"], size: "256M" };

/// What happened to one workload while the disk was logged.
struct Worked<'a> {
    workload: &'a Workload,
    /// Entries of the log when it began, and when each operation was acknowledged.
    began: u64,
    acknowledged: Vec<u64>,
    seen: Vec<Seen>,
}

/// A disk's life.
struct Recorded<'a> {
    machine: Machine,
    log: Log,
    worked: Vec<Worked<'a>>,
}

/// Works on a new file system and keeps what its disk was told.
fn record<'a>(filesystem: &Filesystem, workloads: &'a [Workload]) -> Recorded<'a> {
    let machine = Machine::new(filesystem.make, filesystem.size);
    let mut worked = Vec::new();
    {
        let disk = machine.record();
        for workload in workloads {
            let base = disk.path().join(workload.name);
            std::fs::create_dir(&base).expect("a folder on the disk");
            (workload.prepare)(&Place::plain(&base));
            succeed(&mut tool("sync", ["-f".as_ref(), base.as_os_str()]));
            let began = machine.logged();
            let mut acknowledged = Vec::new();
            let mut seen = vec![Seen::of(&base, workload)];
            let done = (workload.run)(&Place::plain(&base), &mut || {
                acknowledged.push(machine.logged());
                seen.push(Seen::of(&base, workload));
            });
            done.unwrap_or_else(|error| panic!("{} on {}: {error}", workload.name, filesystem.name));
            worked.push(Worked { workload, began, acknowledged, seen });
        }
    }
    let log = Log::read(&machine.log());
    assert!(log.entries.len() > 30, "{}: {} entries", filesystem.name, log.entries.len());
    Recorded { machine, log, worked }
}

/// One disk after a power cut: everything up to an entry, or only some of what was not flushed by then.
#[derive(Clone, Copy, Debug)]
struct State {
    position: usize,
    lost: Option<u64>,
}

impl Recorded<'_> {
    /// Draws states, in the order of the log. Cuts before the first workload began would show nothing.
    fn draw(&self, count: u64, seed: u64) -> Vec<State> {
        let mut lot = Lot::new(seed);
        let first = self.worked[0].began;
        let mut states: Vec<State> = (0..count)
            .map(|number| State {
                position: (first + lot.below(self.log.entries.len() as u64 + 1 - first)) as usize,
                lost: (number % 2 == 1).then_some(number),
            })
            .collect();
        states.sort_by_key(|state| state.position);
        states
    }

    /// Builds each state, mounts it and judges what is on it; returns what is wrong.
    fn judge(&self, states: &[State]) -> Vec<String> {
        let mut disk = self.log.player(&self.machine.blank());
        let mut wrong = Vec::new();
        for state in states {
            let image = self.machine.scratch("state");
            disk.cut(state.position, state.lost, &image);
            let problem = match Mounted::of(&image, &self.machine.scratch("look")) {
                Err(problem) => Some(format!("it can't be mounted: {problem}")),
                Ok(mounted) => self.judge_mounted(mounted.path(), state.position as u64),
            };
            wrong.extend(problem.map(|problem| format!("{state:?}: {problem}")));
        }
        wrong
    }

    fn judge_mounted(&self, disk: &Path, position: u64) -> Option<String> {
        let begun = self.worked.iter().filter(|worked| worked.began <= position);
        begun.into_iter().find_map(|worked| {
            let base = disk.join(worked.workload.name);
            let acknowledged = worked.acknowledged.iter().filter(|at| **at <= position).count();
            let judged =
                judge(&base, worked.workload, &worked.seen, acknowledged, super::workloads::Log::Whole);
            let underway = acknowledged < worked.acknowledged.len();
            let judged = judged.and_then(|()| match underway {
                true => judge_rerun(&base, worked.workload, &worked.seen),
                false => Ok(()),
            });
            judged
                .err()
                .map(|problem| format!("{}, {acknowledged} acknowledged: {problem}", worked.workload.name))
        })
    }
}

/// The number that the states are drawn with; another one may be set to look further.
fn seed() -> u64 {
    std::env::var("MKIMAGE_REPLAY_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

fn expect_no_loss(filesystem: &Filesystem, count: u64) {
    device::demand(filesystem.make[0]);
    let recorded = record(filesystem, ALL);
    let states = recorded.draw(count, seed());
    let wrong = recorded.judge(&states);
    tell(&format!(
        "{}: {} entries, {} flushes, {count} states (MKIMAGE_REPLAY_SEED={}), {} violations",
        filesystem.name,
        recorded.log.entries.len(),
        recorded.log.flushes(),
        seed(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}:\n{}", filesystem.name, wrong.join("\n"));
}

#[test]
fn a_power_cut_on_ext4_loses_nothing() {
    expect_no_loss(&EXT4, 12);
}

#[test]
fn a_power_cut_on_xfs_loses_nothing() {
    expect_no_loss(&XFS, 12);
}

#[test]
fn a_power_cut_on_btrfs_loses_nothing() {
    expect_no_loss(&BTRFS, 12);
}

/// Runs the program itself on a store, three times, each time with another file in the recipe. `before` stands
/// before the program.
fn compose(folder: &Path, before: &[&str], acknowledge: &mut dyn FnMut()) -> Done {
    let work = tempfile::tempdir()?;
    for text in ["one", "two", "three"] {
        let recipe = work.path().join("small.hcl");
        let app = "  version = \"1\"\n  init    = \"/app\"\n";
        let file = format!("file \"/app\" {{\n  content = \"{text}\"\n  mode    = \"0755\"\n}}\n");
        std::fs::write(&recipe, format!("image \"small\" {{\n{app}}}\n\n{file}"))?;
        let inner = mkimage(["compose".as_ref(), recipe.as_os_str()]);
        let mut command = match before {
            [] => mkimage(["compose".as_ref(), recipe.as_os_str()]),
            [program, arguments @ ..] => {
                let mut command = tool(program, arguments.iter().copied());
                command.arg(inner.get_program()).args(inner.get_args());
                command
            }
        };
        command.env("MKIMAGE_STORE", folder).env("MKIMAGE_JOBS", "1");
        let output = run(&mut command);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        acknowledge();
    }
    Ok(())
}

const PROGRAM: Workload = Workload {
    name: "compose",
    stores: &["store"],
    site: false,
    prepare: |_| {},
    run: |place, acknowledge| compose(&place.path("store"), &[], acknowledge),
};

/// The program with syncs that do nothing and say that they succeeded.
const UNSYNCED: Workload = Workload {
    name: "compose",
    stores: &["store"],
    site: false,
    prepare: |_| {},
    run: |place, acknowledge| {
        let skip = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync,fdatasync:retval=0"];
        compose(&place.path("store"), &skip, acknowledge)
    },
};

/// Without its syncs the same program must lose something that it acknowledged: else these tests see nothing.
fn expect_loss_without_syncs(filesystem: &Filesystem, count: u64) {
    device::demand(filesystem.make[0]);
    let workloads = [UNSYNCED];
    let recorded = record(filesystem, &workloads);
    let end = recorded.log.entries.len();
    let mut states = recorded.draw(count, seed());
    let acknowledged = recorded.worked[0].acknowledged.iter();
    states.extend(acknowledged.map(|at| State { position: (*at as usize).min(end), lost: Some(*at) }));
    states.sort_by_key(|state| state.position);
    let wrong = recorded.judge(&states);
    tell(&format!("{} without syncs: {} of {} states violate", filesystem.name, wrong.len(), states.len()));
    assert!(!wrong.is_empty(), "{}: nothing was lost without a single sync", filesystem.name);
}

#[test]
fn without_its_syncs_the_program_loses_what_it_acknowledged() {
    expect_loss_without_syncs(&EXT4, 4);
}

mod nightly {
    use super::*;

    /// States of each file system that `make power-loss` tries.
    const STATES: u64 = 240;

    #[test]
    #[ignore = "a minute or more: make power-loss"]
    fn ext4() {
        expect_no_loss(&EXT4, STATES);
    }

    #[test]
    #[ignore = "a minute or more: make power-loss"]
    fn xfs() {
        expect_no_loss(&XFS, STATES);
    }

    #[test]
    #[ignore = "a minute or more: make power-loss"]
    fn btrfs() {
        expect_no_loss(&BTRFS, STATES);
    }

    #[test]
    #[ignore = "a minute or more: make power-loss"]
    fn the_program_itself() {
        for filesystem in [EXT4, XFS, BTRFS] {
            device::demand(filesystem.make[0]);
            let workloads = [PROGRAM];
            let recorded = record(&filesystem, &workloads);
            let wrong = recorded.judge(&recorded.draw(60, seed()));
            assert!(wrong.is_empty(), "{}:\n{}", filesystem.name, wrong.join("\n"));
        }
    }

    #[test]
    #[ignore = "a minute or more: make power-loss"]
    fn without_syncs_something_is_lost_on_each_file_system() {
        for filesystem in [EXT4, XFS, BTRFS] {
            expect_loss_without_syncs(&filesystem, 20);
        }
    }
}
