//! What a store remembers of another end.
//!
//! ```text
//! remotes/NAME = "mkimage-remote 1\n"
//!                "address ADDRESS\n"
//!                "site SITE\n"                       at most once: the name that its index must bear
//!                "threshold N\n"                     at most once, where there are keys: how many must sign
//!                ("key PUBLIC-KEY\n")*               as `mkimage key generate` writes them
//!                "seen SEEN\n"                       at most once: the index that was accepted last
//!                "proved ADDRESS\n"                  at most once: keeps two writers apart
//!                ("ref NAME COMMIT [COMMIT]\n")*     where refs of the far end led: of late, and before
//! ```
//!
//! Lines in this order. A ref has the value of before as well, because what was seen is written down before the
//! local refs move: stopped in between, these stand at the value of before.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::address::Address;
use super::error::{RemoteError, Result};
use crate::base::{CommitId, Job};
use crate::store::{RefName, Store};
use crate::trust::{PublicKey, Seen, SiteName, Trusted};

const FIRST_LINE: &str = "mkimage-remote 1";
/// Values of a ref that are remembered.
const VALUES_MAX: usize = 2;

/// The name of a remote: 1 to 64 characters `a-z`, `0-9`, `.`, `_`, `-`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteName(String);

/// What is known of a remote.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    pub address: Address,
    /// The name that the index of a site must bear.
    pub site: Option<SiteName>,
    /// Who may sign the index of a site. None: only whole commit ids can be pulled.
    pub keys: Vec<PublicKey>,
    pub threshold: usize,
    /// The index that was accepted last.
    pub seen: Option<Seen>,
    /// The site at this address was seen to keep two writers apart.
    pub proved: Option<String>,
    /// Where each ref led, of late and before.
    pub refs: BTreeMap<RefName, Vec<CommitId>>,
}

/// A far end as it was named on the command line: an address, or the name of one.
#[derive(Clone, Debug)]
pub struct Remote {
    /// `None`: nothing is remembered of it.
    pub name: Option<RemoteName>,
    pub settings: RemoteSettings,
}

impl RemoteSettings {
    /// Knows an address and nothing else.
    pub fn new(address: Address) -> Self {
        RemoteSettings {
            address,
            site: None,
            keys: Vec::new(),
            threshold: 1,
            seen: None,
            proved: None,
            refs: BTreeMap::new(),
        }
    }

