//! Relations between packages (Debian Policy 7.1): `a (>= 1) | b:any, c`.

use std::fmt;

use super::version::{self, Version};

/// Says how a version must stand to the one in a relation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// `<<`
    Before,
    /// `<=`; the old `<` means the same.
    AtMost,
    /// `=`
    Equal,
    /// `>=`; the old `>` means the same.
    AtLeast,
    /// `>>`
    After,
}

impl Operator {
    /// Tells whether `found` stands so to `wanted`; what is no version never does.
    pub fn holds(self, found: &str, wanted: &str) -> bool {
        let (Some(found), Some(wanted)) = (Version::parse(found), Version::parse(wanted)) else {
            return false;
        };
        let order = found.cmp(&wanted);
        match self {
            Operator::Before => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::AtLeast => order.is_ge(),
            Operator::After => order.is_gt(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Operator::Before => "<<",
            Operator::AtMost => "<=",
            Operator::Equal => "=",
            Operator::AtLeast => ">=",
            Operator::After => ">>",
        }
    }
}

/// Says of which architecture a package must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Qualifier<'a> {
    /// None is said: that of the package that asks, or one that serves all (`Multi-Arch: foreign`).
    Own,
    /// `:any`
    Any,
    /// `:ARCHITECTURE`
    Is(&'a str),
}

/// Names one package, real or virtual, that would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Atom<'a> {
    pub name: &'a str,
    pub qualifier: Qualifier<'a>,
    pub version: Option<(Operator, &'a str)>,
}

impl Atom<'_> {
    /// Tells whether a version of the named package would do.
    pub fn accepts(&self, version: &str) -> bool {
        self.version.is_none_or(|(operator, wanted)| operator.holds(version, wanted))
    }
}

impl fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.qualifier {
            Qualifier::Own => {}
            Qualifier::Any => f.write_str(":any")?,
            Qualifier::Is(architecture) => write!(f, ":{architecture}")?,
        }
        match self.version {
            Some((operator, version)) => write!(f, " ({} {version})", operator.sign()),
            None => Ok(()),
        }
    }
}

/// Holds the alternatives of one relation, in the order of preference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group<'a> {
    /// As it stands in the field, without the blanks around it.
    pub text: &'a str,
    /// Never empty.
    pub atoms: Vec<Atom<'a>>,
}

/// Says where a field of relations is malformed.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{problem} in {found:?}")]
pub struct RelationError {
    pub problem: &'static str,
    /// The relation, cut to what fits a message.
    pub found: String,
}

/// Reads a field of a binary package for an architecture: what `[…]` keeps from it is left out, `<…>` is passed
/// over. An empty field has no relations; an empty relation is an error.
pub fn parse<'a>(field: &'a str, architecture: &str) -> Result<Vec<Group<'a>>, RelationError> {
    let mut groups = Vec::new();
    if field.trim().is_empty() {
        return Ok(groups);
    }
    for text in field.split(',').map(str::trim) {
        let mut atoms = Vec::with_capacity(1);
        for piece in text.split('|') {
            let wrong = |problem| RelationError { problem, found: text.chars().take(60).collect() };
            atoms.extend(atom(piece.trim(), architecture).map_err(wrong)?);
        }
        if !atoms.is_empty() {
            groups.push(Group { text, atoms });
        }
    }
    Ok(groups)
}

/// Reads the `Provides` field: real names without alternatives, each with an exact version at most.
pub fn parse_provides<'a>(field: &'a str, architecture: &str) -> Result<Vec<Atom<'a>>, RelationError> {
    let groups = parse(field, architecture)?;
    let is_plain = |group: &Group<'_>| {
        let exact = |atom: &Atom<'_>| atom.version.is_none_or(|version| version.0 == Operator::Equal);
        group.atoms.len() == 1 && group.atoms.iter().all(exact)
    };
    match groups.iter().find(|group| !is_plain(group)) {
        Some(group) => {
            let found = group.text.chars().take(60).collect();
            Err(RelationError { problem: "a package can't provide an alternative or a range", found })
        }
        None => Ok(groups.into_iter().flat_map(|group| group.atoms).collect()),
    }
}

