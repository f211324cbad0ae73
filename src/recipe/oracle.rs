//! Tests that hold the language against an independent HCL parser: what this room reads, it reads alike.

use std::collections::BTreeMap;

use hcl::Expression as TheirExpression;
use hcl::eval::{Context, Evaluate, FuncArgs, FuncDef, ParamType};
use proptest::prelude::*;

use super::ast::{Body, Item};
use super::diagnostics::Problems;
use super::evaluate::{Budget, Evaluator};
use super::functions::FUNCTIONS;
use super::grammar;
use super::loader::MemoryLoader;
use super::source::{Sources, Span};
use super::value::{Data, Member, Value, quote};

/// What both parsers' bodies are turned into.
#[derive(Debug, PartialEq)]
enum Structure {
    Attribute(String, hcl::Value),
    Block(String, Vec<String>, Vec<Structure>),
}

const NOWHERE: Span = Span { file: 0, start: 0, end: 0 };

fn variables() -> BTreeMap<String, Value> {
    let text = |text: &str| Value::new(Data::Text(text.into()), NOWHERE);
    let list = Data::List(vec![text("x"), text("y")]);
    let member = Member { key: "k".into(), key_span: NOWHERE, value: text("v") };
    BTreeMap::from([
        ("name".to_owned(), text("hello")),
        ("port".to_owned(), Value::new(Data::Number(8080), NOWHERE)),
        ("flag".to_owned(), Value::new(Data::Bool(true), NOWHERE)),
        ("list".to_owned(), Value::new(list, NOWHERE)),
        ("object".to_owned(), Value::new(Data::Object(vec![member]), NOWHERE)),
    ])
}

/// Reads a text with our parser. `None` where it has mistakes.
fn ours(text: &str) -> Option<Vec<Structure>> {
    let problems = Problems::default();
    let mut sources = Sources::default();
    let file = sources.add("test.hcl", text.to_owned());
    let body = grammar::read_body(file, &sources.files[file], &problems);
    let (loader, budget, variables) = (MemoryLoader::default(), Budget::default(), variables());
    let evaluator = Evaluator::new(&problems, &loader, Some(&variables), &budget);
    let structures = our_body(&body, &evaluator);
    (!problems.any_error() && !repeats(&body)).then_some(structures)
}

/// Tells whether a key is there twice: the check comes later in ours, in the parser of theirs.
fn repeats(body: &Body) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    !body.attributes().all(|attribute| seen.insert(&attribute.name.text))
        || body.blocks().any(|block| repeats(&block.body))
}

fn our_body(body: &Body, evaluator: &Evaluator<'_>) -> Vec<Structure> {
    let structure = |item: &Item| match item {
        Item::Attribute(attribute) => {
            Structure::Attribute(attribute.name.text.clone(), plain(&evaluator.value(&attribute.value)))
        }
        Item::Block(block) => {
            let labels = block.labels.iter().map(|label| label.text.clone()).collect();
            Structure::Block(block.name.text.clone(), labels, our_body(&block.body, evaluator))
        }
    };
    body.items.iter().map(structure).collect()
}

fn plain(value: &Value) -> hcl::Value {
    match &value.data {
        Data::Text(text) => text.as_str().into(),
        Data::Number(number) => (*number).into(),
        Data::Bool(truth) => (*truth).into(),
        Data::List(elements) => hcl::Value::Array(elements.iter().map(plain).collect()),
        Data::Object(members) => hcl::Value::Object(
            members.iter().map(|member| (member.key.clone(), plain(&member.value))).collect(),
        ),
        Data::Bytes(_) | Data::Unknown => hcl::Value::Null,
    }
}

fn lifted(value: &hcl::Value) -> Value {
    let data = match value {
        hcl::Value::String(text) => Data::Text(text.clone()),
        hcl::Value::Number(number) => Data::Number(number.as_i64().expect("whole numbers only")),
        hcl::Value::Bool(truth) => Data::Bool(*truth),
        hcl::Value::Array(elements) => Data::List(elements.iter().map(lifted).collect()),
        hcl::Value::Object(members) => {
            let member = |(key, value): (&String, &hcl::Value)| Member {
                key: key.clone(),
                key_span: NOWHERE,
                value: lifted(value),
            };
            Data::Object(members.iter().map(member).collect())
        }
        hcl::Value::Null => Data::Unknown,
    };
    Value::new(data, NOWHERE)
}

