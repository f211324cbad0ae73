//! Maintainer scripts of chosen packages, run as dpkg would run them on a machine where everything else is
//! installed.

use std::collections::BTreeMap;

use super::error::SandboxError;
use super::outcome::Outcome;
use super::{Request, run};
use crate::base::{ImagePath, Job};
use crate::tree::{Content, ContentSink, ContentSource, Directory, File, Metadata, Node};

type Result<T> = std::result::Result<T, SandboxError>;

/// A package whose scripts are to be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaintainerPackage {
    pub name: String,
    /// As in its control file: `amd64`, `all`.
    pub architecture: String,
    /// What stands before the dot in the names of its files in `/var/lib/dpkg/info`: the name, or
    /// `name:architecture` where several architectures may be installed at once.
    pub info: String,
}

/// Commands, and what they need beside the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scripts {
    pub commands: Vec<Vec<String>>,
    pub environment: BTreeMap<String, String>,
}

/// Where stand-ins for programs lie that must not do their work in a sandbox: first in `PATH`.
const STAND_INS: &str = "/run/mkimage/bin";
const INFO: &str = "/var/lib/dpkg/info";
const STATUS: &[u8] = b"/var/lib/dpkg/status";
const TRIGGERED: &[u8] = b"/var/lib/dpkg/triggers/Unincorp";
const POLICY: &[u8] = b"/usr/sbin/policy-rc.d";

/// Programs that say they did their work: what they make is made by mkimage itself, or is about a running
/// machine.
const DONE: [&str; 9] = [
    "deb-systemd-invoke",
    "dracut",
    "grub-install",
    "invoke-rc.d",
    "kernel-install",
    "update-grub",
    "update-initramfs",
    "udevadm",
    "zz-update-grub",
];

const DONE_TEXT: &[u8] = b"#!/bin/sh\nexit 0\n";
/// "Action forbidden by policy" (Debian's `invoke-rc.d`).
const POLICY_TEXT: &[u8] = b"#!/bin/sh\nexit 101\n";

