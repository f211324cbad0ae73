//! Tests of PID 1: what it decides and encodes, and what it lays onto a partition, included from its sources
//! and run here (the binary itself has no test harness).

#[path = "../../src/init/inquiry.rs"]
pub mod inquiry;
#[path = "../../src/init/logic/mod.rs"]
pub mod logic;
#[path = "../../src/init/seed.rs"]
pub mod seed;
#[path = "../../src/init/vigil.rs"]
pub mod vigil;
#[path = "../../src/init/word.rs"]
pub mod word;

#[test]
fn names_that_others_chose_are_theirs() {
    // The Boot Loader Interface's vendor GUID.
    assert_eq!(logic::loader::LOADER_GUID, "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
    // Ours, as `src/loader/main.rs` spells it for firmware.
    assert!(logic::loader::REPORT_VARIABLE.starts_with("MkimageBoot-7e0c4b1d-52a6-4d8f-"));
    assert_ne!(logic::ending::Ending::PowerOff, logic::ending::Ending::Reboot);
}

/// A folder with a `systemctl` that knows one unit which is active, and one that never answers.
fn systemd() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "#!/bin/sh\ncase \"$*\" in\n  'is-active --quiet -- good.service') exit 0;;\n\
                  *slow.service) exec /bin/sleep 60;;\n  *) exit 3;;\nesac\n";
    crate::tool::script(script, &folder.path().join("systemctl"));
    folder
}

#[test]
fn a_unit_is_healthy_when_systemctl_says_that_it_is_active() {
    use mkimage::boot::service::Check;
    use std::time::Duration;
    let folder = systemd();
    let ask = |check: &Check, milliseconds| {
        inquiry::is_healthy(check, Duration::from_millis(milliseconds), &folder.path().to_string_lossy())
    };
    let unit = |name: &str| Check::Unit(name.to_owned());
    assert!(ask(&unit("good.service"), 20_000));
    assert!(!ask(&unit("failed.service"), 20_000));
    assert!(!ask(&unit("--help"), 20_000), "a unit is never an option");
    let watch = mkimage::base::Stopwatch::start();
    assert!(!ask(&unit("slow.service"), 300), "who does not answer in time is not healthy");
    assert!(watch.elapsed() < Duration::from_secs(30));
    let nowhere = inquiry::is_healthy(&unit("good.service"), Duration::from_secs(20), "/nowhere");
    assert!(!nowhere, "a system without systemd has no unit that is active");
    let command = |words: &[&str]| Check::Command(words.iter().map(ToString::to_string).collect());
    assert!(ask(&command(&["/bin/true"]), 20_000) && !ask(&command(&["/bin/false"]), 20_000));
    assert!(!ask(&command(&[]), 20_000));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    assert!(ask(&Check::Tcp { port }, 2000));
}

#[test]
fn an_answer_that_trickles_in_is_no_answer() {
    use std::io::Write;
    use std::time::Duration;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let check = mkimage::boot::service::Check::Http { port, path: "/".to_owned() };
    let watch = mkimage::base::Stopwatch::start();
    let trickle = || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        for byte in b"HTTP/1.1 200 OK\r\n" {
            // Each byte comes in time, and all of them do not.
            std::thread::sleep(Duration::from_secs(1));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    };
    let ask = || {
        let asked = (inquiry::answers(&check, Duration::from_secs(2)), watch.elapsed());
        // Where it did not connect, the server would wait for ever.
        drop(std::net::TcpStream::connect(("127.0.0.1", port)));
        asked
    };
    let workers = mkimage::base::parallel::Workers::new(2);
    let ((), (healthy, took)) = workers.join(trickle, ask);
    assert!(!healthy && took < Duration::from_secs(10), "{healthy} after {took:?}");
}

#[test]
fn what_a_check_started_ends_with_it() {
    use std::time::Duration;
    let folder = tempfile::tempdir().expect("a folder");
    let started = folder.path().join("started");
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", started.display());
    let check = mkimage::boot::service::Check::Command(vec!["sh".to_owned(), "-c".to_owned(), script]);
    assert!(!inquiry::is_healthy(&check, Duration::from_secs(2), "/usr/bin:/bin"));
    let started = std::fs::read_to_string(started).expect("it was started");
    assert_eq!(started.split_whitespace().count(), 2, "{started}");
    // What is dead and not yet waited for has no command line.
    let lives = |pid: &str| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    let watch = mkimage::base::Stopwatch::start();
    while started.split_whitespace().any(lives) {
        assert!(watch.elapsed() < Duration::from_secs(60), "{started} lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
