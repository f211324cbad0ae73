//! Reads scriptlets: what they do when a package comes to a new system, as far as that is known. Nothing is run.
//!
//! A script is understood when every command that would run is in the table below; conditions on `$1`, on files of the
//! tree and on accounts are followed, what can't be decided is followed both ways.

use std::collections::VecDeque;

use super::words::{Kind, Token, lex};

/// What a script would have done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A cache that the finished tree gets anyway: `ld.so.cache`, `hwdb.bin`.
    Cache(&'static str),
    /// Units to be enabled where presets say so.
    Preset { units: Vec<String>, user: bool },
    /// Units to be enabled.
    Enable { units: Vec<String>, user: bool },
    /// A line of sysusers.d(5).
    Account(String),
}

/// Longest script that is read, in bytes.
const SCRIPT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of `if`, and longest chain of `elif`.
const DEPTH_MAX: usize = 32;
/// Most words of one condition.
const WORDS_MAX: usize = 64;

/// Reads a shell script that gets these arguments. `exists` asks the tree for a path. Fails with the lines that are
/// not understood.
pub fn read(
    script: &str,
    arguments: &[&str],
    exists: &dyn Fn(&str) -> bool,
) -> Result<Vec<Effect>, Vec<(usize, String)>> {
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(vec![(1, format!("a script of {} bytes", script.len()))]);
    }
    let lines: Vec<&str> = script.lines().collect();
    let mut reader = Reader {
        tokens: lex(script),
        arguments,
        exists,
        effects: Vec::new(),
        unknown: Vec::new(),
        exited: false,
        undecided: 0,
    };
    reader.list(0, true, &[]);
    if let Some(token) = reader.tokens.front() {
        reader.unknown.push(token.line);
    }
    let mut unknown = reader.unknown;
    unknown.sort_unstable();
    unknown.dedup();
    match unknown.is_empty() {
        true => Ok(reader.effects),
        false => Err(unknown
            .into_iter()
            .map(|line| (line, lines.get(line - 1).copied().unwrap_or_default().to_owned()))
            .collect()),
    }
}

/// How a command ended, as far as that is known.
type Status = Option<bool>;

struct Reader<'a> {
    tokens: VecDeque<Token>,
    arguments: &'a [&'a str],
    exists: &'a dyn Fn(&str) -> bool,
    effects: Vec<Effect>,
    unknown: Vec<usize>,
    /// The script is over.
    exited: bool,
    /// Conditions around the current command that could go both ways.
    undecided: usize,
}

