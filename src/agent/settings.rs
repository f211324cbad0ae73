//! What the agent goes by: a file of the image, written when the image is built.
//!
//! `/usr/lib/mkimage/update.json` holds [`Settings`] as JSON; `/usr/lib/mkimage/update.keys` the keys that may
//! sign the site's index, one a line. Both stand in the verified root, so that no machine follows anybody whom
//! its image did not name. A field that is added must have a default.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{AgentError, Result};
use crate::base::units::parse_duration;
use crate::base::{Digest, fs};
use crate::trust::PublicKey;

/// Where the agent's program is in an image.
pub const PROGRAM_PATH: &str = "/usr/lib/mkimage/mkimage-agent";
/// Where its settings are in an image.
pub const SETTINGS_PATH: &str = "/usr/lib/mkimage/update.json";
/// Where the keys are in an image that may sign.
pub const KEYS_PATH: &str = "/usr/lib/mkimage/update.keys";
/// Where the CA certificates are in an image whose recipe names some.
pub const CERTIFICATES_PATH: &str = "/usr/lib/mkimage/update.ca";
/// The agent's folder, below the data partition's mount. On disks in the field: a change forgets the history.
pub const STATE_FOLDER: &str = ".mkimage/agent";

const SETTINGS_BYTES_MAX: u64 = 64 << 10;
const KEYS_BYTES_MAX: u64 = 64 << 10;
const DAY_MINUTES: u16 = 24 * 60;

/// What an image's recipe says of its updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address of the site: `https://…`, `http://…` or `dir:/…`.
    pub from: String,
    /// The ref whose commit this machine is to run.
    #[serde(rename = "ref")]
    pub reference: String,
    /// How many of the keys must have signed.
    pub threshold: usize,
    /// Seconds between two looks at the site.
    pub interval_seconds: u32,
    /// Up to so many seconds more, so that machines don't come all at once.
    pub jitter_seconds: u32,
    /// The time of day in which the machine may reboot.
    pub window: Option<Window>,
    pub rings: Vec<Ring>,
    pub reboot: Reboot,
    /// Where the data partition is mounted.
    pub data_path: String,
    /// File with the CA certificates that vouch for the site's server. Absent: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<PathBuf>,
}

/// When a machine reboots into what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reboot {
    /// When somebody says so.
    WhenTold,
    /// In the window.
    Window,
    /// As soon as it is written.
    AtOnce,
}

/// A time of day, in minutes since midnight UTC; an end before the start is on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    start: u16,
    end: u16,
}

/// So many machines in a hundred, counted from the first ring on, wait so long after they first see a new commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ring {
    /// 1 to 100; the rings before are counted in.
    pub percent: u8,
    pub delay_seconds: u32,
}

impl Settings {
    /// Reads settings from their file.
    pub fn read(path: &std::path::Path) -> Result<Settings> {
        let bytes = fs::read_at_most(path, SETTINGS_BYTES_MAX)?;
        let wrong = |error: serde_json::Error| AgentError::Settings {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        serde_json::from_slice(&bytes).map_err(wrong)
    }

    /// Writes the settings as they stand in an image.
    pub fn encode(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("because it has string keys only");
        text.push('\n');
        text
    }

    /// Returns the agent's folder.
    pub fn state_folder(&self) -> PathBuf {
        PathBuf::from(&self.data_path).join(STATE_FOLDER)
    }
}

/// Reads who may sign. No key is an error, never "anybody".
pub fn read_keys(path: &std::path::Path) -> Result<Vec<PublicKey>> {
    let wrong = |problem: String| AgentError::Settings { path: path.to_owned(), problem };
    let bytes = fs::read_at_most(path, KEYS_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
    let keys = parse_keys(&text).map_err(wrong)?;
    match keys.is_empty() {
        true => Err(wrong("it holds no key".to_owned())),
        false => Ok(keys),
    }
}

/// Reads keys, one a line; empty lines and lines from `#` on are left out.
pub fn parse_keys(text: &str) -> std::result::Result<Vec<PublicKey>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| PublicKey::parse(line).map_err(str::to_owned)).collect()
}

impl Window {
    /// Returns how many seconds after a time (since 1970) the window is open; 0: it is open.
    pub fn opens_in(&self, now: u64) -> u64 {
        let day = u64::from(DAY_MINUTES) * 60;
        let (time, start, end) = (now % day, u64::from(self.start) * 60, u64::from(self.end) * 60);
        let inside = if start <= end { (start..end).contains(&time) } else { time >= start || time < end };
        match inside {
            true => 0,
            false => (start + day - time) % day,
        }
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is no time of day such as \"02:00-04:00\" (UTC)");
        let (start, end) = text.split_once('-').ok_or_else(wrong)?;
        let (start, end) = (minutes(start).ok_or_else(wrong)?, minutes(end).ok_or_else(wrong)?);
        if start == end {
            return Err(format!("{text:?} is never open"));
        }
        Ok(Window { start, end })
    }
}

