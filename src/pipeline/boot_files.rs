//! What boots: kernel, initrd, stub, loader. A tree of its own beside the root's in each commit.
//!
//! ```text
//! /kernel          the kernel image as it came
//! /kernel_version  what `uname -r` prints
//! /initrd          PID 1, its service description and modules, packed
//! /stub /loader    systemd's UEFI stub; systemd-boot or our own loader
//! /command_line    the recipe's own words, one a line
//! /service.json    what PID 1 runs, for people: the initrd holds the same
//! ```

use std::path::{Path, PathBuf};

use super::error::{PipelineError, Result};
use super::packages::Unpacking;
use super::step::KeyBuilder;
use crate::archive::{Digesting, Input, InputKind, Inputs, Limits, scan};
use crate::base::job::Unit;
use crate::base::{Digest, FileError, ImagePath, Job, StepKey, fs};
use crate::boot::initrd::{self, InitrdParts};
use crate::boot::pe::PeImage;
use crate::boot::service::Service;
use crate::boot::{loader, modules};
use crate::recipe::plan::{
    BarePackagePlan, KernelPlan, KernelSource, LoaderProgram, LoaderSource, Origin, Plan,
};
use crate::store::{Transaction, TreeRef};
use crate::tree::{Content, ContentSink, ContentSource, Directory, File, Metadata, Node};

/// Version of the step that makes boot files: a change of what it does needs a new one.
const STEP: &str = "boot files 1";
/// Where the packages have systemd's UEFI programs.
const LOADER_FOLDER: &str = "/usr/lib/systemd/boot/efi";
/// Largest file that boots, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What the boot files follow from.
pub struct Request<'a> {
    pub kernel: &'a KernelPlan,
    pub loader: &'a LoaderSource,
    /// Our own loader, where the plan has it and no file of its own for it.
    pub own_loader: Option<&'a [u8]>,
    /// The `boot` block, where there is one.
    pub boot_origin: Option<&'a Origin>,
    pub command_line: &'a [String],
    pub service: &'a Service,
    /// The binary of PID 1.
    pub init: &'a [u8],
    pub epoch: u64,
    /// `x64` or `aa64`: how UEFI names the architecture in file names.
    pub uefi_suffix: &'static str,
}

/// Makes the boot files, or takes those that were made of the same inputs before.
pub fn make(
    request: &Request<'_>,
    packages: &Unpacking<'_>,
    transaction: &Transaction<'_>,
    job: &Job,
) -> Result<TreeRef> {
    let sources = Sources::open(request, packages)?;
    let key = sources.key(request, job)?;
    let step = job.step("boot files", None, Unit::Items);
    if let Some(tree) = packages.memo.tree(&key) {
        step.cached();
        return Ok(tree);
    }
    let tree = sources.assemble(request, packages, transaction, job)?;
    let sealed = tree.seal().map_err(PipelineError::Tree)?;
    let tree = transaction.put_tree(job, &sealed)?;
    packages.memo.later(key, tree);
    Ok(tree)
}

/// Where the parts come from, with what names their content.
struct Sources {
    kernel: Option<Vec<u8>>,
    loader: Option<Vec<u8>>,
    stub: Option<Vec<u8>>,
    modules: Option<PathBuf>,
    keys: Vec<StepKey>,
}

impl Sources {
    fn open(request: &Request<'_>, packages: &Unpacking<'_>) -> Result<Self> {
        let mut keys = Vec::new();
        let (kernel, modules) = match &request.kernel.source {
            KernelSource::Package(plan) => {
                keys.push(packages.key(plan)?);
                (None, None)
            }
            KernelSource::Host { image, modules } => {
                (Some(read(image, Some(&request.kernel.origin))?), modules.clone())
            }
        };
        let (loader, stub) = match request.loader {
            LoaderSource::Package(plan) => {
                keys.push(packages.key(plan)?);
                (None, None)
            }
            LoaderSource::Host { loader, stub } => {
                let read = |path: &PathBuf| read(path, request.boot_origin);
                (loader.as_ref().map(read).transpose()?, Some(read(stub)?))
            }
            LoaderSource::None => return Err(PipelineError::NoKernel),
        };
        let loader = loader.or_else(|| request.own_loader.map(<[u8]>::to_vec));
        Ok(Sources { kernel, loader, stub, modules, keys })
    }

    fn key(&self, request: &Request<'_>, job: &Job) -> Result<StepKey> {
        let mut key = KeyBuilder::new(STEP);
        key.bytes("init", request.init);
        if let Some(bytes) = &self.kernel {
            key.bytes("kernel", bytes);
        }
        for bytes in self.loader.iter().chain(&self.stub) {
            key.bytes("loader", bytes);
        }
        for source in &self.keys {
            key.bytes("package", source.as_bytes());
        }
        let service = serde_json::to_vec(request.service).expect("because a service has string keys only");
        key.bytes("service", &service);
        if let Some(folder) = &self.modules {
            key.bytes("modules", modules_digest(folder, job)?.as_bytes());
        }
        for word in request.kernel.modules.iter().chain(request.command_line) {
            key.bytes("word", word.as_bytes());
        }
        key.bytes("epoch", &request.epoch.to_le_bytes());
        Ok(key.finish())
    }

