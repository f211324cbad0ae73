//! Commands that make, change and take away single files.

use super::{Call, Work};
use crate::base::ImagePath;
use crate::finalize::FinalizeError;
use crate::finalize::script::shell::{Shell, Status, Value};
use crate::tree::{Directory, Metadata, Node};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "mkdir" => mkdir,
        "chmod" => chmod,
        "chown" | "chgrp" => chown,
        "touch" => touch,
        "ln" => ln,
        "rm" => rm,
        "rmdir" => rmdir,
        "setcap" => setcap,
        _ => return None,
    })
}

/// Where a script writes that is no file of the tree.
const NOWHERE: [&str; 4] = ["/dev/null", "/dev/stderr", "/dev/stdout", "/dev/tty"];

/// Splits arguments into options and operands; `--` ends the options. `values` are the letters of options whose
/// value is the next argument.
pub(super) fn split<'c>(words: &[&'c str], values: &str) -> (Vec<(&'c str, Option<&'c str>)>, Vec<&'c str>) {
    let (mut options, mut operands) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--" => operands.extend(words.by_ref()),
            "--mode" | "--owner" | "--group" => options.push((*word, words.next().copied())),
            word if word.len() > 1 && word.starts_with('-') => {
                let letter = word.chars().next_back().unwrap_or_default();
                let takes = !word.starts_with("--") && values.contains(letter);
                options.push((word, if takes { words.next().copied() } else { None }));
            }
            word => operands.push(word),
        }
    }
    (options, operands)
}

/// Tells whether an option is given by letter, alone or among others, or by its long name.
pub(super) fn has(options: &[(&str, Option<&str>)], letter: char, long: &str) -> bool {
    options
        .iter()
        .any(|(option, _)| *option == long || (!option.starts_with("--") && option.contains(letter)))
}

pub(super) fn value<'c>(options: &[(&'c str, Option<&'c str>)], letter: char, long: &str) -> Option<&'c str> {
    options.iter().find_map(|(option, value)| match value {
        Some(value) if *option == long => Some(*value),
        Some(value) if !option.starts_with("--") && option.ends_with(letter) => Some(*value),
        _ => option.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')),
    })
}

impl<'w> Shell<'w, '_> {
    /// Begins a command that changes files: its arguments, where they are known and it may act.
    pub fn change<'c>(&mut self, call: &'c Call<'_>) -> Option<Vec<&'c str>> {
        if !self.may(call.line) {
            return None;
        }
        let known = call.known();
        if known.is_none() {
            self.unknown(call.line, "its arguments can't be known");
        }
        known
    }

    /// Turns the outcome of a change into a status; what went wrong is remembered.
    pub fn done(&mut self, line: usize, result: Result<(), FinalizeError>) -> Status {
        match result {
            Ok(()) => Status::True,
            Err(error) => self.unknown(line, error.to_string()),
        }
    }

    /// Returns paths for operands; `None` where one is no path.
    pub fn paths(&mut self, line: usize, operands: &[&str]) -> Option<Vec<ImagePath>> {
        let paths: Option<Vec<_>> = operands.iter().map(|operand| self.path(operand)).collect();
        if paths.is_none() {
            self.unknown(line, "an operand is no path");
        }
        paths
    }
}

/// Writes what a command printed to where its output goes.
pub(in crate::finalize::script) fn write_output(
    shell: &mut Shell<'_, '_>,
    line: usize,
    target: &Value,
    text: &Value,
    append: bool,
) {
    if target.known().is_some_and(|target| NOWHERE.contains(&target) || target.starts_with("/proc/")) {
        return;
    }
    if !shell.may(line) {
        return;
    }
    let path = target.known().and_then(|target| shell.path(target));
    let (Some(path), Some(text)) = (path, text.known()) else {
        shell.unknown(line, "what is written, or where to, can't be known");
        return;
    };
    let place = shell.world.lead(&path).map_or(path, |found| found.0);
    let old = shell.world.read(&place).ok().flatten();
    let metadata = match shell.world.look(&place) {
        Some(Node::File(file)) => file.metadata.clone(),
        _ => Metadata::root(0o666 & !shell.umask),
    };
    let mut bytes = old.filter(|_| append).unwrap_or_default();
    bytes.extend_from_slice(text.as_bytes());
    let result = shell.world.write_with(&place, &bytes, metadata);
    shell.done(line, result);
}