/// Gives the other parser our functions: what is held against it is the language, not their results.
fn declare_functions(context: &mut Context<'_>) {
    macro_rules! declare {
        ($($name:literal)*) => {$({
            fn run(arguments: FuncArgs) -> Result<hcl::Value, String> {
                let values: Vec<Value> = arguments.iter().map(lifted).collect();
                let function = FUNCTIONS.iter().find(|function| function.name == $name).expect("declared");
                (function.run)(&values, 1 << 24).map(|data| plain(&Value::new(data, NOWHERE))).map_err(|r| r.message)
            }
            context.declare_func($name, FuncDef::builder().variadic_param(ParamType::Any).build(run));
        })*};
    }
    declare! { "upper" "lower" "trimspace" "trimprefix" "trimsuffix" "replace" "join" "split" "format" "length"
    "concat" "merge" "contains" "lookup" "keys" "values" "jsonencode" "hex" }
}

/// Reads a text with the other parser.
fn theirs(text: &str) -> Result<Vec<Structure>, String> {
    let body: hcl::Body = hcl::parse(text).map_err(|error| error.to_string())?;
    let mut context = Context::new();
    let object: hcl::Map<String, hcl::Value> =
        variables().iter().map(|(name, value)| (name.clone(), plain(value))).collect();
    context.declare_var("var", hcl::Value::Object(object));
    declare_functions(&mut context);
    their_body(&body, &context)
}

fn their_body(body: &hcl::Body, context: &Context<'_>) -> Result<Vec<Structure>, String> {
    let structure = |structure: &hcl::Structure| match structure {
        hcl::Structure::Attribute(attribute) => {
            let expression: &TheirExpression = attribute.expr();
            let value = expression.evaluate(context).map_err(|error| error.to_string())?;
            Ok(Structure::Attribute(attribute.key().to_owned(), value))
        }
        hcl::Structure::Block(block) => {
            let labels = block.labels().iter().map(|label| label.as_str().to_owned()).collect();
            Ok(Structure::Block(block.identifier().to_owned(), labels, their_body(block.body(), context)?))
        }
    };
    body.iter().map(structure).collect()
}

/// Asserts that a text which we read is read alike by the other parser; tells whether we read it.
fn held(text: &str) -> bool {
    let Some(ours) = ours(text) else { return false };
    match theirs(text) {
        Ok(theirs) => assert_eq!(ours, theirs, "the same text has two values:\n{text}"),
        Err(error) => panic!("we read what another HCL parser refuses: {error}\n{text}"),
    }
    true
}

#[test]
fn every_corner_of_the_language_has_the_values_that_hcl_gives_it() {
    for text in [
        "",
        "# only a comment",
        "a = 1 // c\nb = -5 /* x */ # y\n",
        "a /* x */ = /* y\nz */ \"v\"",
        "a = \"x${var.name}y$${z}%%{w}$ ${var.port}\"\nb = \"$\"\nc = \"%\"\nd = \"$$\"",
        "a = \"${var.port}\"\nb = \"${var.list}\"\nc = \" ${ var.flag } \"",
        "a = \"\\n\\t\\r\\\"\\\\\\u00e9\\U0001F600\"",
        "a = [\n 1, # one\n 2,\n\n /* three */ 3\n]\nb = []\nc = [[1], [\"x\",],]",
        "a = { b = 1, c : 2\n \"d e\" = 3 # x\n\n f = { g = [] } }",
        "a = {}\nb = { c = 1 }\nd = { e = 1, }",
        "a = upper(\"x\")\nb = join(\",\", var.list)\nc = merge(var.object, { z = 1 },)\nd = format(\n\"%s\",\n1\n)",
        "b \"l\" {\n  a = 1\n}\nb {}\nb x { a = 1 }\nb \"x\" { }\nb { # c\n}\n",
        "a = <<EOT\n  x ${var.name}\n\ty\n\n  EOTx\nEOT\nb = 1",
        "a = <<-EOT\n    x\n      y ${var.name} z\n\n    ${var.port}\n  EOT\nc = <<EOT\n\nEOT",
        "a = [<<EOT\nx\nEOT\n, \"y\"]\nb = trimspace(<<-EOT\n  $${x}\n  %%{y}\n  \"q\" \\n\n  EOT\n)",
        "a = <<-EOT\nx\nEOT\nb = <<-EOT\n\tx\n\t\ty\nEOT",
        "a = 9223372036854775807\nb = -9223372036854775808\nc = -0\nd = true\ne = false",
        "true = 1\nnull = 2\nfor = 3\nvar = 4",
    ] {
        assert!(held(text), "not read:\n{text}");
    }
}

