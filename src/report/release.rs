//! Which release of which distribution a tree says it is (`os-release(5)`).

use super::bill::Subject;
use super::error::Result;
use crate::base::ImagePath;
use crate::tree::{Node, follow};

/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 64 << 10;

/// What `os-release` says; nothing where the tree has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `debian`
    pub id: Option<String>,
    /// `bookworm`, else `ID-VERSION_ID` such as `fedora-40`.
    pub codename: Option<String>,
}

/// Reads `/usr/lib/os-release`, which the distribution brings, else `/etc/os-release`. One that names the image itself
/// is ours and says nothing of a distribution.
pub fn of(subject: &Subject<'_>) -> Result<Release> {
    for path in ["/usr/lib/os-release", "/etc/os-release"] {
        let path = ImagePath::new(path.as_bytes()).expect("because it is a path of this program");
        if let Some((_, Some(Node::File(file)))) = follow::resolve(subject.tree, &path)
            && file.content.size <= BYTES_MAX
        {
            let bytes = subject.contents.read_all(&file.content)?;
            let release = parse(&String::from_utf8_lossy(&bytes));
            if release.id.as_deref() != Some(&subject.name) {
                return Ok(release);
            }
        }
    }
    Ok(Release::default())
}

fn parse(text: &str) -> Release {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        let value = line.trim().trim_matches(['"', '\'']);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (!value.is_empty() && value.len() <= 64 && value.chars().all(is_plain)).then(|| value.to_owned())
    };
    let id = value("ID");
    let numbered = id.clone().zip(value("VERSION_ID")).map(|(id, version)| format!("{id}-{version}"));
    Release { codename: value("VERSION_CODENAME").or(numbered), id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_where_they_are_names() {
        let release = parse("NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        assert_eq!((release.id.as_deref(), release.codename.as_deref()), (Some("debian"), Some("bookworm")));
        let release = parse("ID=fedora\nVERSION_ID=40\n");
        assert_eq!(release.codename.as_deref(), Some("fedora-40"));
        assert_eq!(parse("ID=a b\nVERSION_CODENAME=$(x)\n"), Release::default());
    }
}
