//! One block against its row of the table: labels, keys, kinds of values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::ast::{self, Attribute, Expression};
use super::super::diagnostics::{Code, Problem};
use super::super::evaluate::Evaluator;
use super::super::hint::suggest;
use super::super::keywords::{self, Block, Count, Key, Label, Need};
use super::super::plan::Account;
use super::super::source::Span;
use super::super::value::{Data, Value};
use super::{convert, rows};
use crate::base::{Bytes, ImagePath};

/// A value that has the kind that its key wants.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Typed {
    Text(String),
    Bool(bool),
    Number(i64),
    /// `None`: "auto".
    Size(Option<Bytes>),
    Mode(u16),
    Path(ImagePath),
    Account(Account),
    List(Vec<(Typed, Span)>),
    Environment(BTreeMap<String, String>),
    Attributes(BTreeMap<String, Vec<u8>>),
    Any(Value),
}

/// A block that was held against its row. What is wrong has been reported, and is left out.
pub(in super::super) struct Fields<'a> {
    pub block: &'a ast::Block,
    pub row: &'static Block,
    pub label: Option<(Typed, Span)>,
    /// Blocks inside.
    pub inner: Vec<Fields<'a>>,
    values: BTreeMap<&'static str, (Typed, Span)>,
    /// Keys that are written, with a right value or not.
    written: BTreeMap<&'static str, Span>,
    sound: bool,
}

impl<'a> Fields<'a> {
    /// Checks a block. `None`: there is no such block; it was reported, and so were the mistakes inside that
    /// do not depend on the block.
    pub fn read(block: &'a ast::Block, parent: Option<&str>, evaluator: &Evaluator<'_>) -> Option<Self> {
        let rows = keywords::rows(parent, &block.name.text);
        let Some(row) = rows::row(block, &rows, parent, evaluator) else {
            block.body.attributes().for_each(|attribute| drop(evaluator.value(&attribute.value)));
            return None;
        };
        let mut fields = Fields {
            block,
            row,
            label: None,
            inner: Vec::new(),
            values: BTreeMap::new(),
            written: BTreeMap::new(),
            sound: !block.torn && !block.body.torn,
        };
        fields.read_label(evaluator);
        block.body.attributes().for_each(|attribute| fields.read_key(attribute, evaluator));
        fields.read_inner(evaluator);
        fields.missing_keys(evaluator);
        Some(fields)
    }

    /// Tells whether everything in the block is right so far.
    pub fn sound(&self) -> bool {
        self.sound && self.inner.iter().all(Fields::sound)
    }

    /// Tells whether nothing of the block was lost to a mistake of syntax.
    pub fn whole(&self) -> bool {
        !self.block.torn && !self.block.body.torn
    }

    /// Returns the block as people name it: `app "hello"`.
    pub fn title(&self) -> String {
        match self.block.labels.first() {
            Some(label) => format!("{} \"{}\"", self.row.name, label.text),
            None => self.row.name.to_owned(),
        }
    }

    /// Tells whether a key has the same value as in another block, or is left out in both.
    pub fn agrees(&self, other: &Fields<'_>, key: &str) -> bool {
        self.typed(key) == other.typed(key)
    }

    /// Returns the place of a key's value, where it is written.
    pub fn span(&self, key: &str) -> Option<Span> {
        self.written.get(key).copied()
    }

    /// Returns the place of a key's value, or of the block's header.
    pub fn span_or_header(&self, key: &str) -> Span {
        self.span(key).unwrap_or(self.block.header)
    }