    fn assemble(
        &self,
        request: &Request<'_>,
        packages: &Unpacking<'_>,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        let (kernel, root) = match (&request.kernel.source, &self.kernel) {
            (KernelSource::Package(plan), _) => {
                let root = packages.tree(plan, transaction, job)?;
                (kernel_of(&root, plan, transaction)?, root)
            }
            (_, Some(kernel)) => (kernel.clone(), self.host_modules(transaction, job)?),
            (_, None) => return Err(PipelineError::NoKernel),
        };
        let found = modules::find(&root, transaction, &request.kernel.modules, job);
        let (version, modules) = match (found, &self.modules, &request.kernel.source) {
            (Ok(found), _, _) => (found.version, found.modules),
            (Err(_), None, KernelSource::Host { .. }) if request.kernel.modules.is_empty() => {
                (kernel_version(&kernel).unwrap_or_else(|| "unknown".to_owned()), Vec::new())
            }
            (Err(error), _, _) => return Err(error.into()),
        };
        let parts = InitrdParts {
            init: request.init,
            service: request.service,
            modules: &modules,
            epoch: request.epoch,
        };
        let initrd = initrd::build(&parts, job)?;
        let [loader, stub] = self.loader_files(request, packages, transaction, job)?;
        let service =
            serde_json::to_vec_pretty(request.service).expect("because a service has string keys only");
        let lines: String = request.command_line.iter().map(|word| format!("{word}\n")).collect();
        tree_of(
            &[
                ("/kernel", &kernel),
                ("/kernel_version", version.as_bytes()),
                ("/initrd", &initrd.bytes),
                ("/stub", &stub),
                ("/loader", &loader),
                ("/command_line", lines.as_bytes()),
                ("/service.json", &service),
            ],
            transaction,
        )
    }

    /// Reads the modules of a kernel that is no package into a tree, where a package would have them.
    fn host_modules(&self, sink: &dyn ContentSink, job: &Job) -> Result<Directory> {
        let mut root = Directory::default();
        let Some(folder) = &self.modules else { return Ok(root) };
        let (tree, _) = scan(folder, &Limits::default(), sink, job).map_err(PipelineError::Archive)?;
        let version = folder.file_name().unwrap_or_default().to_string_lossy();
        let path = ImagePath::new(format!("/lib/modules/{version}").as_bytes())
            .map_err(|error| PipelineError::Tree(vec![error.into()]))?;
        root.insert(&path, Node::Directory(tree)).map_err(|error| PipelineError::Tree(vec![error]))?;
        Ok(root)
    }

    /// Returns loader and stub.
    fn loader_files(
        &self,
        request: &Request<'_>,
        packages: &Unpacking<'_>,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<[Vec<u8>; 2]> {
        let plan = match (&self.loader, &self.stub, request.loader) {
            (Some(loader), Some(stub), _) => return Ok([loader.clone(), stub.clone()]),
            (_, _, LoaderSource::Package(plan)) => plan,
            _ => return Err(PipelineError::NoKernel),
        };
        let root = packages.tree(plan, transaction, job)?;
        let suffix = request.uefi_suffix;
        let file = |name: String| read_file(&root, &format!("{LOADER_FOLDER}/{name}"), plan, transaction);
        let loader = match &self.loader {
            Some(loader) => loader.clone(),
            None => file(format!("systemd-boot{suffix}.efi"))?,
        };
        Ok([loader, file(format!("linux{suffix}.efi.stub"))?])
    }
}

/// Puts files into a tree of their own.
fn tree_of(files: &[(&str, &[u8])], sink: &dyn ContentSink) -> Result<Directory> {
    let mut tree = Directory::default();
    for (path, bytes) in files {
        let content = sink.put(bytes)?;
        let file = Node::File(File { metadata: Metadata::root(0o644), content });
        tree.insert(&path_of(path), file).map_err(|error| PipelineError::Tree(vec![error]))?;
    }
    Ok(tree)
}

/// Returns our own boot loader, where a plan boots by it and names no file for it.
pub fn own_loader(plan: &Plan) -> Result<Option<Vec<u8>>> {
    let is_named = matches!(plan.boot.loader, LoaderSource::Host { loader: Some(_), .. });
    if plan.kernel.is_none() || is_named || plan.boot.program != LoaderProgram::Mkimage {
        return Ok(None);
    }
    Ok(Some(loader::image()?))
}

