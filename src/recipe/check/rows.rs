//! Which row of the table a block is held against.

use super::super::ast;
use super::super::diagnostics::{Code, Problem};
use super::super::evaluate::Evaluator;
use super::super::hint::{listed, suggest};
use super::super::keywords::{self, Block, Label};

/// Finds the row of a block; reports where there is none.
pub(super) fn row(
    block: &ast::Block,
    rows: &[&'static Block],
    parent: Option<&str>,
    evaluator: &Evaluator<'_>,
) -> Option<&'static Block> {
    let fixed: Vec<&str> = rows.iter().filter_map(|row| fixed_word(row)).collect();
    match (rows, fixed.as_slice(), block.labels.first()) {
        ([], ..) => {
            unknown_block(block, parent, evaluator);
            None
        }
        ([row, ..], [], _) => Some(row),
        (_, _, Some(label)) => {
            let row = rows.iter().find(|row| fixed_word(row) == Some(&label.text));
            if row.is_none() {
                let message = format!("unknown kind of `{}`: \"{}\"", block.name.text, label.text);
                let problem = Problem::new(Code::BadValue, label.span, message);
                evaluator.report(problem.hint(suggest(&label.text, &fixed)));
            }
            row.copied()
        }
        ([row, ..], _, None) => {
            if !block.torn {
                missing_label(row, block, evaluator);
            }
            None
        }
    }
}

fn fixed_word(row: &Block) -> Option<&'static str> {
    match row.label {
        Label::Fixed(word) => Some(word),
        _ => None,
    }
}

fn unknown_block(block: &ast::Block, parent: Option<&str>, evaluator: &Evaluator<'_>) {
    let name = &block.name.text;
    let message = match parent {
        Some(parent) => format!("unknown block `{name}` in `{parent}`"),
        None => format!("unknown block `{name}`"),
    };
    let names = keywords::block_names(parent);
    let row = keywords::BLOCKS.iter().find(|row| row.name == name);
    let is_key = parent.is_some_and(|parent| {
        keywords::rows(None, parent).iter().any(|row| row.keys.iter().any(|key| key.name == name))
    });
    let hint = match row {
        _ if is_key => format!("`{name}` is a key: write `{name} = …`"),
        Some(row) => match row.parent {
            Some(home) => format!("it belongs into a block `{home}`"),
            None => "it belongs outside of all blocks".to_owned(),
        },
        None if names.is_empty() => format!("a block `{}` has no blocks inside", parent.unwrap_or("…")),
        None => suggest(name, &names),
    };
    evaluator.report(Problem::new(Code::UnknownBlock, block.name.span, message).hint(hint));
}

/// Reports a block that lacks its label.
pub(super) fn missing_label(row: &Block, block: &ast::Block, evaluator: &Evaluator<'_>) {
    let hint = match &row.label {
        Label::Of(_, meaning) => format!("write `{} \"LABEL\" {{`. {meaning}", row.name),
        _ => {
            let rows = keywords::rows(None, row.name);
            let words: Vec<&str> = rows.iter().filter_map(|row| fixed_word(row)).collect();
            format!("write `{} \"{}\" {{`; known labels: {}", row.name, words[0], listed(&words))
        }
    };
    let message = format!("the block `{}` has no label", row.name);
    evaluator.report(Problem::new(Code::MissingLabel, block.header, message).hint(hint));
}
