//! The app's environment: who may say what, and who has the last word.
//!
//! Sources, each of which goes before the one above it:
//! 1. what every app gets: `PATH`, `HOME`, `STATE_DIRECTORY` (its directory on the data partition),
//!    `CREDENTIALS_DIRECTORY` where the recipe names credentials, `INSTANCE_ID` where metadata told one;
//! 2. the recipe;
//! 3. the kernel's command line: `mkimage.env.NAME=VALUE`;
//! 4. cloud metadata, where the recipe names a source of it: tags `mkimage.env.NAME`, then user data
//!    ([`crate::boot::user_data`]);
//! 5. credentials of the hypervisor, as systemd names them: SMBIOS strings of type 11
//!    (`io.systemd.credential:mkimage.env.NAME=VALUE`, or `io.systemd.credential.binary:…` with the value in
//!    base64), then files of QEMU's fw_cfg (`opt/io.systemd.credentials/mkimage.env.NAME`).
//!
//! The nearer a source is to this one machine, the later it comes: an image is for many, a command line is
//! of the image, metadata is of a machine or a group of them, and the hypervisor can replace all of these
//! anyway. Files follow the same order: metadata, then SMBIOS, then fw_cfg. A machine is told two more things
//! by the command line (`mkimage.metadata=ADDRESS`, `mkimage.log=ADDRESS`), by user data (`log` alone) and by
//! credentials of these names, in the same order.
//!
//! Names are `[A-Za-z_][A-Za-z0-9_]*`, at most 128 bytes. From outside the image (3 to 5) names are
//! refused that make a dynamic loader run other code: the root is verified, and a variable must not be the
//! way around that. Values are UTF-8 without NUL. They may be secrets: no error here holds one.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::base64;

/// Prefix of credentials that are variables.
pub const CREDENTIAL_PREFIX: &str = "mkimage.env.";
/// Prefix of an SMBIOS string with a credential in plain text.
const SMBIOS_TEXT: &str = "io.systemd.credential:";
/// The same with the value in base64.
const SMBIOS_BINARY: &str = "io.systemd.credential.binary:";

/// Credential, and word of the kernel's command line, with the address of the metadata service.
pub const METADATA_ADDRESS: &str = "mkimage.metadata";
/// The same with the address that logs are sent to, or [`LOG_NOWHERE`].
pub const LOG_ADDRESS: &str = "mkimage.log";
/// The address that turns logs off.
pub const LOG_NOWHERE: &str = "none";

const NAME_MAX_BYTES: usize = 128;
const CREDENTIAL_NAME_MAX_BYTES: usize = 255;
const VALUE_MAX_BYTES: usize = 128 * 1024 - NAME_MAX_BYTES - 2;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Names (and beginnings of names) that steer a dynamic loader, C library or shell before `main`.
const LOADER_NAMES: [&str; 5] = ["GLIBC_TUNABLES", "GCONV_PATH", "BASH_ENV", "ENV", "NLSPATH"];
const LOADER_PREFIX: &str = "LD_";

/// Where a variable came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Recipe,
    CommandLine,
    Metadata,
    Credential,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Recipe => "the recipe",
            Source::CommandLine => "the kernel command line",
            Source::Metadata => "the metadata",
            Source::Credential => "the hypervisor's credentials",
        })
    }
}

/// Says why a variable is not handed on. Its value is not told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error(
        "{origin}: {name:?} is no variable name ([A-Za-z_][A-Za-z0-9_]*, at most {NAME_MAX_BYTES} bytes)"
    )]
    Name { origin: Source, name: String },
    #[error("{origin}: {name} may be set by the recipe only, because it can make a program run other code")]
    Reserved { origin: Source, name: String },
    #[error("{origin}: the value of {name} is not text without NUL, of at most {VALUE_MAX_BYTES} bytes")]
    Value { origin: Source, name: String },
    #[error("the credential {name} is not base64")]
    Encoding { name: String },
}

/// What the sources say, as found. Later pairs of a list go before earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub recipe: BTreeMap<String, String>,
    pub command_line: Vec<(String, String)>,
    pub metadata: Vec<(String, Vec<u8>)>,
    pub credentials: Vec<(String, Vec<u8>)>,
}

