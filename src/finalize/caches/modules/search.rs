//! Which files are modules, which of two with one name counts, and in what order they are listed.

use std::collections::{BTreeMap, HashMap};

use super::super::super::FinalizeError;
use super::super::view::View;
use super::{CACHE, fail, hash};
use crate::base::{ImagePath, Name};
use crate::elf::{Module, unpack};
use crate::tree::{Directory, File, Node};

/// Largest module, in bytes, after decompression.
const MODULE_BYTES_MAX: u64 = 256 << 20;
/// Endings of modules' file names.
const ENDINGS: [&[u8]; 4] = [b".ko", b".ko.xz", b".ko.zst", b".ko.gz"];
/// Where depmod looks for its rules; of two files with one name the earlier folder's counts.
const RULES: [&str; 5] =
    ["/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/usr/lib/depmod.d", "/lib/depmod.d"];

/// A module as it was found.
pub(super) struct Found {
    /// With `_`, never `-`.
    pub name: String,
    /// Below the kernel's folder: `kernel/fs/fat/vfat.ko.xz`.
    pub path: Vec<u8>,
    pub module: Module,
}

/// Which of two modules with one name counts (depmod.d(5)).
pub(super) struct Rules {
    /// Folders, the one that counts most last; `None` stands for all that are not named.
    searches: Vec<Option<Vec<u8>>>,
    /// Paths without the ending, the last that was written first.
    overrides: Vec<Vec<u8>>,
}

impl Rules {
    pub fn read(view: &View<'_>, version: &Name) -> Result<Rules, FinalizeError> {
        let mut rules = Rules { searches: Vec::new(), overrides: Vec::new() };
        for file in view.configuration(&RULES, ".conf") {
            let text = view.read(CACHE, &file)?.unwrap_or_default();
            for line in text.split(|&byte| byte == b'\n') {
                rules.add(&file, line, version)?;
            }
        }
        if rules.searches.is_empty() {
            rules.searches.push(Some(b"updates".to_vec()));
        }
        Ok(rules)
    }

