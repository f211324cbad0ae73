//! Forms of names, and the table of words that Linux has.

use crate::base::capability::CAPABILITIES;
use crate::base::units::parse_duration;
use crate::base::{Endpoint, Scheme};

/// A form of strings.
#[derive(Debug)]
pub(in super::super) struct Pattern {
    /// What such a string is, for people: "the name of an image".
    pub what: &'static str,
    /// Its form, for people.
    pub rule: &'static str,
    pub matches: fn(&str) -> bool,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

fn shaped(text: &str, first: fn(u8) -> bool, others: fn(u8) -> bool, most: usize) -> bool {
    text.len() <= most && text.bytes().next().is_some_and(first) && text.bytes().skip(1).all(others)
}

fn small(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn printable(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

pub(in super::super) const IMAGE_NAME: Pattern = Pattern {
    what: "a name",
    rule: "1 to 64 of a-z, 0-9, `.`, `_`, `-`, the first one a letter or digit",
    matches: |text| shaped(text, small, |byte| small(byte) || b"._-".contains(&byte), 64),
};

pub(in super::super) const REVISION: Pattern = Pattern {
    what: "a commit of the store",
    rule: "a ref, with `~N` behind it or not, or the first digits of an id",
    matches: |text| shaped(text, small, |byte| small(byte) || b"._-/~^".contains(&byte), 520),
};

pub(in super::super) const VERSION: Pattern = Pattern {
    what: "a version",
    rule: "1 to 64 letters, digits, `.`, `_`, `+`, `~`, `-`, the first one a letter or digit",
    matches: |text| {
        let others = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
        shaped(text, |byte| byte.is_ascii_alphanumeric(), others, 64)
    },
};

pub(in super::super) const ACCOUNT_NAME: Pattern = Pattern {
    what: "the name of a user or group",
    rule: "1 to 32 of a-z, 0-9, `_`, `-`, the first one a letter or `_`",
    matches: account_name,
};

pub(in super::super) fn account_name(text: &str) -> bool {
    shaped(
        text,
        |byte| byte.is_ascii_lowercase() || byte == b'_',
        |byte| small(byte) || b"_-".contains(&byte),
        32,
    )
}

pub(in super::super) const PASSWD_FIELD: Pattern = Pattern {
    what: "a field of /etc/passwd",
    rule: "no colon and no line end",
    matches: |text| !text.contains(':') && !text.chars().any(char::is_control),
};

pub(in super::super) const PACKAGE_NAME: Pattern = Pattern {
    what: "the name of a package",
    rule: "at least 2 of a-z, 0-9, `+`, `.`, `-`, the first one a letter or digit",
    matches: |text| text.len() >= 2 && shaped(text, small, |byte| small(byte) || b"+.-".contains(&byte), 128),
};

pub(in super::super) const PACKAGE_REQUEST: Pattern = Pattern {
    what: "a package",
    rule: "`NAME`, `NAME:ARCHITECTURE`, either one with `=VERSION`, in which `*` stands for anything",
    matches: |text| package_request(text, PACKAGE_NAME.matches),
};

pub(in super::super) const RPM_REQUEST: Pattern = Pattern {
    what: "a package",
    rule: "`NAME`, which has letters, digits, `+`, `.`, `_`, `-`; with `=VERSION`, in which `*` stands for anything",
    matches: |text| {
        package_request(text, |name| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte);
            shaped(name, byte, byte, 128)
        })
    },
};

fn package_request(text: &str, is_name: fn(&str) -> bool) -> bool {
    let (name, version) = text.split_once('=').map_or((text, None), |(name, version)| (name, Some(version)));
    let (name, architecture) =
        name.split_once(':').map_or((name, None), |(name, architecture)| (name, Some(architecture)));
    is_name(name) && architecture.is_none_or(ARCHITECTURE.matches) && version.is_none_or(version_pattern)
}

pub(in super::super) const VERSION_PATTERN: Pattern = Pattern {
    what: "a version",
    rule: "letters, digits, `.`, `_`, `+`, `~`, `^`, `:`, `-`; `*` stands for anything",
    matches: version_pattern,
};

fn version_pattern(text: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~^:*-".contains(&byte);
    shaped(text, byte, byte, 256)
}

pub(in super::super) const ARCHITECTURE: Pattern = Pattern {
    what: "an architecture",
    rule: "as the distribution calls it, such as `i386`",
    matches: |text| shaped(text, small, |byte| small(byte) || b"_-".contains(&byte), 32),
};

pub(in super::super) const GLOB: Pattern = Pattern {
    what: "a pattern of paths",
    rule: "it starts with `/`; `*` stands for anything in a name, `**` for any number of names",
    matches: |text| {
        text.len() <= 4096 && text.starts_with('/') && !text.bytes().any(|byte| byte.is_ascii_control())
    },
};

pub(in super::super) const IMAGE_PATH: Pattern = Pattern {
    what: "an absolute path inside the image",
    rule: "it starts with `/` and has no empty parts, no `.` and no `..`",
    matches: |text| crate::base::ImagePath::new(text.as_bytes()).is_ok(),
};

pub(in super::super) const SUITE: Pattern = Pattern {
    what: "a suite or component",
    rule: "letters, digits, `.`, `_`, `-` and `/`, without empty parts",
    matches: |text| {
        let part = |part: &str| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            shaped(part, |byte| byte.is_ascii_alphanumeric(), byte, 64)
        };
        text.split('/').all(part)
    },
};