/// Reads one alternative; `None` where it does not concern the architecture.
fn atom<'a>(text: &'a str, architecture: &str) -> Result<Option<Atom<'a>>, &'static str> {
    let end = text.find(|c: char| c.is_ascii_whitespace() || "([<".contains(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let (name, qualifier) = match name.split_once(':') {
        None => (name, Qualifier::Own),
        Some((name, "any")) => (name, Qualifier::Any),
        Some((name, architecture)) if super::name::is_architecture(architecture) => {
            (name, Qualifier::Is(architecture))
        }
        Some(_) => return Err("expected an architecture behind the colon"),
    };
    if !super::name::is_package(name) {
        return Err("expected the name of a package");
    }
    let mut atom = Atom { name, qualifier, version: None };
    if let Some(inside) = take(&mut rest, '(', ')')? {
        atom.version = Some(constraint(inside)?);
    }
    let concerns = take(&mut rest, '[', ']')?.map_or(Ok(true), |list| concerns(list, architecture))?;
    while take(&mut rest, '<', '>')?.is_some() {}
    if rest.trim().is_empty() { Ok(concerns.then_some(atom)) } else { Err("unexpected text behind a name") }
}

/// Takes what stands between two signs from the front, if the first one is there.
fn take<'a>(rest: &mut &'a str, open: char, close: char) -> Result<Option<&'a str>, &'static str> {
    let Some(inside) = rest.trim_start().strip_prefix(open) else { return Ok(None) };
    let (inside, behind) = inside.split_once(close).ok_or("a bracket is not closed")?;
    *rest = behind;
    Ok(Some(inside.trim()))
}

fn constraint(text: &str) -> Result<(Operator, &str), &'static str> {
    let signs = [
        ("<<", Operator::Before),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        (">>", Operator::After),
        ("=", Operator::Equal),
        ("<", Operator::AtMost),
        (">", Operator::AtLeast),
    ];
    let found = signs.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?.trim())));
    match found {
        Some((_, version)) if !version::is_version(version) => Err("expected a version"),
        found => found.ok_or("expected <<, <=, =, >= or >> and a version"),
    }
}

/// Tells whether a list of architectures names this one, or does not rule it out.
fn concerns(list: &str, architecture: &str) -> Result<bool, &'static str> {
    let is_this = |word: &str| word == architecture || word == "any" || word == "linux-any";
    let (mut named, mut ruled_out, mut positive) = (false, false, false);
    for word in list.split_ascii_whitespace() {
        let bare = word.strip_prefix('!').unwrap_or(word);
        if !super::name::is_architecture(bare) {
            return Err("expected names of architectures in [ ]");
        }
        match word.starts_with('!') {
            true => ruled_out |= is_this(bare),
            false => (named, positive) = (named || is_this(word), true),
        }
    }
    Ok(!ruled_out && (named || !positive))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(field: &str) -> Vec<String> {
        let groups = parse(field, "amd64").unwrap_or_else(|error| panic!("{error}"));
        let words =
            |group: &Group<'_>| group.atoms.iter().map(Atom::to_string).collect::<Vec<_>>().join(" | ");
        groups.iter().map(words).collect()
    }

    #[test]
    fn every_form_of_policy_parses() {
        let field = "aa,bb (>=1) | cc:any(<< 2~),\n dd:i386 ( = 1:2-3 ) [amd64 arm64] <!nocheck> <x y>";
        assert_eq!(shown(field), ["aa", "bb (>= 1) | cc:any (<< 2~)", "dd:i386 (= 1:2-3)"]);
        assert_eq!(
            shown("aa (< 1), bb (> 1), cc (>> 1), dd (<= 1)").join(" "),
            "aa (<= 1) bb (>= 1) cc (>> 1) dd (<= 1)"
        );
        assert_eq!(shown("aa [i386], bb [!i386], cc [!amd64] | dd [any], ee [!i386 !amd64]"), ["bb", "dd"]);
        assert_eq!(shown(" \n "), [""; 0]);
    }

    #[test]
    fn malformed_relations_are_errors() {
        for field in [
            "aa,",
            ",aa",
            "aa || bb",
            "aa bb",
            "aa (1)",
            "aa (>= )",
            "aa (>= 1",
            "aa (>= 1_2)",
            "aa (~ 1)",
            "A",
            "aa:",
            "aa:A",
            "aa [",
            "aa [A]",
            "aa <x",
            "aa (= 1) (= 2)",
            "((",
            "é",
            "aa [amd64] (= 1)",
        ] {
            assert!(parse(field, "amd64").is_err(), "{field}");
        }
        assert!(parse_provides("aa (= 1), bb", "amd64").is_ok());
        assert!(parse_provides("aa | bb", "amd64").is_err() && parse_provides("aa (>= 1)", "amd64").is_err());
    }
}
