//! Arguments of the agent, and its answers for people.

use std::path::PathBuf;

use mkimage::agent::{Entry, KEYS_PATH, SETTINGS_PATH, SOCKET_PATH, Word, story};
use mkimage::boot::slots::Slot;
use serde_json::Value;

pub const USAGE: &str = "\
mkimage-agent updates the machine that it runs on.

  mkimage-agent status                what runs, what waits, what boots next
  mkimage-agent history               what was tried, and what became of it
  mkimage-agent upgrade [--check]     bring the machine to where its ref leads; --check only looks
  mkimage-agent rollback              go back to the slot before, at the next boot
  mkimage-agent reboot                reboot into what waits
  mkimage-agent run                   stay, look at the site from time to time, update

  --json                   the answer for programs
  --settings FILE          instead of /usr/lib/mkimage/update.json
  --keys FILE              instead of /usr/lib/mkimage/update.keys
  --disk FILE --running SLOT    another disk than the one that this machine runs from
  --state FOLDER  --socket FILE
  --reboot exit|systemd    how `run` asks for a reboot: by its exit status 75, or of systemd
";

pub enum Verb {
    Help,
    Run,
    Say(Word),
}

/// What was asked for.
pub struct Arguments {
    pub verb: Verb,
    pub json: bool,
    pub settings: PathBuf,
    pub keys: PathBuf,
    pub disk: Option<PathBuf>,
    pub running: Option<Slot>,
    pub state: Option<PathBuf>,
    pub socket: PathBuf,
    pub reboots_by_systemd: bool,
}

impl Arguments {
    /// Reads arguments. What is not understood is an error, in a sentence.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut read = Arguments {
            verb: Verb::Help,
            json: false,
            settings: SETTINGS_PATH.into(),
            keys: KEYS_PATH.into(),
            disk: None,
            running: None,
            state: None,
            socket: SOCKET_PATH.into(),
            reboots_by_systemd: false,
        };
        let (mut words, mut verb, mut check) = (words, None, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--json" => read.json = true,
                "--check" => check = true,
                "--settings" => read.settings = value()?.into(),
                "--keys" => read.keys = value()?.into(),
                "--disk" => read.disk = Some(value()?.into()),
                "--state" => read.state = Some(value()?.into()),
                "--socket" => read.socket = value()?.into(),
                "--running" => read.running = Some(slot(&value()?)?),
                "--reboot" => read.reboots_by_systemd = by_systemd(&value()?)?,
                "--help" | "-h" => return Ok(Arguments { verb: Verb::Help, ..read }),
                option if option.starts_with('-') => {
                    return Err(format!("{option} is no option; see --help"));
                }
                _ if verb.is_some() => return Err(format!("{word:?} is one word too many; see --help")),
                "run" => verb = Some(Verb::Run),
                _ => {
                    verb = Some(Verb::Say(word.parse().map_err(|problem| format!("{problem}; see --help"))?))
                }
            }
        }
        read.verb = match (verb.ok_or("say what to do; see --help")?, check) {
            (Verb::Say(Word::Upgrade), true) => Verb::Say(Word::Check),
            (_, true) => return Err("--check is for upgrade".to_owned()),
            (verb, false) => verb,
        };
        Ok(read)
    }
}

fn slot(text: &str) -> Result<Slot, String> {
    let found = Slot::BOTH.into_iter().find(|slot| slot.to_string() == text);
    found.ok_or_else(|| format!("{text:?} is no slot: slot-a or slot-b"))
}

fn by_systemd(text: &str) -> Result<bool, String> {
    match text {
        "exit" => Ok(false),
        "systemd" => Ok(true),
        _ => Err(format!("--reboot is exit or systemd, not {text:?}")),
    }
}

/// Writes an answer for people, with a line end.
pub fn for_people(word: Word, value: &Value) -> String {
    match word {
        Word::Status => status(value),
        Word::History => history(value),
        Word::Check | Word::Upgrade => format!("{}\n", outcome(value)),
        Word::Rollback => {
            format!("{} boots next; `mkimage-agent reboot` goes there now\n", text(&value["slot"]))
        }
        Word::Reboot => "the machine reboots\n".to_owned(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn short(value: &Value) -> String {
    text(value).chars().take(12).collect()
}

fn status(value: &Value) -> String {
    let mut lines = Vec::new();
    for slot in value["disk"]["slots"].as_array().into_iter().flatten() {
        let runs = if slot["running"] == true { ", runs" } else { "" };
        let tries = match slot["tries_left"].as_u64() {
            Some(1) => ", 1 try left".to_owned(),
            Some(left) => format!(", {left} tries left"),
            None => String::new(),
        };
        let what = match slot["commit"].is_null() {
            true => String::new(),
            false => {
                format!(" {} {} {}", text(&slot["name"]), text(&slot["version"]), short(&slot["commit"]))
            }
        };
        lines.push(format!("{}{what}: {}{runs}{tries}", text(&slot["slot"]), text(&slot["state"])));
    }
    if let Some(next) = value["disk"]["next"].as_object() {
        lines.push(format!("next: {}, because {}", text(&next["slot"]), text(&next["why"])));
    }
    if value["in_vain"] == true {
        lines.push("the machine was rebooted for it in vain, and is not any more".to_owned());
    }
    lines.push(format!("follows {} of {}", text(&value["ref"]), text(&value["from"])));
    if let Ok(last) = serde_json::from_value::<Entry>(value["last"].clone()) {
        lines.push(format!("last, {}: {}", time(last.at), story(&last)));
    }
    lines.join("\n") + "\n"
}

fn history(value: &Value) -> String {
    let entries: Vec<Entry> = serde_json::from_value(value.clone()).unwrap_or_default();
    let line = |entry: &Entry| {
        let pulled = entry.pulled_bytes.map_or(String::new(), |bytes| format!("; {bytes} bytes pulled"));
        let written = entry.written_bytes.map_or(String::new(), |bytes| format!(", {bytes} written"));
        format!("{}  {}{pulled}{written}\n", time(entry.at), story(entry))
    };
    match entries.is_empty() {
        true => "nothing was tried yet\n".to_owned(),
        false => entries.iter().map(line).collect(),
    }
}

fn outcome(value: &Value) -> String {
    let commit = short(&value["commit"]);
    match value["state"].as_str().unwrap_or_default() {
        "up_to_date" => format!("commit {commit} runs already"),
        "waiting" => format!("commit {commit} is written and waits for a reboot"),
        "fell_back" => format!("commit {commit} fell back here; `mkimage-agent upgrade` tries it again"),
        "not_yet" => format!("commit {commit} is for earlier rings still, for {} s", value["due_in_seconds"]),
        "available" => format!("commit {commit} can be had: `mkimage-agent upgrade`"),
        _ => format!(
            "commit {commit} is in {}: {} bytes pulled, {} written; it is tried at the next boot",
            text(&value["slot"]),
            value["pulled_bytes"],
            value["written_bytes"]
        ),
    }
}

/// Writes seconds since 1970 as a date and time in UTC (days to civil, Howard Hinnant's algorithm).
fn time(seconds: u64) -> String {
    let (days, time) = ((seconds / 86_400).min(3_000_000), seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02} UTC")
}