impl Reader<'_> {
    /// Reads commands up to one of the words that end them. `live` says whether they would run.
    fn list(&mut self, depth: usize, live: bool, ends: &[&str]) -> Status {
        let mut status = Some(true);
        loop {
            while self.takes_sign(&[";", "\n"]) {}
            let Some(token) = self.tokens.front() else { return status };
            if matches!(&token.kind, Kind::Word(word, _) if ends.contains(&&**word)) {
                return status;
            }
            let before = self.tokens.len();
            status = self.chain(depth, live && !self.exited);
            if self.tokens.len() == before {
                // Something that no command starts with.
                let token = self.tokens.pop_front();
                self.unknown.extend(token.filter(|_| live).map(|token| token.line));
            }
        }
    }

    fn takes_sign(&mut self, signs: &[&str]) -> bool {
        let takes =
            matches!(self.tokens.front(), Some(Token { kind: Kind::Sign(sign), .. }) if signs.contains(sign));
        if takes {
            self.tokens.pop_front();
        }
        takes
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let takes = matches!(self.tokens.front(), Some(Token { kind: Kind::Word(found, false), .. }) if found == word);
        if takes {
            self.tokens.pop_front();
        }
        takes
    }

    /// Reads commands that `&&` and `||` join.
    fn chain(&mut self, depth: usize, live: bool) -> Status {
        let mut status = self.command(depth, live);
        loop {
            let runs_if = match self.tokens.front() {
                Some(Token { kind: Kind::Sign("&&"), .. }) => true,
                Some(Token { kind: Kind::Sign("||"), .. }) => false,
                _ => return status,
            };
            self.tokens.pop_front();
            while self.takes_sign(&["\n"]) {}
            let runs = live && !self.exited && status.is_none_or(|status| status == runs_if);
            self.undecided += usize::from(status.is_none());
            let next = self.command(depth, runs);
            self.undecided -= usize::from(status.is_none());
            status = match (status, runs) {
                (Some(_), true) => next,
                (Some(status), false) => Some(status),
                (None, _) => None,
            };
        }
    }

    fn command(&mut self, depth: usize, live: bool) -> Status {
        let mut is_turned = false;
        while self.takes_sign(&["!"]) {
            is_turned = !is_turned;
        }
        let status = match depth < DEPTH_MAX && self.takes_word("if") {
            true => self.branch(depth, live),
            false => self.simple(live),
        };
        status.map(|status| status != is_turned)
    }

    /// Reads from behind `if` or `elif` to behind `fi`.
    fn branch(&mut self, depth: usize, live: bool) -> Status {
        let condition = self.list(depth + 1, live, &["then"]);
        self.takes_word("then");
        self.undecided += usize::from(condition.is_none());
        let status = self.branches(depth, live, condition);
        self.undecided -= usize::from(condition.is_none());
        status
    }

    fn branches(&mut self, depth: usize, live: bool, condition: Status) -> Status {
        let then = self.list(depth + 1, live && condition != Some(false), &["elif", "else", "fi"]);
        let live_else = live && condition != Some(true);
        if self.takes_word("elif") {
            let next = if depth < DEPTH_MAX { self.branch(depth + 1, live_else) } else { None };
            return next.and(then);
        }
        if self.takes_word("else") {
            self.list(depth + 1, live_else, &["fi"]);
        }
        if !self.takes_word("fi") {
            self.unknown.push(self.tokens.front().map_or(1, |token| token.line));
        }
        None
    }

    fn simple(&mut self, live: bool) -> Status {
        let (mut words, mut document, mut is_clear) = (Vec::new(), None, true);
        let line = self.tokens.front().map_or(1, |token| token.line);
        while let Some(token) = self.tokens.front() {
            match &token.kind {
                Kind::Word(word, is_open) => {
                    let expanded = if *is_open { self.expand(word) } else { Some(word.clone()) };
                    is_clear &= expanded.is_some();
                    words.push(expanded.unwrap_or_default());
                }
                Kind::Document(lines) => document = Some(lines.clone()),
                Kind::Sign("\n" | ";" | "&&" | "||") => break,
                Kind::Sign("{" | "}" | "!") => words.push(String::new()),
                Kind::Sign(_) => is_clear = false,
            }
            self.tokens.pop_front();
        }
        if !live || words.is_empty() && is_clear {
            return None;
        }
        let known = if is_clear { self.run(&words, document.as_deref()) } else { Err(()) };
        known.unwrap_or_else(|()| {
            self.unknown.push(line);
            None
        })
    }

    /// Replaces `$1`, `${1}` and `$2`; `None` for everything else that a shell would replace.
    fn expand(&self, word: &str) -> Option<String> {
        let mut text = word.to_owned();
        for (index, argument) in self.arguments.iter().enumerate() {
            let number = index + 1;
            text = text.replace(&format!("${{{number}}}"), argument).replace(&format!("${number}"), argument);
        }
        (!text.contains(['$', '`', '*', '?'])).then_some(text)
    }

    /// Understands one command, or does not.
    fn run(&mut self, words: &[String], document: Option<&[String]>) -> Result<Status, ()> {
        let [program, arguments @ ..] = words else { return Err(()) };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let name = program.rsplit('/').next().unwrap_or_default();
        let is_option = |argument: &&&str| argument.starts_with('-');
        match name {
            ":" | "true" | "set" | "umask" | "echo" | "printf" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            "exit" => {
                self.exited |= self.undecided == 0;
                if matches!(arguments[..], [] | ["0"]) { Ok(Some(true)) } else { Err(()) }
            }
            "[" | "test" | "[[" => self.test(&arguments),
            "getent" | "id" => Ok(None),
            "ldconfig" => self.cache("ld.so.cache"),
            "systemd-hwdb" if arguments.contains(&"update") => self.cache("hwdb.bin"),
            "journalctl" if arguments.contains(&"--update-catalog") => self.cache("catalog"),
            "depmod" => self.cache("modules.dep"),
            // Of a running system, or of the first boot; the list of info pages is a person's affair.
            "udevadm" | "systemd-tmpfiles" | "install-info" | "killall" | "kill" | "sleep" => Ok(Some(true)),
            "systemctl" => self.systemctl(&arguments),
            "systemd-update-helper" => self.update_helper(&arguments),
            "systemd-sysusers" => {
                let lines = document.unwrap_or_default().iter().filter(|line| !line.trim().is_empty());
                self.effects.extend(lines.map(|line| Effect::Account(line.clone())));
                Ok(Some(true))
            }
            "groupadd" => self.add_group(&arguments),
            "useradd" => self.add_user(&arguments),
            "usermod" => {
                match arguments.iter().filter(|argument| !is_option(argument)).collect::<Vec<_>>()[..] {
                    [groups, user] if arguments.iter().any(|option| matches!(*option, "-aG" | "-G")) => {
                        let lines =
                            groups.split(',').map(|group| Effect::Account(format!("m {user} {group}")));
                        self.effects.extend(lines.collect::<Vec<_>>());
                        Ok(None)
                    }
                    _ => Err(()),
                }
            }
            _ => Err(()),
        }
    }

    fn cache(&mut self, name: &'static str) -> Result<Status, ()> {
        self.effects.push(Effect::Cache(name));
        Ok(Some(true))
    }

    fn test(&self, arguments: &[&str]) -> Result<Status, ()> {
        if arguments.len() > WORDS_MAX {
            return Err(());
        }
        let arguments = match arguments {
            [inside @ .., "]" | "]]"] => inside,
            arguments => arguments,
        };
        if let Some(at) = arguments.iter().position(|word| matches!(*word, "-a" | "-o")) {
            let (left, right) = (self.test(&arguments[..at])?, self.test(&arguments[at + 1..])?);
            return Ok(left
                .zip(right)
                .map(|(left, right)| if arguments[at] == "-a" { left && right } else { left || right }));
        }
        match arguments {
            ["!", rest @ ..] => self.test(rest).map(|status| status.map(|status| !status)),
            ["-e" | "-f" | "-x" | "-r" | "-s" | "-d" | "-L" | "-h", path] => Ok(Some((self.exists)(path))),
            ["-n", text] => Ok(Some(!text.is_empty())),
            ["-z", text] => Ok(Some(text.is_empty())),
            [a, operator, b] => {
                let numbers = a.parse::<i64>().ok().zip(b.parse::<i64>().ok());
                match (*operator, numbers) {
                    ("=" | "==", _) => Ok(Some(a == b)),
                    ("!=", _) => Ok(Some(a != b)),
                    ("-eq", Some((a, b))) => Ok(Some(a == b)),
                    ("-ne", Some((a, b))) => Ok(Some(a != b)),
                    ("-ge", Some((a, b))) => Ok(Some(a >= b)),
                    ("-gt", Some((a, b))) => Ok(Some(a > b)),
                    ("-le", Some((a, b))) => Ok(Some(a <= b)),
                    ("-lt", Some((a, b))) => Ok(Some(a < b)),
                    _ => Err(()),
                }
            }
            _ => Err(()),
        }
    }

    fn systemctl(&mut self, arguments: &[&str]) -> Result<Status, ()> {
        let user = arguments.iter().any(|argument| matches!(*argument, "--global" | "--user"));
        let words: Vec<String> =
            arguments.iter().filter(|word| !word.starts_with('-')).map(|word| (*word).to_owned()).collect();
        let Some((verb, units)) = words.split_first() else { return Err(()) };
        let units = units.to_vec();
        match &**verb {
            "preset" => self.effects.push(Effect::Preset { units, user }),
            "enable" => self.effects.push(Effect::Enable { units, user }),
            "daemon-reload"
            | "daemon-reexec"
            | "reload"
            | "restart"
            | "try-restart"
            | "try-reload-or-restart"
            | "condrestart"
            | "reload-or-restart"
            | "start"
            | "stop"
            | "kill" => {}
            "is-active" | "is-enabled" | "is-system-running" => return Ok(None),
            _ => return Err(()),
        }
        Ok(Some(true))
    }

    fn update_helper(&mut self, arguments: &[&str]) -> Result<Status, ()> {
        let Some((verb, units)) = arguments.split_first() else { return Err(()) };
        let units: Vec<String> = units.iter().map(|unit| (*unit).to_owned()).collect();
        match *verb {
            "install-system-units" => self.effects.push(Effect::Preset { units, user: false }),
            "install-user-units" => self.effects.push(Effect::Preset { units, user: true }),
            verb if verb.starts_with("mark-") || verb.starts_with("system-") || verb.starts_with("user-") => {
            }
            _ => return Err(()),
        }
        Ok(Some(true))
    }

    fn add_group(&mut self, arguments: &[&str]) -> Result<Status, ()> {
        let parsed = Options::read(arguments, &["-g", "--gid"], &["-r", "--system", "-f", "--force", "-o"])?;
        let id = parsed.value(&["-g", "--gid"]).unwrap_or("-");
        self.effects.push(Effect::Account(format!("g {} {id}", parsed.name)));
        Ok(None)
    }

    fn add_user(&mut self, arguments: &[&str]) -> Result<Status, ()> {
        let valued = [
            "-u",
            "--uid",
            "-g",
            "--gid",
            "-d",
            "--home-dir",
            "--home",
            "-s",
            "--shell",
            "-c",
            "--comment",
            "-G",
            "--groups",
        ];
        let flags = [
            "-r",
            "--system",
            "-M",
            "--no-create-home",
            "-N",
            "--no-user-group",
            "-U",
            "--user-group",
            "-l",
            "-o",
        ];
        let parsed = Options::read(arguments, &valued, &flags)?;
        let value = |names: &[&str]| parsed.value(names).map(str::to_owned);
        let id = match (value(&["-u", "--uid"]), value(&["-g", "--gid"])) {
            (Some(uid), Some(group)) => format!("{uid}:{group}"),
            (Some(uid), None) => uid,
            (None, Some(group)) => format!("-:{group}"),
            (None, None) => "-".to_owned(),
        };
        let comment = value(&["-c", "--comment"]).unwrap_or_default().replace(['"', '\\'], "");
        let home = value(&["-d", "--home-dir", "--home"]).unwrap_or_else(|| "-".to_owned());
        let shell = value(&["-s", "--shell"]).unwrap_or_else(|| "-".to_owned());
        self.effects.push(Effect::Account(format!("u {} {id} \"{comment}\" {home} {shell}", parsed.name)));
        for group in value(&["-G", "--groups"]).iter().flat_map(|groups| groups.split(',')) {
            self.effects.push(Effect::Account(format!("m {} {group}", parsed.name)));
        }
        Ok(None)
    }
}

