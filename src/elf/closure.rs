//! Which files a program needs before its first instruction: its loader, and the libraries that the loader
//! opens, searched as `ld.so(8)` describes it.
//!
//! A name without `/` is looked for in: DT_RPATH of the file that needs it and of those that brought it in,
//! then of the program (each only where it has no DT_RUNPATH); DT_RUNPATH of the file that needs it; the
//! directories of `/etc/ld.so.conf` (which is what the loader's cache is made from); the loader's own. A
//! file of another machine is passed over. What is loaded already, by name or by DT_SONAME, is not searched
//! again.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::error::ElfError;
use super::image::{Image, Kind};
use super::library::Library;
use crate::base::{ImagePath, Name};

/// Most libraries of one program.
const LIBRARIES_MAX: usize = 10_000;

/// Returns the loaders and libraries that programs need, without the programs themselves: each by the path
/// under which it is opened (the bytes of that path belong there), sorted, none twice. A static program
/// needs nothing.
///
/// All that is wrong is reported, not the first alone. Reads each file once.
pub fn closure(roots: &[ImagePath], look: &dyn Library) -> Result<Vec<ImagePath>, Vec<ElfError>> {
    let mut search =
        Search { look, directories: look.directories(), images: HashMap::new(), errors: Vec::new() };
    let mut found = BTreeSet::new();
    for root in roots {
        found.extend(search.program(root));
    }
    for root in roots {
        found.remove(root);
    }
    if search.errors.is_empty() { Ok(found.into_iter().collect()) } else { Err(search.errors) }
}

struct Search<'a> {
    look: &'a dyn Library,
    directories: Vec<ImagePath>,
    images: HashMap<ImagePath, Option<Rc<Image>>>,
    errors: Vec<ElfError>,
}

/// A file of one program, in the order of loading.
struct Loaded {
    /// As it was opened.
    path: ImagePath,
    /// What `$ORIGIN` stands for in its paths.
    origin: ImagePath,
    image: Rc<Image>,
    /// Position of the file that needed it first.
    brought_by: Option<usize>,
    /// The name that it was needed by.
    name: Vec<u8>,
}

