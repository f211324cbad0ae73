//! The kernel's command line: what the builder puts into a UKI, what PID 1 reads back.
//!
//! ```text
//! console=tty0 console=ttyS0 quiet panic=-1 oops=panic gpt mkimage.verity=ROOT:SALT:BLOCKS:START …
//! ```
//!
//! Words of ours, all part of layout 1:
//! - `mkimage.verity=ROOT:SALT:BLOCKS:START`: root hash and salt of the slot's verity tree as lower-case
//!   hex (`-` for no salt), number of data blocks, and block of the slot where the tree begins; blocks of
//!   4096 bytes. PID 1 takes the partition whose tree has this root, so no word names a slot or a disk.
//! - `mkimage.env.NAME=VALUE`: a variable for the app; it goes before the recipe's.
//! - `mkimage.metadata=ADDRESS`, `mkimage.log=ADDRESS`: where metadata is asked for, and where logs go
//!   ([`super::environment`]).
//! - `mkimage.wait=SECONDS`: how long PID 1 waits for the slot's disk, 1 to 600; 10 without the word.
//!
//! Of `mkimage.verity` and `mkimage.wait` the first of its kind counts: what a loader or a person adds
//! comes behind ours and can't replace the root hash.

use std::fmt;
use std::str::FromStr;

use super::environment::{LOG_ADDRESS, METADATA_ADDRESS};

/// Bytes of a data or hash block. Changing it is a format break.
pub const VERITY_BLOCK_BYTES: usize = 4096;
/// Most bytes of a salt that dm-verity takes.
pub const SALT_MAX_BYTES: usize = 256;
/// Most bytes of a command line on the architectures that we build for (`COMMAND_LINE_SIZE` of x86 and
/// arm64, with its closing zero).
pub const COMMAND_LINE_MAX_BYTES: usize = 2048;
/// Seconds that PID 1 waits for the slot's disk where the command line doesn't say.
pub const DEFAULT_WAIT_SECONDS: u32 = 10;

const VERITY_KEY: &str = "mkimage.verity";
const WAIT_KEY: &str = "mkimage.wait";
const ENVIRONMENT_PREFIX: &str = "mkimage.env.";
const ADDRESSES: [&str; 2] = [METADATA_ADDRESS, LOG_ADDRESS];
const WAIT_MAX_SECONDS: u32 = 600;

/// Words that every image begins with. A dead kernel reboots, which counts a try of a slot on trial (`panic`,
/// `oops`); `gpt` lets the kernel use the backup table when power fails while the first one is rewritten.
const FIRST_WORDS: [&str; 4] = ["quiet", "panic=-1", "oops=panic", "gpt"];

/// Says what is wrong with a command line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandLineError {
    #[error("the command line has no word `mkimage.verity=…`, which names the root filesystem")]
    NoVerity,
    #[error("`mkimage.verity={0}` is not ROOT:SALT:BLOCKS:START in hex, hex, decimal and decimal")]
    Verity(String),
    #[error("`mkimage.wait={0}` is not a number of seconds from 1 to {WAIT_MAX_SECONDS}")]
    Wait(String),
    #[error(
        "the word {0:?} can't stand on a kernel command line: it is empty or has a quote or control character"
    )]
    Word(String),
    #[error("the word {0:?} is ours: the builder writes it")]
    Reserved(String),
    #[error("the command line has {bytes} bytes, the kernel reads at most {most}")]
    TooLong { bytes: usize, most: usize },
}

/// Names the root filesystem of a slot by what it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerityRoot {
    pub root_hash: [u8; 32],
    /// At most [`SALT_MAX_BYTES`].
    pub salt: Vec<u8>,
    pub data_blocks: u64,
    /// Block of the slot at which the tree begins; its first block is the top of the tree.
    pub hash_start_block: u64,
}

impl VerityRoot {
    /// Returns the root hash as dm-verity writes it.
    pub fn root_hash_hex(&self) -> String {
        to_hex(&self.root_hash)
    }

    /// Returns the salt as dm-verity writes it: `-` for none.
    pub fn salt_hex(&self) -> String {
        if self.salt.is_empty() { "-".to_owned() } else { to_hex(&self.salt) }
    }
}

/// Prints `ROOT:SALT:BLOCKS:START`.
impl fmt::Display for VerityRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, salt) = (self.root_hash_hex(), self.salt_hex());
        write!(f, "{root}:{salt}:{}:{}", self.data_blocks, self.hash_start_block)
    }
}

impl FromStr for VerityRoot {
    type Err = CommandLineError;

    fn from_str(text: &str) -> Result<Self, CommandLineError> {
        parse_verity(text).ok_or_else(|| CommandLineError::Verity(text.to_owned()))
    }
}