#[test]
fn what_we_leave_out_is_refused_and_not_read_differently() {
    for text in [
        "a = 1 + 2",
        "a = 1.5",
        "a = 0644",
        "a = null",
        "a = (1)",
        "a = !true",
        "a = x",
        "a = [for x in y : x]",
        "a = {for k, v in y : k => v}",
        "a = true ? 1 : 2",
        "a = var.list[0]",
        "a = var.object.k",
        "a = var.list[*]",
        "a = \"%{ if true }x%{ endif }\"",
        "a = \"${~ var.name ~}\"",
        "a = f(x...)",
        "a = 1\r\n",
        "a = \"x\ny\"",
        "a = 1 b = 2",
        "b { a = 1\n}",
        "b { a = 1, c = 2 }",
        "b {\n a = 1 }",
        "a = <<EOT\nx\nEOT y",
        "a = <<EOT\nx",
        "a = <<EOT\nEOT",
        "a = <<-EOT\nx ${var.name}\n  \nEOT",
        "a = <<-E\n  E\n",
        "a = <<-EOT\nx\n  y\nEOT",
        "a = 99999999999999999999",
        "é = 1",
        "a = { true = 1 }",
        "a = { x = 1, x = 2 }",
        "a = local.x",
        "a = \"\\x\"",
        "a = \"$$${x}\"",
        "a = \"%%%{x}\"",
        "/* x",
        "a = [1 2]",
        "a = -x",
        "a = - 5",
        "b \"x${var.name}\" {}",
    ] {
        assert!(ours(text).is_none(), "read, but it should not be:\n{text}");
    }
}

#[test]
fn all_that_may_nest_is_read_by_the_other_parser_too() {
    let deep = |count: usize| format!("a = {}{}", "[".repeat(count), "]".repeat(count));
    assert!(held(&deep(grammar::NESTING_MAX)));
    assert!(ours(&deep(grammar::NESTING_MAX + 1)).is_none());
    let half = grammar::NESTING_MAX / 2;
    assert!(held(&format!("a = {}1{}", "{ a = [".repeat(half), "] }".repeat(half))));
    assert!(held(&format!("a = {}\"x\"{}", "\"x${upper(".repeat(half), ")}\"".repeat(half))));
    let blocks = grammar::NESTING_MAX;
    assert!(held(&format!("{}{}", "b {\n".repeat(blocks), "}\n".repeat(blocks))));
}

fn fixtures(folder: &str, found: &mut Vec<(String, String)>) {
    for entry in crate::base::fs::list(std::path::Path::new(folder)).expect("the fixtures are there") {
        let path = format!("{folder}/{}", entry.to_string_lossy());
        if std::path::Path::new(&path).is_dir() {
            fixtures(&path, found);
        } else if path.ends_with(".hcl") {
            found.push((path.clone(), std::fs::read_to_string(&path).expect("a text")));
        }
    }
}

