//! Questions of debconf, answered with their defaults, as a frontend without a person does
//! (`debconf-devel(7)`).

use super::{Call, Work};
use crate::finalize::script::shell::{Shell, Status, Value};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "db_get" => get,
        "db_set" => set,
        "db_fget" => flag,
        "db_input" => |_, _| Status::Maybe,
        "db_version"
        | "db_capb"
        | "db_go"
        | "db_stop"
        | "db_fset"
        | "db_subst"
        | "db_title"
        | "db_settitle"
        | "db_beginblock"
        | "db_endblock"
        | "db_register"
        | "db_unregister"
        | "db_purge"
        | "db_reset"
        | "db_progress"
        | "db_info"
        | "db_metaget"
        | "db_x_loadtemplatefile"
        | "db_clear" => |shell, call| {
            if call.name == "db_metaget" {
                shell.variables.insert("RET".to_owned(), Value::Unknown);
            }
            Status::True
        },
        _ => return None,
    })
}

fn get(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let answer = call.get(0).and_then(|question| answer(shell, question));
    let status = if answer.is_some() { Status::True } else { Status::Maybe };
    shell.variables.insert("RET".to_owned(), answer.unwrap_or(Value::Unknown));
    status
}

fn answer(shell: &Shell<'_, '_>, question: &str) -> Option<Value> {
    if let Some(answer) = shell.answers.get(question) {
        return Some(answer.clone());
    }
    let text = shell.world.info(shell.package.info, "templates").ok()??;
    let text = String::from_utf8_lossy(&text);
    default_of(&text, question).map(|default| Value::Known(default.to_owned()))
}

/// Returns the default of a question's template; `None` where there is no such template.
fn default_of<'t>(templates: &'t str, question: &str) -> Option<&'t str> {
    for template in templates.split("\n\n") {
        let field = |name: &str| {
            let mut lines = template.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        if field("Template") == Some(question) {
            return Some(field("Default").unwrap_or_default());
        }
    }
    None
}

fn set(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(question) = call.get(0) else { return shell.unknown(call.line, "the question can't be known") };
    let value = call.arguments.get(1).cloned().unwrap_or_default();
    shell.answers.insert(question.to_owned(), value);
    Status::True
}

fn flag(shell: &mut Shell<'_, '_>, _: &Call<'_>) -> Status {
    shell.variables.insert("RET".to_owned(), Value::Known("false".to_owned()));
    Status::True
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_come_from_templates() {
        let text =
            "Template: a/b\nType: boolean\nDefault: true\nDescription: x\n\nTemplate: a/c\nType: note\n";
        assert_eq!(default_of(text, "a/b"), Some("true"));
        assert_eq!(default_of(text, "a/c"), Some(""));
        assert_eq!(default_of(text, "a/d"), None);
    }
}
