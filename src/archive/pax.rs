//! Extended header records: `LENGTH KEY=VALUE\n`, again and again (POSIX.1-2017 `pax`, "pax Extended
//! Header"). Every key is one we act on, one that can't matter to a tree, or an error.

use std::collections::BTreeSet;

use super::limits::Limits;
use crate::base::base64;
use crate::base::path::escaped;
use crate::tree::Xattrs;

/// What the records of one entry say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) xattrs: Xattrs,
}

/// Keys without meaning for a tree: times, names of accounts, what a file's inode once was.
const IGNORED: [&[u8]; 11] = [
    b"atime",
    b"ctime",
    b"mtime",
    b"uname",
    b"gname",
    b"comment",
    b"LIBARCHIVE.creationtime",
    b"SCHILY.dev",
    b"SCHILY.ino",
    b"SCHILY.nlink",
    b"SCHILY.devino",
];

/// Keys that would change what a file is, and what to do about them.
const REFUSED: [(&[u8], &str); 6] = [
    (b"GNU.sparse.", "a sparse file; make the archive without --sparse"),
    (b"GNU.", "a GNU tar extension (incremental or multi-volume archive)"),
    (b"SCHILY.acl.", "an access control list; make the archive with --no-acls"),
    (b"SCHILY.fflags", "file flags; make the archive without them"),
    (b"RHT.security.selinux", "an SELinux label; make the archive with --no-selinux"),
    (b"SCHILY.realsize", "a sparse file; make the archive without --sparse"),
];

impl Records {
    /// Reads the records in front of an entry.
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, String> {
        let mut records = Records::default();
        each(bytes, |key, value| records.take(key, value))?;
        check_xattrs(&records.xattrs, limits)?;
        Ok(records)
    }

    /// Checks the records of a global header: only such as mean nothing to a tree may be there.
    pub(super) fn check_global(bytes: &[u8]) -> Result<(), String> {
        each(bytes, |key, value| match key {
            b"hdrcharset" => character_set(value),
            _ if IGNORED.contains(&key) => Ok(()),
            _ => Err(format!("a global header must not set {:?}", escaped(key))),
        })
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        match key {
            b"path" => self.path = Some(text(key, value)?),
            b"linkpath" => self.link = Some(text(key, value)?),
            b"size" => self.size = Some(decimal(key, value)?),
            b"uid" => self.uid = Some(decimal(key, value)?),
            b"gid" => self.gid = Some(decimal(key, value)?),
            b"hdrcharset" => character_set(value)?,
            _ if IGNORED.contains(&key) => {}
            _ => return self.take_xattr(key, value),
        }
        Ok(())
    }

    fn take_xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            (gnu_name(name), value.to_vec())
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let broken = || format!("{:?} is badly encoded", escaped(key));
            (url_name(name).ok_or_else(broken)?, base64::decode(value).ok_or_else(broken)?)
        } else {
            return Err(refusal(key));
        };
        let name: Box<[u8]> = name.into();
        if let Some(there) = self.xattrs.get(&name)
            && **there != value[..]
        {
            return Err(format!("two different values of the attribute {:?}", escaped(&name)));
        }
        self.xattrs.insert(name, value.into());
        Ok(())
    }
}

/// Calls `take` with each record. A key that comes twice is an error: readers differ in which counts.
fn each(bytes: &[u8], mut take: impl FnMut(&[u8], &[u8]) -> Result<(), String>) -> Result<(), String> {
    let mut rest = bytes;
    let mut keys = BTreeSet::new();
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (key, value, behind) = record(rest).ok_or_else(|| {
            format!("byte {at} of the extended header starts no record \"LENGTH KEY=VALUE\"")
        })?;
        if !keys.insert(key) {
            return Err(format!("the extended header has {:?} twice", escaped(key)));
        }
        take(key, value)?;
        rest = behind;
    }
    Ok(())
}

