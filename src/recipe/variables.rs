//! Variables: what the recipe declares, and the values that they get.

use std::collections::BTreeMap;

use super::ast::{Attribute, Block, Body, Item};
use super::check::fields::{Fields, Typed};
use super::diagnostics::{Code, Problem};
use super::evaluate::Evaluator;
use super::grammar::is_name;
use super::hint::suggest;
use super::source::Span;
use super::value::{Data, Value};

/// What a recipe declares of a variable.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub name: String,
    pub kind: Option<String>,
    pub default: Option<Value>,
    pub span: Span,
}

/// A value from outside: a name and either an expression or the text of `--set`.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub name: String,
    pub name_span: Span,
    pub value: Value,
}

/// Reads the `variable` blocks. A name that is declared twice is a mistake.
pub(super) fn declared(blocks: &[&Block], evaluator: &Evaluator<'_>) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for block in blocks {
        let Some(fields) = Fields::read(block, None, evaluator) else { continue };
        let Some((Typed::Text(name), span)) = fields.label.clone() else { continue };
        if !is_name(&name) {
            let problem =
                Problem::new(Code::BadValue, span, format!("`{name}` can't be named as `var.NAME`"));
            evaluator.report(
                problem.hint("a name has letters, digits, `_` and `-`, and starts with a letter or `_`"),
            );
            continue;
        }
        if let Some(first) = variables.iter().find(|variable| variable.name == name) {
            let problem = Problem::new(
                Code::DuplicateBlock,
                block.header,
                format!("the variable `{name}` is declared twice"),
            );
            evaluator.report(problem.also(first.span, "first here").hint("remove one of them"));
            continue;
        }
        variables.push(declaration(name, block, &fields, evaluator));
    }
    variables
}

fn declaration(name: String, block: &Block, fields: &Fields<'_>, evaluator: &Evaluator<'_>) -> Variable {
    let kind = fields.text("type");
    let broken = || fields.span("default").map(Value::unknown);
    let default = fields.value("default").or_else(broken);
    if let (Some(kind), Some(value)) = (&kind, &default) {
        fits(&name, kind, value, evaluator);
    }
    Variable { name, kind, default, span: block.header }
}

/// Reads a vars file: attributes only.
pub(super) fn vars_file(body: &Body, evaluator: &Evaluator<'_>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    for item in &body.items {
        match item {
            Item::Attribute(Attribute { name, value }) => {
                if let Some(first) = settings.iter().find(|setting| setting.name == name.text) {
                    let message = format!("the key `{}` is there twice", name.text);
                    let problem = Problem::new(Code::DuplicateKey, name.span, message);
                    evaluator.report(problem.also(first.name_span, "first here").hint("remove one of them"));
                    continue;
                }
                let value = evaluator.value(value);
                settings.push(Setting { name: name.text.clone(), name_span: name.span, value });
            }
            Item::Block(block) => {
                let problem = Problem::new(Code::UnknownBlock, block.header, "a vars file has no blocks");
                evaluator.report(problem.hint("it holds lines such as `name = value`"));
            }
        }
    }
    settings
}

/// Turns the text of `--set` into a value of the variable's type. Lists and objects are read as recipe text.
pub(super) fn from_text(
    variable: &Variable,
    text: &str,
    span: Span,
    read: impl FnOnce() -> Value,
    evaluator: &Evaluator<'_>,
) -> Value {
    match type_of(variable) {
        "string" => Value::new(Data::Text(text.to_owned()), span),
        "number" => match text.parse() {
            Ok(number) => Value::new(Data::Number(number), span),
            Err(_) => refused(variable, "number", &format!("`{text}`"), span, evaluator),
        },
        "bool" => match text {
            "true" => Value::new(Data::Bool(true), span),
            "false" => Value::new(Data::Bool(false), span),
            _ => refused(variable, "bool", &format!("`{text}`"), span, evaluator),
        },
        _ => read(),
    }
}

fn type_of(variable: &Variable) -> &str {
    match (&variable.kind, &variable.default) {
        (Some(kind), _) => kind,
        (None, Some(default)) => match default.data {
            Data::Number(_) => "number",
            Data::Bool(_) => "bool",
            Data::List(_) => "list",
            Data::Object(_) => "object",
            _ => "string",
        },
        (None, None) => "string",
    }
}

fn refused(variable: &Variable, kind: &str, found: &str, span: Span, evaluator: &Evaluator<'_>) -> Value {
    let message = format!("the variable `{}` is a {kind}, found {found}", variable.name);
    let hint = match kind {
        "number" => "a number has digits only",
        "bool" => "write `true` or `false`",
        "string" => "write the value in quotes",
        "list" => "a list is written `[…]`",
        _ => "an object is written `{ … }`",
    };
    let problem = Problem::new(Code::WrongType, span, message).also(variable.span, "declared here");
    evaluator.report(problem.hint(hint));
    Value::unknown(span)
}

fn fits(name: &str, kind: &str, value: &Value, evaluator: &Evaluator<'_>) -> bool {
    let found = match value.data {
        Data::Unknown => return true,
        Data::Text(_) => "string",
        Data::Number(_) => "number",
        Data::Bool(_) => "bool",
        Data::List(_) => "list",
        Data::Object(_) => "object",
        Data::Bytes(_) => "bytes",
    };
    if found == kind {
        return true;
    }
    let kind_name = if kind == "object" { "an object".to_owned() } else { format!("a {kind}") };
    let message = format!("the variable `{name}` is {kind_name}, found {}", value.kind());
    let hint = format!("change the value, or say `type = {found}`");
    evaluator.report(Problem::new(Code::WrongType, value.span, message).hint(hint));
    false
}

/// Gives each variable its value: settings in order, later ones win; else the default.
pub(super) fn resolved(
    variables: &[Variable],
    settings: Vec<Setting>,
    evaluator: &Evaluator<'_>,
) -> BTreeMap<String, Value> {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for setting in settings {
        let Some(variable) = variables.iter().find(|variable| variable.name == setting.name) else {
            unknown_setting(variables, &setting.name, setting.name_span, evaluator);
            continue;
        };
        let fit = fits(&variable.name, type_of(variable), &setting.value, evaluator);
        let value = if fit { setting.value } else { Value::unknown(setting.name_span) };
        values.insert(setting.name, value);
    }
    for variable in variables {
        if values.contains_key(&variable.name) {
            continue;
        }
        let value = variable.default.clone().unwrap_or_else(|| {
            let message = format!("the variable `{}` has no value", variable.name);
            let hint =
                format!("set it with `--set {}=…`, in a vars file, or give it a `default`", variable.name);
            evaluator.report(Problem::new(Code::UnsetVariable, variable.span, message).hint(hint));
            Value::unknown(variable.span)
        });
        values.insert(variable.name.clone(), value);
    }
    values
}

/// Reports a name from outside that the recipe does not declare.
pub(super) fn unknown_setting(variables: &[Variable], name: &str, span: Span, evaluator: &Evaluator<'_>) {
    let names: Vec<&str> = variables.iter().map(|variable| variable.name.as_str()).collect();
    let problem = Problem::new(Code::UnknownSetting, span, format!("the recipe has no variable `{name}`"));
    let hint = match names.as_slice() {
        [] => "the recipe declares no variables".to_owned(),
        _ => suggest(name, &names),
    };
    evaluator.report(problem.hint(hint));
}
