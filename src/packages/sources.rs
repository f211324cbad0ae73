//! apt's lists of sources: the one-line form and the deb822 form (`sources.list(5)`).

use std::path::PathBuf;

use super::deb::control::{self, ControlError, Stanza};

/// One entry of apt's sources for binary packages, enabled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// Empty: every architecture.
    pub architectures: Vec<String>,
    /// Empty: the entry does not say.
    pub signed_by: Vec<SignedBy>,
}

/// Says which keys may sign a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignedBy {
    /// A keyring file.
    Path(PathBuf),
    /// A key of the distribution's keyring, upper-case hexadecimal digits.
    Fingerprint(String),
    /// Keys that stand in the source itself, in ASCII armour.
    Block(String),
}

impl Source {
    /// Puts an architecture where addresses and suites say `$(ARCH)`.
    pub(super) fn with_architecture(mut self, architecture: &str) -> Source {
        for text in self.uris.iter_mut().chain(&mut self.suites) {
            *text = text.replace("$(ARCH)", architecture);
        }
        self
    }

    /// Tells whether this entry offers a suite with all of these components for an architecture.
    pub fn offers(&self, suite: &str, components: &[String], architecture: &str) -> bool {
        self.suites.iter().any(|offered| offered == suite)
            && components.iter().all(|component| self.components.contains(component))
            && (self.architectures.is_empty() || self.architectures.iter().any(|a| a == architecture))
    }
}

/// Reads a `*.sources` file. Entries that are disabled or for sources only are left out.
pub fn parse_deb822(text: &str) -> Result<Vec<Source>, ControlError> {
    let is_comment = |line: &&str| line.starts_with('#');
    let text: String = text.split_inclusive('\n').filter(|line| !is_comment(line)).collect();
    Ok(control::stanzas(&text)?.iter().filter_map(source).collect())
}

fn source(stanza: &Stanza<'_>) -> Option<Source> {
    let words = |name: &str| -> Vec<String> {
        stanza.get(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    };
    let is_off = |value: &str| ["no", "false", "without", "off", "disable", "0"].contains(&value);
    if stanza.get("Enabled").is_some_and(|value| is_off(&value.to_ascii_lowercase())) {
        return None;
    }
    words("Types").iter().any(|kind| kind == "deb").then(|| Source {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        architectures: words("Architectures"),
        signed_by: signed_by(stanza.get("Signed-By").unwrap_or_default()),
    })
}

fn signed_by(value: &str) -> Vec<SignedBy> {
    if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        let line = |line: &str| if line.trim() == "." { "" } else { line.trim() }.to_owned();
        let lines: Vec<String> = value.trim_start().lines().map(line).collect();
        return vec![SignedBy::Block(lines.join("\n") + "\n")];
    }
    let words = value.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty());
    words
        .map(|word| match word.starts_with('/') {
            true => SignedBy::Path(PathBuf::from(word)),
            false => SignedBy::Fingerprint(word.trim_end_matches('!').to_ascii_uppercase()),
        })
        .collect()
}

/// Reads a `sources.list` file: `deb [ option=value … ] address suite component …`, a line each.
pub fn parse_one_line(text: &str) -> Result<Vec<Source>, ControlError> {
    let mut sources = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.split_once([' ', '\t']) {
            _ if line.is_empty() => {}
            Some(("deb-src", _)) => {}
            Some(("deb", rest)) if rest.contains("cdrom:") => {}
            Some(("deb", rest)) => sources.push(
                one_line(rest.trim())
                    .map_err(|problem| ControlError { line: index + 1, problem: problem.to_owned() })?,
            ),
            _ => {
                let problem = "expected \"deb\" or \"deb-src\" at the start".to_owned();
                return Err(ControlError { line: index + 1, problem });
            }
        }
    }
    Ok(sources)
}

fn one_line(text: &str) -> Result<Source, &'static str> {
    let (options, rest) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']').ok_or("\"[\" without \"]\"")?,
        None => ("", text),
    };
    let mut words = rest.split_ascii_whitespace().map(str::to_owned);
    let uri = words.next().ok_or("expected an address")?;
    let suite = words.next().ok_or("expected a suite behind the address")?;
    let mut source = Source {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        architectures: Vec::new(),
        signed_by: Vec::new(),
    };
    for option in options.split_ascii_whitespace() {
        match option.split_once('=').ok_or("expected option=value between \"[\" and \"]\"")? {
            ("arch", value) => source.architectures = value.split(',').map(str::to_owned).collect(),
            ("signed-by", value) => source.signed_by = signed_by(value),
            _ => {}
        }
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_entries_with_comments_blocks_and_switches() {
        let text = "# head\nTypes: deb deb-src\n# inside\nURIs: http://mirror.invalid/debian\nSuites: a b\n\
            Components: main\n contrib\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n \
            -----END PGP PUBLIC KEY BLOCK-----\n\nTypes: deb\nEnabled: No\nURIs: x\nSuites: a\n\n\
            Types: deb-src\nURIs: y\nSuites: a\n";
        let sources = parse_deb822(text).expect("parsed");
        assert_eq!(sources.len(), 1);
        assert!(sources[0].offers("b", &["main".into(), "contrib".into()], "amd64"));
        assert!(
            !sources[0].offers("b", &["non-free".into()], "amd64") && !sources[0].offers("c", &[], "amd64")
        );
        let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(sources[0].signed_by, [SignedBy::Block(block.into())]);
    }

    #[test]
    fn one_line_entries() {
        let text = "# c\ndeb [ arch=amd64,arm64 signed-by=/k.gpg,ABCD! ] file:/m s main # end\ndeb-src x y z\n\
            deb http://h/d t\n";
        let sources = parse_one_line(text).expect("parsed");
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].architectures, ["amd64", "arm64"]);
        let signed_by = [SignedBy::Path("/k.gpg".into()), SignedBy::Fingerprint("ABCD".into())];
        assert_eq!(sources[0].signed_by, signed_by);
        assert!(!sources[0].offers("s", &["main".into()], "i386") && sources[1].offers("t", &[], "i386"));
        assert_eq!(parse_one_line("deb x y\nrpm a b\n").expect_err("rpm").line, 2);
        assert!(parse_one_line("deb [ arch=a http://x y\n").is_err());
    }
}