/// Puts the app's environment together. What is refused is left out, and told.
pub fn resolve(state_directory: &str, sources: Sources) -> (BTreeMap<String, String>, Vec<Refusal>) {
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOME".to_owned(), state_directory.to_owned()),
        ("STATE_DIRECTORY".to_owned(), state_directory.to_owned()),
    ]);
    let refused = overlay(&mut variables, sources);
    (variables, refused)
}

/// Lays what the sources say over variables, and returns what was refused.
pub fn overlay(variables: &mut BTreeMap<String, String>, sources: Sources) -> Vec<Refusal> {
    let bytes = |(name, value): (String, String)| (name, value.into_bytes());
    let recipe = sources.recipe.into_iter().map(bytes).map(|pair| (Source::Recipe, pair));
    let command_line = sources.command_line.into_iter().map(bytes).map(|pair| (Source::CommandLine, pair));
    let metadata = sources.metadata.into_iter().map(|pair| (Source::Metadata, pair));
    let credentials = sources.credentials.into_iter().map(|pair| (Source::Credential, pair));
    let mut refused = Vec::new();
    for (origin, (name, value)) in recipe.chain(command_line).chain(metadata).chain(credentials) {
        match check(origin, name, value) {
            Ok((name, value)) => drop(variables.insert(name, value)),
            Err(refusal) => refused.push(refusal),
        }
    }
    refused
}

/// Writes variables as a file that systemd's `EnvironmentFile=` reads back as they are (systemd.exec(5)).
pub fn file(variables: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            if matches!(character, '"' | '\\' | '$' | '`') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push_str("\"\n");
    }
    text
}

/// Reads an SMBIOS string. `None`: it is no credential. Names are as written: a variable's have their prefix.
pub fn smbios_credential(text: &str) -> Option<Result<(String, Vec<u8>), Refusal>> {
    let (binary, rest) = match text.strip_prefix(SMBIOS_TEXT) {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix(SMBIOS_BINARY)?),
    };
    let (name, value) = rest.split_once('=')?;
    let name = name.to_owned();
    if !binary {
        return Some(Ok((name, value.as_bytes().to_vec())));
    }
    Some(
        base64::decode(value.as_bytes()).map(|value| (name.clone(), value)).ok_or(Refusal::Encoding { name }),
    )
}

/// Takes the variables out of credentials, without their prefix.
pub fn variables(credentials: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let variable = |(name, value): &(String, Vec<u8>)| {
        name.strip_prefix(CREDENTIAL_PREFIX).map(|name| (name.to_owned(), value.clone()))
    };
    credentials.iter().filter_map(variable).collect()
}

/// Tells whether a name may be a credential's, and so a file's: 1 to 255 letters, digits, dots, dashes and
/// underscores, without a dot at the beginning.
pub fn is_credential_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=CREDENTIAL_NAME_MAX_BYTES).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits)
}

/// Tells whether a name may be a variable's.
pub fn is_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let bytes = name.as_bytes();
    bytes.len() <= NAME_MAX_BYTES
        && bytes.first().copied().is_some_and(first)
        && bytes.iter().all(|&byte| first(byte) || byte.is_ascii_digit())
}

/// Tells whether only a recipe may set a variable: it can make a program run other code.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(LOADER_PREFIX) || LOADER_NAMES.contains(&name)
}

