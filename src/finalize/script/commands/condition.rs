//! `test` and `[` (XCU, utility "test").

use super::{Call, Work};
use crate::finalize::script::shell::Shell;
use crate::finalize::script::value::{Status, Value};
use crate::tree::Node;

pub(super) fn work(name: &str) -> Option<Work> {
    matches!(name, "test" | "[").then_some(test as Work)
}

fn test(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let arguments = match call.name {
        "[" => match call.arguments.split_last() {
            Some((Value::Known(end), arguments)) if end == "]" => arguments,
            _ => return shell.unknown(call.line, "[ without ]"),
        },
        _ => call.arguments,
    };
    evaluate(shell, arguments).unwrap_or_else(|| shell.unknown(call.line, "the condition is not understood"))
}

/// Evaluates an expression; `None` where it is malformed.
fn evaluate(shell: &Shell<'_, '_>, arguments: &[Value]) -> Option<Status> {
    let is = |index: usize, word: &str| arguments.get(index).and_then(Value::known) == Some(word);
    match arguments {
        [] => Some(Status::False),
        [one] => Some(known(one, |text| !text.is_empty())),
        [_, one] if is(0, "!") => Some(known(one, |text| !text.is_empty()).not()),
        [Value::Known(operator), operand] if operator.starts_with('-') => unary(shell, operator, operand),
        [_, rest @ ..] if is(0, "!") && rest.len() <= 3 => Some(evaluate(shell, rest)?.not()),
        [left, Value::Known(operator), right] if !["-a", "-o"].contains(&operator.as_str()) => {
            binary(operator, left, right)
        }
        _ => joined(shell, arguments),
    }
}

/// Evaluates parts joined with `-o`, each of parts joined with `-a`.
fn joined(shell: &Shell<'_, '_>, arguments: &[Value]) -> Option<Status> {
    let mut any = Status::False;
    for part in arguments.split(|word| word.known() == Some("-o")) {
        let mut all = Status::True;
        for part in part.split(|word| word.known() == Some("-a")) {
            let part = match part {
                [Value::Known(open), inner @ .., Value::Known(close)] if open == "(" && close == ")" => inner,
                part => part,
            };
            // What is no smaller than the whole would be asked for ever.
            if part.len() == arguments.len()
                || part.len() > 4
                || (part.len() == 4 && part[0].known() != Some("!"))
            {
                return None;
            }
            all = and(all, evaluate(shell, part)?);
        }
        any = and(any.not(), all.not()).not();
    }
    Some(any)
}

fn and(left: Status, right: Status) -> Status {
    match (left, right) {
        (Status::False, _) | (_, Status::False) => Status::False,
        (Status::True, Status::True) => Status::True,
        _ => Status::Maybe,
    }
}

fn known(value: &Value, test: impl FnOnce(&str) -> bool) -> Status {
    value.known().map_or(Status::Maybe, |text| Status::of(test(text)))
}

fn unary(shell: &Shell<'_, '_>, operator: &str, operand: &Value) -> Option<Status> {
    let node = |name: &str, follows: bool, test: &dyn Fn(&Node) -> bool| {
        let Some(path) = shell.path(name) else { return false };
        if path.is_root() {
            return test(&Node::Directory(Default::default()));
        }
        match follows {
            false => shell.world.look(&path).is_some_and(test),
            true => match shell.world.lead(&path) {
                Some((_, Some(node))) => test(node),
                Some((_, None)) => test(&Node::Directory(Default::default())),
                None => false,
            },
        }
    };
    let test: &dyn Fn(&Node) -> bool = match operator {
        "-n" => return Some(known(operand, |text| !text.is_empty())),
        "-z" => return Some(known(operand, str::is_empty)),
        "-t" => return Some(Status::False),
        "-e" | "-r" | "-w" => &|_| true,
        "-f" => &|node| matches!(node, Node::File(_)),
        "-d" => &|node| matches!(node, Node::Directory(_)),
        "-h" | "-L" => &|node| matches!(node, Node::Symlink(_)),
        "-s" => &|node| !matches!(node, Node::File(file) if file.content.size == 0),
        "-x" => &|node| node.metadata().is_some_and(|metadata| metadata.mode & 0o111 != 0),
        "-u" => &|node| node.metadata().is_some_and(|metadata| metadata.mode & 0o4000 != 0),
        "-g" => &|node| node.metadata().is_some_and(|metadata| metadata.mode & 0o2000 != 0),
        "-b" | "-c" => &|node| matches!(node, Node::Device(_)),
        "-p" => &|node| matches!(node, Node::Fifo(_)),
        "-S" => &|node| matches!(node, Node::Socket(_)),
        _ => return None,
    };
    Some(known(operand, |name| node(name, !matches!(operator, "-h" | "-L"), test)))
}

fn binary(operator: &str, left: &Value, right: &Value) -> Option<Status> {
    let numbers = |test: fn(i64, i64) -> bool| match (left.known(), right.known()) {
        (Some(left), Some(right)) => {
            Some(Status::of(test(left.trim().parse().ok()?, right.trim().parse().ok()?)))
        }
        _ => Some(Status::Maybe),
    };
    match operator {
        "=" | "==" | "!=" => {
            let same = match (left.known(), right.known()) {
                (Some(left), Some(right)) => Status::of(left == right),
                _ => Status::Maybe,
            };
            Some(if operator == "!=" { same.not() } else { same })
        }
        "-eq" => numbers(|left, right| left == right),
        "-ne" => numbers(|left, right| left != right),
        "-gt" => numbers(|left, right| left > right),
        "-ge" => numbers(|left, right| left >= right),
        "-lt" => numbers(|left, right| left < right),
        "-le" => numbers(|left, right| left <= right),
        "-nt" | "-ot" | "-ef" => Some(Status::Maybe),
        _ => None,
    }
}