fn mkdir(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "m");
    let mode = value(&options, 'm', "--mode").map(|mode| Mode::parse(mode).map(|mode| mode.on(0o777, true)));
    if mode == Some(None) {
        return shell.unknown(call.line, "the mode is not understood");
    }
    let mode = mode.flatten().unwrap_or(0o777 & !shell.umask);
    let parents = has(&options, 'p', "--parents");
    let Some(paths) = shell.paths(call.line, &operands) else { return Status::Maybe };
    for path in paths {
        let is_there = shell.world.exists(&path);
        let has_parent = path.parent().is_none_or(|parent| shell.world.directory(&parent).is_some());
        match parents {
            true if is_there => continue,
            false if is_there || !has_parent => return Status::False,
            _ => {}
        }
        let result = shell.world.make_directory(&path, mode).map(drop);
        shell.done(call.line, result);
    }
    Status::True
}

/// A mode as chmod(1) takes it: octal, or clauses like `u+rwX,go=r`.
pub(in crate::finalize::script) struct Mode(Clauses);

enum Clauses {
    Octal(u16),
    /// (who, operator, permissions)
    Symbolic(Vec<(u16, char, String)>),
}

impl Mode {
    pub fn parse(text: &str) -> Option<Mode> {
        if let Ok(mode) = u16::from_str_radix(text, 8) {
            return (mode <= 0o7777).then_some(Mode(Clauses::Octal(mode)));
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '='])?;
            let mut who = 0;
            for character in clause[..at].chars() {
                who |= match character {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return None,
                };
            }
            let operator = clause[at..].chars().next()?;
            let permissions = &clause[at + 1..];
            if !permissions.chars().all(|character| "rwxXst".contains(character)) {
                return None;
            }
            clauses.push((if who == 0 { 0o7777 } else { who }, operator, permissions.to_owned()));
        }
        Some(Mode(Clauses::Symbolic(clauses)))
    }

    /// Returns what becomes of a mode.
    pub fn on(&self, old: u16, is_directory: bool) -> u16 {
        let clauses = match &self.0 {
            Clauses::Octal(mode) => return *mode,
            Clauses::Symbolic(clauses) => clauses,
        };
        let mut mode = old;
        for (who, operator, permissions) in clauses {
            let mut bits = 0;
            for permission in permissions.chars() {
                bits |= match permission {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_directory || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    _ => 0,
                };
            }
            let bits = bits & who;
            mode = match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !(who & 0o777)) | bits,
            };
        }
        mode
    }
}

/// Calls `change` for the metadata of what a path leads to and, where asked, of all that lies below.
fn each(
    shell: &mut Shell<'_, '_>,
    path: &ImagePath,
    recursive: bool,
    change: &dyn Fn(&mut Metadata, bool),
) -> bool {
    let Some((place, node)) = shell.world.lead(path) else { return false };
    let mut places = vec![place.clone()];
    if let (true, Some(Node::Directory(directory))) = (recursive, node) {
        let below =
            directory.paths().filter(|(_, node)| !matches!(node, Node::Symlink(_) | Node::HardLink(_)));
        places.extend(below.map(|(path, _)| {
            path.names().fold(place.clone(), |at, name| {
                at.join(&crate::base::Name::new(name).expect("because a path holds valid names"))
            })
        }));
    }
    for place in places {
        let is_directory = shell.world.directory(&place).is_some();
        if let Some(metadata) = shell.world.metadata_mut(&place) {
            change(metadata, is_directory);
        }
    }
    true
}