/// Splits the first record off: key, value, what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(unsigned(&bytes[..digits])?).ok()?;
    if length > bytes.len() || length < digits + 2 || bytes[0] == b'0' {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let body = record[digits + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

fn unsigned(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

fn decimal(key: &[u8], value: &[u8]) -> Result<u64, String> {
    unsigned(value)
        .ok_or_else(|| format!("{} {:?} is no whole number in range", escaped(key), escaped(value)))
}

fn text(key: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
    match value {
        b"" => Err(format!("an empty {} in the extended header", escaped(key))),
        _ if value.contains(&0) => Err(format!("a NUL byte in {} {:?}", escaped(key), escaped(value))),
        _ => Ok(value.to_vec()),
    }
}

fn character_set(value: &[u8]) -> Result<(), String> {
    match value {
        b"BINARY" | b"ISO-IR 10646 2000 UTF-8" => Ok(()),
        _ => Err(format!("names in the character set {:?}; only UTF-8 or BINARY are read", escaped(value))),
    }
}

fn refusal(key: &[u8]) -> String {
    let known = REFUSED.iter().find(|(prefix, _)| key.starts_with(prefix));
    match known {
        Some((_, what)) => format!("{:?}: {what}", escaped(key)),
        None => format!("the extended header has {:?}, and nobody knows whether it matters", escaped(key)),
    }
}

fn check_xattrs(xattrs: &Xattrs, limits: &Limits) -> Result<(), String> {
    let mut sum = 0;
    for (name, value) in xattrs {
        let shown = escaped(name);
        if name.is_empty() || name.len() > 255 || name.contains(&0) || !name.contains(&b'.') {
            return Err(format!("{shown:?} is no name of an extended attribute"));
        }
        if value.len() > limits.xattr_bytes {
            let (length, limit) = (value.len(), limits.xattr_bytes);
            return Err(format!("the attribute {shown:?} has {length} bytes, and the limit is {limit}"));
        }
        sum += name.len() + value.len();
    }
    if sum > limits.inode_xattr_bytes {
        let limit = limits.inode_xattr_bytes;
        return Err(format!("extended attributes of {sum} bytes in all, and the limit is {limit}"));
    }
    Ok(())
}

/// Undoes GNU tar's encoding of names: `%3D` for `=` and `%25` for `%`, nothing else.
fn gnu_name(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, behind)) = rest.split_first() {
        let (byte, behind) = match rest {
            [b'%', b'3', b'D', behind @ ..] => (b'=', behind),
            [b'%', b'2', b'5', behind @ ..] => (b'%', behind),
            _ => (byte, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

/// Undoes libarchive's encoding of names: `%XX` for any byte.
fn url_name(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, behind)) = rest.split_first() {
        if byte != b'%' {
            plain.push(byte);
            rest = behind;
            continue;
        }
        let (digits, behind) = behind.split_at_checked(2)?;
        let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
        plain.push((high? << 4 | low?) as u8);
        rest = behind;
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a record with its length.
    fn record_of(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Records, String> {
        Records::parse(bytes, &Limits::default())
    }

    #[test]
    fn known_records_are_read() {
        let bytes = [
            record_of("path", b"a=b\n"),
            record_of("size", b"9000000000"),
            record_of("mtime", b"1.5"),
            record_of("SCHILY.xattr.user.a%3Db%25c", b"x\0\n"),
            record_of("LIBARCHIVE.xattr.user.%61", b"eAAK"),
            record_of("SCHILY.xattr.user.a", b"x\0\n"),
        ]
        .concat();
        let records = parse(&bytes).expect("records");
        assert_eq!(records.path.as_deref(), Some(&b"a=b\n"[..]));
        assert_eq!(records.size, Some(9_000_000_000));
        let names: Vec<_> = records.xattrs.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(names, [(&b"user.a"[..], &b"x\0\n"[..]), (b"user.a=b%c", b"x\0\n")]);
    }

    #[test]
    fn what_is_malformed_or_unknown_is_refused_not_skipped() {
        for wrong in [
            b"12 path=a\n".to_vec(),
            b"010 path=a\n".to_vec(),
            b"8 path=a\n".to_vec(),
            b"10 path=a ".to_vec(),
            b" 10 path=a\n".to_vec(),
            b"+10 path=a\n".to_vec(),
            b"99999999999999999999 path=a\n".to_vec(),
            b"7 path\n".to_vec(),
            b"5 =a\n".to_vec(),
            b"0".to_vec(),
            b"\0".to_vec(),
            record_of("path", b""),
            record_of("path", b"a\0b"),
            record_of("size", b"-1"),
            record_of("size", b"0x10"),
            record_of("size", b"1.5"),
            record_of("uid", b"99999999999999999999"),
            [record_of("path", b"a"), record_of("path", b"a")].concat(),
            record_of("GNU.sparse.major", b"1"),
            record_of("SCHILY.acl.access", b"user::rwx"),
            record_of("hdrcharset", b"ISO-IR 8859 1 1998"),
            record_of("VENDOR.unheard", b"of"),
            record_of("SCHILY.xattr.", b"x"),
            record_of("SCHILY.xattr.nodot", b"x"),
            record_of("LIBARCHIVE.xattr.user.a", b"*"),
            record_of("LIBARCHIVE.xattr.user.%6", b"eAAK"),
            [record_of("SCHILY.xattr.user.a", b"x"), record_of("LIBARCHIVE.xattr.user.a", b"eQ==")].concat(),
        ] {
            assert!(parse(&wrong).is_err(), "{}", escaped(&wrong));
        }
        assert!(Records::check_global(&record_of("comment", b"0123abc")).is_ok());
        assert!(Records::check_global(&record_of("path", b"a")).is_err());
        assert!(Records::check_global(&record_of("size", b"1")).is_err());
    }

    #[test]
    fn attributes_are_bounded() {
        let big = vec![7; 65536];
        assert!(parse(&record_of("SCHILY.xattr.user.a", &big)).is_ok());
        assert!(parse(&record_of("SCHILY.xattr.user.a", &[&big[..], b"x"].concat())).is_err());
        let many: Vec<_> = (0..16).flat_map(|n| record_of(&format!("SCHILY.xattr.user.{n}"), &big)).collect();
        assert!(parse(&many).is_err());
    }

    #[test]
    fn base64_is_exact() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zg", b"f"), ("Zm8=", b"fo"), ("Zm9vYg", b"foob")]
        {
            assert_eq!(base64::decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        for wrong in ["Z", "Zg=", "Zh==", "Zg==Zg==", "====", "Zm9v="] {
            assert_eq!(base64::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
