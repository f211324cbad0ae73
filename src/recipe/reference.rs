//! The reference page, from the keyword table.

use super::functions::FUNCTIONS;
use super::keywords::{BLOCKS, Block, Count, Key, Kind, Label, Need};

/// Returns the reference of the language as Markdown: every block, key and function, with examples.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## Blocks\n\n");
    for block in BLOCKS.iter().filter(|block| block.parent.is_none()) {
        page.push_str(&format!("- [`{}`](#{})\n", title(block), anchor(block)));
    }
    for block in BLOCKS {
        page.push_str(&section(block));
    }
    page.push_str(&functions());
    page
}

const INTRODUCTION: &str = "\
# Recipes

<!-- Generated from the keyword table: run `MKIMAGE_BLESS=1 cargo test` to write it anew. -->

A recipe says what an image holds. It is written in a strict subset of HCL 2: blocks with `key = value` lines,
`#`, `//` and `/* … */` comments.

```hcl
image \"hello\" {}

app \"hello\" {
  source = \"bin/hello\"
  ports  = [8080]
}

kernel \"debian\" {
  suite = \"bookworm\"
}
```

## Values

| Value | Written as |
|---|---|
| string | `\"text\"` with the escapes `\\n`, `\\r`, `\\t`, `\\\"`, `\\\\`, `\\uNNNN`, `\\UNNNNNNNN` |
| text over several lines | `<<EOT`, at least one line, `EOT`; with `<<-EOT` the common indentation is removed |
| interpolation | `\"port ${var.port}\"`; a literal `${` is `$${`, a literal `%{` is `%%{` |
| number | whole, from -2^63 to 2^63-1 |
| size | a string: `\"64MiB\"`; units B, KiB, MiB, GiB, TiB |
| mode | a string of octal digits: `\"0644\"` |
| truth | `true`, `false` |
| list | `[\"a\", \"b\"]` |
| object | `{ NAME = \"value\" }`, with commas or new lines between |
| variable | `var.NAME` |

Recipes have no operators, no `for`, no conditions and no `null`. A carriage return is refused: lines end in a
line feed. Host paths are relative to the folder of the recipe file that names them; paths inside the image are
absolute. Parts are laid over one another in the order of the recipe.

Variables are set by `--set NAME=VALUE`, or in a vars file of `NAME = VALUE` lines; `--set` wins. Nothing of the
environment reaches a value but through `env(\"NAME\")`, which is recorded with the build.
";

fn title(block: &Block) -> String {
    match &block.label {
        Label::None => block.name.to_owned(),
        Label::Fixed(word) => format!("{} \"{word}\"", block.name),
        Label::Of(Kind::ImagePath, _) => format!("{} \"/PATH\"", block.name),
        Label::Of(..) => format!("{} \"LABEL\"", block.name),
    }
}

/// Returns the anchor that Markdown viewers give to a title.
fn anchor(block: &Block) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '_' || c == '-';
    title(block).to_lowercase().chars().filter(|c| kept(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn section(block: &Block) -> String {
    let level = if block.parent.is_some() { "###" } else { "##" };
    let mut text = format!("\n{level} `{}`\n\n{}\n", title(block), block.description);
    let count = match (block.parent, &block.count) {
        (Some(parent), Count::Any) => format!("Stands in `{parent}`, any number."),
        (Some(parent), _) => format!("Stands in `{parent}`, at most once."),
        (None, Count::ExactlyOne) => "Exactly one a recipe.".to_owned(),
        (None, Count::AtMostOne) => "At most one a recipe.".to_owned(),
        (None, Count::Any) => "Any number.".to_owned(),
    };
    text.push_str(&format!("\n{count} Since {}.\n", block.since));
    if let Label::Of(kind, meaning) = &block.label {
        let form = match kind {
            Kind::Pattern(pattern) => format!(" ({})", pattern.rule),
            _ => String::new(),
        };
        text.push_str(&format!("\nLabel: {meaning}{form}\n"));
    }
    text.push_str(&format!("\n```hcl\n{}\n```\n", block.example));
    if !block.keys.is_empty() {
        text.push_str("\n| Key | Value | Default | Meaning | Example |\n|---|---|---|---|---|\n");
        block.keys.iter().for_each(|key| text.push_str(&row(key)));
    }
    text
}

fn row(key: &Key) -> String {
    let default = match key.need {
        Need::Required => "required".to_owned(),
        Need::Default(value) => format!("`{value}`"),
        Need::Absent(words) => words.to_owned(),
    };
    let since = if key.since == "0.1" { String::new() } else { format!(" Since {}.", key.since) };
    let (name, kind, description) = (key.name, kind(&key.kind), key.description);
    format!("| `{name}` | {kind} | {default} | {description}{since} | `{name} = {}` |\n", key.example)
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Pattern(pattern) => format!("{}: {}", pattern.what, pattern.rule.replace('|', "\\|")),
        Kind::Word(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Kind::List(inner, _) => format!("list; each: {}", self::kind(inner)),
        other => other.wanted(),
    }
}

fn functions() -> String {
    let mut text = String::from("\n## Functions\n\n| Function | Result |\n|---|---|\n");
    for function in FUNCTIONS {
        text.push_str(&format!("| `{}` | {} |\n", function.usage, function.description));
    }
    text.push_str("| `env(\"NAME\")`, `env(\"NAME\", \"default\")` | ");
    text.push_str("The variable of the environment; it is recorded with the build. |\n");
    text
}