/// Returns the commands that run the scripts of packages, in the order given: `preinst install`, then
/// `postinst configure` without an old version, each where it is there, with the variables that dpkg sets.
pub fn scripts_commands(packages: &[MaintainerPackage], tree: &Directory) -> Scripts {
    let mut commands = Vec::new();
    for (script, arguments) in [("preinst", &["install"][..]), ("postinst", &["configure", ""])] {
        for package in packages {
            let path = format!("{INFO}/{}.{script}", package.info);
            let there = ImagePath::new(path.as_bytes()).is_ok_and(|path| tree.get(&path).is_some());
            if there {
                let mut command = vec![
                    format!("DPKG_MAINTSCRIPT_PACKAGE={}", package.name),
                    format!("DPKG_MAINTSCRIPT_ARCH={}", package.architecture),
                    format!("DPKG_MAINTSCRIPT_NAME={script}"),
                    "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1".to_owned(),
                    path,
                ];
                command.extend(arguments.iter().map(|&argument| argument.to_owned()));
                commands.push(command);
            }
        }
    }
    let path = format!("{STAND_INS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let environment = [
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_FORCE", "security-mac,downgrade"),
        ("DPKG_ROOT", ""),
        ("PATH", &*path),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Scripts { commands, environment }
}

/// Runs the scripts of packages on a tree whose database says that all packages are installed, and then what
/// they have triggered. `request` says all but the commands; its inputs and variables are kept.
///
/// While the scripts run, the database says that their packages are unpacked only, and a policy forbids the
/// start of services.
pub fn run_scripts(
    packages: &[MaintainerPackage],
    request: &Request<'_>,
    sink: &(impl ContentSink + ContentSource),
    job: &Job,
) -> Result<Outcome> {
    let scripts = scripts_commands(packages, request.tree);
    let mut tree = request.tree.clone();
    let policy = put_policy(&mut tree, sink)?;
    let installed = status(&tree, request.source)?;
    let selected: Vec<_> =
        packages.iter().map(|one| (one.name.as_str(), one.architecture.as_str())).collect();
    let unpacked = with_state(&installed, &selected, "unpacked");
    put(&mut tree, STATUS, &unpacked, sink)?;
    let done = one(request, &tree, scripts.commands, &scripts.environment, request.source, sink, job)?;
    let (mut tree, mut log) = (done.tree, done.log);
    let both = Both { first: sink, second: request.source };
    let after = status(&tree, &both)?;
    put(&mut tree, STATUS, &with_state(&after, &selected, "installed"), sink)?;
    if triggered(&tree, &both)? {
        let command = vec!["dpkg".to_owned(), "--triggers-only".to_owned(), "--pending".to_owned()];
        let done = one(request, &tree, vec![command], &scripts.environment, &both, sink, job)?;
        tree = done.tree;
        log.extend(done.log);
    }
    if policy {
        tree.remove(&at(POLICY));
    }
    Ok(Outcome::new(request.tree, tree, log))
}

fn one(
    request: &Request<'_>,
    tree: &Directory,
    commands: Vec<Vec<String>>,
    variables: &BTreeMap<String, String>,
    source: &dyn ContentSource,
    sink: &(impl ContentSink + ContentSource),
    job: &Job,
) -> Result<Outcome> {
    let stand_ins = stand_ins(sink)?;
    let both = Both { first: sink, second: source };
    let mut environment = variables.clone();
    environment.extend(request.environment.clone());
    let mut inputs = request.inputs.clone();
    inputs.push((at(STAND_INS.as_bytes()), &stand_ins));
    let request = Request {
        tree,
        source: &both,
        commands,
        environment,
        working_directory: request.working_directory.clone(),
        inputs,
        epoch: request.epoch,
        limits: request.limits.clone(),
        scratch: request.scratch,
        label: request.label.clone(),
        program: request.program.clone(),
    };
    run(&request, sink, job)
}

fn at(path: &[u8]) -> ImagePath {
    ImagePath::new(path).expect("because this is a path")
}

fn script(text: &[u8], sink: &dyn ContentSink) -> Result<Node> {
    let put = sink.put(text);
    let content = put.map_err(|source| SandboxError::Content { path: ImagePath::root(), source })?;
    Ok(Node::File(File { metadata: Metadata::root(0o755), content }))
}

fn stand_ins(sink: &dyn ContentSink) -> Result<Directory> {
    let mut directory = Directory::default();
    for name in DONE {
        let name = crate::base::Name::new(name.as_bytes()).expect("because this is a name");
        directory.entries.insert(name, script(DONE_TEXT, sink)?);
    }
    Ok(directory)
}

/// Forbids the start of services, where the tree has no say of its own; returns whether it had none.
fn put_policy(tree: &mut Directory, sink: &dyn ContentSink) -> Result<bool> {
    let path = at(POLICY);
    if tree.get(&path).is_some() || tree.directory(&at(b"/usr/sbin")).is_none() {
        return Ok(false);
    }
    let node = script(POLICY_TEXT, sink)?;
    Ok(tree.insert(&path, node).is_ok())
}

fn status(tree: &Directory, source: &dyn ContentSource) -> Result<Vec<u8>> {
    let path = at(STATUS);
    match tree.get(&path) {
        Some(Node::File(file)) => {
            source.read_all(&file.content).map_err(|source| SandboxError::Content { path, source })
        }
        _ => Ok(Vec::new()),
    }
}

/// Replaces a file's bytes, where the file is there and they differ.
fn put(tree: &mut Directory, path: &[u8], bytes: &[u8], sink: &dyn ContentSink) -> Result<()> {
    let path = at(path);
    if let Some(Node::File(file)) = tree.get_mut(&path) {
        file.content = sink.put(bytes).map_err(|source| SandboxError::Content { path, source })?;
    }
    Ok(())
}

fn triggered(tree: &Directory, source: &dyn ContentSource) -> Result<bool> {
    let dpkg = tree.get(&at(b"/usr/bin/dpkg")).is_some();
    let path = at(TRIGGERED);
    match tree.get(&path) {
        Some(Node::File(file)) if dpkg && file.content.size > 0 => {
            let text = source.read_all(&file.content);
            let text = text.map_err(|source| SandboxError::Content { path, source })?;
            Ok(text.iter().any(|byte| !byte.is_ascii_whitespace()))
        }
        _ => Ok(false),
    }
}

/// Changes the state of packages, by name and architecture, in dpkg's status file: `Status: want flag state`.
fn with_state(text: &[u8], packages: &[(&str, &str)], state: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let stanzas = text.split("\n\n").map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let named = (field("Package").unwrap_or_default(), field("Architecture").unwrap_or_default());
        if !packages.contains(&named) {
            return stanza.to_owned();
        }
        let lines = stanza.split('\n').map(|line| match line.strip_prefix("Status: ") {
            Some(status) => {
                let keep: Vec<&str> = status.split(' ').take(2).collect();
                format!("Status: {} {state}", keep.join(" "))
            }
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    stanzas.collect::<Vec<_>>().join("\n\n").into_bytes()
}

/// Reads from the first place that has what is wanted.
struct Both<'a, S> {
    first: &'a S,
    second: &'a dyn ContentSource,
}

impl<S: ContentSource> ContentSource for Both<'_, S> {
    fn data_map(
        &self,
        content: &Content,
    ) -> std::result::Result<crate::tree::DataMap, crate::tree::ContentError> {
        self.first.data_map(content).or_else(|_| self.second.data_map(content))
    }

    fn read_at(
        &self,
        content: &Content,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<(), crate::tree::ContentError> {
        let first = self.first.read_at(content, offset, buffer);
        first.or_else(|_| self.second.read_at(content, offset, buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_chosen_packages_change_their_state() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\n\
                    Package: b\nStatus: hold ok installed\nArchitecture: all\nDescription: x\n Status: y\n";
        let changed = with_state(text.as_bytes(), &[("b", "all"), ("a", "i386")], "unpacked");
        let changed = String::from_utf8(changed).expect("text");
        assert_eq!(changed, text.replace("hold ok installed", "hold ok unpacked"));
        let back = with_state(changed.as_bytes(), &[("b", "all")], "installed");
        assert_eq!(String::from_utf8(back).expect("text"), text);
    }

    #[test]
    fn scripts_come_in_order_with_dpkgs_variables() {
        let mut tree = Directory::default();
        for name in ["x.preinst", "x.postinst", "y:amd64.postinst"] {
            let path = ImagePath::new(format!("{INFO}/{name}").as_bytes()).expect("a path");
            let file = File { metadata: Metadata::root(0o755), content: Content::of(b"") };
            tree.insert(&path, Node::File(file)).expect("inserted");
        }
        let package = |name: &str, info: &str| MaintainerPackage {
            name: name.to_owned(),
            architecture: "amd64".to_owned(),
            info: info.to_owned(),
        };
        let scripts = scripts_commands(&[package("y", "y:amd64"), package("x", "x")], &tree);
        let ends: Vec<String> = scripts.commands.iter().map(|words| words[4..].join(" ")).collect();
        assert_eq!(
            ends,
            [
                "/var/lib/dpkg/info/x.preinst install",
                "/var/lib/dpkg/info/y:amd64.postinst configure ",
                "/var/lib/dpkg/info/x.postinst configure ",
            ]
        );
        assert!(scripts.commands[1].contains(&"DPKG_MAINTSCRIPT_PACKAGE=y".to_owned()));
        assert_eq!(scripts.environment["DPKG_ROOT"], "");
    }
}