/// Options of a command, and the one name behind them.
struct Options<'a> {
    values: Vec<(&'a str, &'a str)>,
    name: &'a str,
}

impl<'a> Options<'a> {
    fn read(arguments: &[&'a str], valued: &[&str], flags: &[&str]) -> Result<Options<'a>, ()> {
        let (mut values, mut names) = (Vec::new(), Vec::new());
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            match argument.split_once('=') {
                Some((option, value)) if option.starts_with("--") && valued.contains(&option) => {
                    values.push((option, value));
                }
                _ if valued.contains(&argument) => values.push((argument, arguments.next().ok_or(())?)),
                _ if flags.contains(&argument) => {}
                _ if argument.starts_with('-') => return Err(()),
                _ => names.push(argument),
            }
        }
        match names[..] {
            [name] => Ok(Options { values, name }),
            _ => Err(()),
        }
    }

    fn value(&self, names: &[&str]) -> Option<&'a str> {
        self.values.iter().find(|value| names.contains(&value.0)).map(|value| value.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(script: &str) -> Result<Vec<Effect>, Vec<(usize, String)>> {
        read(script, &["1"], &|path| path == "/usr/lib/systemd/systemd-update-helper")
    }

    fn account(line: &str) -> Effect {
        Effect::Account(line.to_owned())
    }

    #[test]
    fn what_the_macros_of_distributions_write_is_understood() {
        let preset = |units: &[&str], user| Effect::Preset {
            units: units.iter().map(|unit| (*unit).to_owned()).collect(),
            user,
        };
        for (script, expected) in [
            (
                "\nif [ $1 -eq 1 ] && [ -x \"/usr/lib/systemd/systemd-update-helper\" ]; then\n    # Initial installation\n    \
                 /usr/lib/systemd/systemd-update-helper install-system-units a.service b.socket || :\nfi\n",
                vec![preset(&["a.service", "b.socket"], false)],
            ),
            (
                "if [ $1 -eq 1 ] ; then\n  systemctl --no-reload preset --global x.service &>/dev/null || :\nfi\n",
                vec![preset(&["x.service"], true)],
            ),
            ("if [ $1 -gt 1 ]; then rm -rf /; elif [ -e /nowhere ]; then reboot; else :; fi", vec![]),
            (
                "systemd-sysusers --replace=/usr/lib/sysusers.d/a.conf - <<SYSTEMD_INLINE_EOF &>/dev/null || :\n\
                 u web - \"Web; $server\" /srv -\nSYSTEMD_INLINE_EOF\nldconfig",
                vec![account("u web - \"Web; $server\" /srv -"), Effect::Cache("ld.so.cache")],
            ),
            (
                "getent group tss >/dev/null || groupadd -f -g 59 -r tss\nif ! getent passwd tss >/dev/null ; then\n    \
                 if ! getent passwd 59 >/dev/null ; then\n      useradd -r -u 59 -g tss -d '/' -s /sbin/nologin -c \"Account for \
                 tss\" tss\n    else\n      useradd -r -g tss -d '/' -s /sbin/nologin -c \"Account for tss\" tss\n    fi\nfi\nexit 0\n",
                vec![
                    account("g tss 59"),
                    account("u tss 59:tss \"Account for tss\" / /sbin/nologin"),
                    account("u tss -:tss \"Account for tss\" / /sbin/nologin"),
                ],
            ),
            ("exit 0\nmake --love", vec![]),
            ("true || reboot; false && reboot", vec![]),
            ("systemctl daemon-reload || true; udevadm control --reload || :", vec![]),
        ] {
            assert_eq!(effects(script), Ok(expected), "{script}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_lines() {
        for (script, expected) in [
            ("true\ncurl x | sh\n", &[2][..]),
            ("for i in a; do\n:\ndone\n", &[1, 1, 3]),
            ("x=$(cat /etc/x)\necho $x > /etc/y", &[1, 2]),
            ("if [ $1 -eq 1 ]; then\n  chown a b\nfi", &[2]),
            ("ldconfig > /etc/log", &[1]),
            ("echo a\\\n  b\nreboot", &[3]),
            ("[ -f", &[1]),
            ("getent group a || exit 0\nreboot", &[2]),
            ("if getent group a; then exit 0; fi\nreboot", &[2]),
            ("if true; then\n:", &[1]),
            ("systemctl mask x", &[1]),
        ] {
            let lines: Vec<usize> = effects(script).expect_err(script).iter().map(|line| line.0).collect();
            let expected: std::collections::BTreeSet<usize> = expected.iter().copied().collect();
            assert_eq!(lines, expected.into_iter().collect::<Vec<_>>(), "{script}");
        }
    }

    #[test]
    fn hostile_scripts_end() {
        let deep = "if true; then\n".repeat(10_000);
        assert!(effects(&deep).is_err());
        let long =
            ["! ".repeat(100_000), format!("[ {}x ]", "! ".repeat(100_000)), "elif x; then\n".repeat(10_000)];
        for script in [&long[0], &long[1], &format!("if x; then\n{}fi", long[2])] {
            let _ = effects(script);
        }
    }
}
