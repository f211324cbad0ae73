//! Commands that copy and move files: `cp`, `mv`, `install`, `ucf`.

use super::files::{Mode, has, split, value};
use super::{Call, Work};
use crate::base::{ImagePath, Name};
use crate::finalize::script::shell::{Shell, Status};
use crate::tree::{File, Metadata, Node};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "cp" => cp,
        "mv" => mv,
        "install" => install,
        "ucf" => ucf,
        _ => return None,
    })
}

/// Returns where an operand goes: into a directory, or to the path itself.
fn destination(
    shell: &Shell<'_, '_>,
    from: &str,
    to: &str,
    options: &[(&str, Option<&str>)],
) -> Option<ImagePath> {
    let to = shell.path(to)?;
    if has(options, 'T', "--no-target-directory") || shell.world.directory(&to).is_none() {
        return Some(to);
    }
    let base = from.trim_end_matches('/').rsplit('/').next()?;
    Some(to.join(&Name::new(base.as_bytes()).ok()?))
}

fn cp(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "");
    let Some((to, from)) = operands.split_last().filter(|(_, from)| !from.is_empty()) else {
        return shell.unknown(call.line, "cp with fewer than two operands");
    };
    let archive = has(&options, 'a', "--archive");
    let keeps =
        archive || has(&options, 'p', "--preserve") || options.iter().any(|o| o.0.starts_with("--preserve"));
    let recursive = archive || has(&options, 'r', "--recursive") || has(&options, 'R', "--recursive");
    let keeps_links =
        archive || has(&options, 'd', "--no-dereference") || has(&options, 'P', "--no-dereference");
    for from in from {
        let (Some(path), Some(place)) = (shell.path(from), destination(shell, from, to, &options)) else {
            return shell.unknown(call.line, "an operand is no path");
        };
        let found = match shell.world.look(&path) {
            Some(link @ Node::Symlink(_)) if keeps_links => Some(link.clone()),
            _ => shell.world.lead(&path).and_then(|(_, node)| node.cloned()),
        };
        let Some(mut node) = found else { return Status::False };
        if matches!(node, Node::Directory(_)) && (!recursive || shell.world.look(&place).is_some()) {
            return shell.unknown(call.line, "a directory is copied over what is there");
        }
        let there = shell.world.lead(&place).and_then(|(_, node)| node.cloned());
        if there.is_some() && has(&options, 'n', "--no-clobber") {
            continue;
        }
        match (&mut node, there) {
            (Node::File(file), Some(Node::File(there))) if !keeps => file.metadata = there.metadata,
            (Node::File(file), _) if !keeps => {
                file.metadata = Metadata::root(file.metadata.mode & 0o777 & !shell.umask)
            }
            _ => {}
        }
        let result = shell.world.put(&place, node);
        shell.done(call.line, result);
    }
    Status::True
}

fn mv(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "");
    let [from, to] = operands[..] else {
        return shell.unknown(call.line, "mv with other than two operands");
    };
    let (Some(path), Some(place)) = (shell.path(from), destination(shell, from, to, &options)) else {
        return shell.unknown(call.line, "an operand is no path");
    };
    let Some(node) = shell.world.place_of(&path).and_then(|path| shell.world.tree.remove(&path)) else {
        return Status::False;
    };
    let result = shell.world.put(&place, node);
    shell.done(call.line, result)
}

/// `install -d` makes directories, `install FILE DEST` copies; both with owner and mode.
fn install(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "mog");
    let mode =
        value(&options, 'm', "--mode").map_or(Some(0o755), |mode| Some(Mode::parse(mode)?.on(0, true)));
    let account = |text: Option<&str>, id: &dyn Fn(&str) -> Option<u32>| text.map_or(Some(0), id);
    let accounts = &shell.world.accounts;
    let uid = account(value(&options, 'o', "--owner"), &|name| accounts.uid(name));
    let gid = account(value(&options, 'g', "--group"), &|name| accounts.gid(name));
    let (Some(mode), Some(uid), Some(gid)) = (mode, uid, gid) else {
        return shell.unknown(call.line, "mode or owner is not understood");
    };
    let metadata = Metadata { uid, gid, ..Metadata::root(mode) };
    if has(&options, 'd', "--directory") {
        let Some(paths) = shell.paths(call.line, &operands) else { return Status::Maybe };
        for path in paths {
            let result = shell.world.make_directory(&path, mode).map(drop);
            shell.done(call.line, result);
            if let Some(there) = shell.world.metadata_mut(&path) {
                *there = metadata.clone();
            }
        }
        return Status::True;
    }
    let Some((to, from)) = operands.split_last().filter(|(_, from)| !from.is_empty()) else {
        return shell.unknown(call.line, "install with fewer than two operands");
    };
    for from in from {
        let (Some(path), Some(place)) = (shell.path(from), destination(shell, from, to, &options)) else {
            return shell.unknown(call.line, "an operand is no path");
        };
        if from.starts_with("/dev/null") {
            let result = shell.world.write_with(&place, b"", metadata.clone());
            shell.done(call.line, result);
            continue;
        }
        let Some((_, Some(Node::File(file)))) = shell.world.lead(&path) else { return Status::False };
        let node = Node::File(File { metadata: metadata.clone(), content: file.content });
        let result = shell.world.put(&place, node);
        shell.done(call.line, result);
    }
    Status::True
}

/// `ucf [options] NEW FILE`: a configuration file that is not there yet becomes a copy of the new one.
fn ucf(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    const WITH_VALUE: [&str; 3] = ["--sum-file", "--src-dir", "--state-dir"];
    let mut operands = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "-p" | "--purge" => return Status::True,
            word if WITH_VALUE.contains(&word) || word == "-s" => drop(words.next()),
            word if word.starts_with('-') => {}
            word => operands.push(word),
        }
    }
    let [from, to] = operands[..] else {
        return shell.unknown(call.line, "ucf with other than two operands");
    };
    let (Some(path), Some(place)) = (shell.path(from), shell.path(to)) else {
        return shell.unknown(call.line, "an operand is no path");
    };
    if shell.world.exists(&place) {
        return Status::True;
    }
    let Some((_, Some(Node::File(file)))) = shell.world.lead(&path) else {
        return shell.unknown(call.line, format!("{from} is not there"));
    };
    let node = Node::File(File { metadata: Metadata::root(0o644), content: file.content });
    let result = shell.world.put(&place, node);
    shell.done(call.line, result)
}
