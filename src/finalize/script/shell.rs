//! A script is followed over the tree, along the way that a fresh installation takes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{AndOr, Command, Join, Kind, List, Pipeline, Redirect, Target, Word};
use super::commands;
use super::value::{Flow, Outcome, Status, Value};
use crate::base::ImagePath;
use crate::finalize::world::World;
use crate::finalize::{Package, UnknownLine};

/// What following one script may cost, in commands; a script that needs more is not understood.
pub(super) const STEPS_MAX: usize = 50_000;
/// Deepest nesting of commands, those of called functions included: each takes some kilobytes of the stack.
const DEPTH_MAX: usize = 50;
/// Most variables.
const VARIABLES_MAX: usize = 2000;
/// Deepest nesting of calls.
const CALLS_MAX: usize = 30;
/// Commands that declare variables; `name=value` behind them is not split into fields.
const DECLARE: [&str; 5] = ["local", "export", "readonly", "declare", "typeset"];
/// Most lines that are remembered as not understood.
const UNKNOWN_MAX: usize = 200;

/// A text that is followed.
struct Source {
    /// Empty for the script itself.
    name: String,
    lines: Vec<String>,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        Source { name: name.to_owned(), lines: text.lines().map(str::to_owned).collect() }
    }
}

/// A script under way.
pub(super) struct Shell<'w, 'a> {
    pub world: &'w mut World<'a>,
    pub package: Package<'a>,
    /// `postinst`.
    pub script: String,
    /// The texts that are followed: the script, and those that it reads.
    sources: Vec<Source>,
    /// Which of them the command at hand stands in.
    source: usize,
    pub variables: BTreeMap<String, Value>,
    pub positional: Vec<Value>,
    /// By name: the body, and the text that it stands in.
    pub functions: BTreeMap<String, (Rc<Command>, usize)>,
    /// Answers of debconf; what is missing has the default of the package's template.
    pub answers: BTreeMap<String, Value>,
    pub unknown: Vec<UnknownLine>,
    /// What printing goes to, the innermost last; without one it is dropped.
    pub output: Vec<Value>,
    pub input: Option<Value>,
    pub last: Status,
    pub substituted: Status,
    pub directory: ImagePath,
    pub umask: u16,
    pub fails_on_error: bool,
    /// Above 0 in a condition, where a command may fail.
    tested: usize,
    /// Above 0 where it can't be known whether the script gets there: nothing may be done.
    pub speculative: usize,
    /// Above 0 where an exit ends less than the script.
    pub subshells: usize,
    /// The script may print and answer, and change nothing.
    pub only_asks: bool,
    /// For each call under way, what its local variables hid.
    locals: Vec<Vec<(String, Option<Value>)>>,
    /// How often the script may have ended before.
    pub(super) exits: usize,
    pub(super) steps: usize,
    depth: usize,
    calls: usize,
}

