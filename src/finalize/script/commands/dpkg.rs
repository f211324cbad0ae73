//! dpkg's own tools: alternatives, overrides of owners and modes, diversions, versions.

use super::files::Mode;
use super::{Call, Work};
use crate::finalize::alternatives::Alternative;
use crate::finalize::script::shell::{Shell, Status, Value};
use crate::finalize::world::{Diversion, Override};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "update-alternatives" => alternatives,
        "dpkg-statoverride" => overrides,
        "dpkg-divert" => divert,
        "dpkg" => dpkg,
        "dpkg-query" => query,
        "dpkg-vendor" => vendor,
        _ => return None,
    })
}

fn alternatives(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let asks = ["--list", "--display", "--query", "--get-selections", "--config"];
    if call.arguments.iter().filter_map(Value::known).any(|word| asks.contains(&word)) {
        shell.print(&Value::Unknown);
        return Status::Maybe;
    }
    if call.arguments.iter().filter_map(Value::known).any(|word| matches!(word, "--remove" | "--remove-all"))
    {
        return Status::True;
    }
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let mut words = words.into_iter().filter(|word| !matches!(*word, "--quiet" | "--force" | "--verbose"));
    match words.next() {
        Some("--install") => {}
        Some("--auto") => return Status::True,
        Some("--set") => {
            let (Some(name), Some(choice)) = (words.next(), words.next()) else { return Status::False };
            return Status::of(shell.world.alternatives.set(name, choice));
        }
        _ => return shell.unknown(call.line, "this use of update-alternatives is not followed"),
    }
    let words: Vec<&str> = words.collect();
    match Alternative::parse(&words) {
        Some(alternative) => {
            if shell.path(&alternative.path).is_none_or(|path| !shell.world.exists(&path)) {
                return shell.unknown(call.line, format!("{} is not there", alternative.path));
            }
            shell.world.alternatives.install(alternative);
            Status::True
        }
        None => shell.unknown(call.line, "this use of update-alternatives is not followed"),
    }
}

fn overrides(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let words = call.known().unwrap_or_default();
    let (options, operands): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    if options.contains(&"--list") {
        let path = operands.first().and_then(|path| shell.path(path));
        let Some(path) = path else { return Status::Maybe };
        return Status::of(shell.world.overrides.contains_key(&path));
    }
    let Some(_) = shell.change(call) else { return Status::Maybe };
    match operands[..] {
        [user, group, mode, path] if options.contains(&"--add") => {
            let (Some(path), Some(mode)) = (shell.path(path), Mode::parse(mode)) else {
                return shell.unknown(call.line, "mode or path is not understood");
            };
            let made = Override { user: user.to_owned(), group: group.to_owned(), mode: mode.on(0, false) };
            let is_done = options.contains(&"--update");
            let result = shell.world.add_override(&path, made, is_done);
            shell.done(call.line, result)
        }
        [path] if options.contains(&"--remove") => {
            let path = shell.path(path);
            Status::of(path.is_some_and(|path| shell.world.overrides.remove(&path).is_some()))
        }
        _ => shell.unknown(call.line, "this use of dpkg-statoverride is not followed"),
    }
}

fn divert(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let words = call.known().unwrap_or_default();
    let (mut options, mut operands) = (Vec::new(), Vec::new());
    let (mut package, mut to) = (Some(shell.package.name.to_owned()), None);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--package" => package = rest.next().map(|name| (*name).to_owned()),
            "--divert" => to = rest.next().copied(),
            "--local" => package = None,
            word if word.starts_with("--") => options.push(word),
            word => operands.push(word),
        }
    }
    let path = operands.first().and_then(|path| shell.path(path));
    let Some(path) = path.filter(|_| operands.len() == 1) else {
        return match options.contains(&"--list") {
            true => Status::Maybe,
            false => shell.unknown(call.line, "this use of dpkg-divert is not followed"),
        };
    };
    let there = shell.world.diversions.get(&path).cloned();
    if options.contains(&"--listpackage") {
        let name = there.map(|there| there.package.unwrap_or_else(|| "LOCAL".to_owned()) + "\n");
        shell.print(&Value::Known(name.unwrap_or_default()));
        return Status::True;
    }
    if options.contains(&"--truename") {
        let place = there.map_or(path, |there| there.to);
        shell.print(&Value::Known(format!("{place}\n")));
        return Status::True;
    }
    if options.contains(&"--list") {
        return Status::of(there.is_some());
    }
    let is_own = there.as_ref().is_none_or(|there| there.package == package);
    if options.contains(&"--remove") {
        return match (there.is_some(), is_own) {
            (true, true) if shell.may(call.line) => {
                shell.unknown(call.line, "a diversion that is there is taken away")
            }
            _ => Status::True,
        };
    }
    let Some(_) = shell.change(call) else { return Status::Maybe };
    if !is_own {
        return shell.unknown(call.line, "another package diverts the path already");
    }
    let to = to.map_or_else(|| format!("{path}.distrib"), str::to_owned);
    let Some(to) = shell.path(&to) else { return shell.unknown(call.line, "an operand is no path") };
    if shell.script == "postinst" && options.contains(&"--rename") {
        let place = shell.world.place_of(&path).filter(|_| !shell.world.exists(&to));
        if let Some(node) = place.and_then(|place| shell.world.tree.remove(&place)) {
            let result = shell.world.put(&to, node);
            shell.done(call.line, result);
        }
    }
    shell.world.diversions.insert(path, Diversion { package, to });
    Status::True
}

