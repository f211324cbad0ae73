//! Asks whether an app or a whole system is healthy: a port of this machine, a command, systemd.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use mkimage::base::Stopwatch;
use mkimage::boot::service::Check;
use rustix::process::{Pid, Signal};

use super::logic::http;

/// How often a command is looked at, whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// Asks a port of this machine, and believes nobody who takes longer than `timeout` for all of the answer that counts.
/// What is no question to a port is not healthy.
pub fn answers(check: &Check, timeout: Duration) -> bool {
    let watch = Stopwatch::start();
    let left = || timeout.checked_sub(watch.elapsed()).filter(|left| !left.is_zero());
    match check {
        Check::Tcp { port } => connect(*port, &left).is_some(),
        Check::Http { port, path } => get(*port, path, &left).unwrap_or(false),
        Check::Command(_) | Check::Unit(_) => false,
    }
}

/// Asks whatever is to be asked, as whoever asks. Programs are looked for in `search_path`; one that takes longer than
/// `timeout` is ended, and not healthy.
pub fn is_healthy(check: &Check, timeout: Duration, search_path: &str) -> bool {
    let words: Vec<&str> = match check {
        Check::Command(words) => words.iter().map(String::as_str).collect(),
        Check::Unit(unit) => vec!["systemctl", "is-active", "--quiet", "--", unit],
        Check::Tcp { .. } | Check::Http { .. } => return answers(check, timeout),
    };
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", search_path).stdin(Stdio::null());
    // What it starts ends with it.
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok(mut child) = command.spawn() else { return false };
    let watch = Stopwatch::start();
    while watch.elapsed() < timeout {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(POLL),
            Err(_) => return false,
        }
    }
    let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
    false
}

/// Connects to a port of this machine, by either protocol, in the time that is left.
fn connect(port: u16, left: &dyn Fn() -> Option<Duration>) -> Option<TcpStream> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    addresses
        .into_iter()
        .find_map(|address| TcpStream::connect_timeout(&SocketAddr::new(address, port), left()?).ok())
}

fn get(port: u16, path: &str, left: &dyn Fn() -> Option<Duration>) -> Option<bool> {
    let mut stream = connect(port, left)?;
    stream.set_write_timeout(Some(left()?)).ok()?;
    stream.write_all(http::request(path).as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 64];
    loop {
        stream.set_read_timeout(Some(left()?)).ok()?;
        let length = stream.read(&mut part).ok()?;
        answer.extend_from_slice(&part[..length]);
        if let Some(healthy) = http::is_healthy(&answer) {
            return Some(healthy);
        }
        if length == 0 {
            return None;
        }
    }
}