fn chmod(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let is_mode = |word: &&str| word.len() > 1 && word.starts_with('-') && Mode::parse(word).is_some();
    let (minus, words): (Vec<&str>, Vec<&str>) = words.into_iter().partition(is_mode);
    let (options, mut operands) = split(&words, "");
    operands.splice(0..0, minus);
    let Some((mode, operands)) = operands.split_first() else { return Status::False };
    let Some(mode) =
        Mode::parse(mode).filter(|_| !options.iter().any(|option| option.0.starts_with("--ref")))
    else {
        return shell.unknown(call.line, "the mode is not understood");
    };
    let Some(paths) = shell.paths(call.line, operands) else { return Status::Maybe };
    let mut status = Status::True;
    for path in paths {
        let change = |metadata: &mut Metadata, is_directory: bool| {
            let special =
                if is_directory && matches!(mode.0, Clauses::Octal(_)) { metadata.mode & 0o6000 } else { 0 };
            metadata.mode = mode.on(metadata.mode, is_directory) | special;
        };
        if !each(shell, &path, has(&options, 'R', "--recursive"), &change) {
            status = Status::False;
        }
    }
    status
}

fn chown(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "");
    if options.iter().any(|option| option.0.starts_with("--ref") || option.0.starts_with("--from")) {
        return shell.unknown(call.line, "the owner is not understood");
    }
    let Some((owner, operands)) = operands.split_first() else { return Status::False };
    let (uid, gid) = match call.name {
        "chgrp" => (None, Some(*owner)),
        _ => match owner.split_once(':').or_else(|| owner.split_once('.')) {
            Some((user, group)) => (Some(user), Some(group)),
            None => (Some(*owner), None),
        },
    };
    let uid = uid.filter(|user| !user.is_empty()).map(|user| shell.world.accounts.uid(user).ok_or(user));
    let gid = gid.filter(|group| !group.is_empty()).map(|group| shell.world.accounts.gid(group).ok_or(group));
    let (uid, gid) = match (uid.transpose(), gid.transpose()) {
        (Ok(uid), Ok(gid)) => (uid, gid),
        (Err(name), _) | (_, Err(name)) => {
            return shell.unknown(call.line, format!("there is no account {name:?}"));
        }
    };
    let Some(paths) = shell.paths(call.line, operands) else { return Status::Maybe };
    let mut status = Status::True;
    for path in paths {
        let change = |metadata: &mut Metadata, is_directory: bool| {
            metadata.uid = uid.unwrap_or(metadata.uid);
            metadata.gid = gid.unwrap_or(metadata.gid);
            if !is_directory && metadata.mode & 0o111 != 0 {
                metadata.mode &= 0o1777;
            }
        };
        if !each(shell, &path, has(&options, 'R', "--recursive"), &change) {
            status = Status::False;
        }
    }
    status
}

fn touch(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "drt");
    let Some(paths) = shell.paths(call.line, &operands) else { return Status::Maybe };
    for path in paths {
        if has(&options, 'c', "--no-create") || shell.world.look(&path).is_some() || path.is_root() {
            continue;
        }
        let mode = 0o666 & !shell.umask;
        let result = shell.world.write(&path, b"", mode);
        shell.done(call.line, result);
    }
    Status::True
}

fn ln(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "");
    let [target, name] = operands[..] else {
        return shell.unknown(call.line, "ln with other than two operands");
    };
    if !has(&options, 's', "--symbolic") || has(&options, 'r', "--relative") {
        return shell.unknown(call.line, "only symbolic links, as they stand, are followed");
    }
    let Some(mut path) = shell.path(name) else { return shell.unknown(call.line, "an operand is no path") };
    let is_plain = has(&options, 'n', "--no-dereference") || has(&options, 'T', "--no-target-directory");
    let is_directory = match is_plain {
        true => matches!(shell.world.look(&path), Some(Node::Directory(_))),
        false => shell.world.directory(&path).is_some(),
    };
    if is_directory {
        let base = target.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        match crate::base::Name::new(base.as_bytes()) {
            Ok(base) => path = path.join(&base),
            Err(_) => return shell.unknown(call.line, "the link would have no name"),
        }
    }
    if shell.world.look(&path).is_some() && !has(&options, 'f', "--force") {
        return Status::False;
    }
    let result = shell.world.link(&path, target.as_bytes());
    shell.done(call.line, result)
}