impl<'w, 'a> Shell<'w, 'a> {
    pub fn new(world: &'w mut World<'a>, package: Package<'a>, script: &str, text: &str) -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in [
            ("DPKG_MAINTSCRIPT_PACKAGE", package.name),
            ("DPKG_MAINTSCRIPT_ARCH", package.architecture),
            ("DPKG_MAINTSCRIPT_NAME", script),
            ("DPKG_ADMINDIR", "/var/lib/dpkg"),
            ("DPKG_ROOT", ""),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("LC_ALL", "C.UTF-8"),
            ("HOME", "/root"),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ] {
            variables.insert(name.to_owned(), Value::Known(value.to_owned()));
        }
        Shell {
            world,
            package,
            script: script.to_owned(),
            sources: vec![Source::new("", text)],
            source: 0,
            variables,
            positional: Vec::new(),
            functions: BTreeMap::new(),
            answers: BTreeMap::new(),
            unknown: Vec::new(),
            output: Vec::new(),
            input: None,
            last: Status::True,
            substituted: Status::True,
            directory: ImagePath::root(),
            umask: 0o022,
            fails_on_error: false,
            tested: 0,
            speculative: 0,
            subshells: 0,
            only_asks: false,
            locals: Vec::new(),
            exits: 0,
            steps: 0,
            depth: 0,
            calls: 0,
        }
    }

    /// Remembers a line that was not understood.
    pub fn unknown(&mut self, line: usize, problem: impl Into<String>) -> Status {
        let source = &self.sources[self.source];
        let text = source.lines.get(line.wrapping_sub(1)).map_or("", |text| text.trim());
        let text = text.chars().take(100).collect();
        let mut problem = problem.into();
        if !source.name.is_empty() {
            problem = format!("in {}: {problem}", source.name);
        }
        let unknown = UnknownLine { line, text, problem };
        if self.unknown.len() < UNKNOWN_MAX && !self.unknown.iter().any(|known| known.line == line) {
            self.unknown.push(unknown);
        }
        Status::Maybe
    }

    /// Tells whether something may be done now; where that can't be known, the line is not understood.
    pub fn may(&mut self, line: usize) -> bool {
        if self.only_asks {
            self.unknown(line, "a config script changes the tree");
        } else if self.speculative > 0 {
            self.unknown(line, "whether it is done depends on what only a run can tell");
        }
        self.speculative == 0 && !self.only_asks
    }

    /// Follows another text in this shell.
    pub fn in_source<T>(&mut self, name: &str, text: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.sources.push(Source::new(name, text));
        let before = std::mem::replace(&mut self.source, self.sources.len() - 1);
        let result = work(self);
        self.source = before;
        result
    }

    pub fn print(&mut self, value: &Value) {
        let Some(output) = self.output.last_mut() else { return };
        *output = match (std::mem::take(output), value) {
            (Value::Known(all), Value::Known(text)) => Value::bounded(all + text),
            _ => Value::Unknown,
        };
    }

    /// Makes a path of the tree out of a text, which may be relative, with `.` and `..`.
    pub fn path(&self, text: &str) -> Option<ImagePath> {
        let mut names: Vec<&[u8]> = Vec::new();
        if !text.starts_with('/') {
            if text.is_empty() {
                return None;
            }
            names.extend(self.directory.names());
        }
        for name in text.as_bytes().split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(names.pop()),
                name => names.push(name),
            }
        }
        let joined: Vec<u8> = names.iter().flat_map(|name| [b"/", *name].concat()).collect();
        if joined.is_empty() { Some(ImagePath::root()) } else { ImagePath::new(&joined).ok() }
    }

    /// Follows a whole script.
    pub fn run(&mut self, list: &List) {
        self.list(list);
    }

    pub fn list(&mut self, list: &List) -> Outcome {
        let mut outcome = Outcome::next(Status::True);
        for command in list {
            outcome = self.and_or(command);
            if outcome.flow != Flow::Next {
                break;
            }
        }
        outcome
    }

    pub(super) fn tested<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.tested += 1;
        let result = work(self);
        self.tested -= 1;
        result
    }

    fn and_or(&mut self, command: &AndOr) -> Outcome {
        let mut outcome = match command.rest.is_empty() {
            true => self.pipeline(&command.first),
            false => self.tested(|shell| shell.pipeline(&command.first)),
        };
        for (index, (join, pipeline)) in command.rest.iter().enumerate() {
            if outcome.flow != Flow::Next {
                return outcome;
            }
            let is_last = index + 1 == command.rest.len();
            let run = |shell: &mut Self| match is_last {
                true => shell.pipeline(pipeline),
                false => shell.tested(|shell| shell.pipeline(pipeline)),
            };
            outcome = match (join, outcome.status) {
                (Join::And, Status::True) | (Join::Or, Status::False) => run(self),
                (Join::And, Status::False) | (Join::Or, Status::True) => outcome,
                (_, Status::Maybe) => self.maybe(|shell| shell.tested(|shell| shell.pipeline(pipeline))),
            };
        }
        self.last = outcome.status;
        outcome
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Outcome {
        let mut outcome = match &pipeline.commands[..] {
            [command] if pipeline.negated => self.tested(|shell| shell.command(command)),
            [command] => self.command(command),
            commands => self.in_subshell(|shell| shell.piped(commands)),
        };
        if pipeline.negated {
            outcome.status = outcome.status.not();
        }
        outcome
    }

    fn piped(&mut self, commands: &[Command]) -> Outcome {
        let mut outcome = Outcome::next(Status::True);
        let before = self.input.take();
        for (index, command) in commands.iter().enumerate() {
            if index + 1 == commands.len() {
                outcome = self.command(command);
            } else {
                let value = self.captured(|shell| shell.tested(|shell| shell.command(command)).status);
                self.input = Some(value);
            }
        }
        self.input = before;
        outcome
    }

    /// Follows commands whose variables and directory end with them.
    pub fn in_subshell(&mut self, work: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        if !self.spend_copy() {
            return Outcome { status: Status::Maybe, flow: Flow::Next };
        }
        let before = (self.variables.clone(), self.positional.clone(), self.directory.clone(), self.umask);
        let sure = (self.speculative, self.exits);
        self.subshells += 1;
        let mut outcome = work(self);
        self.subshells -= 1;
        (self.speculative, self.exits) = sure;
        (self.variables, self.positional, self.directory, self.umask) = before;
        outcome.flow = Flow::Next;
        outcome
    }

    /// Follows another program: its end is not that of the script, and no line of it may end the script.
    pub fn in_process(&mut self, work: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        if self.calls == CALLS_MAX {
            return Outcome::next(Status::Maybe);
        }
        self.calls += 1;
        let outcome = self.in_subshell(|shell| shell.tested(work));
        self.calls -= 1;
        outcome
    }

    /// Goes into what is nested; `None` where it nests too deep.
    pub fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        Some(result)
    }

    /// Takes from what a script may cost; false where it is used up.
    pub fn spend(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_add(steps);
        self.steps <= STEPS_MAX
    }

    /// Takes what copying all variables costs.
    pub fn spend_copy(&mut self) -> bool {
        let length = |value: &Value| value.known().map_or(0, str::len) + 16;
        let values = self.variables.values().chain(&self.positional).chain(self.answers.values());
        let bytes: usize = values.map(length).sum();
        self.spend(1 + bytes / 1024)
    }

    pub fn command(&mut self, command: &Command) -> Outcome {
        let stopped = Outcome { status: Status::Maybe, flow: Flow::Exit };
        if !self.spend(1) || self.depth >= DEPTH_MAX || self.variables.len() > VARIABLES_MAX {
            self.unknown(command.line, "the script takes more than can be followed");
            return stopped;
        }
        if self.world.job.check().is_err() {
            return stopped;
        }
        let Some(outcome) = self.deeper(|shell| shell.redirected(command)) else { return stopped };
        self.last = outcome.status;
        if outcome.status == Status::False
            && outcome.flow == Flow::Next
            && self.tested == 0
            && self.fails_on_error
            && self.speculative == 0
            && matches!(command.kind, Kind::Simple { .. } | Kind::Subshell(_))
        {
            self.unknown(command.line, "this command would fail, and end the script");
        }
        outcome
    }

    /// Follows a command with its input and output.
    fn redirected(&mut self, command: &Command) -> Outcome {
        // Without an input of its own, a command takes from what is there: `read` in a loop.
        let is_input = |redirect: &Redirect| matches!(redirect.target, Target::Input(_) | Target::Here(_));
        let before = command.redirects.iter().any(is_input).then(|| self.input.clone());
        let mut written = None;
        for redirect in &command.redirects {
            self.redirect(redirect, &mut written);
        }
        let outcome = match written {
            None => self.kind(command),
            Some((target, append)) => {
                let mut outcome = Outcome::next(Status::True);
                let text = self.captured(|shell| {
                    outcome = shell.kind(command);
                    outcome.status
                });
                commands::write_output(self, command.line, &target, &text, append);
                outcome
            }
        };
        if let Some(before) = before {
            self.input = before;
        }
        outcome
    }

    fn redirect(&mut self, redirect: &Redirect, written: &mut Option<(Value, bool)>) {
        let (word, append) = match &redirect.target {
            Target::Same => return,
            Target::Here(text) => {
                let text = text.get().cloned().unwrap_or_default();
                self.input = Some(self.text(&text));
                return;
            }
            Target::Input(word) => {
                let path = self.text(word);
                let path = path.known().and_then(|path| self.path(path));
                let text = path.and_then(|path| self.world.read_text(&path).ok().flatten());
                self.input = Some(text.map_or(Value::Unknown, Value::bounded));
                return;
            }
            Target::Output(word) => (word, false),
            Target::Append(word) => (word, true),
        };
        let target = self.text(word);
        if redirect.file == 1 {
            *written = Some((target, append));
        }
    }

    fn kind(&mut self, command: &Command) -> Outcome {
        match &command.kind {
            Kind::Simple { assignments, words } => self.simple(command.line, assignments, words),
            Kind::If { branches, otherwise } => self.if_command(branches, otherwise),
            Kind::Case { word, arms } => self.case_command(word, arms),
            Kind::For { name, words, body } => self.for_command(name, words.as_deref(), body),
            Kind::While { until, condition, body } => {
                self.while_command(command.line, *until, condition, body)
            }
            Kind::Group(list) => self.list(list),
            Kind::Subshell(list) => self.in_subshell(|shell| shell.list(list)),
            Kind::Function { name, body } => {
                self.functions.insert(name.clone(), (body.clone(), self.source));
                Outcome::next(Status::True)
            }
        }
    }

    fn simple(&mut self, line: usize, assignments: &[(String, Word)], words: &[Word]) -> Outcome {
        self.substituted = Status::True;
        if let Some((first, rest)) = words.split_first()
            && first.plain().is_some_and(|name| DECLARE.contains(&name))
        {
            self.declare(first.plain() == Some("local"), rest);
            return Outcome::next(Status::True);
        }
        let fields = self.fields(words);
        let substituted = self.substituted;
        let mut before = Vec::new();
        for (name, word) in assignments {
            let value = self.text(word);
            before.push((name.clone(), self.variables.insert(name.clone(), value)));
        }
        if fields.is_empty() {
            return Outcome::next(if words.is_empty() { self.substituted } else { substituted });
        }
        let outcome = self.call(line, &fields);
        for (name, value) in before.into_iter().rev() {
            match value {
                Some(value) => self.variables.insert(name, value),
                None => self.variables.remove(&name),
            };
        }
        outcome
    }

    /// Sets variables that a command declares; those of `local` end with the function.
    fn declare(&mut self, is_local: bool, words: &[Word]) {
        for word in words {
            let (name, value) = match (word.assignment(), word.plain()) {
                (Some((name, word)), _) => (name, Some(self.text(&word))),
                (None, Some(name)) => (name.to_owned(), is_local.then(Value::default)),
                (None, None) => continue,
            };
            if is_local && let Some(locals) = self.locals.last_mut() {
                locals.push((name.clone(), self.variables.get(&name).cloned()));
            }
            if let Some(value) = value {
                self.variables.insert(name, value);
            }
        }
    }

    /// Calls a function of the script, or a command.
    pub fn call(&mut self, line: usize, fields: &[Value]) -> Outcome {
        let Some((Value::Known(name), arguments)) = fields.split_first() else {
            return Outcome::next(self.unknown(line, "which command it is can't be known"));
        };
        let Some((body, source)) = self.functions.get(name).cloned() else {
            return commands::run(self, line, name, arguments);
        };
        if self.calls == CALLS_MAX {
            self.unknown(line, format!("calls nest deeper than {CALLS_MAX}"));
            return Outcome { status: Status::Maybe, flow: Flow::Exit };
        }
        self.calls += 1;
        let positional = std::mem::replace(&mut self.positional, arguments.to_vec());
        let (speculative, exits) = (self.speculative, self.exits);
        self.locals.push(Vec::new());
        let source = std::mem::replace(&mut self.source, source);
        let mut outcome = self.command(&body);
        self.source = source;
        for (name, value) in self.locals.pop().into_iter().flatten().rev() {
            match value {
                Some(value) => self.variables.insert(name, value),
                None => self.variables.remove(&name),
            };
        }
        self.positional = positional;
        self.calls -= 1;
        // A function that may have returned early goes on behind its call for certain.
        self.speculative = speculative + (self.exits - exits);
        if outcome.flow != Flow::Exit {
            outcome.flow = Flow::Next;
        }
        outcome
    }
}
