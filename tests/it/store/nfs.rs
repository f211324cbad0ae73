//! A store on a real NFS mount, worked on by several machines at once: the server itself, and clients of its export.
//!
//! The machines run images that mkimage builds. What they are told stands in `nfs/work.sh`.

mod guest;

use mkimage::base::Stopwatch;

use super::tell;
use guest::{Board, Guest, image};

/// What serves, and what it exports as.
const SERVER: usize = 0;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Moves of one ref that each of two processes on each machine makes.
const MOVES: usize = 6;

/// Machines on wires of their own: the first one serves, the others mount what it exports.
struct Farm {
    boards: Vec<Board>,
    guests: Vec<Guest>,
    _folder: tempfile::TempDir,
}

impl Farm {
    fn start() -> Farm {
        let image = image();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let wires = |name: &str| if name == NAMES[SERVER] { &NAMES[1..] } else { &NAMES[..1] };
        let board = |name: &'static str| Board::new(name, &image, folder.path(), wires(name));
        let boards: Vec<Board> = NAMES.into_iter().map(board).collect();
        let guests = boards.iter().map(Board::start).collect();
        let mut farm = Farm { boards, guests, _folder: folder };
        farm.serve();
        (1..NAMES.len()).for_each(|machine| farm.attach(machine));
        farm
    }

    /// Has the server serve, once it is up.
    fn serve(&mut self) {
        let clients: Vec<String> = (1..NAMES.len()).map(|wire| format!("10.0.{wire}.2")).collect();
        let addresses: Vec<String> = (1..NAMES.len()).map(|wire| format!("10.0.{wire}.1")).collect();
        let server = &mut self.guests[SERVER];
        server.wait(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        server.run("echo export MKIMAGE_STORE=/var/export/store >/tmp/env; seq 1 20000 >/tmp/app");
        server.run(&format!("serve {}", clients.join(" ")));
    }

    /// Has a client mount, once it is up.
    fn attach(&mut self, machine: usize) {
        let address = format!("10.0.{machine}.2");
        self.guests[machine].wait(&[&address]);
        self.guests[machine].run("echo export MKIMAGE_STORE=/mnt/store >/tmp/env; seq 1 20000 >/tmp/app");
        self.guests[machine].run(&format!("attach 10.0.{machine}.1 {address}"));
    }

    /// Takes a machine's power away.
    fn cut(&mut self, machine: usize) {
        let guest = self.guests.remove(machine);
        self.guests.insert(machine, self.boards[machine].restart(guest));
    }

    fn run(&mut self, machine: usize, command: &str) -> String {
        self.guests[machine].run(command)
    }

    /// Runs a command on all machines at once.
    fn all(&mut self, command: &str) -> Vec<String> {
        self.guests.iter_mut().for_each(|guest| guest.ask(command));
        self.guests
            .iter_mut()
            .map(|guest| {
                let (status, said) = guest.answer(command);
                assert_eq!(status, 0, "{}: {command}\n{said}", guest.name);
                said
            })
            .collect()
    }

    /// Returns how often a ref has moved, as each machine sees it; its log must tell of each move once.
    fn moves_of(&mut self, name: &str) -> u64 {
        let counts = self
            .all(&format!("mkimage refs {name}; mkimage log --oneline {name} >/tmp/log; wc -l </tmp/log"));
        let count = |said: &String| {
            let (reference, lines) = said.split_once('\n').expect("two lines");
            let generation = reference.rsplit(' ').next().expect("a number").to_owned();
            assert_eq!(generation, lines.trim(), "{said}");
            generation.parse::<u64>().expect("a number")
        };
        let counts: Vec<u64> = counts.iter().map(count).collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        counts[0]
    }

    /// Checks the whole store from everywhere.
    fn check(&mut self) {
        self.all("mkimage fsck --quiet || { mkimage fsck; false; }");
    }
}

/// Returns the sum of the numbers behind a word.
fn sum(said: &[String], word: &str) -> u64 {
    let words = said.iter().flat_map(|said| said.split_whitespace());
    let behind = words.clone().zip(words.skip(1)).filter(|(before, _)| *before == word);
    behind.map(|(_, number)| number.parse::<u64>().expect("a number")).sum()
}

mod nightly {
    use super::*;