    /// Returns the first of some keys that is written.
    pub fn any_written(&self, keys: &[&'static str]) -> Option<(&'static str, Span)> {
        keys.iter().find_map(|key| self.span(key).map(|span| (*key, span)))
    }

    fn typed(&self, key: &str) -> Option<&Typed> {
        self.values.get(key).map(|(typed, _)| typed)
    }

    pub fn label_text(&self) -> Option<String> {
        match &self.label {
            Some((Typed::Text(text), _)) => Some(text.clone()),
            _ => None,
        }
    }

    pub fn label_path(&self) -> Option<ImagePath> {
        match &self.label {
            Some((Typed::Path(path), _)) => Some(path.clone()),
            _ => None,
        }
    }

    pub fn text(&self, key: &str) -> Option<String> {
        match self.typed(key) {
            Some(Typed::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Returns a key's value as it is.
    pub fn value(&self, key: &str) -> Option<Value> {
        match self.typed(key) {
            Some(Typed::Any(value)) => Some(value.clone()),
            _ => None,
        }
    }

    pub fn number(&self, key: &str) -> Option<i64> {
        match self.typed(key) {
            Some(Typed::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Returns a number whose range in the table fits 32 bits.
    pub fn count(&self, key: &str) -> Option<u32> {
        self.number(key).and_then(|number| u32::try_from(number).ok())
    }

    pub fn truth(&self, key: &str) -> bool {
        self.typed(key) == Some(&Typed::Bool(true))
    }

    /// Returns a size; `Some(None)` is "auto".
    pub fn size(&self, key: &str) -> Option<Option<Bytes>> {
        match self.typed(key) {
            Some(Typed::Size(size)) => Some(*size),
            _ => None,
        }
    }

    pub fn mode(&self, key: &str) -> Option<u16> {
        match self.typed(key) {
            Some(Typed::Mode(mode)) => Some(*mode),
            _ => None,
        }
    }

    pub fn path(&self, key: &str) -> Option<ImagePath> {
        match self.typed(key) {
            Some(Typed::Path(path)) => Some(path.clone()),
            _ => None,
        }
    }

    pub fn account(&self, key: &str) -> Option<Account> {
        match self.typed(key) {
            Some(Typed::Account(account)) => Some(account.clone()),
            _ => None,
        }
    }

    /// Returns a host path, joined with the folder of the file that the key is in.
    pub fn host_path(&self, key: &str, context: &super::Context<'_>) -> Option<PathBuf> {
        let text = self.text(key)?;
        let file = context.file(self.block.name.span);
        Some(PathBuf::from(super::super::resolve::joined(file, &text)))
    }

    /// Returns the elements of a list; none where the key is not there.
    pub fn list(&self, key: &str) -> &[(Typed, Span)] {
        match self.typed(key) {
            Some(Typed::List(elements)) => elements,
            _ => &[],
        }
    }

    pub fn texts(&self, key: &str) -> Vec<String> {
        let text = |(typed, _): &(Typed, Span)| match typed {
            Typed::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.list(key).iter().filter_map(text).collect()
    }

    pub fn paths(&self, key: &str) -> Vec<ImagePath> {
        let path = |(typed, _): &(Typed, Span)| match typed {
            Typed::Path(path) => Some(path.clone()),
            _ => None,
        };
        self.list(key).iter().filter_map(path).collect()
    }

    pub fn environment(&self, key: &str) -> BTreeMap<String, String> {
        match self.typed(key) {
            Some(Typed::Environment(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub fn attributes(&self, key: &str) -> BTreeMap<String, Vec<u8>> {
        match self.typed(key) {
            Some(Typed::Attributes(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    fn read_label(&mut self, evaluator: &Evaluator<'_>) {
        let labels = &self.block.labels;
        if let (Some(extra), true) = (labels.get(1), self.row.label != Label::None) {
            let message = format!("a block `{}` has one label", self.row.name);
            evaluator
                .report(Problem::new(Code::UnwantedLabel, extra.span, message).hint("remove the others"));
            self.sound = false;
        }
        match (&self.row.label, labels.first()) {
            (Label::None, Some(label)) => {
                let message = format!("a block `{}` has no label", self.row.name);
                let hint = format!("write `{} {{`", self.row.name);
                evaluator.report(Problem::new(Code::UnwantedLabel, label.span, message).hint(hint));
                self.sound = false;
            }
            (Label::Of(kind, _), Some(label)) => {
                let value = Value::new(Data::Text(label.text.clone()), label.span);
                self.label =
                    convert::convert(kind, &value, "the label", evaluator).map(|typed| (typed, label.span));
                self.sound &= self.label.is_some();
            }
            (Label::Of(..), None) => {
                self.sound = false;
                if !self.block.torn {
                    rows::missing_label(self.row, self.block, evaluator);
                }
            }
            _ => {}
        }
    }

    fn read_key(&mut self, attribute: &Attribute, evaluator: &Evaluator<'_>) {
        let name = &attribute.name;
        let Some(key) = self.row.keys.iter().find(|key| key.name == name.text) else {
            self.unknown_key(attribute, evaluator);
            self.sound = false;
            drop(evaluator.value(&attribute.value));
            return;
        };
        if let Some(first) = self.written.get(key.name) {
            let message = format!("the key `{}` is there twice", key.name);
            let problem = Problem::new(Code::DuplicateKey, name.span, message);
            evaluator.report(problem.also(*first, "first here").hint("remove one of them"));
            self.sound = false;
            return;
        }
        let span = attribute.value.span;
        self.written.insert(key.name, span);
        match self.key_value(key, &attribute.value, evaluator) {
            Some(typed) => drop(self.values.insert(key.name, (typed, span))),
            None => self.sound = false,
        }
    }

    fn key_value(&self, key: &Key, expression: &Expression, evaluator: &Evaluator<'_>) -> Option<Typed> {
        let value = match &expression.kind {
            // Terraform writes types without quotes.
            ast::Kind::Word(word) if self.row.name == "variable" && key.name == "type" => {
                Value::new(Data::Text(word.clone()), expression.span)
            }
            _ => evaluator.value(expression),
        };
        convert::convert(&key.kind, &value, &format!("`{}`", key.name), evaluator)
    }

    fn unknown_key(&self, attribute: &Attribute, evaluator: &Evaluator<'_>) {
        let name = &attribute.name;
        let names: Vec<&str> = self.row.keys.iter().map(|key| key.name).collect();
        let message = format!("unknown key `{}` in `{}`", name.text, self.row.name);
        let inner = keywords::block_names(Some(self.row.name));
        let hint = if inner.contains(&name.text.as_str()) {
            format!("`{0}` is a block: write `{0} {{` without `=`", name.text)
        } else if names.is_empty() {
            format!("a block `{}` has no keys", self.row.name)
        } else {
            suggest(&name.text, &names)
        };
        evaluator.report(Problem::new(Code::UnknownKey, name.span, message).hint(hint));
    }

    fn read_inner(&mut self, evaluator: &Evaluator<'_>) {
        for block in self.block.body.blocks() {
            let Some(inner) = Fields::read(block, Some(self.row.name), evaluator) else {
                self.sound = false;
                continue;
            };
            let again = self.inner.iter().find(|other| other.row.name == inner.row.name);
            if let Some(first) = again.filter(|_| inner.row.count != Count::Any) {
                let message =
                    format!("a block `{}` has at most one block `{}`", self.row.name, inner.row.name);
                let problem = Problem::new(Code::DuplicateBlock, block.header, message);
                evaluator.report(problem.also(first.block.header, "first here").hint("remove one of them"));
                self.sound = false;
                continue;
            }
            self.inner.push(inner);
        }
    }

    fn missing_keys(&mut self, evaluator: &Evaluator<'_>) {
        for key in self.row.keys.iter().filter(|key| key.need == Need::Required) {
            if self.written.contains_key(key.name) {
                continue;
            }
            self.sound = false;
            if self.whole() && !self.misspelt(key.name) {
                self.missing_key(key, evaluator);
            }
        }
    }

    /// Tells whether an unknown key seems to be this one.
    fn misspelt(&self, key: &str) -> bool {
        let known = |name: &str| self.row.keys.iter().any(|key| key.name == name);
        let unknown = self.block.body.attributes().filter(|attribute| !known(&attribute.name.text));
        unknown.into_iter().any(|attribute| suggest(&attribute.name.text, &[key]).starts_with("did you"))
    }

    fn missing_key(&self, key: &Key, evaluator: &Evaluator<'_>) {
        let message = format!("the key `{}` is missing in `{}`", key.name, self.row.name);
        let problem = Problem::new(Code::MissingKey, self.block.header, message);
        evaluator.report(problem.hint(format!("add it: `{} = {}`", key.name, key.example)));
    }
}
