//! Which kernel modules an image carries: those that were asked for, with all that they depend on, in
//! the order in which PID 1 loads them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::error::{BootError, UnknownModule};
use super::module_info;
use crate::base::{ImagePath, Job, Name};
use crate::tree::{ContentSource, Directory, Node};

/// Largest module, in bytes, after decompression.
const MODULE_BYTES_MAX: u64 = 64 << 20;
/// Memory that decompressing one module may take, in bytes.
const DECOMPRESSOR_BYTES_MAX: u64 = 128 << 20;
/// Longest `modules.builtin`, in bytes.
const BUILTIN_BYTES_MAX: u64 = 4 << 20;

/// The modules that an image carries.
#[derive(Clone, Debug)]
pub struct Modules {
    /// The kernel's version, as `uname -r` prints it.
    pub version: String,
    /// In load order: a module stands behind all that it depends on.
    pub modules: Vec<Module>,
}

/// One module.
#[derive(Clone, Debug)]
pub struct Module {
    /// With `_`, never `-`.
    pub name: String,
    /// Where it was found in the kernel's tree.
    pub path: ImagePath,
    /// The ELF file, decompressed.
    pub bytes: Vec<u8>,
}

/// Finds modules by name (`-` and `_` are equal) in the one kernel of a tree, under
/// `/lib/modules/VERSION` or `/usr/lib/modules/VERSION`, and all that they depend on. Names that are
/// built into the kernel are fine and bring nothing.
///
/// Reads no other module than those that it returns. The order follows from the order of `names` and of
/// each module's `depends=`, so it is the same on every machine.
pub fn find(
    root: &Directory,
    source: &dyn ContentSource,
    names: &[String],
    job: &Job,
) -> Result<Modules, BootError> {
    let kernel = Kernel::open(root, source)?;
    let modules = kernel.closure(names, job)?;
    Ok(Modules { version: kernel.version, modules })
}

/// Returns the version of the one kernel whose modules a tree holds.
pub fn kernel_version(root: &Directory) -> Result<String, BootError> {
    find_folder(root).map(|found| found.0)
}

struct Kernel<'a> {
    version: String,
    source: &'a dyn ContentSource,
    files: BTreeMap<String, (ImagePath, &'a crate::tree::File)>,
    builtin: BTreeSet<String>,
}

impl<'a> Kernel<'a> {
    fn open(root: &'a Directory, source: &'a dyn ContentSource) -> Result<Self, BootError> {
        let (version, path, folder) = find_folder(root)?;
        let mut files = BTreeMap::new();
        for (below, node) in folder.paths() {
            let (Some(name), Node::File(file)) = (below.name(), node) else { continue };
            if let Some(module) = module_name(name.as_bytes()) {
                let path = below.names().fold(path.clone(), |path, name| {
                    path.join(&Name::new(name).expect("because a path holds valid names"))
                });
                files.entry(module).or_insert((path, file));
            }
        }
        let builtin = read_builtin(folder, &path, source)?;
        Ok(Kernel { version, source, files, builtin })
    }

