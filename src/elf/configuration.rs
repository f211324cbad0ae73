//! `/etc/ld.so.conf`: in which directories libraries are looked for (ldconfig(8)).

use std::collections::BTreeSet;

use super::pattern;
use crate::base::{ImagePath, Name};

/// Most files that a configuration may include: a thousand times what any distribution has.
const FILES_MAX: usize = 10_000;

/// What reading a configuration needs of a file system.
pub trait Files {
    /// Returns the bytes of the file that a path leads to.
    fn read(&self, path: &ImagePath) -> Option<Vec<u8>>;

    /// Returns the names in the directory that a path leads to, sorted by bytes; none where there is none.
    fn list(&self, path: &ImagePath) -> Vec<Name>;
}

/// Returns the directories of a configuration and all that it includes, each once, in the order in which
/// they are written; whether they exist is not looked at. Lines that are no absolute path are passed over,
/// as `ldconfig` does it.
pub fn configured_directories(files: &dyn Files, configuration: &ImagePath) -> Vec<ImagePath> {
    let mut directories: Vec<ImagePath> = Vec::new();
    let mut seen = BTreeSet::from([configuration.clone()]);
    let mut open = vec![lines(files, configuration)];
    while let Some(file) = open.last_mut() {
        let Some(line) = file.lines.next() else {
            open.pop();
            continue;
        };
        let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        match words.next() {
            None => {}
            Some(b"include") => {
                let base = file.folder.clone();
                let paths: Vec<ImagePath> = words.flat_map(|word| glob(files, &base, word)).collect();
                for path in paths.iter().rev() {
                    if seen.len() < FILES_MAX && seen.insert(path.clone()) {
                        open.push(lines(files, path));
                    }
                }
            }
            Some(b"hwcap") => {}
            Some(_) => {
                let path = directory(&line);
                directories.extend(path.filter(|path| !directories.contains(path)));
            }
        }
    }
    directories
}

/// The lines of one file that are left.
struct Open {
    folder: ImagePath,
    lines: std::vec::IntoIter<Vec<u8>>,
}

fn lines(files: &dyn Files, path: &ImagePath) -> Open {
    let text = files.read(path).unwrap_or_default();
    let line = |line: &[u8]| line.split(|&byte| byte == b'#').next().unwrap_or_default().to_vec();
    let lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(line).collect();
    Open { folder: path.parent().unwrap_or_else(ImagePath::root), lines: lines.into_iter() }
}

/// Reads a line that names a directory: `/path`, with slashes at its end, perhaps with `=TYPE` of old days.
fn directory(line: &[u8]) -> Option<ImagePath> {
    let path = line.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
    let end = path.iter().rposition(|&byte| byte != b'/')? + 1;
    normal(&ImagePath::root(), &path[..end])
}

/// Takes a path as people write it: relative to a folder, with `//` and `.` in it. `..` is refused: where it
/// leads depends on links.
fn normal(folder: &ImagePath, path: &[u8]) -> Option<ImagePath> {
    let start = if path.first() == Some(&b'/') { ImagePath::root() } else { folder.clone() };
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(Name::new).try_fold(start, |path, name| Some(path.join(&name.ok()?)))
}

/// Returns the paths that fit a pattern, sorted by bytes. One without wildcards is a path as it is.
fn glob(files: &dyn Files, folder: &ImagePath, word: &[u8]) -> Vec<ImagePath> {
    let start = if word.first() == Some(&b'/') { ImagePath::root() } else { folder.clone() };
    let mut paths = vec![start];
    for part in word.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        let wild = part.iter().any(|byte| b"*?[\\".contains(byte));
        let step = |path: &ImagePath| -> Vec<ImagePath> {
            if !wild {
                return Name::new(part).map(|name| path.join(&name)).into_iter().collect();
            }
            let names = files.list(path);
            let fitting = names.iter().filter(|name| pattern::matches(part, name.as_bytes()));
            fitting.map(|name| path.join(name)).collect()
        };
        paths = paths.iter().flat_map(step).take(FILES_MAX).collect();
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Map(BTreeMap<&'static str, &'static str>);

    impl Files for Map {
        fn read(&self, path: &ImagePath) -> Option<Vec<u8>> {
            self.0.get(path.to_string().as_str()).map(|text| text.as_bytes().to_vec())
        }

        fn list(&self, path: &ImagePath) -> Vec<Name> {
            let inside = |other: &&str| {
                let other = ImagePath::new(other.as_bytes()).ok()?;
                (other.parent().as_ref() == Some(path)).then(|| other.name()).flatten()
            };
            self.0.keys().filter_map(inside).collect()
        }
    }

    #[test]
    fn includes_stand_where_they_are_written_and_circles_end() {
        let map = Map(BTreeMap::from([
            (
                "/etc/ld.so.conf",
                "/first/ # why\ninclude ld.so.conf.d/*.conf /etc/other\n\t/last//x=libc6\nrelative\n",
            ),
            ("/etc/ld.so.conf.d/b.conf", "/b\ninclude /etc/ld.so.conf\n/first\n"),
            ("/etc/ld.so.conf.d/a.conf", "hwcap 1 nosegneg\n/a\n/../up\n/"),
            ("/etc/ld.so.conf.d/.hidden.conf", "/hidden"),
            ("/etc/other", "/other"),
        ]));
        let path = ImagePath::new(b"/etc/ld.so.conf").expect("a path");
        let found: Vec<String> =
            configured_directories(&map, &path).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["/first", "/a", "/b", "/other", "/last/x", "/relative"]);
    }
}