fn rm(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    if shell.speculative > 0 && call.known().is_some_and(|words| leads_nowhere(shell, &words)) {
        return Status::True;
    }
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "");
    let force = has(&options, 'f', "--force");
    let recursive = has(&options, 'r', "--recursive") || has(&options, 'R', "--recursive");
    let Some(paths) = shell.paths(call.line, &operands) else { return Status::Maybe };
    let mut status = Status::True;
    for path in paths {
        let Some(place) = shell.world.place_of(&path).filter(|place| shell.world.tree.get(place).is_some())
        else {
            status = if force { status } else { Status::False };
            continue;
        };
        match shell.world.tree.get(&place) {
            Some(Node::Directory(_)) if !recursive => status = Status::False,
            _ => drop(shell.world.tree.remove(&place)),
        }
    }
    status
}

/// Tells whether nothing stands at any of the operands: taking them away does nothing either way.
fn leads_nowhere(shell: &Shell<'_, '_>, words: &[&str]) -> bool {
    let (_, operands) = split(words, "");
    operands.iter().all(|name| shell.path(name).is_some_and(|path| shell.world.look(&path).is_none()))
}

fn rmdir(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "");
    let ignores = has(&options, 'i', "--ignore-fail-on-non-empty");
    let Some(paths) = shell.paths(call.line, &operands) else { return Status::Maybe };
    let mut status = Status::True;
    for path in paths {
        let place = shell.world.place_of(&path);
        match place.as_ref().and_then(|place| shell.world.tree.get(place)) {
            Some(Node::Directory(Directory { entries, .. })) if entries.is_empty() => {
                let place = place.expect("because something stands there");
                shell.world.tree.remove(&place);
            }
            Some(Node::Directory(_)) if ignores => {}
            _ => status = Status::False,
        }
    }
    status
}

/// `setcap NAMES=ep FILE`: writes the attribute that the kernel reads (`struct vfs_cap_data`, revision 2).
fn setcap(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let (options, operands) = split(&words, "n");
    let [text, file] = operands[..] else {
        return shell.unknown(call.line, "setcap with other than two operands");
    };
    let Some(value) = capabilities(text).filter(|_| options.iter().all(|option| option.0 == "-q")) else {
        return shell.unknown(call.line, "the capabilities are not understood");
    };
    let path = shell.path(file);
    match path.and_then(|path| shell.world.metadata_mut(&path)) {
        Some(metadata) => {
            metadata.xattrs.insert(b"security.capability"[..].into(), value[..].into());
            Status::True
        }
        None => Status::False,
    }
}

fn capabilities(text: &str) -> Option<[u8; 20]> {
    let (names, flags) = text.split_once(['=', '+'])?;
    let is_effective = flags.contains('e');
    if !flags.contains('p') || !flags.chars().all(|flag| "eip".contains(flag)) {
        return None;
    }
    let mut bits = 0u64;
    for name in names.split(',') {
        bits |= 1 << crate::base::capability::capability_number(&name.to_ascii_uppercase())?;
    }
    let mut value = [0; 20];
    value[..4].copy_from_slice(&(0x0200_0000 | u32::from(is_effective)).to_le_bytes());
    let inheritable = if flags.contains('i') { bits } else { 0 };
    for (at, word) in [bits, inheritable].into_iter().enumerate() {
        value[4 + at * 4..][..4].copy_from_slice(&(word as u32).to_le_bytes());
        value[12 + at * 4..][..4].copy_from_slice(&((word >> 32) as u32).to_le_bytes());
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (mode, old, new) in [
            ("4754", 0o755, 0o4754),
            ("u+s", 0o755, 0o4755),
            ("g-w,o=", 0o666, 0o640),
            ("a+rX", 0o600, 0o644),
            ("go-rwx", 0o2775, 0o2700),
            ("=r", 0o777, 0o444),
            ("+x", 0o644, 0o755),
            ("u=rw,g=r,o=", 0o777, 0o640),
        ] {
            assert_eq!(Mode::parse(mode).expect(mode).on(old, false), new, "{mode} on {old:o}");
        }
        assert!(["", "u", "x+r", "u+q", "99", "77777"].iter().all(|mode| Mode::parse(mode).is_none()));
    }

    #[test]
    fn capabilities_are_those_that_setcap_writes() {
        let value = capabilities("cap_net_raw,cap_net_bind_service+ep").expect("known");
        assert_eq!(crate::base::id::hex(&value), "0100000200240000000000000000000000000000");
        assert!(capabilities("cap_none=ep").is_none() && capabilities("cap_net_raw").is_none());
    }
}
