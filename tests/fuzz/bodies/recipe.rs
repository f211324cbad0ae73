//! Recipes: texts, settings, what they include.

use mkimage::recipe::{MemoryLoader, Plan, Settings, format, load, reference};

pub const WORDS: &[&str] = &[
    "image \"x\" {\n}\n",
    "app \"a\" {",
    "}",
    "{",
    "[",
    "]",
    "(",
    ")",
    "${",
    "$${",
    "%{",
    "<<EOF\n",
    "<<-EOF\n",
    "EOF\n",
    "\"",
    "\\",
    "\\u00e9",
    "\\U0010ffff",
    "#",
    "//",
    "/*",
    "*/",
    " = ",
    ",",
    "\n",
    "var.",
    "variable \"v\" {\n default = ",
    "include \"b.hcl\" {}\n",
    "join(\",\", ",
    "format(",
    "env(\"HOME\")",
    "64MiB",
    "9223372036854775807",
    "-1",
    "0x10",
    "1.5",
    "true",
    "null",
    "file \"/a\" {",
    "content = ",
    "mode = \"0755\"",
    "source = ",
    "\t",
    "\r\n",
    "\u{e9}",
    "\u{301}",
    "\u{202e}",
    "\0",
    "health {",
    "kernel \"debian\" {",
    "packages \"debian\" {",
    "disk {",
    "boot {",
    "user \"u\" {",
];

/// Loads a recipe, shows what is wrong with it, formats it. Texts are parted by NUL: the recipe, `b.hcl`, a
/// vars file, settings of the command line. Formatting is stable and changes no value.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut texts = text.split('\0');
    let recipe = texts.next().unwrap_or_default();
    let others: Vec<&str> = texts.take(3).collect();
    let plan = loaded(recipe, &others);
    let Ok(formatted) = format("a.hcl", recipe) else { return };
    assert_eq!(format("a.hcl", &formatted).ok().as_ref(), Some(&formatted), "formatting is stable");
    if let Some(plan) = plan {
        let other = loaded(&formatted, &others).expect("formatting keeps a recipe sound");
        assert_eq!(without_places(plan), without_places(other), "formatting changes no value");
    }
}

fn loaded(recipe: &str, others: &[&str]) -> Option<Plan> {
    let mut loader = MemoryLoader::default();
    loader.environment.insert("HOME".to_owned(), "/root".to_owned());
    loader.texts.insert("a.hcl".to_owned(), recipe.to_owned());
    let mut settings = Settings::default();
    for (index, text) in others.iter().enumerate() {
        match index {
            0 => drop(loader.texts.insert("b.hcl".to_owned(), (*text).to_owned())),
            1 => {
                loader.texts.insert("v.vars".to_owned(), (*text).to_owned());
                settings.vars_files.push("v.vars".to_owned());
            }
            _ => settings.set.extend(
                text.lines()
                    .filter_map(|line| line.split_once('='))
                    .map(|(k, v)| (k.to_owned(), v.to_owned())),
            ),
        }
    }
    let (plan, diagnostics) = match load("a.hcl", &loader, &settings) {
        Ok(loaded) => (Some(loaded.plan), loaded.warnings),
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "a failure says why");
            (None, diagnostics)
        }
    };
    assert!(diagnostics.entries().iter().all(|entry| entry.line > 0 && entry.column > 0));
    let _ = (diagnostics.render(true), diagnostics.render(false));
    plan
}

/// Writes a plan without the lines and texts that it came from.
fn without_places(mut plan: Plan) -> String {
    plan.sources.clear();
    let text = format!("{plan:?}");
    let mut parts = text.split("line: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

pub fn seeds() -> Vec<Vec<u8>> {
    let fixtures = [
        include_str!("../../../fixtures/recipes/good/everything.hcl"),
        include_str!("../../../fixtures/recipes/good/hello.hcl"),
        include_str!("../../../fixtures/recipes/good/system.hcl"),
        include_str!("../../../fixtures/recipes/ten_mistakes.hcl"),
        include_str!("../../../recipes/hello/hello.hcl"),
        "include \"b.hcl\" {}\nvariable \"v\" {\n  type = \"string\"\n  default = \"1MiB\"\n}\nimage \"${var.v}\" {}\n\0# b\nfile \
         \"/a\" {\n  content = <<-EOT\n    a ${upper(\"b\")}\n  EOT\n}\n\0v = \"2MiB\"\n\0v=3MiB\nw=1",
    ];
    assert!(!reference().is_empty());
    fixtures.iter().map(|text| text.as_bytes().to_vec()).collect()
}
