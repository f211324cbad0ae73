use crate::base::{Cancelled, ImagePath};
use crate::tree::ContentError;

/// Says why boot files can't be read or made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Bytes that should be a PE image are none, or are damaged.
    #[error("reading a PE image: {problem} (at byte {offset})")]
    Pe { offset: u64, problem: String },
    /// Bytes that should be an ELF program for the loader are none.
    #[error("making a PE image of an ELF program: {problem} (at byte {offset})")]
    Elf { offset: usize, problem: String },
    /// This build of the tool has no boot loader of its own.
    #[error("this mkimage was built without a boot loader: it has one where it was built for x86-64")]
    NoLoader,
    /// A sound PE image that sections can't be added to.
    #[error("adding the section {section} to a PE image: {problem}")]
    Section { section: String, problem: String },
    /// A sound PE image that is no unified kernel image of ours.
    #[error("the PE image has no section {section}: it is no unified kernel image of mkimage")]
    NotOurs { section: &'static str },
    /// The section that says where an image came from can't be read.
    #[error("reading where the image came from (.origin): {problem} (at byte {offset})")]
    Origin { offset: usize, problem: String },
    /// Text that firmware, stub or kernel would misread.
    #[error("the {what} of a unified kernel image {problem}")]
    Text { what: &'static str, problem: String },
    /// Kernel and stub are of different machines.
    #[error("the kernel is for {kernel}, the UEFI stub is for {stub}")]
    Machine { kernel: &'static str, stub: &'static str },
    /// An entry that a newc archive can't hold.
    #[error("adding {path} to the initrd: {problem}")]
    Entry { path: ImagePath, problem: String },
    #[error("compressing the initrd")]
    Compress(#[source] std::io::Error),
    /// There is no kernel, or more than one, in a tree that should hold one.
    #[error("looking for kernel modules under /lib/modules and /usr/lib/modules: {problem}")]
    ModuleFolder { problem: String },
    /// Modules that were asked for, or that others depend on, and that the kernel does not have.
    #[error("{}", unknown_modules(version, modules))]
    UnknownModules { version: String, modules: Vec<UnknownModule> },
    /// A module file that can't be read.
    #[error("reading the kernel module {path}: {problem}")]
    Module { path: ImagePath, problem: String },
    #[error("the kernel modules {} depend on each other in a circle", cycle.join(" → "))]
    ModuleCycle { cycle: Vec<String> },
    #[error("reading {path}")]
    Content { path: ImagePath, source: ContentError },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A name that no module of a kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModule {
    pub name: String,
    /// The module that depends on it; `None` where it was asked for.
    pub needed_by: Option<String>,
    /// Names that look alike, the closest first, at most three.
    pub similar: Vec<String>,
}

fn unknown_modules(version: &str, modules: &[UnknownModule]) -> String {
    let mut text = format!("kernel {version} has no module ");
    for (index, module) in modules.iter().enumerate() {
        if index > 0 {
            text.push_str("; nor ");
        }
        text.push_str(&format!("{:?}", module.name));
        if let Some(parent) = &module.needed_by {
            text.push_str(&format!(", which {parent:?} depends on"));
        }
        if !module.similar.is_empty() {
            text.push_str(&format!(" (did you mean {}?)", module.similar.join(" or ")));
        }
    }
    text
}
