//! `kernel`, `boot`, `disk`.

use super::super::diagnostics::{Code, Problem};
use super::super::plan::{
    Architecture, ArchivePlan, BarePackagePlan, BootPlan, DEFAULT_MODULES, DiskPlan, Filesystem, KernelPlan,
    KernelSource, LoaderProgram, LoaderSource, Placement,
};
use super::fields::Fields;
use super::{Context, app, packages, settled};
use crate::base::{Bytes, ImagePath, Name};

const DISTRIBUTION: &str = "debian";
const LOADER_PACKAGE: &str = "systemd-boot-efi";
const DATA_SIZE: Bytes = Bytes::mib(64);

/// Returns one package of the archive that a block names. What it leaves out comes from the next block that
/// has it; from packages only where the suite comes from there.
fn bare(
    fields: &Fields<'_>,
    others: &[&Fields<'_>],
    name: String,
    context: &Context<'_>,
) -> Option<BarePackagePlan> {
    let mut chain: Vec<&Fields<'_>> = std::iter::once(fields).chain(others.iter().copied()).collect();
    let suite = chain.iter().position(|fields| fields.span("suite").is_some())?;
    if chain[suite].row.name != "packages" {
        chain.retain(|fields| fields.row.name != "packages");
    }
    let holder = |key: &str| chain.iter().copied().find(|fields| fields.span(key).is_some());
    let components = holder("components").map_or_else(Vec::new, |fields| fields.texts("components"));
    Some(BarePackagePlan {
        distribution: DISTRIBUTION.to_owned(),
        archive: ArchivePlan {
            name: chain[suite].text("suite")?,
            suite: chain[suite].text("suite")?,
            components: if components.is_empty() { vec!["main".to_owned()] } else { components },
            mirror: holder("mirror").and_then(|fields| fields.text("mirror")),
            signed_by: holder("signed_by").and_then(|fields| fields.host_path("signed_by", context)),
            priority: packages::PRIORITY,
        },
        name,
        origin: context.origin(fields),
    })
}

pub(super) fn kernel(
    fields: &Fields<'_>,
    debian: Option<&Fields<'_>>,
    architecture: Architecture,
    context: &Context<'_>,
) -> Option<KernelPlan> {
    let host = fields.text("image").is_some() || fields.row.keys.iter().any(|key| key.name == "image");
    let directory = fields.span("modules_directory");
    if let (true, None, Some(span)) = (host, directory, fields.span("modules"))
        && !fields.texts("modules").is_empty()
    {
        let problem = Problem::new(Code::Conflict, span, "`modules` needs `modules_directory`");
        context.report(problem.hint("add it: `modules_directory = \"lib/modules/VERSION\"`"));
    }
    fields.sound().then_some(())?;
    let source = match host {
        true => KernelSource::Host {
            image: fields.host_path("image", context)?,
            modules: fields.host_path("modules_directory", context),
        },
        false => {
            let package = fields.text("package").unwrap_or_else(|| default_kernel(architecture).to_owned());
            if fields.span("suite").is_none() && debian.is_none_or(|other| other.span("suite").is_none()) {
                if fields.whole() {
                    no_suite(fields, context);
                }
                return None;
            }
            KernelSource::Package(bare(fields, debian.as_slice(), package, context)?)
        }
    };
    let default = || match host && directory.is_none() {
        true => Vec::new(),
        false => DEFAULT_MODULES.map(str::to_owned).to_vec(),
    };
    let modules = fields.span("modules").map_or_else(default, |_| fields.texts("modules"));
    Some(KernelPlan { source, modules, origin: context.origin(fields) })
}

fn no_suite(fields: &Fields<'_>, context: &Context<'_>) {
    let message = "the key `suite` is missing in `kernel`";
    let problem = Problem::new(Code::MissingKey, fields.block.header, message);
    context.report(problem.hint("add it: `suite = \"bookworm\"`"));
}

fn default_kernel(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "linux-image-cloud-amd64",
        Architecture::Aarch64 => "linux-image-cloud-arm64",
    }
}

