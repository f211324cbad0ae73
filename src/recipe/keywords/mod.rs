//! The only list of blocks and keys. The checker, the suggestions and the reference page read it.

mod patterns;
mod table;

pub(super) use patterns::{ACCOUNT_NAME, Pattern, health_address};
pub(super) use table::BLOCKS;

/// A kind of block.
#[derive(Debug)]
pub(super) struct Block {
    pub name: &'static str,
    /// The block that it stands in; `None`: the recipe itself.
    pub parent: Option<&'static str>,
    pub label: Label,
    pub count: Count,
    pub description: &'static str,
    /// The version of the tool that read it first.
    pub since: &'static str,
    pub keys: &'static [Key],
    /// A whole block, as recipe text.
    pub example: &'static str,
}

/// What stands between a block's name and its brace.
#[derive(Debug, PartialEq)]
pub(super) enum Label {
    None,
    /// This very word: blocks of one name differ by it in their keys.
    Fixed(&'static str),
    /// Text of a kind, and what it means.
    Of(Kind, &'static str),
}

#[derive(Debug, PartialEq)]
pub(super) enum Count {
    ExactlyOne,
    AtMostOne,
    Any,
}

/// A key of a block.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub description: &'static str,
    pub since: &'static str,
    /// A value, as recipe text.
    pub example: &'static str,
}

#[derive(Debug, PartialEq)]
pub(super) enum Need {
    Required,
    /// The default, as recipe text.
    Default(&'static str),
    /// What holds without it, in words.
    Absent(&'static str),
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A string without NUL.
    Text,
    Bool,
    /// A whole number of a range.
    Number(i64, i64),
    /// "64MiB"
    Size,
    /// "auto" or a size.
    AutoSize,
    /// "0644": permission bits, octal.
    Mode,
    /// An absolute path inside the image.
    ImagePath,
    /// A path of the host, relative to the folder of the recipe file.
    HostPath,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A string of a form.
    Pattern(&'static Pattern),
    /// A user or group: a name, or a number.
    Account,
    /// A list of values of a kind; the flag: it must not be empty.
    List(&'static Kind, bool),
    /// An object of names and texts, for the environment.
    Environment,
    /// An object whose keys have a form, and whose values are texts of a kind.
    Map(&'static Pattern, &'static Kind),
    /// An object of extended attributes.
    Attributes,
    /// Any value.
    Any,
}

impl Kind {
    /// Says what is expected, for people.
    pub fn wanted(&self) -> String {
        match self {
            Kind::Text => "a string".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Number(least, most) => format!("a number from {least} to {most}"),
            Kind::Size => "a size such as \"64MiB\"".to_owned(),
            Kind::AutoSize => "\"auto\" or a size such as \"64MiB\"".to_owned(),
            Kind::Mode => "permission bits in octal digits, such as \"0644\"".to_owned(),
            Kind::ImagePath => "an absolute path inside the image".to_owned(),
            Kind::HostPath => "a path of this machine".to_owned(),
            Kind::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
            Kind::Pattern(pattern) => pattern.what.to_owned(),
            Kind::Account => "a name or a number".to_owned(),
            Kind::List(inner, _) => format!("a list, of which each element is {}", inner.wanted()),
            Kind::Environment => "an object of names and texts".to_owned(),
            Kind::Map(keys, values) => {
                format!("an object; each key: {}; each value: {}", keys.what, values.wanted())
            }
            Kind::Attributes => "an object of attribute names and values".to_owned(),
            Kind::Any => "a value".to_owned(),
        }
    }
}

/// Returns the names of the blocks that may stand in a block, or in the recipe itself, each once.
pub(super) fn block_names(parent: Option<&str>) -> Vec<&'static str> {
    let mut names: Vec<&str> =
        BLOCKS.iter().filter(|block| block.parent == parent).map(|block| block.name).collect();
    names.dedup();
    names
}

/// Returns the rows of a block's name: several where a fixed label tells them apart.
pub(super) fn rows(parent: Option<&str>, name: &str) -> Vec<&'static Block> {
    BLOCKS.iter().filter(|block| block.parent == parent && block.name == name).collect()
}