/// What PID 1 learns from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub verity: VerityRoot,
    pub wait_seconds: u32,
    /// Variables for the app, in the order of the line, names as written.
    pub environment: Vec<(String, String)>,
    /// Addresses that the machine is told, in the order of the line.
    pub addresses: Vec<(&'static str, String)>,
}

/// Writes the command line of a UKI: the consoles (the last one becomes `/dev/console`), our words, the
/// root filesystem, then the recipe's own words.
///
/// A word may hold spaces in its value; it is quoted then. Fails on words that the kernel can't carry, on
/// ours among `further_words`, on values that [`parse`] refuses, and on a line that is too long.
pub fn encode(
    consoles: &[&str],
    verity: &VerityRoot,
    further_words: &[String],
) -> Result<String, CommandLineError> {
    let mut words: Vec<String> = consoles.iter().map(|console| format!("console={console}")).collect();
    words.extend(FIRST_WORDS.map(str::to_owned));
    words.push(format!("{VERITY_KEY}={verity}"));
    for word in further_words {
        words.push(quote(word)?);
    }
    let line = words.join(" ");
    if line.len() >= COMMAND_LINE_MAX_BYTES {
        return Err(CommandLineError::TooLong { bytes: line.len(), most: COMMAND_LINE_MAX_BYTES - 1 });
    }
    // A word of ours that PID 1 can't read would be found at boot only.
    parse(&line).map(|_| line)
}

/// Reads a command line as the kernel hands it on (`/proc/cmdline`).
pub fn parse(line: &str) -> Result<CommandLine, CommandLineError> {
    let (mut verity, mut wait, mut environment, mut addresses) = (None, None, Vec::new(), Vec::new());
    for word in split(line) {
        let Some((key, value)) = word.split_once('=') else { continue };
        if key == VERITY_KEY && verity.is_none() {
            verity = Some(value.parse()?);
        } else if key == WAIT_KEY && wait.is_none() {
            wait = Some(parse_wait(value)?);
        } else if let Some(name) = key.strip_prefix(ENVIRONMENT_PREFIX) {
            environment.push((name.to_owned(), value.to_owned()));
        } else if let Some(address) = ADDRESSES.into_iter().find(|address| *address == key) {
            addresses.push((address, value.to_owned()));
        }
    }
    let verity = verity.ok_or(CommandLineError::NoVerity)?;
    Ok(CommandLine { verity, wait_seconds: wait.unwrap_or(DEFAULT_WAIT_SECONDS), environment, addresses })
}

/// Returns the words behind ours, which the recipe gave: [`encode`] of them is the line again.
pub fn further_words(line: &str) -> Vec<String> {
    let is_last_of_ours = |word: &String| word.split_once('=').is_some_and(|(key, _)| key == VERITY_KEY);
    let words = split(line);
    let behind = words.iter().position(is_last_of_ours).map_or(words.len(), |at| at + 1);
    words[behind..].to_vec()
}

fn parse_wait(value: &str) -> Result<u32, CommandLineError> {
    match value.parse() {
        Ok(seconds) if (1..=WAIT_MAX_SECONDS).contains(&seconds) => Ok(seconds),
        _ => Err(CommandLineError::Wait(value.to_owned())),
    }
}

fn parse_verity(text: &str) -> Option<VerityRoot> {
    let mut fields = text.split(':');
    let root_hash = from_hex(fields.next()?)?.try_into().ok()?;
    let salt = match fields.next()? {
        "-" => Vec::new(),
        salt => from_hex(salt)?,
    };
    let data_blocks = parse_decimal(fields.next()?)?;
    let hash_start_block = parse_decimal(fields.next()?)?;
    let sound = fields.next().is_none() && salt.len() <= SALT_MAX_BYTES && data_blocks > 0;
    (sound && hash_start_block >= data_blocks).then_some(VerityRoot {
        root_hash,
        salt,
        data_blocks,
        hash_start_block,
    })
}

/// Reads a number of blocks whose bytes still fit 63 bits.
fn parse_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if digits { text.parse().ok()? } else { return None };
    (number <= i64::MAX as u64 / VERITY_BLOCK_BYTES as u64).then_some(number)
}

/// Splits as the kernel does: at white space outside of double quotes, which are dropped.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut started) = (Vec::new(), String::new(), false, false);
    for character in line.chars() {
        if character == '"' {
            quoted = !quoted;
            started = true;
        } else if character.is_ascii_whitespace() && !quoted {
            if started {
                words.push(std::mem::take(&mut word));
            }
            started = false;
        } else {
            word.push(character);
            started = true;
        }
    }
    if started {
        words.push(word);
    }
    words
}

