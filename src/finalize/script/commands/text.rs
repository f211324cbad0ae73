//! Commands that print, or read what others printed. They change nothing.

use super::{Call, Work};
use crate::finalize::script::shell::{Shell, Status, Value};
use crate::tree::Node;

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        ":" | "true" => |_, _| Status::True,
        "false" => |_, _| Status::False,
        "echo" => echo,
        "printf" => printf,
        "cat" => cat,
        "basename" | "dirname" => part_of_path,
        "readlink" | "realpath" | "dpkg-realpath" => readlink,
        "uname" => uname,
        "pwd" => |shell, _| {
            let directory = shell.directory.to_string();
            shell.print(&Value::Known(directory + "\n"));
            Status::True
        },
        "cmp" => compare,
        "stat" => stat,
        "awk"
        | "gawk"
        | "mawk"
        | "tail"
        | "wc"
        | "md5sum"
        | "sha1sum"
        | "sha256sum"
        | "sha512sum"
        | "ls"
        | "find"
        | "date"
        | "hostname"
        | "whoami"
        | "expr"
        | "ss"
        | "rev"
        | "paste"
        | "diff"
        | "file"
        | "df"
        | "du"
        | "findmnt"
        | "lsb_release"
        | "locale"
        | "getconf"
        | "nproc"
        | "tempfile"
        | "mktemp"
        | "zcat"
        | "base64"
        | "sysctl"
        | "fold"
        | "running-in-container"
        | "systemd-detect-virt"
        | "getopt"
        | "dpkg-architecture" => filter,
        _ => return None,
    })
}

fn echo(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let printed = match call.known() {
        Some(words) => {
            let (words, end) = match &words[..] {
                ["-n", rest @ ..] => (rest, ""),
                rest => (rest, "\n"),
            };
            match words.iter().any(|word| word.contains('\\')) {
                true => Value::Unknown,
                false => Value::Known(words.join(" ") + end),
            }
        }
        None => Value::Unknown,
    };
    shell.print(&printed);
    Status::True
}

/// Prints formats made of text, `%s`, `%d`, `%%`, `\n` and `\t`, once.
fn printf(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let printed = call.known().and_then(|words| {
        let (format, arguments) = words.split_first()?;
        let mut arguments = arguments.iter();
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            match (character, character == '%' || character == '\\') {
                (_, false) => text.push(character),
                (_, true) => match (character, characters.next()?) {
                    ('%', 's' | 'd') => text.push_str(arguments.next().unwrap_or(&"")),
                    ('%', '%') => text.push('%'),
                    ('\\', 'n') => text.push('\n'),
                    ('\\', 't') => text.push('\t'),
                    ('\\', '\\') => text.push('\\'),
                    _ => return None,
                },
            }
        }
        arguments.next().is_none().then_some(text)
    });
    shell.print(&printed.map_or(Value::Unknown, Value::bounded));
    Status::True
}

fn cat(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    if call.arguments.is_empty() || call.get(0) == Some("-") {
        let input = shell.input.clone().unwrap_or(Value::Unknown);
        shell.print(&input);
        return Status::True;
    }
    let mut status = Status::True;
    for argument in call.arguments {
        let path = argument.known().and_then(|name| shell.path(name));
        let Some(path) = path else {
            shell.print(&Value::Unknown);
            status = Status::Maybe;
            continue;
        };
        match shell.world.read_text(&path) {
            Ok(Some(text)) => shell.print(&Value::bounded(text)),
            _ => status = Status::False,
        }
    }
    status
}

fn part_of_path(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let printed = call.known().and_then(|words| {
        let (path, end) = match words[..] {
            [path] => (path, ""),
            [path, end] if call.name == "basename" => (path, end),
            _ => return None,
        };
        let path = path.trim_end_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        Some(match call.name {
            "basename" => name.strip_suffix(end).filter(|name| !name.is_empty()).unwrap_or(name).to_owned(),
            _ if folder.is_empty() => "/".to_owned(),
            _ => folder.to_owned(),
        })
    });
    shell.print(&printed.map_or(Value::Unknown, |text| Value::Known(text + "\n")));
    Status::True
}