    /// Returns who may sign; `None` where nobody is known who could.
    pub fn trusted(&self) -> Result<Option<Trusted>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let remote = self.address.to_string();
        let trusted = Trusted::new(self.keys.clone(), self.threshold, &remote);
        trusted.map(Some).map_err(|source| RemoteError::Untrusted { remote, source })
    }

    /// Remembers an index that was accepted, unless a newer one is remembered.
    pub fn note_seen(&mut self, seen: &Seen) {
        self.site.get_or_insert_with(|| seen.site.clone());
        if self.seen.as_ref().is_none_or(|old| old.version <= seen.version) {
            self.seen = Some(seen.clone());
        }
    }

    /// Remembers where a ref of the far end leads now.
    pub fn note_ref(&mut self, name: &RefName, commit: CommitId) {
        let values = self.refs.entry(name.clone()).or_default();
        values.retain(|value| *value != commit);
        values.insert(0, commit);
        values.truncate(VALUES_MAX);
    }

    /// Tells whether a ref of the far end led there when it was looked at last.
    pub fn knew(&self, name: &RefName, commit: &CommitId) -> bool {
        self.refs.get(name).is_some_and(|values| values.contains(commit))
    }

    fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\naddress {}\n", self.address);
        let mut line = |word: &str, value: Option<String>| {
            value.iter().for_each(|value| text.push_str(&format!("{word} {value}\n")));
        };
        line("site", self.site.as_ref().map(SiteName::to_string));
        line("threshold", (!self.keys.is_empty()).then(|| self.threshold.to_string()));
        self.keys.iter().for_each(|key| line("key", Some(key.to_string())));
        line("seen", self.seen.as_ref().map(Seen::to_string));
        line("proved", self.proved.clone());
        for (name, values) in &self.refs {
            let values: Vec<String> = values.iter().map(CommitId::to_string).collect();
            line("ref", Some(format!("{name} {}", values.join(" "))));
        }
        text
    }

    fn decode(text: &str) -> std::result::Result<Self, String> {
        let mut lines = text.strip_suffix('\n').ok_or("its last line has no end")?.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(format!("it does not begin with {FIRST_LINE:?}"));
        }
        let address =
            lines.next().and_then(|line| line.strip_prefix("address ")).ok_or("it has no address")?;
        let mut settings = RemoteSettings::new(address.parse().map_err(shown)?);
        for line in lines {
            settings.take(line).map_err(|problem| format!("{line:?}: {problem}"))?;
        }
        match settings.encode() == text {
            true => Ok(settings),
            false => Err("its lines are out of order, or one stands there twice".to_owned()),
        }
    }

    fn take(&mut self, line: &str) -> std::result::Result<(), String> {
        let (word, value) = line.split_once(' ').ok_or("a line without a space")?;
        match word {
            "site" => self.site = Some(value.parse()?),
            "threshold" => self.threshold = value.parse().map_err(shown)?,
            "key" => self.keys.push(PublicKey::parse(value)?),
            "seen" => self.seen = Some(value.parse()?),
            "proved" => self.proved = Some(value.to_owned()),
            "ref" => {
                let (name, values) = value.split_once(' ').ok_or("a ref without a commit")?;
                let values = values.split(' ').map(|value| value.parse().map_err(shown));
                let values = values.collect::<std::result::Result<Vec<CommitId>, String>>()?;
                if values.len() > VALUES_MAX {
                    return Err("more than two commits".to_owned());
                }
                self.refs.insert(RefName::new(name).map_err(shown)?, values);
            }
            _ => return Err("no such line is known".to_owned()),
        }
        Ok(())
    }
}

fn shown(problem: impl fmt::Display) -> String {
    problem.to_string()
}

impl Remote {
    /// Knows an address only: nothing will be remembered.
    pub fn at(address: Address) -> Self {
        Remote { name: None, settings: RemoteSettings::new(address) }
    }

    /// Finds what a text means: an address, or the name of a remote of this store.
    pub fn find(store: &Store, text: &str) -> Result<Remote> {
        match Address::is_address(text) {
            true => Ok(Remote::at(text.parse()?)),
            false => Remote::load(store, &text.parse()?),
        }
    }

    /// Reads a remote of this store.
    pub fn load(store: &Store, name: &RemoteName) -> Result<Remote> {
        match store.read_remote(&name.0)? {
            Some(bytes) => Ok(Remote { name: Some(name.clone()), settings: decode(name, &bytes)? }),
            None => Err(RemoteError::Unknown { name: name.to_string() }),
        }
    }

    /// Adds a remote to the store; a name that is taken is an error.
    pub fn add(store: &Store, job: &Job, name: &RemoteName, settings: &RemoteSettings) -> Result<()> {
        settings.trusted()?;
        store.change_remote(job, &name.0, |old| match old {
            Some(bytes) => {
                let address = decode(name, bytes)?.address.to_string();
                Err(RemoteError::Taken { name: name.to_string(), address })
            }
            None => Ok(Some(settings.encode().into_bytes())),
        })
    }

    /// Removes a remote from the store, also one whose settings can't be read.
    pub fn remove(store: &Store, job: &Job, name: &RemoteName) -> Result<()> {
        if store.read_remote(&name.0)?.is_none() {
            return Err(RemoteError::Unknown { name: name.to_string() });
        }
        store.change_remote(job, &name.0, |_| Ok(None))
    }

    /// Remembers what was seen, durably. `change` gets what is remembered at that time: another process may
    /// have seen something newer.
    pub fn remember(
        &mut self,
        store: &Store,
        job: &Job,
        change: impl FnOnce(&mut RemoteSettings) -> Result<()>,
    ) -> Result<()> {
        let Some(name) = &self.name else { return change(&mut self.settings) };
        let settings = &mut self.settings;
        store.change_remote(job, &name.0, |old| {
            if let Some(bytes) = old {
                *settings = decode(name, bytes)?;
            }
            change(settings)?;
            Ok(Some(settings.encode().into_bytes()))
        })
    }