pub(in super::super) const MIRROR: Pattern = Pattern {
    what: "the address of an archive",
    rule: "it starts with http://, https:// or file:/ and has no blanks",
    matches: |text| {
        if let Some(path) = text.strip_prefix("file:/") {
            return !path.is_empty() && path.bytes().all(printable);
        }
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        rest.is_some_and(|rest| {
            shaped(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'[', printable, 2048)
        })
    },
};

pub(in super::super) const MODULE: Pattern = Pattern {
    what: "the name of a kernel module",
    rule: "letters, digits, `_` and `-`, without `.ko`",
    matches: |text| {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        shaped(text, byte, byte, 64)
    },
};

pub(in super::super) const COMMAND_LINE_WORD: Pattern = Pattern {
    what: "a word of the kernel's command line",
    rule: "printable ASCII without blanks and quotes, at most 256 characters",
    matches: |text| {
        shaped(text, |byte| printable(byte) && byte != b'"', |byte| printable(byte) && byte != b'"', 256)
    },
};

pub(in super::super) const ARGUMENT: Pattern = Pattern {
    what: "an argument",
    rule: "no NUL, at most 131072 bytes",
    matches: |text| !text.contains('\0') && text.len() < 131_072,
};

pub(in super::super) const LINK_TARGET: Pattern = Pattern {
    what: "the target of a symbolic link",
    rule: "1 to 4095 bytes without NUL",
    matches: |text| (1..4096).contains(&text.len()) && !text.contains('\0'),
};

pub(in super::super) const UNIT: Pattern = Pattern {
    what: "a unit of systemd",
    rule: "its whole name such as `nginx.service`: at most 255 of letters, digits, `:`, `_`, `.`, `@`, `\\\\`, `-`, with its kind behind the last `.`",
    matches: |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.@\\-".contains(&byte);
        let named = text.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && kind.len() > 3);
        named && text.len() <= 255 && text.bytes().all(plain) && !text.starts_with('-')
    },
};

pub(in super::super) const HEALTH_ADDRESS: Pattern = Pattern {
    what: "a port and a path such as \":8080/health\"",
    rule: "`:`, a port from 1 to 65535, and a path that starts with `/` and is printable ASCII without blanks",
    matches: |text| health_address(text).is_some(),
};

pub(in super::super) const CREDENTIAL: Pattern = Pattern {
    what: "the name of a credential",
    rule: "1 to 255 letters, digits, `.`, `_`, `-`, the first one no dot",
    matches: |text| {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        shaped(text, |first| first.is_ascii_alphanumeric() || b"_-".contains(&first), byte, 255)
    },
};