fn readlink(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let words = call.known().unwrap_or_default();
    let (options, paths): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
    let [path] = paths[..] else {
        shell.print(&Value::Unknown);
        return Status::Maybe;
    };
    let follows = call.name != "readlink" || options.iter().any(|option| option.contains(['f', 'e', 'm']));
    let found = shell.path(path).and_then(|path| match follows {
        true => shell.world.lead(&path).map(|(path, _)| path.to_string()),
        false => match shell.world.look(&path) {
            Some(Node::Symlink(link)) => String::from_utf8(link.target.to_vec()).ok(),
            _ => None,
        },
    });
    match found {
        Some(text) => shell.print(&Value::Known(text + "\n")),
        None => return Status::False,
    }
    Status::True
}

fn uname(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let printed = match call.known().as_deref() {
        Some([] | ["-s" | "--kernel-name"]) => Value::Known("Linux\n".to_owned()),
        _ => Value::Unknown,
    };
    shell.print(&printed);
    Status::True
}

fn compare(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let words = call.known().unwrap_or_default();
    let paths = words.iter().filter(|word| !word.starts_with('-')).map(|word| shell.path(word));
    let files: Option<Vec<_>> = paths.map(|path| shell.world.read(&path?).ok()).collect();
    match files.as_deref() {
        Some([Some(left), Some(right)]) => Status::of(left == right),
        Some([_, _]) => Status::False,
        _ => Status::Maybe,
    }
}

/// Prints what can't be known, and changes nothing: unless asked to.
fn filter(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let changes = |word: &&str| match call.name {
        "find" => {
            ["-delete", "-exec", "-execdir", "-ok", "-fprint"].contains(word) && !finds_nothing(shell, call)
        }
        "sysctl" => !word.starts_with("-n"),
        "date" => *word == "-s",
        _ => false,
    };
    if call.arguments.iter().filter_map(Value::known).any(|word| changes(&word)) {
        return shell
            .unknown(call.line, format!("{} changes files in a way that is not followed", call.name));
    }
    shell.print(&Value::Unknown);
    Status::Maybe
}

/// Tells whether `find FOLDER… -name PATTERN …` finds nothing in the tree.
fn finds_nothing(shell: &Shell<'_, '_>, call: &Call<'_>) -> bool {
    let Some(words) = call.known() else { return false };
    let folders: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with('-')).collect();
    let name = words.iter().position(|word| *word == "-name").and_then(|at| words.get(at + 1));
    let is_simple = !words.iter().any(|word| matches!(*word, "-o" | "-or" | "!" | "-not" | ","));
    let fits = |folder: &str| {
        let Some(directory) = shell.path(folder).and_then(|path| shell.world.directory(&path)) else {
            return false;
        };
        directory.walk().any(|visit| {
            let own = String::from_utf8_lossy(visit.name.as_bytes()).into_owned();
            name.is_none_or(|name| crate::finalize::script::pattern::fits(name, &own))
        })
    };
    is_simple && !folders.is_empty() && !folders.into_iter().any(fits)
}

/// `stat -c FORMAT FILE`: mode, owner and group.
fn stat(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let printed = call.known().and_then(|words| {
        let (format, file) = match words[..] {
            ["-c" | "--printf", format, file] | [file, "-c", format] => (format, file),
            [option, file] => (option.strip_prefix("-c").or_else(|| option.strip_prefix("--format="))?, file),
            _ => return None,
        };
        let path = shell.path(file)?;
        let metadata = shell.world.look(&path)?.metadata()?;
        let accounts = &shell.world.accounts;
        let user = accounts.users().iter().find(|user| user.uid == metadata.uid)?;
        let group = accounts.groups().iter().find(|group| group.gid == metadata.gid)?;
        let text = format
            .replace("%a", &format!("{:o}", metadata.mode))
            .replace("%u", &metadata.uid.to_string())
            .replace("%g", &metadata.gid.to_string())
            .replace("%U", &user.name)
            .replace("%G", &group.name);
        (!text.contains('%')).then(|| text + "\n")
    });
    let status = if printed.is_some() { Status::True } else { Status::Maybe };
    shell.print(&printed.map_or(Value::Unknown, Value::Known));
    status
}
