//! What people write to name the far end: a store in a directory, or a site.
//!
//! ```text
//! /path  ./path  ../path  file:///path        a store in a directory of this machine
//! dir:/path                                    a site in a directory: what a web server shows
//! http://host/path  https://host/path          a site behind a web server: read only
//! s3://bucket/prefix                           a site in a bucket
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::RemoteError;

/// Longest address that is taken, in bytes.
const ADDRESS_BYTES_MAX: usize = 2048;

/// Names the far end of a push or pull. Prints as what it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A store, object by object.
    Store(PathBuf),
    /// A site in a directory, read and written.
    Directory(PathBuf),
    /// A site behind a web server, read only. Holds the whole address, without a slash at its end.
    Http(String),
    /// A site in a bucket. The prefix has no slash at its ends and may be empty.
    Bucket { bucket: String, prefix: String },
}

impl Address {
    /// Tells whether a text can only be an address, never the name of a remote.
    pub fn is_address(text: &str) -> bool {
        text.contains("://") || text.starts_with("dir:") || text.starts_with('/') || text.starts_with('.')
    }
}

impl FromStr for Address {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        parse(text)
            .map_err(|problem| RemoteError::Address { address: text.chars().take(200).collect(), problem })
    }
}

fn parse(text: &str) -> Result<Address, &'static str> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err("it has more than 2048 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    if let Some(path) = text.strip_prefix("dir:") {
        return local(path).map(Address::Directory);
    }
    match text.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => local(path).map(Address::Store),
        Some(("file", _)) => Err("a file address begins with file:/// and names no host"),
        Some(("http" | "https", rest)) => web(text, rest),
        Some(("s3", rest)) => bucket(rest),
        Some(_) => Err("of schemes, it knows file, dir, http, https and s3"),
        None if text.starts_with('/') || text.starts_with('.') => local(text).map(Address::Store),
        None => Err("it is neither a path (/… or ./…) nor an address with a scheme"),
    }
}

fn local(path: &str) -> Result<PathBuf, &'static str> {
    match path.trim_end_matches('/') {
        "" => Err("it names no directory"),
        path => Ok(PathBuf::from(path)),
    }
}

fn web(text: &str, rest: &str) -> Result<Address, &'static str> {
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err("it names no host");
    }
    if host.contains('@') {
        return Err(
            "it holds a password, which would stand in messages and files; put it into a proxy that you run",
        );
    }
    if text.contains(['?', '#', ' ', '"', '<', '>', '\\']) {
        return Err("it holds a character that no base of a site has");
    }
    Ok(Address::Http(text.trim_end_matches('/').to_owned()))
}

fn bucket(rest: &str) -> Result<Address, &'static str> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(letter) {
        return Err("the name of a bucket has 3 to 63 characters a-z, 0-9, \".\", \"_\", \"-\"");
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("its prefix has an empty part, \".\" or \"..\"");
    }
    Ok(Address::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |path: &Path| path.display().to_string();
        match self {
            Address::Store(path) => f.write_str(&show(path)),
            Address::Directory(path) => write!(f, "dir:{}", show(path)),
            Address::Http(address) => f.write_str(address),
            Address::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Address::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_read() {
        for (text, shown) in [
            ("/srv/store", "/srv/store"),
            ("./store/", "./store"),
            ("../a", "../a"),
            ("file:///srv/store", "/srv/store"),
            ("dir:/srv/www/x/", "dir:/srv/www/x"),
            ("dir:site", "dir:site"),
            ("http://127.0.0.1:8080/x/", "http://127.0.0.1:8080/x"),
            ("https://example.invalid", "https://example.invalid"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse::<Address>().expect("again"), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, problem) in [
            ("origin", "neither a path"),
            ("", "neither a path"),
            ("/", "no directory"),
            ("dir:", "no directory"),
            ("file://host/x", "names no host"),
            ("ftp://host/x", "schemes"),
            ("http:///x", "no host"),
            ("http://user:secret@host/x", "password"),
            ("http://host/x?y", "character"),
            ("http://host/\n", "control"),
            ("s3://b/x", "3 to 63"),
            ("s3://BUCKET/x", "3 to 63"),
            ("s3://bucket/a/../b", "prefix"),
            (&"/x".repeat(1025), "2048"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