pub(in super::super) const SYSLOG_ADDRESS: Pattern = Pattern {
    what: "the address of a syslog collector",
    rule: "`tcp://HOST:PORT`",
    matches: |text| speaks(text, Scheme::Tcp),
};

pub(in super::super) const HTTP_ADDRESS: Pattern = Pattern {
    what: "the address of an HTTP collector",
    rule: "`http://HOST[:PORT][/PATH]`",
    matches: |text| speaks(text, Scheme::Http),
};

fn speaks(text: &str, scheme: Scheme) -> bool {
    text.parse().is_ok_and(|endpoint: Endpoint| endpoint.scheme == scheme)
}

pub(in super::super) const SITE_ADDRESS: Pattern = Pattern {
    what: "the address of a site",
    rule: "`https://HOST/…`, `http://HOST/…` or `dir:/PATH`, without blanks, `?` and `#`",
    matches: |text| {
        let rest = ["https://", "http://", "dir:/"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let plain = |byte: u8| printable(byte) && !b"?#\"<>\\".contains(&byte);
        rest.is_some_and(|rest| {
            !rest.starts_with('/') && shaped(rest, plain, plain, 2000) && !rest.contains('@')
        })
    },
};

pub(in super::super) const REF_NAME: Pattern = Pattern {
    what: "the name of a ref",
    rule: "1 to 519 of a-z, 0-9, `.`, `_`, `-`, with `/` between parts, each part beginning with a letter or digit",
    matches: |text| {
        let other = |byte: u8| small(byte) || b"._-".contains(&byte);
        text.len() <= 519 && text.split('/').all(|part| shaped(part, small, other, 519))
    },
};

pub(in super::super) const DURATION: Pattern = Pattern {
    what: "a length of time such as \"10m\"",
    rule: "a whole number and `s`, `m`, `h` or `d`, at most a year",
    matches: |text| parse_duration(text).is_some(),
};

pub(in super::super) const WINDOW: Pattern = Pattern {
    what: "a time of day such as \"02:00-04:00\"",
    rule: "`HH:MM-HH:MM`, UTC; an end before the start is on the next day",
    matches: |text| {
        let time = |text: &str| {
            let number = |digits: &str, below: u8| {
                digits.len() == 2
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
                    && digits.parse::<u8>().is_ok_and(|number| number < below)
            };
            text.split_once(':').is_some_and(|(hours, minutes)| number(hours, 24) && number(minutes, 60))
        };
        text.split_once('-').is_some_and(|(start, end)| start != end && time(start) && time(end))
    },
};

pub(in super::super) const RING: Pattern = Pattern {
    what: "a ring such as \"10%\" or \"100% after 1h\"",
    rule: "a share from 1% to 100%, and after ` after ` how long those machines wait",
    matches: |text| {
        let (share, delay) = text.split_once(" after ").map_or((text, "0s"), |(share, delay)| (share, delay));
        let share = share.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let share = share.and_then(|digits| digits.parse::<u8>().ok());
        share.is_some_and(|share| (1..=100).contains(&share)) && parse_duration(delay).is_some()
    },
};

/// Takes ":8080/health" apart.
pub(in super::super) fn health_address(text: &str) -> Option<(u16, &str)> {
    let rest = text.strip_prefix(':')?;
    let (digits, path) = rest.split_at(rest.find('/')?);
    let port = digits.parse().ok().filter(|port| *port != 0)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    (plain && shaped(path, |_| true, |byte| printable(byte) && byte != b'#', 1024)).then_some((port, path))
}

pub(in super::super) const CAPABILITY: Pattern = Pattern {
    what: "a capability such as \"CAP_NET_BIND_SERVICE\"",
    rule: "one of Linux's 41, in capitals",
    matches: |text| CAPABILITIES.contains(&text),
};

pub(in super::super) const SHA256: Pattern = Pattern {
    what: "a SHA-256 digest",
    rule: "64 hexadecimal digits in lower case",
    matches: |text| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
};

/// Signals that may ask an app to stop.
pub(in super::super) const SIGNALS: &[&str] =
    &["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"];
