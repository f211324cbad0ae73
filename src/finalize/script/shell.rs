//! A script is followed over the tree, along the way that a fresh installation takes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{AndOr, Command, Join, Kind, List, Pipeline, Redirect, Target, Word};
use super::expand::VALUE_BYTES_MAX;
use super::{commands, pattern};
use crate::base::ImagePath;
use crate::finalize::world::World;
use crate::finalize::{Package, UnknownLine};

/// Most commands that are followed in one script; a script that needs more is not understood.
const STEPS_MAX: usize = 50_000;
/// Deepest nesting of calls.
const CALLS_MAX: usize = 30;
/// Commands that declare variables; `name=value` behind them is not split into fields.
const DECLARE: [&str; 5] = ["local", "export", "readonly", "declare", "typeset"];
/// Most lines that are remembered as not understood.
const UNKNOWN_MAX: usize = 200;

/// A text, or one that can't be known without running the script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Known(String),
    Unknown,
}

impl Default for Value {
    fn default() -> Self {
        Value::Known(String::new())
    }
}

impl Value {
    /// Keeps a text of reasonable length.
    pub fn bounded(text: String) -> Value {
        if text.len() > VALUE_BYTES_MAX { Value::Unknown } else { Value::Known(text) }
    }

    pub fn known(&self) -> Option<&str> {
        match self {
            Value::Known(text) => Some(text),
            Value::Unknown => None,
        }
    }

    /// Takes newlines off the end, as a substitution does.
    pub fn trimmed(self) -> Value {
        match self {
            Value::Known(text) => Value::Known(text.trim_end_matches('\n').to_owned()),
            Value::Unknown => Value::Unknown,
        }
    }
}

/// How a command ends, as far as that can be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    True,
    False,
    Maybe,
}

impl Status {
    pub fn of(is_true: bool) -> Status {
        if is_true { Status::True } else { Status::False }
    }

    pub fn not(self) -> Status {
        match self {
            Status::True => Status::False,
            Status::False => Status::True,
            Status::Maybe => Status::Maybe,
        }
    }
}

/// Where the script goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    Next,
    Break(usize),
    Continue(usize),
    Return,
    Exit,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub status: Status,
    pub flow: Flow,
}