/// Returns the loader that the recipe names, or the one that it gets.
pub(super) fn program(
    fields: Option<&Fields<'_>>,
    architecture: Architecture,
    context: &Context<'_>,
) -> LoaderProgram {
    let has_file = fields.is_some_and(|fields| fields.span("loader_file").is_some());
    let word = fields.and_then(|fields| fields.text("loader").zip(fields.span("loader")));
    match (word.as_ref().map(|(word, span)| (word.as_str(), *span)), architecture) {
        (Some(("mkimage", span)), Architecture::Aarch64) => {
            let problem = Problem::new(Code::Conflict, span, "mkimage's own loader is for x86_64 only");
            context.report(problem.hint("take `loader = \"systemd-boot\"` for aarch64"));
            LoaderProgram::SystemdBoot
        }
        (Some(("mkimage", _)), _) => LoaderProgram::Mkimage,
        (Some(_), _) | (None, Architecture::Aarch64) => LoaderProgram::SystemdBoot,
        (None, Architecture::X86_64) if has_file => LoaderProgram::SystemdBoot,
        (None, Architecture::X86_64) => LoaderProgram::Mkimage,
    }
}

pub(super) fn boot(
    fields: Option<&Fields<'_>>,
    program: LoaderProgram,
    kernel: Option<&Fields<'_>>,
    debian: Option<&Fields<'_>>,
    context: &Context<'_>,
) -> Option<BootPlan> {
    let loader = loader(fields, program, kernel, debian, context);
    let Some(fields) = fields else {
        return Some(BootPlan {
            program,
            loader: loader?,
            tries: 3,
            command_line: Vec::new(),
            watchdog_seconds: 30,
            health: None,
            origin: None,
        });
    };
    let health = fields.inner.first().map(|inner| app::health(inner, context));
    fields.sound().then_some(())?;
    Some(BootPlan {
        program,
        loader: loader?,
        tries: fields.number("tries").and_then(|tries| u8::try_from(tries).ok()).unwrap_or(3),
        command_line: fields.texts("command_line"),
        watchdog_seconds: fields.count("watchdog_seconds").unwrap_or(30),
        health: settled(health)?,
        origin: Some(context.origin(fields)),
    })
}

fn loader(
    fields: Option<&Fields<'_>>,
    program: LoaderProgram,
    kernel: Option<&Fields<'_>>,
    debian: Option<&Fields<'_>>,
    context: &Context<'_>,
) -> Option<LoaderSource> {
    let Some(kernel) = kernel else {
        if let Some(fields) = fields {
            let header = fields.block.header;
            let problem =
                Problem::warning(Code::UnusedBlock, header, "`boot` has no effect without a kernel");
            context.report(problem.hint("add a block `kernel \"debian\" {`, or remove this one"));
        }
        return Some(LoaderSource::None);
    };
    let Some(fields) = fields else {
        return package_loader(kernel, program, kernel, debian, context);
    };
    match (fields.span("loader_file"), fields.span("stub_file")) {
        (Some(_), Some(_)) => {
            from_files(fields, "loader_file", context);
            let loader = Some(fields.host_path("loader_file", context)?);
            Some(LoaderSource::Host { loader, stub: fields.host_path("stub_file", context)? })
        }
        (None, Some(_)) if program == LoaderProgram::Mkimage => {
            from_files(fields, "stub_file", context);
            Some(LoaderSource::Host { loader: None, stub: fields.host_path("stub_file", context)? })
        }
        (None, None) => package_loader(fields, program, kernel, debian, context),
        (Some(span), None) => half(span, "loader_file", "stub_file", context),
        (None, Some(span)) => half(span, "stub_file", "loader_file", context),
    }
}

/// Demands that nothing names a package beside the files.
fn from_files(fields: &Fields<'_>, file: &str, context: &Context<'_>) {
    if let Some((key, span)) = fields.any_written(&["suite", "package", "components", "mirror", "signed_by"])
    {
        let problem = Problem::new(Code::Conflict, span, format!("`{key}` and `{file}` exclude each other"));
        context.report(problem.hint("the loader comes from a package or from files: keep one"));
    }
}