    /// Returns what it is called in messages.
    pub fn shown(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => self.settings.address.to_string(),
        }
    }
}

fn decode(name: &RemoteName, bytes: &[u8]) -> Result<RemoteSettings> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
    text.and_then(RemoteSettings::decode)
        .map_err(|problem| RemoteError::Damaged { path: format!("remotes/{name}"), problem })
}

impl RemoteName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RemoteName {
    type Err = RemoteError;

    fn from_str(name: &str) -> Result<Self> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let problem = match name.as_bytes() {
            [] => "it is empty",
            bytes if bytes.len() > 64 => "it has more than 64 characters",
            [first, ..] if !letter(*first) => "it begins with a-z or 0-9; a path begins with / or ./",
            bytes if bytes.iter().any(|&byte| !letter(byte) && !b"._-".contains(&byte)) => {
                "only a-z, 0-9, \".\", \"_\" and \"-\" may occur"
            }
            _ => return Ok(RemoteName(name.to_owned())),
        };
        Err(RemoteError::Name { name: name.chars().take(100).collect(), problem })
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::trust::SecretKey;

    fn sample() -> RemoteSettings {
        let mut settings = RemoteSettings::new("http://127.0.0.1/x".parse().expect("an address"));
        let key = |seed| SecretKey::from_seed(&[seed; 32], "of the farm").expect("a key").public().clone();
        settings.keys = vec![key(1), key(2)];
        settings.threshold = 2;
        settings.site = Some("farm".parse().expect("a name"));
        let document = Digest::of(b"index");
        settings.seen =
            Some(Seen { site: "farm".parse().expect("a name"), version: 7, created: 5, document });
        settings.proved = Some("s3://bucket".to_owned());
        let name = RefName::new("env/prod").expect("a name");
        for commit in [b"1", b"2", b"3"] {
            settings.note_ref(&name, CommitId(Digest::of(commit)));
        }
        settings
    }

    #[test]
    fn settings_come_back_and_have_one_form() {
        let text = sample().encode();
        let again = RemoteSettings::decode(&text).expect("read");
        assert_eq!(again.encode(), text);
        assert_eq!(again.seen, sample().seen);
        let lines: Vec<&str> = text.lines().collect();
        for index in 0..lines.len() {
            let without: String = lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != index)
                .map(|(_, l)| format!("{l}\n"))
                .collect();
            if index < 2 {
                assert!(RemoteSettings::decode(&without).is_err(), "line {index}");
            }
            let mut twice = lines.clone();
            twice.insert(index, lines[index]);
            let twice = twice.join("\n") + "\n";
            let is_key = lines[index].starts_with("key");
            assert!(is_key || RemoteSettings::decode(&twice).is_err(), "{twice}");
        }
        assert!(RemoteSettings::decode(&format!("{text}more\n")).is_err());
        assert!(RemoteSettings::decode(text.trim_end()).is_err());
    }

    #[test]
    fn a_changed_byte_is_another_text_or_an_error() {
        let text = sample().encode();
        for index in 0..text.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[index] ^= flip;
                let name = "origin".parse().expect("a name");
                if let Ok(settings) = decode(&name, &bytes) {
                    assert_eq!(settings.encode().into_bytes(), bytes);
                }
            }
        }
    }

    #[test]
    fn a_ref_is_known_by_where_it_led_of_late_and_before() {
        let settings = sample();
        let name = RefName::new("env/prod").expect("a name");
        let knew = |text: &[u8]| settings.knew(&name, &CommitId(Digest::of(text)));
        assert!(knew(b"3") && knew(b"2") && !knew(b"1"));
    }

    #[test]
    fn names_are_plain() {
        for right in ["origin", "farm-2", "0.x"] {
            assert_eq!(right.parse::<RemoteName>().expect("a name").to_string(), right);
        }
        for wrong in ["", ".lock", "-x", "A", "a/b", "a b", &"x".repeat(65)] {
            assert!(wrong.parse::<RemoteName>().is_err(), "{wrong:?}");
        }
    }
}