    /// Visits depth first, without recursion: each name is entered, then what it depends on, then left;
    /// a module is put on the list when it is left.
    fn closure(&self, names: &[String], job: &Job) -> Result<Vec<Module>, BootError> {
        let mut done = BTreeSet::new();
        let mut order = Vec::new();
        let mut unknown: Vec<UnknownModule> = Vec::new();
        for name in names {
            let mut open: Vec<Open> = Vec::new();
            let mut next = Some(normal(name));
            loop {
                if let Some(name) = next.take().filter(|name| !done.contains(name)) {
                    if let Some(start) = open.iter().position(|other| other.module.name == name) {
                        return Err(circle(&open[start..]));
                    }
                    job.check()?;
                    match self.read(&name)? {
                        Some(opened) => open.push(opened),
                        None if self.builtin.contains(&name) => {}
                        None => self.add_unknown(&mut unknown, name, open.last()),
                    }
                }
                let Some(current) = open.last_mut() else { break };
                next = current.depends.next();
                if next.is_none() {
                    let Open { module, .. } = open.pop().expect("because it was just looked at");
                    done.insert(module.name.clone());
                    order.push(module);
                }
            }
        }
        match unknown.is_empty() {
            true => Ok(order),
            false => Err(BootError::UnknownModules { version: self.version.clone(), modules: unknown }),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Open>, BootError> {
        let Some((path, file)) = self.files.get(name) else { return Ok(None) };
        let fail = |problem: String| BootError::Module { path: path.clone(), problem };
        if file.content.size > MODULE_BYTES_MAX {
            return Err(fail(format!("it has more than {MODULE_BYTES_MAX} bytes")));
        }
        let packed = self.source.read_all(&file.content);
        let packed = packed.map_err(|source| BootError::Content { path: path.clone(), source })?;
        let bytes = unpack(path, packed).map_err(|error| fail(error.to_string()))?;
        let info = module_info::parse(&bytes).map_err(fail)?;
        if let Some(other) = info.name.filter(|other| normal(other) != name) {
            return Err(fail(format!("it says that its name is {other:?}")));
        }
        if let Some(other) = info.kernel_version.filter(|other| *other != self.version) {
            return Err(fail(format!("it is for kernel {other}, not {}", self.version)));
        }
        let depends: Vec<String> = info.depends.iter().map(|name| normal(name)).collect();
        let module = Module { name: name.to_owned(), path: path.clone(), bytes };
        Ok(Some(Open { module, depends: depends.into_iter() }))
    }

    fn add_unknown(&self, unknown: &mut Vec<UnknownModule>, name: String, parent: Option<&Open>) {
        if unknown.iter().all(|other| other.name != name) {
            let similar = similar(&name, self.files.keys().chain(&self.builtin));
            let needed_by = parent.map(|parent| parent.module.name.clone());
            unknown.push(UnknownModule { name, needed_by, similar });
        }
    }
}

/// A module whose dependencies are being visited.
struct Open {
    module: Module,
    depends: std::vec::IntoIter<String>,
}

fn circle(open: &[Open]) -> BootError {
    let first = open.first().map(|open| open.module.name.clone());
    BootError::ModuleCycle { cycle: open.iter().map(|open| open.module.name.clone()).chain(first).collect() }
}

fn find_folder(root: &Directory) -> Result<(String, ImagePath, &Directory), BootError> {
    let mut found = Vec::new();
    for parent in ["/usr/lib/modules", "/lib/modules"] {
        let parent = ImagePath::new(parent.as_bytes()).expect("because it is a normal path");
        let Some(folder) = root.directory(&parent) else { continue };
        for (name, node) in &folder.entries {
            if let (Node::Directory(kernel), Ok(version)) = (node, str::from_utf8(name.as_bytes())) {
                found.push((version.to_owned(), parent.join(name), kernel));
            }
        }
    }
    if found.len() > 1 {
        let all: Vec<&str> = found.iter().map(|kernel| kernel.0.as_str()).collect();
        let problem = format!("there is more than one kernel: {}", all.join(", "));
        return Err(BootError::ModuleFolder { problem });
    }
    found.pop().ok_or_else(|| BootError::ModuleFolder { problem: "there is no kernel".into() })
}

fn read_builtin(
    folder: &Directory,
    path: &ImagePath,
    source: &dyn ContentSource,
) -> Result<BTreeSet<String>, BootError> {
    let Some(Node::File(file)) = folder.entries.get(&b"modules.builtin"[..]) else {
        return Ok(BTreeSet::new());
    };
    let path = path.join(&Name::new(b"modules.builtin").expect("because it is a valid name"));
    if file.content.size > BUILTIN_BYTES_MAX {
        return Err(BootError::Module {
            path,
            problem: format!("it has more than {BUILTIN_BYTES_MAX} bytes"),
        });
    }
    let bytes = source.read_all(&file.content).map_err(|source| BootError::Content { path, source })?;
    let lines = bytes.split(|&byte| byte == b'\n');
    Ok(lines.filter_map(|line| module_name(line.rsplit(|&byte| byte == b'/').next()?)).collect())
}

/// Returns the name of the module in a file: `virtio-rng.ko.xz` holds `virtio_rng`.
fn module_name(file_name: &[u8]) -> Option<String> {
    let name = str::from_utf8(file_name).ok()?;
    let plain = [".xz", ".zst", ".gz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    plain.strip_suffix(".ko").filter(|stem| !stem.is_empty()).map(normal)
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn unpack(path: &ImagePath, packed: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let reader: Box<dyn Read + '_> = match path.as_bytes().rsplit(|&byte| byte == b'.').next() {
        Some(b"xz") => {
            let stream = liblzma::stream::Stream::new_stream_decoder(DECOMPRESSOR_BYTES_MAX, 0)?;
            Box::new(liblzma::read::XzDecoder::new_stream(&packed[..], stream))
        }
        Some(b"zst") => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&packed[..])?;
            decoder.window_log_max(DECOMPRESSOR_BYTES_MAX.ilog2())?;
            Box::new(decoder)
        }
        Some(b"gz") => Box::new(flate2::read::GzDecoder::new(&packed[..])),
        _ => return Ok(packed),
    };
    let mut bytes = Vec::new();
    reader.take(MODULE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MODULE_BYTES_MAX {
        return Err(std::io::Error::other(format!("unpacked, it has more than {MODULE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Returns up to three of the names that differ least from `wanted`, and little enough to be meant.
fn similar<'a>(wanted: &str, names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let limit = (wanted.len() / 3).max(1);
    let mut close: Vec<(usize, &String)> =
        names.map(|name| (distance(wanted, name), name)).filter(|(steps, _)| *steps <= limit).collect();
    close.sort();
    close.dedup();
    close.into_iter().take(3).map(|(_, name)| name.clone()).collect()
}

/// Counts the bytes to insert, remove or change to get from one name to the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.bytes().enumerate() {
        let mut corner = index;
        row[0] = index + 1;
        for (column, b) in right.bytes().enumerate() {
            let change = corner + usize::from(a != b);
            corner = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(corner + 1);
        }
    }
    row[right.len()]
}