/// Reads and digests what boots and comes from the host, where the plan names such.
pub fn host_inputs(plan: &Plan, job: &Job) -> Result<Vec<Inputs>> {
    let mut all = Vec::new();
    if let LoaderSource::Host { loader, stub } = &plan.boot.loader {
        for path in loader.iter().chain([stub]) {
            all.push(program_inputs(path, &read(path, plan.boot.origin.as_ref())?));
        }
    }
    if let Some(kernel) = &plan.kernel
        && let KernelSource::Host { image, modules } = &kernel.source
    {
        all.push(program_inputs(image, &read(image, Some(&kernel.origin))?));
        if let Some(folder) = modules {
            let scanned = scan(folder, &Limits::default(), &Digesting, job);
            all.push(scanned.map_err(PipelineError::Archive)?.1);
        }
    }
    Ok(all)
}

fn program_inputs(path: &Path, bytes: &[u8]) -> Inputs {
    let kind = InputKind::File { content: Content::of(bytes), executable: false };
    Inputs { root: path.to_owned(), entries: vec![Input { path: PathBuf::new(), kind }] }
}

fn modules_digest(folder: &Path, job: &Job) -> Result<Digest> {
    let (_, inputs) = scan(folder, &Limits::default(), &Digesting, job).map_err(PipelineError::Archive)?;
    Ok(inputs.digest())
}

/// Reads a UEFI program of the host: kernel, loader or stub.
fn read(path: &Path, origin: Option<&Origin>) -> Result<Vec<u8>> {
    let checked = read_file_of_host(path).and_then(|bytes| {
        PeImage::parse(&bytes)?;
        Ok(bytes)
    });
    checked.map_err(|source| match origin {
        Some(origin) => PipelineError::BootFile {
            path: path.to_owned(),
            origin: origin.clone(),
            source: Box::new(source),
        },
        None => source,
    })
}

/// Reads a file of the host that boots. What is no file is refused unopened: a fifo would make us wait.
fn read_file_of_host(path: &Path) -> Result<Vec<u8>> {
    let checked = std::fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file")),
    });
    checked.map_err(FileError::at("read", path))?;
    Ok(fs::read_at_most(path, FILE_BYTES_MAX)?)
}

/// Reads the binary of PID 1.
pub fn read_init(path: &Path) -> Result<Vec<u8>> {
    read_program(path, |path| PipelineError::NoInit { path })
}

/// Reads the binary of the agent that updates machines.
pub fn read_agent(path: &Path) -> Result<Vec<u8>> {
    read_program(path, |path| PipelineError::NoAgent { path })
}

fn read_program(path: &Path, missing: fn(PathBuf) -> PipelineError) -> Result<Vec<u8>> {
    let bytes = read_file_of_host(path).map_err(|error| match error {
        PipelineError::File(error) if error.is_missing() => missing(path.to_owned()),
        error => error,
    })?;
    if !bytes.starts_with(b"\x7fELF") {
        let problem = "it is no Linux program (it does not begin as an ELF file does)";
        return Err(PipelineError::Init { path: path.to_owned(), problem });
    }
    Ok(bytes)
}

fn path_of(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because these paths are ours")
}

fn read_file(
    root: &Directory,
    path: &str,
    plan: &BarePackagePlan,
    source: &dyn ContentSource,
) -> Result<Vec<u8>> {
    match root.get(&path_of(path)) {
        Some(Node::File(file)) => Ok(source.read_all(&file.content)?),
        _ => Err(PipelineError::NotInPackage {
            path: path.to_owned(),
            packages: plan.name.clone(),
            origin: plan.origin.clone(),
        }),
    }
}

/// Finds `/boot/vmlinuz-VERSION` in the tree of a kernel package.
fn kernel_of(root: &Directory, plan: &BarePackagePlan, source: &dyn ContentSource) -> Result<Vec<u8>> {
    let boot = root.directory(&path_of("/boot"));
    let kernels = boot.iter().flat_map(|boot| &boot.entries);
    let mut kernels = kernels.filter(|(name, _)| name.as_bytes().starts_with(b"vmlinu"));
    match kernels.next() {
        Some((name, _)) => read_file(root, &format!("/boot/{name}"), plan, source),
        None => read_file(root, "/boot/vmlinuz", plan, source),
    }
}

/// Reads the version out of an x86 kernel image (Linux x86 boot protocol, `kernel_version`).
fn kernel_version(kernel: &[u8]) -> Option<String> {
    if kernel.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let pointer = u16::from_le_bytes(kernel.get(0x20e..0x210)?.try_into().ok()?);
    let text = kernel.get(usize::from(pointer) + 0x200..)?;
    let text = text.split(|byte| matches!(byte, 0 | b' ')).next()?;
    (text.len() <= 64).then(|| String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty())
}