    #[test]
    #[ignore = "some minutes: make nfs"]
    fn three_machines_share_a_store_over_nfs_and_nothing_is_lost() {
        let whole = Stopwatch::start();
        let mut farm = Farm::start();
        tell(&format!("nfs: three machines are up after {} s", whole.elapsed().as_secs()));
        the_first_writer_on_nfs_says_that_the_store_is_shared(&mut farm);
        builds_side_by_side(&mut farm);
        a_move_is_seen_at_once(&mut farm);
        let acknowledged = moves_with_collectors_and_readers_beside(&mut farm);
        let acknowledged = a_machine_that_dies_with_a_lock(&mut farm, acknowledged);
        a_machine_that_dies_while_it_collects(&mut farm);
        the_server_restarts(&mut farm, acknowledged);
        everything_is_there(&mut farm);
        tell(&format!("nfs: all of it took {} s", whole.elapsed().as_secs()));
    }
}

fn the_first_writer_on_nfs_says_that_the_store_is_shared(farm: &mut Farm) {
    farm.run(1, "compose first hello");
    let format = farm.run(SERVER, "cat /var/export/store/format");
    assert!(format.contains("feature shared"), "processes of the server would take no claims: {format}");
    let seen = farm.all("mkimage cat first /etc/text");
    assert_eq!(seen, ["hello", "hello", "hello"]);
}

/// Different and the same content, by two processes on each machine.
fn builds_side_by_side(farm: &mut Farm) {
    let time = Stopwatch::start();
    for round in 0..2 {
        let ids = farm.all(&format!(
            "job one compose same 'round {round}'; job two compose own-$(hostname) 'round {round}'; \
             finished two >/dev/null && finished one"
        ));
        assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 64), "{ids:?}");
    }
    let refs = farm.all("mkimage refs");
    assert!(refs.iter().all(|seen| *seen == refs[0]), "{refs:?}");
    for machine in NAMES {
        let text = farm.all(&format!("mkimage cat own-{machine} /etc/text"));
        assert_eq!(text, ["round 1"; 3]);
    }
    assert_eq!(farm.moves_of("same"), 2, "the same commit moved the ref twice");
    tell(&format!("nfs: 12 builds by six processes in {:.1} s", time.elapsed().as_secs_f64()));
}

/// A client remembers for up to a minute which file a name leads to, and which names there are not; and the file of
/// before is open somewhere, so that the server knows it as well. A move that was acknowledged is seen all the same,
/// and counted on from.
fn a_move_is_seen_at_once(farm: &mut Farm) {
    farm.run(1, "mkimage promote --quiet first seen/far/zero");
    farm.all("! mkimage cat seen/far/one /etc/text 2>/dev/null");
    let texts = [("first", "hello"), ("same", "round 1")];
    for turn in 1..=4usize {
        let (from, text) = texts[turn % 2];
        farm.run(turn % 3, &format!("mkimage promote --quiet {from} seen/far/one"));
        let seen =
            farm.all("mkimage cat seen/far/one /etc/text; sleep 60 <$MKIMAGE_STORE/refs/seen/far/one >/dev/null 2>&1 &");
        assert_eq!(seen, [text; 3], "move {turn}");
    }
    farm.run(2, "mkimage refs --quiet --delete seen/far/one");
    farm.all("! mkimage cat seen/far/one /etc/text 2>/dev/null");
    farm.run(1, "mkimage promote --quiet same seen/far/one");
    assert_eq!(farm.moves_of("seen/far/one"), 6, "what was removed and made again counts on");
}

/// Compare-and-swap by two processes on each machine, while others build, collect, repack, read and check.
fn moves_with_collectors_and_readers_beside(farm: &mut Farm) -> u64 {
    farm.all("for n in 0 1; do for p in one two; do compose $(hostname)-$p-$n $n.$p || exit 1; done; done");
    let time = Stopwatch::start();
    let beside = [
        "job beside again collect; job more again look same 'round 1'",
        "job beside again mkimage repack; job more again renew churn-b",
        "job beside again mkimage fsck --quiet; job more again collect",
    ];
    for (guest, beside) in farm.guests.iter_mut().zip(beside) {
        guest.run(&format!("rm -f /tmp/stop; {beside}"));
        guest.run(&format!("for p in one two; do job $p moves $(hostname)-$p race/all {MOVES}; done"));
    }
    let raced = sum(&farm.all("finished one two"), "raced");
    let seconds = time.elapsed().as_secs_f64();
    let beside = farm.all("touch /tmp/stop; finished beside more");
    let moves = (NAMES.len() * 2 * MOVES) as u64;
    assert_eq!(farm.moves_of("race/all"), moves, "moves were lost or made twice");
    farm.check();
    tell(&format!(
        "nfs: {moves} moves of one ref by six processes in {seconds:.1} s ({:.1} a second), {raced} lost a race and \
         were told; beside them {} collections, repacks, reads and builds, and {} that gave way",
        moves as f64 / seconds,
        sum(&beside, "times"),
        sum(&beside, "refused"),
    ));
    moves
}