fn dpkg(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    match call.known().as_deref() {
        Some(["--compare-versions", left, operator, right]) => match compare(left, operator, right) {
            Some(status) => status,
            None => shell.unknown(call.line, "the versions can't be compared"),
        },
        Some(["--compare-versions", operator, right]) => {
            compare("", operator, right).unwrap_or(Status::Maybe)
        }
        Some(["--print-architecture"]) => {
            let name = shell.world.settings.architecture.clone();
            shell.print(&Value::Known(name + "\n"));
            Status::True
        }
        Some(["--print-foreign-architectures"]) => Status::True,
        _ => query(shell, call),
    }
}

/// Compares versions as `dpkg --compare-versions` does: an empty one is earlier than any, and later for the
/// operators that end with `-nl`.
fn compare(left: &str, operator: &str, right: &str) -> Option<Status> {
    let (operator, is_later) = match operator.strip_suffix("-nl") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let order = match (left.is_empty(), right.is_empty()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) if is_later => std::cmp::Ordering::Greater,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) if is_later => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => {
            let parse = |text: &str| text.parse::<debversion::Version>().ok();
            parse(left)?.cmp(&parse(right)?)
        }
    };
    Some(Status::of(match operator {
        "lt" | "<<" => order.is_lt(),
        "le" | "<=" | "<" => order.is_le(),
        "eq" | "=" => order.is_eq(),
        "ne" => order.is_ne(),
        "ge" | ">=" | ">" => order.is_ge(),
        "gt" | ">>" => order.is_gt(),
        _ => return None,
    }))
}

/// Questions about the database: which package brings a path, what a package brings, whether it is there; what
/// else is asked can't be known.
fn query(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    const ASKS: [&str; 11] =
        ["-W", "-s", "-l", "-L", "-S", "-p", "--show", "--status", "--list", "--listfiles", "--search"];
    let words = call.known().unwrap_or_default();
    let (options, operands): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
    if !options.iter().any(|word| ASKS.iter().any(|known| word.starts_with(known))) && !words.is_empty() {
        return shell.unknown(call.line, "this use of dpkg is not followed");
    }
    match (&options[..], &operands[..]) {
        (["-S" | "--search"], [path]) if path.starts_with('/') && !path.contains(['*', '?', '[']) => {
            let found = shell.path(path);
            let brings = |package: &&crate::finalize::Package<'_>| {
                found.as_ref().is_some_and(|path| package.data.get(path).is_some())
            };
            let name = shell.world.packages.iter().find(brings).map(|package| package.name);
            shell.print(&name.map_or(Value::default(), |name| Value::Known(format!("{name}: {path}\n"))));
            Status::of(name.is_some())
        }
        (["-L" | "--listfiles"], [name]) => match shell.world.package(name.split(':').next().unwrap_or(name))
        {
            Some(package) => {
                let text = package.data.paths().map(|(path, _)| format!("{path}\n")).collect();
                shell.print(&Value::bounded(text));
                Status::True
            }
            None => Status::False,
        },
        (options, operands) => {
            let lists = options.iter().any(|word| word.starts_with("-l") || word.starts_with("-S"));
            let name = operands.last().map(|name| name.split(':').next().unwrap_or(name));
            if !lists && name.is_some_and(|name| shell.world.package(name).is_none()) {
                return Status::False;
            }
            shell.print(&Value::Unknown);
            Status::Maybe
        }
    }
}

fn vendor(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let own = shell.world.settings.distribution.clone();
    let is = |name: &str| {
        name.eq_ignore_ascii_case(&own) || (name.eq_ignore_ascii_case("debian") && own == "ubuntu")
    };
    match call.known().as_deref() {
        Some(["--is", name]) => Status::of(name.eq_ignore_ascii_case(&own)),
        Some(["--derives-from", name]) => Status::of(is(name)),
        _ => {
            shell.print(&Value::Unknown);
            Status::Maybe
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_dpkg_compares_them() {
        for (left, operator, right, expected) in [
            ("", "lt", "1", true),
            ("", "lt-nl", "1", false),
            ("", "gt", "1", false),
            ("", "ge-nl", "1", true),
            ("1:1", "gt", "2", true),
            ("1~a", "lt", "1", true),
            ("1", "eq", "1-0", true),
            ("", "eq", "", true),
            ("2", "<<", "10", true),
        ] {
            assert_eq!(
                compare(left, operator, right),
                Some(Status::of(expected)),
                "{left} {operator} {right}"
            );
        }
        assert_eq!(compare("1", "like", "2"), None);
    }
}