fn half(
    span: super::super::source::Span,
    there: &str,
    missing: &str,
    context: &Context<'_>,
) -> Option<LoaderSource> {
    let problem = Problem::new(Code::Conflict, span, format!("`{there}` needs `{missing}`"));
    context.report(problem.hint(format!("add it: `{missing} = \"FILE\"`")));
    None
}

/// Returns the loader's package, from the archive that `boot` or else the kernel names.
fn package_loader(
    fields: &Fields<'_>,
    program: LoaderProgram,
    kernel: &Fields<'_>,
    debian: Option<&Fields<'_>>,
    context: &Context<'_>,
) -> Option<LoaderSource> {
    let has = |fields: &Fields<'_>| fields.span("suite").is_some();
    let has_suite = has(fields) || has(kernel) || debian.is_some_and(has);
    if !has_suite && fields.whole() && kernel.whole() && kernel.row.keys.iter().all(|key| key.name != "suite")
    {
        let (what, files) = match program {
            LoaderProgram::Mkimage => ("the stub of the kernel image", "`stub_file`"),
            LoaderProgram::SystemdBoot => ("the boot loader", "`loader_file` and `stub_file`"),
        };
        let message = format!("nothing says where {what} comes from");
        let problem = Problem::new(Code::MissingKey, fields.block.header, message);
        context.report(problem.hint(format!("add to `boot`: `suite = \"bookworm\"`, or {files}")));
        return None;
    }
    let own = fields.row.name == "boot";
    let package = fields.text("package").filter(|_| own).unwrap_or(LOADER_PACKAGE.to_owned());
    let others: Vec<&Fields<'_>> = std::iter::once(kernel).chain(debian).collect();
    bare(fields, &others, package, context).map(LoaderSource::Package)
}

pub(super) fn disk(
    fields: Option<&Fields<'_>>,
    program: LoaderProgram,
    context: &Context<'_>,
) -> Option<DiskPlan> {
    let data = || Name::new(b"data").map_or(ImagePath::root(), |name| ImagePath::root().join(&name));
    let Some(fields) = fields else {
        return Some(DiskPlan {
            layout: program.layout(),
            filesystem: Filesystem::Ext4,
            placement: Placement::Dense,
            slot_size: None,
            uki_size: None,
            data_size: DATA_SIZE,
            data_path: data(),
            origin: None,
        });
    };
    if fields.path("data_path").is_some_and(|path| path.is_root()) {
        let message = "the data partition can't be mounted at the root";
        let problem = Problem::new(Code::BadValue, fields.span_or_header("data_path"), message);
        context.report(problem.hint("the root is the read-only slot; the default is \"/data\""));
    }
    if let Some((layout, span)) = fields.count("layout").zip(fields.span("layout"))
        && layout != program.layout()
    {
        let (own, of) = match program {
            LoaderProgram::Mkimage => ("mkimage's own loader", 2),
            LoaderProgram::SystemdBoot => ("systemd-boot", 1),
        };
        let problem = Problem::new(Code::Conflict, span, format!("{own} reads disks of layout {of}"));
        context.report(problem.hint("leave `layout` out, or name the other `loader` in `boot`"));
    }
    fields.sound().then_some(())?;
    Some(DiskPlan {
        layout: program.layout(),
        filesystem: Filesystem::Ext4,
        placement: match fields.text("placement").as_deref() {
            Some("stable") => Placement::Stable,
            _ => Placement::Dense,
        },
        slot_size: fields.size("slot_size").flatten(),
        uki_size: fields.size("uki_size").flatten(),
        data_size: fields.size("data_size").flatten().unwrap_or(DATA_SIZE),
        data_path: fields.path("data_path").unwrap_or_else(data),
        origin: Some(context.origin(fields)),
    })
}