impl Outcome {
    pub fn next(status: Status) -> Outcome {
        Outcome { status, flow: Flow::Next }
    }
}

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
    /// The script may print and answer, and change nothing.
    pub only_asks: bool,
    /// For each call under way, what its local variables hid.
    locals: Vec<Vec<(String, Option<Value>)>>,
    /// How often the script may have ended before.
    exits: usize,
    steps: usize,
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
            only_asks: false,
            locals: Vec::new(),
            exits: 0,
            steps: 0,
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

    fn tested<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
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

    /// Follows a branch of which it can't be known whether it is taken.
    fn maybe(&mut self, branch: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        let before = (self.variables.clone(), self.positional.clone(), self.answers.clone());
        self.speculative += 1;
        let outcome = branch(self);
        self.speculative -= 1;
        let (variables, positional, answers) = before;
        for (now, then) in [(&mut self.variables, variables), (&mut self.answers, answers)] {
            let changed: Vec<String> = now
                .iter()
                .filter(|(name, value)| then.get(*name) != Some(value))
                .map(|all| all.0.clone())
                .collect();
            now.extend(changed.into_iter().map(|name| (name, Value::Unknown)));
        }
        if self.positional != positional {
            self.positional.iter_mut().for_each(|value| *value = Value::Unknown);
        }
        match outcome.flow {
            Flow::Next => {}
            // An installation that succeeds did not come this way.
            Flow::Exit if outcome.status == Status::False => {}
            // From here on it can't be known whether the script goes on.
            flow => {
                self.speculative += 1;
                self.exits += usize::from(flow == Flow::Exit);
            }
        }
        Outcome::next(Status::Maybe)
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
        let before = (self.variables.clone(), self.positional.clone(), self.directory.clone(), self.umask);
        let mut outcome = work(self);
        (self.variables, self.positional, self.directory, self.umask) = before;
        outcome.flow = Flow::Next;
        outcome
    }

    pub fn command(&mut self, command: &Command) -> Outcome {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            self.unknown(command.line, format!("the script takes more than {STEPS_MAX} commands"));
            return Outcome { status: Status::Maybe, flow: Flow::Exit };
        }
        if self.world.job.check().is_err() {
            return Outcome { status: Status::Maybe, flow: Flow::Exit };
        }
        let outcome = self.redirected(command);
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
        let before = self.input.clone();
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
        self.input = before;
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

    fn if_command(&mut self, branches: &[(List, List)], otherwise: &List) -> Outcome {
        let mut is_open = false;
        for (condition, body) in branches {
            let tested = match is_open {
                true => self.maybe(|shell| shell.tested(|shell| shell.list(condition))),
                false => self.tested(|shell| shell.list(condition)),
            };
            if tested.flow != Flow::Next {
                return tested;
            }
            match tested.status {
                Status::True if !is_open => return self.list(body),
                Status::False => {}
                _ => {
                    is_open = true;
                    self.maybe(|shell| shell.list(body));
                }
            }
        }
        match is_open {
            true => self.maybe(|shell| shell.list(otherwise)),
            false => self.list(otherwise),
        }
    }

    fn case_command(&mut self, word: &Word, arms: &[(Vec<Word>, List)]) -> Outcome {
        let value = self.text(word);
        for (patterns, body) in arms {
            for pattern in patterns {
                match (&value, self.pattern(pattern)) {
                    (Value::Known(text), Value::Known(pattern)) if pattern::fits(&pattern, text) => {
                        return self.list(body);
                    }
                    (Value::Known(_), Value::Known(_)) => {}
                    (Value::Unknown, Value::Known(pattern)) if pattern == "*" && arms.len() == 1 => {
                        return self.list(body);
                    }
                    _ => drop(self.maybe(|shell| shell.list(body))),
                }
            }
        }
        Outcome::next(if value == Value::Unknown { Status::Maybe } else { Status::True })
    }

    fn for_command(&mut self, name: &str, words: Option<&[Word]>, body: &List) -> Outcome {
        let values = match words {
            Some(words) => self.fields(words),
            None => self.positional.clone(),
        };
        let mut outcome = Outcome::next(Status::True);
        for value in values {
            let is_known = value != Value::Unknown;
            self.variables.insert(name.to_owned(), value);
            outcome = match is_known {
                true => self.list(body),
                false => self.maybe(|shell| shell.list(body)),
            };
            match outcome.flow {
                Flow::Next | Flow::Continue(1) => outcome.flow = Flow::Next,
                Flow::Break(1) => {
                    outcome.flow = Flow::Next;
                    break;
                }
                Flow::Break(count) => return Outcome { flow: Flow::Break(count - 1), ..outcome },
                Flow::Continue(count) => return Outcome { flow: Flow::Continue(count - 1), ..outcome },
                Flow::Return | Flow::Exit => return outcome,
            }
        }
        outcome
    }

    fn while_command(&mut self, line: usize, until: bool, condition: &List, body: &List) -> Outcome {
        loop {
            self.steps += 1;
            let tested = self.tested(|shell| shell.list(condition));
            if tested.flow != Flow::Next {
                return tested;
            }
            let status = if until { tested.status.not() } else { tested.status };
            match status {
                Status::False => return Outcome::next(Status::True),
                Status::Maybe => return self.maybe(|shell| shell.list(body)),
                Status::True if self.steps > STEPS_MAX => {
                    self.unknown(line, "the loop does not seem to end");
                    return Outcome { status: Status::Maybe, flow: Flow::Exit };
                }
                Status::True => {}
            }
            let outcome = self.list(body);
            match outcome.flow {
                Flow::Next | Flow::Continue(_) => {}
                Flow::Break(_) => return Outcome::next(outcome.status),
                Flow::Return | Flow::Exit => return outcome,
            }
        }
    }
}