#[test]
fn every_fixture_that_we_read_has_the_values_that_hcl_gives_it() {
    let mut found = Vec::new();
    fixtures(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/recipes"), &mut found);
    let mut read = 0;
    for (_, text) in &found {
        for case in text.split("#---") {
            // Values of variables and types that the fixture declares are unknown here: make them strings.
            let text = known_variables(&format!("#---{case}"));
            read += usize::from(held(&text));
        }
    }
    assert!(read > 30, "only {read} cases were read by both");
}

/// Turns references to variables that the test does not have into ones that it has, and types into strings.
fn known_variables(text: &str) -> String {
    let mut text = text.to_owned();
    for kind in ["string", "number", "bool", "list", "object"] {
        for blanks in [" ", "    "] {
            text = text.replace(&format!("type{blanks}= {kind}\n"), &format!("type{blanks}= \"{kind}\"\n"));
        }
    }
    let known = ["name", "port", "flag", "list", "object"];
    let mut result = String::new();
    let mut parts = text.split("var.");
    result.push_str(parts.next().unwrap_or(""));
    for part in parts {
        let length = part.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_-".contains(b)).count();
        let name = if known.contains(&&part[..length]) { &part[..length] } else { "name" };
        result.push_str(&format!("var.{name}{}", &part[length..]));
    }
    result
}

/// A text of the language, with every kind of value and odd blanks and comments.
fn recipe_text() -> impl Strategy<Value = String> {
    let items = proptest::collection::vec((key(), value(), blanks(), 0..4u8), 0..6);
    proptest::collection::vec((key(), items, 0..3u8), 0..4).prop_map(|blocks| {
        let mut text = String::new();
        for (name, items, label) in blocks {
            let label = ["", " \"a label\"", " word"][usize::from(label)];
            text.push_str(&format!("{name}{label} {{\n"));
            let mut seen = Vec::new();
            for (key, value, blank, end) in items {
                if !seen.contains(&key) {
                    let end = ["", " # end", "  // \"end", "\n\n\n  /* x\n  y */"][usize::from(end)];
                    text.push_str(&format!("{blank}{key}{blank}={blank}{value}{end}\n"));
                    seen.push(key);
                }
            }
            text.push_str("}\n");
        }
        text
    })
}

fn key() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_-]{0,6}"
        .prop_filter("keywords", |key| !["for", "true", "false", "null"].contains(&key.as_str()))
}

fn blanks() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just(" ".into()), Just("\t ".into()), Just(" /* c */ ".into())]
}