fn check(origin: Source, name: String, value: Vec<u8>) -> Result<(String, String), Refusal> {
    if !is_name(&name) {
        return Err(Refusal::Name { origin, name: name.chars().take(NAME_MAX_BYTES).collect() });
    }
    if is_reserved(&name) && origin != Source::Recipe {
        return Err(Refusal::Reserved { origin, name });
    }
    match String::from_utf8(value) {
        Ok(value) if value.len() <= VALUE_MAX_BYTES && !value.contains('\0') => Ok((name, value)),
        _ => Err(Refusal::Value { origin, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn credential(name: &str, value: &[u8]) -> (String, Vec<u8>) {
        (name.to_owned(), value.to_vec())
    }

    #[test]
    fn later_sources_go_before_earlier_ones() {
        let (variables, refused) = resolve(
            "/data/hello",
            Sources {
                recipe: BTreeMap::from([pair("A", "recipe"), pair("B", "recipe"), pair("C", "recipe")]),
                command_line: vec![
                    pair("B", "line"),
                    pair("C", "line"),
                    pair("B", "line again"),
                    pair("D", "line"),
                ],
                metadata: vec![
                    credential("C", b"tag"),
                    credential("D", b"tag"),
                    credential("D", b"user data"),
                ],
                credentials: vec![credential("C", b"smbios"), credential("C", b"fw_cfg")],
            },
        );
        assert_eq!(refused, []);
        let of = |name: &str| variables[name].as_str();
        assert_eq!((of("A"), of("B"), of("C")), ("recipe", "line again", "fw_cfg"));
        assert_eq!(of("D"), "user data");
        assert_eq!((of("HOME"), of("STATE_DIRECTORY")), ("/data/hello", "/data/hello"));
        assert_eq!(of("PATH"), DEFAULT_PATH);
    }

    #[test]
    fn outsiders_can_not_steer_the_dynamic_loader() {
        let all = ["LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "BASH_ENV"];
        for name in all {
            let recipe = BTreeMap::from([pair(name, "ours")]);
            let command_line = vec![pair(name, "line")];
            let metadata = vec![credential(name, b"user data")];
            let credentials = vec![credential(name, b"smbios")];
            let (variables, refused) = resolve("/", Sources { recipe, command_line, metadata, credentials });
            assert_eq!(variables[name], "ours");
            assert_eq!(refused.len(), 3, "{name}");
        }
    }

    #[test]
    fn refusals_name_the_variable_and_never_its_value() {
        let credentials = vec![
            credential("TOKEN", b"se\0cret"),
            credential("1TOKEN", b"secret"),
            credential("LD_TOKEN", b"secret"),
            credential("KEY", b"secret\xff"),
        ];
        let (variables, refused) = resolve("/", Sources { credentials, ..Sources::default() });
        assert_eq!(variables.len(), 3);
        assert_eq!(refused.len(), 4);
        for refusal in &refused {
            let text = format!("{refusal} {refusal:?}");
            assert!(!text.contains("cret") && (text.contains("TOKEN") || text.contains("KEY")), "{text}");
        }
    }

    #[test]
    fn smbios_strings_carry_text_or_base64() {
        let read = |text: &str| smbios_credential(text).map(|it| it.expect("is sound"));
        assert_eq!(
            read("io.systemd.credential:mkimage.env.A=b=c d"),
            Some(credential("mkimage.env.A", b"b=c d")),
            "only the first = divides"
        );
        assert_eq!(
            read("io.systemd.credential.binary:mkimage.env.A=aGVsbG8="),
            Some(credential("mkimage.env.A", b"hello"))
        );
        assert_eq!(read("io.systemd.credential:mkimage.env.A="), Some(credential("mkimage.env.A", b"")));
        assert_eq!(read("io.systemd.credential:tls.key=x"), Some(credential("tls.key", b"x")));
        assert_eq!(read("mkimage.env.A=b"), None);
        assert_eq!(read("io.systemd.credential:alone"), None);
        let broken = smbios_credential("io.systemd.credential.binary:mkimage.env.A=a*b");
        assert_eq!(broken, Some(Err(Refusal::Encoding { name: "mkimage.env.A".to_owned() })));
    }

    #[test]
    fn variables_are_told_from_files_by_their_prefix() {
        let all =
            [credential("mkimage.env.A", b"1"), credential("tls.key", b"2"), credential("mkimage.log", b"3")];
        assert_eq!(variables(&all), [credential("A", b"1")]);
        for name in ["tls.key", "A", "a-b_c.d"] {
            assert!(is_credential_name(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "\u{fc}", &"a".repeat(256)] {
            assert!(!is_credential_name(name), "{name}");
        }
    }

    #[test]
    fn systemd_reads_values_back_as_they_were() {
        let variables =
            BTreeMap::from([pair("A", "plain"), pair("B", "a \"b\" $c `d` \\e 'f' #g\nnext; line")]);
        assert_eq!(
            file(&variables),
            "A=\"plain\"\nB=\"a \\\"b\\\" \\$c \\`d\\` \\\\e 'f' #g\nnext; line\"\n"
        );
    }

    #[test]
    fn base64_decodes_every_length_and_refuses_rubbish() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zg", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("/+8=", b"\xff\xef"),
        ] {
            assert_eq!(base64::decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        for text in ["Z", "Zg===", "Zm9vY", "Zm 9v", "Z=g=", "Zm9-"] {
            assert_eq!(base64::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn names_are_those_of_a_shell() {
        for name in ["A", "_", "path2", "HTTP_PROXY"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "2A", "A-B", "A.B", "Ä", "A=B", &"A".repeat(129)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