/// A client loses its power while it holds the lock of the refs. The others wait and say for whom, until somebody
/// says that it never comes back.
fn a_machine_that_dies_with_a_lock(farm: &mut Farm, before: u64) -> u64 {
    let promote = "mkimage promote b-one-$turn race/dead";
    let said = farm.run(1, &format!("caught '^1 b/' /mnt/store/refs/.lockfile '{promote}'"));
    let acknowledged = sum(&[said], "acknowledged");
    farm.cut(1);
    let time = Stopwatch::start();
    for machine in [SERVER, 2] {
        farm.run(machine, "job wait mkimage promote $(hostname)-one-0 race/wait-$(hostname)");
    }
    for machine in [SERVER, 2] {
        let warned =
            "until grep -q 'waiting for' /tmp/job-wait.out; do usleep 100000; done; cat /tmp/job-wait.out";
        let said = farm.run(machine, warned);
        assert!(said.contains(" on b holds") && said.contains("mkimage store unlock b"), "{said}");
        farm.run(machine, "[ ! -e /tmp/job-wait.status ]");
    }
    let broken = farm.run(2, "mkimage store unlock b");
    assert!(broken.contains("refs/.lock: process "), "{broken}");
    for machine in [SERVER, 2] {
        farm.run(machine, "finished wait");
    }
    tell(&format!(
        "nfs: a lock of a dead machine was waited for and broken in {:.1} s",
        time.elapsed().as_secs_f64()
    ));
    assert_eq!(farm.run(SERVER, "mkimage refs race/all").rsplit(' ').next(), Some(&*before.to_string()));
    farm.attach(1);
    let found = farm.run(1, "mkimage refs race/dead || true");
    let found: u64 = found.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    assert!(
        found == acknowledged || found == acknowledged + 1,
        "{found} moves of {acknowledged} or one more"
    );
    before
}

/// A client loses its power in the middle of a collection. The others are told who collects; the machine breaks
/// its own claims when it is back.
fn a_machine_that_dies_while_it_collects(farm: &mut Farm) {
    farm.run(1, "for n in 1 2 3; do compose churn-b \"dead $n\" || exit 1; done");
    farm.run(
        1,
        "caught '^1 [0-9]*[13579] ' /mnt/store/gc-generation 'compose churn-b dead-$number; collect'",
    );
    farm.cut(1);
    let (status, said) = farm.guests[2].attempt("collect");
    assert!(
        status != 0 && said.contains("on b") && said.contains("mkimage store unlock b"),
        "{status}: {said}"
    );
    let time = Stopwatch::start();
    farm.run(SERVER, "job wait compose after-gc 'one more'");
    farm.attach(1);
    farm.run(1, "collect");
    farm.run(SERVER, "finished wait");
    tell(&format!(
        "nfs: a machine that died collecting was back and went on in {:.1} s",
        time.elapsed().as_secs_f64()
    ));
    farm.all("collect || true");
    farm.check();
}

/// The server stops serving, then loses its power, while clients move a ref.
fn the_server_restarts(farm: &mut Farm, before: u64) {
    let time = Stopwatch::start();
    for machine in [1, 2] {
        farm.run(
            machine,
            &format!("for p in one two; do job $p moves $(hostname)-$p race/all {MOVES}; done"),
        );
    }
    for _ in 0..2 {
        farm.run(SERVER, "sleep 2; echo 0 >/proc/fs/nfsd/threads; sleep 2; echo 8 >/proc/fs/nfsd/threads");
    }
    farm.cut(SERVER);
    farm.serve();
    for machine in [1, 2] {
        farm.run(machine, "finished one two");
    }
    let moves = before + (4 * MOVES) as u64;
    assert_eq!(farm.moves_of("race/all"), moves, "moves were lost or made twice");
    farm.check();
    tell(&format!(
        "nfs: {} moves while the server stopped twice and lost its power once, in {:.1} s",
        4 * MOVES,
        time.elapsed().as_secs_f64()
    ));
}

/// What was acknowledged is there, and nothing else is left lying about.
fn everything_is_there(farm: &mut Farm) {
    (0..NAMES.len()).for_each(|machine| drop(farm.run(machine, "collect")));
    farm.check();
    for machine in NAMES {
        for process in ["one", "two"] {
            for number in [0, 1] {
                let text = farm.all(&format!("mkimage cat {machine}-{process}-{number} /etc/text"));
                assert!(text.iter().all(|text| *text == format!("{number}.{process}")), "{text:?}");
            }
        }
    }
    let left =
        farm.run(SERVER, "cd /var/export/store; find . -name '.nfs*' -o -name '.claim*' -o -name '.tmp*'");
    assert_eq!(left, "", "files were left");
    let work = farm.run(SERVER, "cd /var/export/store; ls tmp leases");
    tell(&format!("nfs: what the dead left for an hour: {}", work.replace('\n', " ")));
}
