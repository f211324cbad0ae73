//! The app of these tests: shows what it was told, and writes lines that can be counted. Built by `rustc` alone.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

fn main() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |it| it.parse().expect("a number"));
    let (lines, pause) = (number("LINES", 0), Duration::from_millis(number("PAUSE", 20)));
    println!("witness: started");
    garbage();
    std::thread::spawn(move || {
        for line in 1..=lines {
            println!("line {line}");
            std::thread::sleep(pause);
        }
    });
    let listener = TcpListener::bind(("0.0.0.0", number("PORT", 8080) as u16)).expect("a port");
    for mut stream in listener.incoming().flatten() {
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let _ = reader.read_line(&mut request);
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok_and(|length| length > 2) {
            header.clear();
        }
        let body = match request.split(' ').nth(1) {
            Some("/") => told(),
            Some("/flood") => flood(),
            Some("/secret") => secret(),
            Some("/kill") => kill_courier(),
            _ => "healthy\n".to_owned(),
        };
        let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

/// What no console should get as it is.
fn garbage() {
    let mut out = std::io::stdout();
    let _ = out.write_all(b"<3>garbage \x1b[2J\xff\x00 end\n");
    let _ = out.flush();
    let _ = std::io::stderr().write_all(b"unfinished");
    std::thread::sleep(Duration::from_millis(900));
    eprintln!(" and finished");
}

fn told() -> String {
    let mut text: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    text.sort();
    if let Ok(folder) = std::env::var("CREDENTIALS_DIRECTORY") {
        let about = std::fs::metadata(&folder).expect("the folder");
        text.push(format!("folder {:o} {}", about.mode() & 0o7777, about.uid()));
        let mut names: Vec<_> = std::fs::read_dir(&folder).expect("a folder").flatten().collect();
        names.sort_by_key(|entry| entry.file_name());
        for entry in names {
            let about = entry.metadata().expect("a file");
            let content = std::fs::read(entry.path()).expect("may read it");
            let name = entry.file_name().into_string().expect("a plain name");
            let content = String::from_utf8_lossy(&content).into_owned();
            text.push(format!("file {name} {:o} {} {content:?}", about.mode() & 0o7777, about.uid()));
        }
        let written = std::fs::write(format!("{folder}/new"), "x").is_ok();
        text.push(format!("written {written}"));
    }
    let reopened = std::fs::OpenOptions::new().write(true).open("/dev/stdout");
    let reopened = reopened.and_then(|mut out| out.write_all(b"by the name of the output\n"));
    text.push(format!("stdout by name {}", reopened.is_ok()));
    text.join("\n") + "\n"
}

/// Writes 4 MiB of lines at once, and says how long it had to wait.
fn flood() -> String {
    let began = Instant::now();
    let line = format!("flood {}\n", "x".repeat(1000));
    let mut out = std::io::stdout().lock();
    (0..4096).for_each(|_| out.write_all(line.as_bytes()).expect("written"));
    println!("flood is over");
    format!("{} ms\n", began.elapsed().as_millis())
}

fn secret() -> String {
    let folder = std::env::var("CREDENTIALS_DIRECTORY").expect("credentials");
    println!("the token is {}!", std::fs::read_to_string(format!("{folder}/token")).expect("a token").trim());
    "told\n".to_owned()
}

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}

/// Ends what runs as the courier's user, and writes on.
fn kill_courier() -> String {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line.starts_with("Uid:\t65533\t")) {
            // SAFETY: the call takes numbers only.
            killed += i32::from(unsafe { kill(pid, 9) } == 0);
        }
    }
    println!("the courier is dead");
    format!("killed {killed}\n")
}