impl Search<'_> {
    /// Returns what one program needs, in the order of loading.
    fn program(&mut self, root: &ImagePath) -> Vec<ImagePath> {
        let Some(real) = self.look.follow(root) else {
            self.errors.push(ElfError::NoFile { path: root.clone() });
            return Vec::new();
        };
        let Some(image) = self.image(root) else {
            return Vec::new();
        };
        let mut loaded = vec![Loaded {
            path: root.clone(),
            origin: real.parent().unwrap_or_else(ImagePath::root),
            image,
            brought_by: None,
            name: Vec::new(),
        }];
        let musl = self.add_interpreter(&mut loaded);
        let mut at = 0;
        while at < loaded.len() {
            for name in loaded[at].image.needed.clone() {
                let known = |other: &Loaded| other.name == name || other.image.soname.as_ref() == Some(&name);
                if loaded.iter().skip(1).any(known) || musl && is_of_musl(&name) {
                    continue;
                }
                if let Some((path, image)) = self.find(&name, at, &loaded, musl)
                    && loaded.len() < LIBRARIES_MAX
                {
                    let origin = path.parent().unwrap_or_else(ImagePath::root);
                    loaded.push(Loaded { path, origin, image, brought_by: Some(at), name });
                }
            }
            at += 1;
        }
        loaded.into_iter().skip(1).map(|file| file.path).collect()
    }

    /// Adds the loader that a program names; tells whether it is musl's.
    fn add_interpreter(&mut self, loaded: &mut Vec<Loaded>) -> bool {
        let Some(interpreter) = loaded[0].image.interpreter.clone() else { return false };
        let path = ImagePath::new(&interpreter).ok();
        let image = path.as_ref().and_then(|path| self.image(path));
        let (Some(path), Some(image)) = (path, image) else {
            let shown = crate::base::path::escaped(&interpreter);
            self.errors.push(ElfError::NoInterpreter { program: loaded[0].path.clone(), interpreter: shown });
            return false;
        };
        let name = path.name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let musl = name.starts_with(b"ld-musl-");
        let origin = path.parent().unwrap_or_else(ImagePath::root);
        loaded.push(Loaded { path, origin, image, brought_by: Some(0), name: interpreter });
        musl
    }

    /// Reads a file once. `None` where it isn't there, or was reported as damaged.
    fn image(&mut self, path: &ImagePath) -> Option<Rc<Image>> {
        if let Some(known) = self.images.get(path) {
            return known.clone();
        }
        let image = match self.look.image(path)? {
            Ok(image) => Some(Rc::new(image)),
            Err(error) => {
                self.errors.push(error.at(path));
                None
            }
        };
        self.images.insert(path.clone(), image.clone());
        image
    }

    /// Finds a library that the file at a position needs, else reports it as missing.
    fn find(
        &mut self,
        name: &[u8],
        at: usize,
        loaded: &[Loaded],
        musl: bool,
    ) -> Option<(ImagePath, Rc<Image>)> {
        let candidates: Vec<ImagePath> = if name.contains(&b'/') {
            self.expand(name, &loaded[at])
        } else {
            let directories = self.search_path(at, loaded, musl);
            let name = Name::new(name);
            directories.iter().filter_map(|path| Some(path.join(name.as_ref().ok()?))).collect()
        };
        for path in &candidates {
            let errors = self.errors.len();
            match self.image(path) {
                Some(image) if fits(&image, &loaded[0].image) => return Some((path.clone(), image)),
                None if self.errors.len() > errors => return None,
                _ => {}
            }
        }
        let searched = candidates.iter().filter_map(ImagePath::parent).collect();
        let library = crate::base::path::escaped(name);
        let missing = ElfError::NoLibrary { library, needed_by: loaded[at].path.clone(), searched };
        if !self.errors.contains(&missing) {
            self.errors.push(missing);
        }
        None
    }

    /// Returns the directories in which a name that the file at a position needs is looked for, in order.
    fn search_path(&self, at: usize, loaded: &[Loaded], musl: bool) -> Vec<ImagePath> {
        let needing = &loaded[at];
        let mut directories = Vec::new();
        if needing.image.runpath.is_none() {
            let mut chain = vec![at];
            while let Some(above) = chain.last().and_then(|&last| loaded[last].brought_by) {
                chain.push(above);
            }
            chain.push(0);
            for &file in &chain {
                if let (Some(rpath), None) = (&loaded[file].image.rpath, &loaded[file].image.runpath) {
                    directories.extend(self.expand_list(rpath, &loaded[file]));
                }
            }
        }
        if let Some(runpath) = &needing.image.runpath {
            directories.extend(self.expand_list(runpath, needing));
        }
        let trusted = needing.image.machine.trusted_directories();
        let plain = !needing.image.no_default_libraries;
        if musl {
            let fixed = ["/lib", "/usr/local/lib", "/usr/lib"].map(|path| ImagePath::new(path.as_bytes()));
            directories.extend(fixed.into_iter().flatten());
        } else {
            let configured = self.directories.iter().filter(|path| plain || !trusted.contains(path));
            directories.extend(configured.cloned());
            directories.extend(trusted.iter().filter(|_| plain).cloned());
        }
        let mut seen = BTreeSet::new();
        directories.retain(|path| seen.insert(path.clone()));
        directories
    }

    fn expand_list(&self, list: &[u8], file: &Loaded) -> Vec<ImagePath> {
        let parts = list.split(|&byte| byte == b':').filter(|part| !part.is_empty());
        parts.flat_map(|part| self.expand(part, file)).collect()
    }

    /// Replaces `$ORIGIN`, `$LIB`, `$PLATFORM` (with or without braces) and takes `..` away. A path with
    /// `$LIB` gives one for each thing that it may stand for. Relative ones give none: they would depend
    /// on where the program is started.
    fn expand(&self, text: &[u8], file: &Loaded) -> Vec<ImagePath> {
        let machine = file.image.machine;
        let mut texts = vec![text.to_vec()];
        let replace_all = |texts: Vec<Vec<u8>>, word: &str, values: &[Vec<u8>]| -> Vec<Vec<u8>> {
            let replaced = |text: Vec<u8>| match replace(&text, word, b"") {
                None => vec![text],
                Some(_) => values.iter().filter_map(|value| replace(&text, word, value)).collect(),
            };
            texts.into_iter().flat_map(replaced).collect()
        };
        texts = replace_all(texts, "ORIGIN", &[file.origin.as_bytes().to_vec()]);
        texts = replace_all(texts, "LIB", &machine.library_words());
        let platform: Vec<Vec<u8>> = machine.platform_word().map(<[u8]>::to_vec).into_iter().collect();
        texts = replace_all(texts, "PLATFORM", &platform);
        texts.iter().filter_map(|text| self.normal(text)).collect()
    }

    /// Walks a path: `..` leads to the parent of the place that was reached, links followed.
    fn normal(&self, path: &[u8]) -> Option<ImagePath> {
        if path.first() != Some(&b'/') {
            return None;
        }
        let mut at = ImagePath::root();
        for name in path.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => at = self.look.follow(&at)?.parent().unwrap_or_else(ImagePath::root),
                name => at = at.join(&Name::new(name).ok()?),
            }
        }
        Some(at)
    }
}

/// Tells whether the loader of a program would take a file for a library.
fn fits(image: &Image, program: &Image) -> bool {
    let same = image.machine == program.machine && image.big_endian == program.big_endian;
    same && image.kind == Kind::Shared && image.dynamic
}

/// Tells whether musl's loader itself stands for a library.
fn is_of_musl(name: &[u8]) -> bool {
    let own = ["libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet."];
    own.iter().any(|own| name.starts_with(own.as_bytes()))
}

/// Replaces `$WORD` and `${WORD}` by a value; `None` where neither occurs.
fn replace(text: &[u8], word: &str, value: &[u8]) -> Option<Vec<u8>> {
    let mut replaced = Vec::new();
    let mut rest = text;
    let mut any = false;
    while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
        replaced.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let braced = rest.strip_prefix(b"{").and_then(|rest| rest.strip_prefix(word.as_bytes()));
        let behind = braced.and_then(|rest| rest.strip_prefix(b"}")).or_else(|| {
            let behind = rest.strip_prefix(word.as_bytes())?;
            behind.first().is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').then_some(behind)
        });
        match behind {
            Some(behind) => {
                any = true;
                replaced.extend_from_slice(value);
                rest = behind;
            }
            None => replaced.push(b'$'),
        }
    }
    replaced.extend_from_slice(rest);
    any.then_some(replaced)
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn words_are_replaced_whole() {
        assert_eq!(replace(b"$ORIGIN/../lib", "ORIGIN", b"/opt/bin"), Some(b"/opt/bin/../lib".to_vec()));
        assert_eq!(replace(b"/a${LIB}b:$LIB", "LIB", b"x"), Some(b"/axb:x".to_vec()));
        for text in [&b"$ORIGINAL"[..], b"${ORIGIN", b"$", b"", b"ORIGIN", b"$$"] {
            assert_eq!(replace(text, "ORIGIN", b"x"), None);
        }
    }
}