    fn add(&mut self, file: &ImagePath, line: &[u8], version: &Name) -> Result<(), FinalizeError> {
        let mut words = line.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty());
        match words.next() {
            Some(b"search") => {
                for word in words {
                    self.searches.insert(0, (word != b"built-in").then(|| word.to_vec()));
                }
            }
            Some(b"override") => {
                let (Some(name), Some(kernel), Some(folder)) = (words.next(), words.next(), words.next())
                else {
                    return Err(fail(
                        file,
                        "override needs a module, a kernel's version and a folder".into(),
                    ));
                };
                match fits(kernel, version.as_bytes()) {
                    Some(true) => self.overrides.insert(0, [folder, b"/", name].concat()),
                    Some(false) => {}
                    None => {
                        let kernel = String::from_utf8_lossy(kernel);
                        let problem = format!(
                            "an override is for kernels that fit {kernel}; mkimage knows \"*\" and patterns \
                             without other signs than \".\""
                        );
                        return Err(fail(file, problem));
                    }
                }
            }
            Some(b"external") => {
                return Err(fail(file, "external folders of modules can't be in an image".into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells whether a module that was found first stays when another with its name is found.
    fn stays(&self, old: &[u8], new: &[u8]) -> bool {
        for path in &self.overrides {
            match (stem(new) == &path[..], stem(old) == &path[..]) {
                (true, _) => return false,
                (_, true) => return true,
                _ => {}
            }
        }
        let (mut others, mut old_place, mut new_place) = (None, None, None);
        for (place, search) in self.searches.iter().enumerate() {
            match search {
                None => others = Some(place),
                Some(folder) if new.starts_with(folder) => new_place = Some(place),
                Some(folder) if old.starts_with(folder) => old_place = Some(place),
                Some(_) => {}
            }
        }
        new_place.or(others) <= old_place.or(others)
    }
}

/// Tells whether a version of the kernel fits the pattern of an override: an extended regular expression that
/// may match anywhere. `None` where it uses more of that language than is known here.
fn fits(pattern: &[u8], version: &[u8]) -> Option<bool> {
    if pattern == b"*" {
        return Some(true);
    }
    if pattern.is_empty() || pattern.iter().any(|byte| b"*[]?+^$(){}|\\".contains(byte)) {
        return None;
    }
    let same = |(wanted, byte): (&u8, &u8)| *wanted == b'.' || wanted == byte;
    Some(version.windows(pattern.len()).any(|window| pattern.iter().zip(window).all(same)))
}

/// Returns a path without the ending of its name.
fn stem(path: &[u8]) -> &[u8] {
    ENDINGS.iter().find_map(|ending| path.strip_suffix(*ending)).unwrap_or(path)
}

/// Returns the name of the module in a file; none where the file is no module.
pub(super) fn module_name(file_name: &[u8]) -> Option<String> {
    let stem = ENDINGS.iter().find_map(|ending| file_name.strip_suffix(*ending))?;
    let stem = str::from_utf8(stem).ok().filter(|stem| !stem.is_empty() && stem.is_ascii())?;
    Some(stem.replace('-', "_"))
}

/// Finds and reads the modules below a kernel's folder, in no order that means anything.
pub(super) fn find(
    view: &View<'_>,
    folder: &ImagePath,
    kernel: &Directory,
    rules: &Rules,
) -> Result<Vec<Found>, FinalizeError> {
    let mut chosen: BTreeMap<String, (Vec<u8>, File)> = BTreeMap::new();
    for (below, node) in kernel.paths() {
        let skipped = |name: &[u8]| name == b"build" || name == b"source";
        if below.names().any(skipped) {
            continue;
        }
        let Some(name) = below.name().and_then(|name| module_name(name.as_bytes())) else { continue };
        let path = below.as_bytes()[1..].to_vec();
        let file = match node {
            Node::File(file) => file,
            Node::Symlink(_) | Node::HardLink(_) => {
                let whole = ImagePath::new(&[folder.as_bytes(), b"/", &path].concat());
                match whole.ok().and_then(|whole| view.file(&whole)) {
                    Some((_, file)) => file,
                    None => continue,
                }
            }
            _ => continue,
        };
        match chosen.get(&name) {
            Some((old, _)) if rules.stays(old, &path) => {}
            _ => drop(chosen.insert(name, (path, file.clone()))),
        }
    }
    read_all(view, folder, chosen)
}

fn read_all(
    view: &View<'_>,
    folder: &ImagePath,
    chosen: BTreeMap<String, (Vec<u8>, File)>,
) -> Result<Vec<Found>, FinalizeError> {
    let mut files: Vec<(String, Vec<u8>, File)> =
        chosen.into_iter().map(|(name, (path, file))| (name, path, file)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.2.content.size));
    let read = |(name, path, file): (String, Vec<u8>, File)| {
        view.job.check()?;
        let whole = ImagePath::new(&[folder.as_bytes(), b"/", &path].concat());
        let whole = whole.unwrap_or_else(|_| folder.clone());
        let packed = view.read_file(CACHE, &whole, &file)?;
        let bytes = unpack(&packed, MODULE_BYTES_MAX).map_err(|error| fail(&whole, error.to_string()))?;
        let module = Module::parse(&bytes).map_err(|error| fail(&whole, error.to_string()))?;
        Ok(Found { name, path, module })
    };
    let found = view.job.workers.try_map(files, read);
    found.map_err(|errors: Vec<FinalizeError>| {
        errors.into_iter().next().expect("because there is one error at least")
    })
}

/// Puts modules into the order of `modules.order`, those that it does not name behind, as kmod's table of
/// names holds them.
pub(super) fn in_order(mut found: Vec<Found>, order: Option<&[u8]>) -> Vec<Found> {
    found.sort_by(|left, right| {
        let place = |module: &Found| hash::place(module.name.as_bytes(), hash::MODULE_BUCKETS).0;
        place(left).cmp(&place(right)).then_with(|| left.name.cmp(&right.name))
    });
    let Some(order) = order else { return found };
    let lines = order.split(|&byte| byte == b'\n').enumerate();
    let places: HashMap<&[u8], usize> = lines.map(|(place, line)| (stem(line), place)).collect();
    found.sort_by_key(|module| places.get(stem(&module.path)).copied().unwrap_or(usize::MAX));
    found
}