fn heredoc() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[a-z #\"\\\\]{0,8}",
        Just("${var.name}".to_owned()),
        Just("x $${y} ${var.port}".to_owned())
    ];
    (any::<bool>(), proptest::collection::vec((0..3usize, line), 1..4)).prop_map(|(strip, lines)| {
        let mut text = format!("<<{}EOT\n", if strip { "-" } else { "" });
        for (indent, line) in lines {
            text.push_str(&format!("{}{line}\n", "  ".repeat(indent)));
        }
        text + "  EOT"
    })
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        Just("true".to_owned()),
        Just("var.list".to_owned()),
        Just("\"${var.port}\"".to_owned()),
        Just("\"a $${b} ${upper(\"x${var.name}\")} %%{c}\"".to_owned()),
        "[ -~éß\n\t]{0,12}".prop_map(|text| quote(&text)),
        any::<String>().prop_map(|text| quote(&text)),
    ];
    let inner = leaf.prop_recursive(4, 24, 4, |inner| {
        let members = proptest::collection::btree_map(key(), inner.clone(), 0..4);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
            proptest::collection::vec(inner.clone(), 1..4)
                .prop_map(|all| format!("[\n{},\n  # last\n]", all.join(" ,\n"))),
            inner.prop_map(|one| format!("concat([{one}], [])")),
            members.prop_map(|all| {
                let all: Vec<String> = all.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", all.join("\n"))
            }),
        ]
    });
    prop_oneof![4 => inner, 1 => heredoc()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_recipes_have_the_values_that_hcl_gives_them(text in recipe_text()) {
        held(&text);
    }

    #[test]
    fn strings_survive_being_written_as_recipe_text(text in any::<String>()) {
        let read = ours(&format!("a = {}", quote(&text)));
        prop_assert_eq!(read, Some(vec![Structure::Attribute("a".into(), text.into())]));
    }

    #[test]
    fn formatting_changes_no_value_and_nothing_the_second_time(text in recipe_text()) {
        if let Some(before) = ours(&text) {
            let once = super::format("test.hcl", &text).expect("no mistakes of syntax");
            prop_assert_eq!(Some(before), ours(&once), "formatted:\n{}", once);
            let twice = super::format("test.hcl", &once).expect("no mistakes of syntax");
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn mutated_recipes_are_read_alike_or_refused(text in recipe_text(), cuts in mutations()) {
        held(&mutate(&text, &cuts));
    }
}

type Mutation = (proptest::sample::Index, usize, String);

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let piece = prop_oneof![
        "[ -~]{0,2}",
        proptest::sample::select(vec![
            "\n", "{", "}", "[", "]", "\"", "${", "<<E\n", "<<-", "/*", "=", ",", "\r", "EOT", "\\"
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec((any::<proptest::sample::Index>(), 0..6usize, piece), 1..4)
}

fn mutate(text: &str, mutations: &[Mutation]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (index, length, piece) in mutations {
        let at = index.index(characters.len() + 1);
        let end = (at + length).min(characters.len());
        characters.splice(at..end, piece.chars());
    }
    characters.into_iter().collect()
}

/// Loads a text as a whole recipe, renders what is wrong, and formats it: none of it may panic.
fn survives(text: &str) {
    let mut loader = MemoryLoader::default();
    loader.texts.insert("fuzz.hcl".into(), text.to_owned());
    if let Err(diagnostics) = super::load("fuzz.hcl", &loader, &super::Settings::default()) {
        assert!(!diagnostics.is_empty(), "refused without a reason:\n{text}");
        assert!(!diagnostics.render(false).is_empty() && !diagnostics.render(true).is_empty());
        assert!(!diagnostics.entries().is_empty());
    }
    drop(super::format("fuzz.hcl", text));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_text_of_the_language_s_own_pieces_panics(pieces in proptest::collection::vec(proptest::sample::select(vec![
        "image", "app", " \"x\"", "{", "}", "\n", " = ", "\"", "${", "var.", "a", "[", "]", "(", ")", ",", "<<EOT\n",
        "<<-A\n", "EOT\n", "  ", "/*", "*/", "#", "//", "1", "-", "é", "\\", "\t", "$${", "%{", "upper(", "mode", "include ",
    ]), 0..40)) {
        survives(&pieces.concat());
    }

    #[test]
    fn no_mutated_recipe_panics(cuts in mutations()) {
        let text = include_str!("../../fixtures/recipes/good/everything.hcl");
        survives(&mutate(text, &cuts));
    }
}

#[test]
fn hostile_texts_are_refused_quickly() {
    let many = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let mut slow = Vec::new();
    for text in [
        many("["),
        many("{"),
        many("a = [\n"),
        many("a {\n"),
        many("a = <<X\n"),
        many("\"${"),
        many("/*"),
        many("a = ] /*"),
        many("a = \"${[\n"),
        many("}"),
        many("\n\n{"),
        many("a = <<X "),
        format!("a = ] {}", many("/* ")),
        format!("a = ] {}", many("<<X\n")),
        many("$"),
        format!("a = \"{}\"", many("$")),
        many("a = x\n"),
        many("x "),
        many("a=[<<E\n"),
        many("image \"x\" {}\n"),
    ] {
        let watch = crate::base::Stopwatch::start();
        survives(&text);
        let seconds = watch.elapsed().as_secs_f64();
        slow.push((seconds, text.chars().take(20).collect::<String>()));
    }
    // What is quadratic takes minutes: the bound holds on a busy machine, without optimisation.
    slow.retain(|(seconds, _)| *seconds > 20.0);
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn values_that_grow_out_of_bounds_are_refused() {
    let mut text = String::from("image \"x\" {\n  description = format(\"");
    text.push_str(&"%s".repeat(50_000));
    text.push('"');
    text.push_str(&format!(", \"{}\"", "x".repeat(1000)));
    text.push_str(&", var.a".repeat(49_999));
    text.push_str(")\n}\nvariable \"a\" {\n  default = \"");
    text.push_str(&"y".repeat(1000));
    text.push_str("\"\n}\n");
    let mut loader = MemoryLoader::default();
    loader.texts.insert("big.hcl".into(), text);
    let refused = super::load("big.hcl", &loader, &super::Settings::default()).expect_err("too large");
    assert!(refused.entries().iter().any(|entry| entry.code == super::Code::TooLarge), "{refused}");
}
