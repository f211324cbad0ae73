//! What every image has, whoever composed it: places to mount on, and for app images the few files that
//! programs look for.

use std::fmt::Write;

use super::closure;
use super::error::{ComposeError, Problem};
use super::lookup::{make_directory, real_path, resolve};
use crate::base::ImagePath;
use crate::recipe::plan::{AppPlan, Part, Plan};
use crate::tree::{Content, ContentSink, ContentSource, Directory, File, Metadata, Node, Symlink};

/// Mount points, with the modes that they have before anything is mounted.
const PLACES: [(&str, u16); 5] =
    [("/proc", 0o555), ("/sys", 0o555), ("/dev", 0o755), ("/run", 0o755), ("/tmp", 0o1777)];

/// What glibc looks names up in, where no part says it: files, then DNS.
const NAME_SERVICES: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
    protocols: files\nservices: files\nethers: files\nrpc: files\n";

/// Completes the merged tree of an image: makes the mount points that are missing, `/etc/resolv.conf` and
/// (without `image.init`) `/etc/hostname` and `/etc/os-release` where no part brought them; checks that
/// the app's program and working directory, or the tree's own init, are there. What parts brought stays.
pub fn finish(tree: &mut Directory, plan: &Plan, sink: &dyn ContentSink) -> Result<(), Vec<ComposeError>> {
    let mut errors = Vec::new();
    let origin = &plan.image.origin;
    for (path, mode) in PLACES {
        if let Err(problem) = make_directory(tree, &path_of(path), mode) {
            errors.push(problem.at(origin));
        }
    }
    if let Err(problem) = make_directory(tree, &plan.disk.data_path, 0o755) {
        errors.push(problem.at(plan.disk.origin.as_ref().unwrap_or(origin)));
    }
    if let Err(problem) = add_files(tree, plan, sink) {
        errors.push(problem.at(origin));
    }
    check_programs(tree, plan, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Checks that each app with `closure` finds its loader and all libraries in the finished tree.
pub fn check_closures(
    tree: &Directory,
    plan: &Plan,
    source: &dyn ContentSource,
) -> Result<(), Vec<ComposeError>> {
    let mut errors = Vec::new();
    for part in &plan.parts {
        if let Part::App(app) = part
            && app.closure.is_some()
            && let Err(problems) = closure::check(app, tree, source)
        {
            errors.extend(problems.into_iter().map(|problem| problem.at(&app.origin)));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn path_of(path: &str) -> ImagePath {
    ImagePath::new(path.as_bytes()).expect("because it is a path of this program")
}

fn add_files(tree: &mut Directory, plan: &Plan, sink: &dyn ContentSink) -> Result<(), Problem> {
    let metadata = Metadata::root(0o777);
    let resolver = Symlink { metadata, target: b"../run/resolv.conf"[..].into() };
    add(tree, "/etc/resolv.conf", || Ok(Node::Symlink(resolver)))?;
    let file = |text: String| {
        let content = sink.put(text.as_bytes())?;
        Ok(Node::File(File { metadata: Metadata::root(0o644), content }))
    };
    let is_closed = |part: &Part| matches!(part, Part::App(app) if app.closure.is_some());
    if plan.parts.iter().any(is_closed) && closure::has_glibc(tree) {
        add(tree, "/etc/nsswitch.conf", || file(NAME_SERVICES.to_owned()))?;
    }
    if plan.image.init.is_some() {
        return Ok(());
    }
    let (name, version) = (&plan.image.name, plan.image.version.as_deref());
    add(tree, "/etc/hostname", || file(host_name(name)))?;
    if resolve(tree, &path_of("/usr/lib/os-release")).is_none() {
        add(tree, "/etc/os-release", || file(os_release(name, version)))?;
    }
    Ok(())
}

/// Puts a node where nothing stands.
fn add(
    tree: &mut Directory,
    path: &str,
    node: impl FnOnce() -> Result<Node, Problem>,
) -> Result<(), Problem> {
    let real = real_path(tree, &path_of(path))?;
    if tree.get(&real).is_none() {
        tree.insert(&real, node()?)?;
    }
    Ok(())
}

/// Takes away what [`finish`] wrote for an image of this name and version, so that an image which stands on its
/// tree gets its own.
pub fn forget_name(tree: &mut Directory, name: &str, version: Option<&str>) {
    let texts = [("/etc/hostname", host_name(name)), ("/etc/os-release", os_release(name, version))];
    for (path, text) in texts {
        let content = Content::of(text.as_bytes());
        let written = Node::File(File { metadata: Metadata::root(0o644), content });
        if tree.get(&path_of(path)) == Some(&written) {
            tree.remove(&path_of(path));
        }
    }
}

fn host_name(name: &str) -> String {
    format!("{name}\n")
}

/// Writes os-release(5). Values are in double quotes, with what a shell would read escaped.
fn os_release(name: &str, version: Option<&str>) -> String {
    let mut text = format!("ID={name}\nNAME={}\n", quoted(name));
    let pretty = match version {
        Some(version) => {
            let _ = writeln!(text, "VERSION_ID={}", quoted(version));
            format!("{name} {version}")
        }
        None => name.to_owned(),
    };
    let _ = writeln!(text, "PRETTY_NAME={}", quoted(&pretty));
    text
}

fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(character);
    }
    text + "\""
}

fn check_programs(tree: &Directory, plan: &Plan, errors: &mut Vec<ComposeError>) {
    if let Some(init) = &plan.image.init {
        let checked = check_program(tree, "init", init.as_bytes());
        errors.extend(checked.err().map(|problem| problem.at(&plan.image.origin)));
    }
    for part in &plan.parts {
        let Part::App(app) = part else { continue };
        let program = app.command.first().map_or(&b""[..], |program| program.as_bytes());
        let checked = [check_program(tree, "command", program), check_directory(tree, plan, app)];
        errors.extend(checked.into_iter().filter_map(Result::err).map(|problem| problem.at(&app.origin)));
    }
}

/// Checks that an executable file stands at a path.
fn check_program(tree: &Directory, key: &'static str, program: &[u8]) -> Result<(), Problem> {
    let setting = |problem: String| Problem::Setting { key, problem };
    let path = ImagePath::new(program).map_err(|error| setting(error.to_string()))?;
    match resolve(tree, &path) {
        None => Err(setting(format!("nothing stands at {path}"))),
        Some(Node::File(file)) if file.metadata.mode & 0o111 != 0 => Ok(()),
        Some(Node::File(file)) => {
            let mode = file.metadata.mode;
            Err(setting(format!(
                "{path} is not executable (its mode is {mode:04o}); mode = \"0755\" makes it so"
            )))
        }
        Some(other) => Err(setting(format!("{path} is a {}, not a program", other.kind()))),
    }
}

/// Checks that the working directory is there, unless it lies where things only come at run time.
fn check_directory(tree: &Directory, plan: &Plan, app: &AppPlan) -> Result<(), Problem> {
    let path = &app.working_directory;
    let later = [&plan.disk.data_path, &path_of("/run"), &path_of("/tmp")];
    if path.is_root() || later.iter().any(|later| path.is_within(later)) {
        return Ok(());
    }
    let key = "working_directory";
    match resolve(tree, path) {
        Some(Node::Directory(_)) => Ok(()),
        Some(other) => Err(Problem::Setting { key, problem: format!("{path} is a {}", other.kind()) }),
        None => Err(Problem::Setting { key, problem: format!("nothing stands at {path}") }),
    }
}
