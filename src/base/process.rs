//! Which process this is, and whether another one of this machine still lives: for locks and leases in
//! directories that several machines share.

use std::fmt;
use std::str::FromStr;

use super::fs;

/// Names a process among all that ever ran on machines that share a directory: five words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessName {
    /// Host name and machine id.
    pub host: String,
    /// Random at each boot of the kernel.
    pub boot: String,
    /// Its process id counts in this namespace: containers have their own.
    pub namespace: String,
    pub pid: u32,
    /// When it began, in clock ticks since the boot: ids are used again.
    pub started: u64,
}

/// What stands for a word that the system does not tell.
const UNKNOWN: &str = "-";

impl ProcessName {
    /// Names this process.
    pub fn this() -> Self {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let machine = line("/etc/machine-id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        let pid = std::process::id();
        ProcessName {
            host: word(&format!("{node}/{machine}")),
            boot: word(&line("/proc/sys/kernel/random/boot_id").unwrap_or_default()),
            namespace: word(&digits),
            pid,
            started: started(pid).unwrap_or(0),
        }
    }

    /// Tells whether the process is certainly gone: it ran on this machine, since its last boot, in our
    /// namespace of ids, and no such process lives. Of any other one nothing is known.
    pub fn is_gone(&self) -> bool {
        let this = ProcessName::this();
        self.is_neighbour(&this) && started(self.pid) != Some(self.started)
    }

    /// Tells whether the process ran on this machine before its last boot, if its trace is `age_seconds` old.
    /// The age is asked for because cloned machines may bear one name: what is younger than this boot was
    /// left by none of our processes.
    pub fn is_of_earlier_boot(&self, age_seconds: u64) -> bool {
        let this = ProcessName::this();
        let known = self.boot != UNKNOWN && this.boot != UNKNOWN;
        let uptime = line("/proc/uptime").and_then(|text| text.split('.').next()?.parse::<u64>().ok());
        known
            && self.host == this.host
            && self.boot != this.boot
            && uptime.is_some_and(|uptime| age_seconds > uptime)
    }

    fn is_neighbour(&self, this: &ProcessName) -> bool {
        let words = [(&self.host, &this.host), (&self.boot, &this.boot), (&self.namespace, &this.namespace)];
        words.iter().all(|(left, right)| left == right && *left != UNKNOWN)
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.host, self.boot, self.namespace, self.pid, self.started)
    }
}

impl FromStr for ProcessName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split(' ').collect();
        let name = || {
            let [host, boot, namespace, pid, started] = fields[..] else { return None };
            let words = [host, boot, namespace].map(str::to_owned);
            let [host, boot, namespace] = words;
            Some(ProcessName {
                host,
                boot,
                namespace,
                pid: pid.parse().ok()?,
                started: started.parse().ok()?,
            })
        };
        name().filter(|name| name.to_string() == text).ok_or_else(|| format!("{text:?} names no process"))
    }
}

/// Returns when a living process of this namespace began; a zombie lives no more.
fn started(pid: u32) -> Option<u64> {
    let text = line(&format!("/proc/{pid}/stat"))?;
    // The command's name stands in parentheses and may hold anything, parentheses too.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn line(path: &str) -> Option<String> {
    let bytes = fs::read_at_most(path.as_ref(), 4096).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Makes one word of a text: no blanks, nothing that is not ASCII.
fn word(text: &str) -> String {
    let word: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    if word.is_empty() { UNKNOWN.to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_name_comes_back() {
        let this = ProcessName::this();
        assert!(!this.is_gone() && !this.is_of_earlier_boot(u64::MAX));
        assert_eq!(this.to_string().parse(), Ok(this.clone()));
        assert!(this.started > 0 && this.boot != UNKNOWN, "{this}");
        assert!("a b c".parse::<ProcessName>().is_err());
    }

    #[test]
    fn a_process_that_ended_is_gone_and_one_elsewhere_is_unknown() {
        let this = ProcessName::this();
        let other_start = ProcessName { started: this.started + 1, ..this.clone() };
        assert!(other_start.is_gone(), "its id was given to another process");
        let mut child = std::process::Command::new("true").spawn().expect("started");
        let pid = child.id();
        child.wait().expect("ended");
        assert!(ProcessName { pid, ..this.clone() }.is_gone());
        for elsewhere in [
            ProcessName { host: "other".to_owned(), pid, ..this.clone() },
            ProcessName { namespace: "1".to_owned(), pid, ..this.clone() },
            ProcessName { boot: "other".to_owned(), pid, ..this.clone() },
        ] {
            assert!(!elsewhere.is_gone(), "{elsewhere}");
        }
        let before = ProcessName { boot: "other".to_owned(), ..this };
        assert!(before.is_of_earlier_boot(u64::MAX) && !before.is_of_earlier_boot(0));
    }
}
