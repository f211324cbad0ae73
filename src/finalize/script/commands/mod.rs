//! The commands that are known, and what each does to the tree.

mod accounts;
mod condition;
mod copies;
mod debconf;
mod dpkg;
mod files;
mod filters;
mod quiet;
mod systemd;
mod text;

use super::shell::{Flow, Outcome, Shell, Status, Value};

pub(super) use files::write_output;

/// A command with its arguments.
pub(super) struct Call<'c> {
    pub line: usize,
    pub name: &'c str,
    pub arguments: &'c [Value],
}

impl Call<'_> {
    /// Returns the arguments where all of them are known.
    pub fn known(&self) -> Option<Vec<&str>> {
        self.arguments.iter().map(Value::known).collect()
    }

    /// Returns an argument, where it is there and known.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.known()
    }
}

/// What does a command.
type Work = fn(&mut Shell<'_, '_>, &Call<'_>) -> Status;

/// Returns what does a command that is not part of the shell itself.
fn work(name: &str) -> Option<Work> {
    let groups: [fn(&str) -> Option<Work>; 9] = [
        text::work,
        filters::work,
        condition::work,
        files::work,
        copies::work,
        accounts::work,
        dpkg::work,
        systemd::work,
        debconf::work,
    ];
    groups.into_iter().find_map(|group| group(name))
}

/// Does a command; one that is not known is remembered as such.
pub(super) fn run(shell: &mut Shell<'_, '_>, line: usize, name: &str, arguments: &[Value]) -> Outcome {
    let call = Call { line, name: base_name(name), arguments };
    if let Some(outcome) = control(shell, &call) {
        return outcome;
    }
    if let Some(work) = work(call.name) {
        return Outcome::next(work(shell, &call));
    }
    Outcome::next(match quiet::status(shell, &call) {
        Some(status) => status,
        None => shell.unknown(line, format!("{} is no command that mkimage knows", shown(call.name))),
    })
}

/// Tells whether a command would be found: one of the shell, or a program of the tree.
pub(super) fn is_found(shell: &Shell<'_, '_>, name: &str) -> bool {
    const BUILT_IN: [&str; 12] =
        ["test", "[", "echo", "printf", "cd", "read", "exit", "true", "false", ":", "command", "type"];
    let stands = |path: &str| shell.path(path).is_some_and(|path| shell.world.exists(&path));
    match name.contains('/') {
        true => stands(name),
        false => {
            let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
            shell.functions.contains_key(name)
                || BUILT_IN.contains(&name)
                || folders.iter().any(|folder| stands(&format!("{folder}/{name}")))
        }
    }
}

/// Cuts a foreign name for a message.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

/// Returns the name of a program, whatever folder of programs it is called from.
fn base_name(name: &str) -> &str {
    let is_program = ["/usr/", "/bin/", "/sbin/", "/lib/"].iter().any(|folder| name.starts_with(folder));
    match name.rsplit_once('/') {
        Some((_, base)) if is_program => base,
        _ => name,
    }
}

/// Does the commands that say where the script goes on, or that change the shell itself.
fn control(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Option<Outcome> {
    let count = || call.get(0).and_then(|count| count.parse().ok()).unwrap_or(1usize).max(1);
    let flow = |shell: &Shell<'_, '_>, flow: Flow| {
        let status = match call.arguments.first() {
            None => shell.last,
            Some(value) => value.known().map_or(Status::Maybe, |code| Status::of(code == "0")),
        };
        Outcome { status, flow }
    };
    Some(match call.name {
        "exit" => {
            let outcome = flow(shell, Flow::Exit);
            if outcome.status == Status::False && shell.speculative == 0 {
                shell.unknown(call.line, "the script would end here with an error");
            }
            outcome
        }
        "return" => flow(shell, Flow::Return),
        "break" => Outcome { status: Status::True, flow: Flow::Break(count()) },
        "continue" => Outcome { status: Status::True, flow: Flow::Continue(count()) },
        "command" | "type" | "hash" | "which" => return Some(find(shell, call)),
        "." | "source" => source(shell, call),
        "exec" if call.arguments.is_empty() => Outcome::next(Status::True),
        "env" | "nice" | "ionice" | "setsid" | "in_sysroot" => match call.arguments {
            [] => Outcome::next(Status::True),
            [Value::Known(first), ..] if first.starts_with('-') || first.contains('=') => return None,
            fields => shell.call(call.line, fields),
        },
        _ => Outcome::next(variables(shell, call)?),
    })
}

/// `command -v NAME`, `which NAME`, `type NAME`: where a program is; `command NAME …`: calls it.
fn find(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Outcome {
    let is_call = call.name == "command" && !matches!(call.get(0), Some("-v" | "-V"));
    if is_call {
        return shell.call(call.line, call.arguments);
    }
    let names =
        call.arguments.iter().filter(|value| !value.known().is_some_and(|text| text.starts_with('-')));
    let mut status = Status::True;
    for name in names {
        let Some(name) = name.known() else {
            shell.print(&Value::Unknown);
            return Outcome::next(Status::Maybe);
        };
        if is_found(shell, name) {
            shell.print(&Value::Known(format!("/usr/bin/{name}\n")));
        } else {
            status = Status::False;
        }
    }
    Outcome::next(status)
}

/// Follows another script of the tree, in this shell.
fn source(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Outcome {
    let Some(name) = call.get(0) else {
        return Outcome::next(shell.unknown(call.line, "which script is read can't be known"));
    };
    if name == "/usr/share/debconf/confmodule" {
        return Outcome::next(Status::True);
    }
    let text = shell.path(name).and_then(|path| shell.world.read_text(&path).ok().flatten());
    let Some(text) = text else { return Outcome::next(Status::False) };
    let name = name.to_owned();
    match super::parse::parse(&text) {
        Ok(list) => shell.in_source(&name, &text, |shell| shell.list(&list)),
        Err(error) => {
            let problem = format!("{name}, line {}: {}", error.line, error.problem);
            Outcome::next(shell.unknown(call.line, problem))
        }
    }
}

/// Changes variables and options of the shell.
fn variables(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Option<Status> {
    match call.name {
        "set" => set(shell, call),
        "shift" => {
            let count = call.get(0).and_then(|count| count.parse().ok()).unwrap_or(1usize);
            let count = count.min(shell.positional.len());
            shell.positional.drain(..count);
        }
        "unset" => {
            for name in call.arguments.iter().filter_map(Value::known) {
                shell.variables.remove(name);
                shell.functions.remove(name);
            }
        }
        "read" => return Some(read(shell, call)),
        "umask" => match call.get(0).map(|mode| u16::from_str_radix(mode, 8)) {
            Some(Ok(mode)) => shell.umask = mode & 0o777,
            None if call.arguments.is_empty() => shell.print(&Value::Known(format!("{:04o}\n", shell.umask))),
            _ => return Some(shell.unknown(call.line, "the mask can't be known")),
        },
        "cd" | "pushd" => {
            let folder = call.get(0).or(call.arguments.is_empty().then_some("/root"));
            let Some(path) = folder.and_then(|folder| shell.path(folder)) else {
                return Some(shell.unknown(call.line, "the directory can't be known"));
            };
            if shell.world.directory(&path).is_none() {
                return Some(Status::False);
            }
            shell.directory = path;
        }
        _ => return None,
    }
    Some(Status::True)
}

/// Takes a line of the input, and splits it among variables: the last takes the rest.
fn read(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let names = call.arguments.iter().filter_map(Value::known).filter(|name| !name.starts_with('-'));
    let names: Vec<String> = names.map(str::to_owned).collect();
    let is_default = !shell.variables.contains_key("IFS");
    let Some(Value::Known(text)) = shell.input.clone().filter(|_| is_default) else {
        for name in names {
            shell.variables.insert(name, Value::Unknown);
        }
        return Status::Maybe;
    };
    let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let is_whole = text.contains('\n');
    let mut left = line.trim_matches([' ', '\t']);
    for (index, name) in names.iter().enumerate() {
        let (word, behind) = match left.split_once([' ', '\t']) {
            Some(parts) if index + 1 < names.len() => parts,
            _ => (left, ""),
        };
        shell.variables.insert(name.clone(), Value::Known(word.to_owned()));
        left = behind.trim_start_matches([' ', '\t']);
    }
    shell.input = Some(Value::Known(rest.to_owned()));
    Status::of(is_whole)
}

fn set(shell: &mut Shell<'_, '_>, call: &Call<'_>) {
    let mut arguments = call.arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.known() {
            Some("--") => {
                shell.positional = arguments.cloned().collect();
                return;
            }
            Some("-o" | "+o") => drop(arguments.next()),
            Some(options) if options.starts_with('-') && options.contains('e') => shell.fails_on_error = true,
            Some(options) if options.starts_with('+') && options.contains('e') => {
                shell.fails_on_error = false
            }
            Some(options) if options.starts_with(['-', '+']) => {}
            _ => {
                shell.positional = [argument].into_iter().chain(arguments).cloned().collect();
                return;
            }
        }
    }
}