/// Reads `HH:MM`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number < below)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        format!("{}-{}", time(window.start), time(window.end))
    }
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Ring {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is no ring such as \"10%\" or \"100% after 1h\"");
        let (percent, delay) = match text.split_once(" after ") {
            Some((percent, delay)) => (percent, parse_duration(delay).ok_or_else(wrong)?),
            None => (text, 0),
        };
        let percent = percent.strip_suffix('%').and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        match (1..=100).contains(&percent) {
            true => Ok(Ring { percent, delay_seconds: delay }),
            false => Err(wrong()),
        }
    }
}

impl From<Ring> for String {
    fn from(ring: Ring) -> String {
        match ring.delay_seconds {
            0 => format!("{}%", ring.percent),
            seconds => format!("{}% after {seconds}s", ring.percent),
        }
    }
}

impl TryFrom<String> for Ring {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

/// Returns the place of a machine among all: the same one for good, from 0 to 9999. The ref is counted in, so
/// that it is not always the same machines that go first.
pub fn place(machine: &str, reference: &str) -> u16 {
    let text = format!("{machine}\n{reference}");
    let digest = Digest::derive("mkimage 2026 ring of a machine v1", text.as_bytes());
    let word = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("because it has 32 bytes"));
    (word % 10_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_window_is_open_from_its_start_to_its_end_also_over_midnight() {
        let time = |hours: u64, minutes: u64| 20_000 * 86_400 + hours * 3600 + minutes * 60;
        let night = window("02:00-04:00");
        assert_eq!(night.opens_in(time(2, 0)), 0);
        assert_eq!(night.opens_in(time(3, 59)), 0);
        assert_eq!(night.opens_in(time(4, 0)), 22 * 3600);
        assert_eq!(night.opens_in(time(1, 30)), 1800);
        let late = window("23:30-00:30");
        assert_eq!((late.opens_in(time(23, 30)), late.opens_in(time(0, 29))), (0, 0));
        assert_eq!(late.opens_in(time(0, 30)), 23 * 3600);
        assert_eq!(late.opens_in(time(23, 0)), 1800);
    }

    #[test]
    fn windows_and_rings_have_one_spelling_and_others_are_refused() {
        for text in ["02:00-04:00", "23:30-00:30"] {
            assert_eq!(String::from(window(text)), text);
        }
        for text in ["", "2:00-4:00", "02:00", "24:00-01:00", "02:60-03:00", "02:00-02:00", "02:00-+4:00"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
        let ring = |text: &str| text.parse::<Ring>().ok().map(|ring| (ring.percent, ring.delay_seconds));
        assert_eq!(ring("10%"), Some((10, 0)));
        assert_eq!(ring("100% after 2h"), Some((100, 7200)));
        for text in ["", "10", "0%", "101%", "10% after", "10% after 5", "10% after 5y", "10% after 99999d"] {
            assert_eq!(ring(text), None, "{text}");
        }
    }

    #[test]
    fn settings_come_back_and_an_unknown_field_is_refused() {
        let settings = Settings {
            from: "https://updates.invalid/site".to_owned(),
            reference: "web/prod".to_owned(),
            threshold: 1,
            interval_seconds: 600,
            jitter_seconds: 60,
            window: Some(window("02:00-04:00")),
            rings: vec!["5%".parse().expect("a ring"), "100% after 1d".parse().expect("a ring")],
            reboot: Reboot::Window,
            data_path: "/data".to_owned(),
            certificates: None,
        };
        let text = settings.encode();
        assert_eq!(serde_json::from_str::<Settings>(&text).expect("read"), settings);
        assert!(serde_json::from_str::<Settings>(&text.replace("threshold", "thresholds")).is_err());
        assert!(!text.contains("certificates"), "agents that don't know the field read on");
    }

    #[test]
    fn machines_spread_over_all_places() {
        let mut tenths = [0; 10];
        for machine in 0..10_000 {
            tenths[usize::from(place(&format!("{machine:032x}"), "web/prod") / 1000)] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
        assert_eq!(place("a", "b"), place("a", "b"));
        assert_ne!(place("a", "b"), place("a", "c"));
    }
}
