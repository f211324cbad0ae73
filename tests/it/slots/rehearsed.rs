//! What a verb reads of a disk that it changes, a child that can do nothing else has taken apart before.

use super::verbs::Disk;
use crate::tool::{run, tool};

/// The verbs that change a disk with two versions, both confirmed, of which slot B boots next.
const VERBS: [(&str, &[&str]); 4] =
    [("update", &["app/v3"]), ("rollback", &[]), ("switch", &["slot-a"]), ("confirm", &[])];

fn two() -> Disk {
    let disk = Disk::of(2);
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    disk
}

/// Runs a verb under strace; returns its exit code, what it said, and the calls.
fn traced(disk: &Disk, trace: &str, verb: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let log = disk.path.with_extension("calls");
    let mut command = tool("strace", ["-f", "-y", "-qq", "-e", trace, "-o"]);
    command.arg(&log).arg(env!("CARGO_BIN_EXE_mkimage")).arg(verb).arg(&disk.path).args(more);
    command.env("MKIMAGE_STORE", disk.store()).env_remove("MAKEFLAGS");
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), said, std::fs::read_to_string(&log).expect("calls"))
}

fn process(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[test]
fn a_child_that_is_locked_in_reads_a_disk_before_any_verb_that_changes_it() {
    let disk = two();
    let image = format!("<{}>", disk.path.display());
    for (verb, more) in VERBS {
        let (code, said, log) = traced(&disk, "trace=seccomp,pread64,read", verb, more);
        assert_eq!(code, Some(0), "{verb}: {said}");
        let lines: Vec<&str> = log.lines().collect();
        let locked = lines.iter().position(|line| line.contains("_MODE_FILTER")).expect("a filter");
        let child = process(lines[locked]);
        let reads = |line: &&&str| line.contains(&image) && line.contains(" pread64(");
        let inside: Vec<usize> =
            (0..lines.len()).filter(|&at| process(lines[at]) == child && reads(&&lines[at])).collect();
        let (first, last) = (inside[0], inside[inside.len() - 1]);
        assert!(first > locked, "{verb}: the child reads before it is locked in");
        let outside = lines.iter().position(|line| process(line) != child && reads(&line));
        assert!(outside.is_some_and(|at| at > last), "{verb}: {outside:?} is not behind {last}");
        // Both kernel images and the ESP's tables were among it.
        let bytes =
            |at: &usize| lines[*at].rsplit("= ").next().and_then(|text| text.trim().parse::<u64>().ok());
        assert!(inside.iter().filter_map(bytes).sum::<u64>() > 12_000, "{verb}: {log}");
    }
}

#[test]
fn what_kills_its_reader_kills_the_child_and_the_disk_stays_as_it_is() {
    let disk = two();
    let before = std::fs::read(&disk.path).expect("read");
    for (verb, more) in VERBS {
        let killed = "inject=landlock_restrict_self:signal=KILL";
        let (code, said, _) = traced(&disk, killed, verb, more);
        assert_eq!(code, Some(6), "{verb}: {said}");
        assert!(said.contains("the confined reader of the image was stopped"), "{verb}: {said}");
        assert!(said.contains(&disk.path.display().to_string()), "{verb} names the disk: {said}");
        assert!(std::fs::read(&disk.path).expect("read") == before, "{verb} wrote something");
    }
}

#[test]
fn where_no_child_can_be_started_a_machine_still_confirms_its_slot() {
    let disk = Disk::of(2);
    disk.say("update", &["app/v2"]);
    // As on a kernel that has no such call.
    let (code, said, _) = traced(&disk, "inject=memfd_create:error=ENOSYS", "confirm", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("slot-b is confirmed"), "{said}");
    assert!(said.contains("the disk is read without a confined child"), "{said}");
    assert_eq!(disk.status()["slots"][1]["state"], "confirmed");
}

#[test]
fn what_the_child_refuses_the_verb_says_in_its_own_words() {
    let disk = Disk::of(2);
    std::fs::write(&disk.path, vec![7; 1 << 20]).expect("written");
    for (verb, more) in VERBS {
        let (code, said, _) = traced(&disk, "trace=seccomp", verb, more);
        assert_eq!(code, Some(6), "{verb}: {said}");
        assert!(!said.contains("confined reader"), "{verb}: {said}");
    }
}

#[test]
fn a_status_past_the_cache_is_read_in_the_child_too() {
    let disk = two();
    let calls = "trace=openat,seccomp,pread64,fadvise64";
    let (code, said, log) = traced(&disk, calls, "status", &["--verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("(verified)").count(), 2, "{said}");
    let lines: Vec<&str> = log.lines().collect();
    let locked = lines.iter().position(|line| line.contains("_MODE_FILTER")).expect("a filter");
    let direct = lines.iter().position(|line| line.contains("O_DIRECT")).expect("opened past the cache");
    assert!(direct < locked, "it could not be opened any more: {log}");
    let descriptor =
        lines[direct].rsplit("= ").next().and_then(|text| text.split('<').next()).expect("a number");
    let through = format!("pread64({descriptor}<");
    let forgotten = log.contains("fadvise64(") && log.contains("POSIX_FADV_DONTNEED");
    // Where the file system knows no direct reading, the cache is told to forget.
    assert!(log.contains(&through) || descriptor == "-1" && forgotten, "{log}");
}
