//! Paths inside an image: bytes, absolute, normal. Never a path of the host.

use std::fmt;

/// Longest name of one component, in bytes (ext4, FAT long names and every Linux file system agree).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path, in bytes (Linux `PATH_MAX` less the final NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// Holds one component of a path: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`. Need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Says why bytes are no name or no path.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum PathError {
    #[error("a path inside the image must start with \"/\": {0:?}")]
    Relative(String),
    #[error("a path must not have an empty component: {0:?}")]
    Empty(String),
    #[error("a path must not have a \".\" or \"..\" component: {0:?}")]
    Dots(String),
    #[error("a path must not hold a NUL byte: {0:?}")]
    Nul(String),
    #[error("a name must not hold \"/\": {0:?}")]
    Slash(String),
    #[error("a name has at most 255 bytes, this one has {bytes}: {name:?}")]
    NameTooLong { name: String, bytes: usize },
    #[error("a path has at most 4095 bytes, this one has {bytes}")]
    PathTooLong { bytes: usize },
}

impl Name {
    /// Checks and takes the bytes of one component.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        let shown = || escaped(bytes);
        match bytes {
            b"" => Err(PathError::Empty(shown())),
            b"." | b".." => Err(PathError::Dots(shown())),
            _ if bytes.contains(&0) => Err(PathError::Nul(shown())),
            _ if bytes.contains(&b'/') => Err(PathError::Slash(shown())),
            _ if bytes.len() > NAME_BYTES_MAX => {
                Err(PathError::NameTooLong { name: shown(), bytes: bytes.len() })
            }
            _ => Ok(Name(bytes.into())),
        }
    }

    /// Returns the bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Lets a `BTreeMap<Name, _>` be asked by bytes.
impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escaped(&self.0))
    }
}

/// Holds an absolute, normal path: `/`, or `/` and names with one `/` between them. Orders by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Box<[u8]>);

impl ImagePath {
    /// Returns the path of the root directory.
    pub fn root() -> Self {
        ImagePath(b"/"[..].into())
    }

    /// Checks and takes an absolute path. One trailing `/` is allowed and dropped.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes == b"/" {
            return Ok(Self::root());
        }
        let Some(rest) = bytes.strip_prefix(b"/") else {
            return Err(PathError::Relative(escaped(bytes)));
        };
        let rest = rest.strip_suffix(b"/").unwrap_or(rest);
        if rest.len() + 1 > PATH_BYTES_MAX {
            return Err(PathError::PathTooLong { bytes: rest.len() + 1 });
        }
        for component in rest.split(|&byte| byte == b'/') {
            Name::new(component)?;
        }
        Ok(ImagePath(bytes[..=rest.len()].into()))
    }

    /// Checks and takes a path as archives write it: `./a/b`, `a/b`, `a/b/`, `./` (the root). Absolute
    /// paths are refused.
    pub fn from_archive(bytes: &[u8]) -> Result<Self, PathError> {
        let rest = bytes.strip_prefix(b"./").unwrap_or(bytes);
        if rest.is_empty() && !bytes.is_empty() || rest == b"." {
            return Ok(Self::root());
        }
        if rest.first() == Some(&b'/') {
            return Err(PathError::Empty(escaped(bytes)));
        }
        let mut absolute = Vec::with_capacity(rest.len() + 1);
        absolute.push(b'/');
        absolute.extend_from_slice(rest);
        Self::new(&absolute)
            .and_then(|path| if path.is_root() { Err(PathError::Empty(escaped(bytes))) } else { Ok(path) })
    }

    pub fn is_root(&self) -> bool {
        &*self.0 == b"/"
    }

    /// Returns the bytes, `/` first.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the names from the root down; none for the root.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// Returns the last name; `None` for the root.
    pub fn name(&self) -> Option<Name> {
        self.names().next_back().map(|name| Name(name.into()))
    }

    /// Returns the directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<ImagePath> {
        let cut = self.0.iter().rposition(|&byte| byte == b'/')?;
        match cut {
            _ if self.is_root() => None,
            0 => Some(Self::root()),
            _ => Some(ImagePath(self.0[..cut].into())),
        }
    }

    /// Returns the path of an entry of this directory. The result may be longer than
    /// [`PATH_BYTES_MAX`]: deep trees are legal, only naming them in one call is not.
    pub fn join(&self, name: &Name) -> ImagePath {
        let mut bytes = if self.is_root() { Vec::new() } else { self.0.to_vec() };
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_bytes());
        ImagePath(bytes.into())
    }

    /// Tells whether this path is `other` or lies below it.
    pub fn is_within(&self, other: &ImagePath) -> bool {
        other.is_root()
            || self.0.strip_prefix(other.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0))
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", escaped(&self.0))
    }
}

impl serde::Serialize for ImagePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Shows bytes as text: UTF-8 as it is, but control characters, backslash and invalid bytes as `\n`,
/// `\\`, `\xff`. Two different byte strings never look alike.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                _ if character.is_control() => text.push_str(&format!("\\x{:02x}", character as u32)),
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_paths_pass_and_others_do_not() {
        assert_eq!(ImagePath::new(b"/usr/bin/").map(|p| p.to_string()), Ok("/usr/bin".into()));
        assert!(ImagePath::new(b"/").is_ok_and(|p| p.is_root()));
        for wrong in [&b""[..], b"usr", b"/usr//bin", b"/./a", b"/a/..", b"//", b"/a\0b"] {
            assert!(ImagePath::new(wrong).is_err(), "{}", escaped(wrong));
        }
        assert!(Name::new(&[b'n'; 255]).is_ok());
        assert!(Name::new(&[b'n'; 256]).is_err());
    }

    #[test]
    fn archive_paths_are_relative() {
        assert!(ImagePath::from_archive(b"./").is_ok_and(|p| p.is_root()));
        assert!(ImagePath::from_archive(b".").is_ok_and(|p| p.is_root()));
        assert_eq!(ImagePath::from_archive(b"./a/b/").map(|p| p.to_string()), Ok("/a/b".into()));
        for wrong in [&b""[..], b"/a", b".//a", b"../a", b"a/../b", b"a//b"] {
            assert!(ImagePath::from_archive(wrong).is_err(), "{}", escaped(wrong));
        }
    }

    #[test]
    fn parents_names_and_containment() {
        let path = ImagePath::new(b"/a/bc").expect("a path");
        let parent = path.parent().expect("a parent");
        assert_eq!(parent.to_string(), "/a");
        assert_eq!(parent.parent(), Some(ImagePath::root()));
        assert_eq!(ImagePath::root().parent(), None);
        assert!(path.is_within(&parent) && path.is_within(&ImagePath::root()) && path.is_within(&path));
        assert!(!path.is_within(&ImagePath::new(b"/a/b").expect("a path")));
        assert_eq!(parent.join(&Name::new(b"bc").expect("a name")), path);
    }

    #[test]
    fn escaping_never_makes_two_names_look_alike() {
        assert_eq!(escaped(b"a\nb\xff\\"), "a\\nb\\xff\\\\");
        assert_ne!(escaped(b"\\xff"), escaped(b"\xff"));
    }
}
