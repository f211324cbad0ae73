//! Completion in a shell: small scripts that ask this program what fits, so that refs and paths in the store
//! complete like words of the command line.

use std::path::Path;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Arg, Args, Command, CommandFactory, ValueEnum};

use super::super::args::Cli;
use super::{Context, Done, look, open_store};
use crate::store::{Found, Store, StoredNode};

/// `mkimage completion`: prints a completion script.
#[derive(Args, Debug)]
#[command(
    after_help = "bash: mkimage completion bash > ~/.local/share/bash-completion/completions/mkimage\n\
    zsh:  mkimage completion zsh > a folder of $fpath, as _mkimage\n\
    fish: mkimage completion fish > ~/.config/fish/completions/mkimage.fish"
)]
pub struct Completion {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The hidden verb behind the scripts: prints what fits, a line each, with a tab before a description.
#[derive(Args, Debug)]
pub struct Complete {
    /// The words behind the name of the program; the last one is being typed
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Names of values that are commits or refs.
const REVISIONS: [&str; 10] = ["A", "B", "BAD", "COMMIT", "FROM", "GOOD", "PREFIX", "REF", "REV", "TO"];
/// The name of values that are paths inside the tree of the commit before them.
const INSIDE: &str = "PATH";
/// The name of values that are remotes.
const REMOTE: &str = "REMOTE";

pub fn script(context: &Context, arguments: &Completion) -> Done {
    let script = match arguments.shell {
        Shell::Bash => include_str!("completion/mkimage.bash"),
        Shell::Zsh => include_str!("completion/mkimage.zsh"),
        Shell::Fish => include_str!("completion/mkimage.fish"),
    };
    context.printer.data(&script, || script.to_owned())?;
    Ok(ExitCode::SUCCESS)
}

pub fn complete(context: &Context, arguments: &Complete) -> Done {
    let root = Cli::command();
    let line = Line::read(&root, &arguments.words);
    // A store that can't be read completes nothing: this is no place for messages.
    let store = match &line.store {
        Some(path) => open_store(Some(Path::new(path))).ok(),
        None => context.store().ok(),
    };
    let found = line.candidates(store.as_ref());
    let lines = found.iter().map(|(word, help)| match help.is_empty() {
        true => format!("{word}\n"),
        false => format!("{word}\t{help}\n"),
    });
    context.printer.bytes(lines.collect::<String>().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

type Candidates = Vec<(String, String)>;

/// A command line that is being typed.
struct Line<'a> {
    command: &'a Command,
    /// The word that is being typed.
    current: &'a str,
    /// The option whose value is being typed.
    option: Option<&'a Arg>,
    /// Words before it that belong to no option.
    positional: Vec<&'a str>,
    /// Behind `--` nothing is an option.
    is_past_options: bool,
    /// What `--store` says.
    store: Option<String>,
}

impl<'a> Line<'a> {
    fn read(root: &'a Command, words: &'a [String]) -> Line<'a> {
        let (current, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (&**last, before));
        let mut line = Line {
            command: root,
            current,
            option: None,
            positional: Vec::new(),
            is_past_options: false,
            store: None,
        };
        for word in before {
            line.take(root, word);
        }
        line
    }

    fn take(&mut self, root: &'a Command, word: &'a str) {
        if let Some(option) = self.option.take() {
            if option.get_long() == Some("store") {
                self.store = Some(word.to_owned());
            }
        } else if word == "--" {
            self.is_past_options = true;
        } else if word.starts_with('-') && word.len() > 1 && !self.is_past_options {
            match word.split_once('=') {
                Some(("--store", value)) => self.store = Some(value.to_owned()),
                Some(_) => {}
                None => self.option = self.find_option(root, word).filter(|option| takes_value(option)),
            }
        } else if let Some(command) =
            self.command.find_subcommand(word).filter(|_| self.positional.is_empty())
        {
            self.command = command;
        } else {
            self.positional.push(word);
        }
    }

    fn find_option(&self, root: &'a Command, word: &str) -> Option<&'a Arg> {
        let is_it = |option: &&Arg| match word.strip_prefix("--") {
            Some(long) => option.get_long() == Some(long),
            None => option.get_short() == word.chars().nth(1),
        };
        self.command.get_arguments().find(is_it).or_else(|| root.get_arguments().find(is_it))
    }

    fn candidates(&self, store: Option<&Store>) -> Candidates {
        if let Some(option) = self.option {
            return self.values(option, self.current, "", store);
        }
        if let Some((name, value)) = self.current.split_once('=').filter(|(name, _)| name.starts_with("--")) {
            let option =
                self.command.get_arguments().find(|option| option.get_long() == name.strip_prefix("--"));
            return option
                .map_or(Vec::new(), |option| self.values(option, value, &format!("{name}="), store));
        }
        if self.current.starts_with('-') && !self.is_past_options {
            return self.options();
        }
        if self.command.has_subcommands() {
            return self.verbs();
        }
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let next = all.get(self.positional.len()).or(all.last());
        next.map_or(Vec::new(), |positional| self.values(positional, self.current, "", store))
    }

    fn verbs(&self) -> Candidates {
        let shown = self.command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let fits = shown.filter(|verb| verb.get_name().starts_with(self.current));
        fits.map(|verb| (verb.get_name().to_owned(), help(verb.get_about()))).collect()
    }

    fn options(&self) -> Candidates {
        let root = Cli::command();
        let global = root.get_arguments().filter(|option| option.is_global_set());
        let own = self.command.get_arguments();
        let mut found = Candidates::new();
        for option in own.chain(global) {
            if let Some(long) = option.get_long().map(|long| format!("--{long}"))
                && long.starts_with(self.current)
                && !option.is_hide_set()
                && !found.iter().any(|(other, _)| *other == long)
            {
                found.push((long, help(option.get_help())));
            }
        }
        found
    }

    /// Lists the values that fit an argument; nothing for files of the host, which shells know themselves.
    fn values(&self, argument: &Arg, typed: &str, before: &str, store: Option<&Store>) -> Candidates {
        let possible = argument.get_possible_values();
        if takes_value(argument) && !possible.is_empty() {
            let fits =
                possible.iter().filter(|value| !value.is_hide_set() && value.get_name().starts_with(typed));
            let shown =
                |value: &PossibleValue| (format!("{before}{}", value.get_name()), help(value.get_help()));
            return fits.map(shown).collect();
        }
        // Of `REV[:NAME]` and `REF|ID` the first word says what it is.
        let names = argument.get_value_names().unwrap_or_default();
        let first =
            |name: &'_ str| name.split(|it: char| !it.is_ascii_alphabetic()).next().map(str::to_owned);
        let words: Vec<String> = names.iter().filter_map(|name| first(name)).collect();
        let is = |name: &str| words.iter().any(|word| word == name);
        let Some(store) = store else { return Vec::new() };
        match () {
            () if REVISIONS.iter().any(|name| is(name)) => self.revisions(typed, before, store),
            () if is(REMOTE) => {
                let names = store.remotes().unwrap_or_default().into_iter();
                names
                    .filter(|name| name.starts_with(typed))
                    .map(|name| (format!("{before}{name}"), String::new()))
                    .collect()
            }
            () if is(INSIDE) && argument.is_positional() => {
                let revision = self.positional.first().copied().unwrap_or_default();
                paths(store, revision, typed).into_iter().map(|path| (path, String::new())).collect()
            }
            () => Vec::new(),
        }
    }

    fn revisions(&self, typed: &str, before: &str, store: &Store) -> Candidates {
        if let Some((revision, path)) = typed.split_once(':') {
            let whole = |path: String| (format!("{before}{revision}:{path}"), String::new());
            return paths(store, revision, path).into_iter().map(whole).collect();
        }
        let refs = store.refs().unwrap_or_default();
        let names = refs.keys().map(|name| name.as_str()).filter(|name| name.starts_with(typed));
        names.map(|name| (format!("{before}{name}"), String::new())).collect()
    }
}

/// Lists the paths of a commit that begin with what was typed; directories end in `/`.
fn paths(store: &Store, revision: &str, typed: &str) -> Vec<String> {
    let (folder, start) = typed.rsplit_once('/').map_or(("", typed), |(folder, start)| (folder, start));
    let shown = if typed.contains('/') { format!("{folder}/") } else { String::new() };
    let at = if folder.is_empty() { "/" } else { folder };
    let place = look::place(store, revision, Some(at)).ok();
    let Some(Found::Directory(_, directory)) = place.and_then(|place| place.found(store).ok().flatten())
    else {
        return Vec::new();
    };
    let fits = directory.entries.iter().filter_map(|(name, node)| {
        let name = std::str::from_utf8(name.as_bytes()).ok()?;
        let slash = if matches!(node, StoredNode::Directory(_)) { "/" } else { "" };
        let is_plain = !name.contains(|character: char| character.is_control());
        (name.starts_with(start) && is_plain).then(|| format!("{shown}{name}{slash}"))
    });
    fits.collect()
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

/// Returns the first line of a help text.
fn help(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