fn quote(word: &str) -> Result<String, CommandLineError> {
    let unfit = |character: char| character == '"' || character.is_control();
    if word.is_empty() || word.contains(unfit) {
        return Err(CommandLineError::Word(word.to_owned()));
    }
    let key = word.split('=').next().unwrap_or_default();
    if key == VERITY_KEY {
        return Err(CommandLineError::Reserved(word.to_owned()));
    }
    match word.split_once('=') {
        _ if !word.contains(' ') => Ok(word.to_owned()),
        Some((key, value)) if !key.contains(' ') => Ok(format!("{key}=\"{value}\"")),
        _ => Err(CommandLineError::Word(word.to_owned())),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> VerityRoot {
        VerityRoot {
            root_hash: [0xa5; 32],
            salt: vec![1, 2, 0xff],
            data_blocks: 2048,
            hash_start_block: 2048,
        }
    }

    #[test]
    fn what_the_builder_writes_is_what_pid_1_reads() {
        let words = ["mkimage.env.GREETING=good day, moon".to_owned(), "audit=0".to_owned()];
        let line = encode(&["tty0", "ttyS0"], &root(), &words).expect("encodes");
        let told = parse(&format!("{line} mkimage.log=tcp://a:1 mkimage.logs=x mkimage.log=tcp://b:2"))
            .expect("parses");
        assert_eq!(
            told.addresses,
            [("mkimage.log", "tcp://a:1".to_owned()), ("mkimage.log", "tcp://b:2".to_owned())]
        );
        assert!(
            line.starts_with("console=tty0 console=ttyS0 quiet panic=-1 oops=panic gpt mkimage.verity=a5a5")
        );
        assert!(line.ends_with(":0102ff:2048:2048 mkimage.env.GREETING=\"good day, moon\" audit=0"));
        let read = parse(&line).expect("parses");
        assert_eq!(read.verity, root());
        assert_eq!(read.wait_seconds, DEFAULT_WAIT_SECONDS);
        assert_eq!(read.environment, [("GREETING".to_owned(), "good day, moon".to_owned())]);
    }

    #[test]
    fn an_empty_salt_is_a_dash() {
        let bare = VerityRoot { salt: Vec::new(), ..root() };
        assert!(bare.to_string().contains(":-:"));
        assert_eq!(bare.to_string().parse(), Ok(bare));
    }

    #[test]
    fn words_that_come_behind_ours_do_not_replace_the_root() {
        let other = VerityRoot { root_hash: [0; 32], ..root() };
        let line = format!("mkimage.verity={} mkimage.wait=3 mkimage.verity={other} mkimage.wait=9", root());
        let read = parse(&line).expect("parses");
        assert_eq!((read.verity, read.wait_seconds), (root(), 3));
    }

    #[test]
    fn the_builder_refuses_words_that_the_kernel_would_read_otherwise() {
        for word in ["", "a\"b", "a\nb", "two words", "a b=c", "mkimage.verity=0:0:1:1", "mkimage.wait=0"] {
            assert!(encode(&["ttyS0"], &root(), &[word.to_owned()]).is_err(), "{word:?}");
        }
        let long = encode(&[], &root(), &["x".repeat(COMMAND_LINE_MAX_BYTES)]);
        assert!(matches!(long, Err(CommandLineError::TooLong { most: 2047, .. })));
    }

    #[test]
    fn unsound_roots_are_refused() {
        let hash = "a5".repeat(32);
        for text in [
            String::new(),
            format!("{hash}:-:1"),
            format!("{hash}:-:1:1:1"),
            format!("{hash}::1:1"),
            format!("{hash}:-:0:1"),
            format!("{hash}:-:5:4"),
            format!("{hash}:-:+5:5"),
            format!("{hash}:-:1:18446744073709551615"),
            format!("{}:-:1:1", "A5".repeat(32)),
            format!("{}:-:1:1", "a5".repeat(31)),
            format!("{hash}:{}:1:1", "00".repeat(257)),
        ] {
            assert!(text.parse::<VerityRoot>().is_err(), "{text}");
        }
        assert_eq!(parse("quiet splash"), Err(CommandLineError::NoVerity));
        assert!(parse(&format!("mkimage.verity={} mkimage.wait=0", root())).is_err());
    }

    #[test]
    fn quotes_split_as_the_kernel_splits() {
        assert_eq!(
            split(" a  b=\"c d\" \"e f=g\"\n\"\" \"open end"),
            ["a", "b=c d", "e f=g", "", "open end"]
        );
    }
}
