//! Regular expressions as grep and sed take them (XBD 9.3, 9.4), without back-references.
//!
//! An expression becomes a program; matching visits each pair of instruction and place at most once, so that no
//! expression takes long. Of several fits at one place the first that the program tries counts, as in Perl.

/// Most instructions of a program.
const PROGRAM_MAX: usize = 500;
/// Longest text that is matched, in characters.
const TEXT_MAX: usize = 4096;
/// Deepest nesting of groups.
const DEPTH_MAX: usize = 20;

/// An expression that was understood.
pub(super) struct Regex {
    program: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    One(One),
    Start,
    End,
    /// Between a word and what is none.
    Boundary,
    /// Goes on at both places, the first one first.
    Split(usize, usize),
    Jump(usize),
    /// Remembers the place.
    Save(usize),
    Fits,
}

#[derive(Clone, Debug)]
enum One {
    Any,
    Character(char),
    Set { is_negated: bool, ranges: Vec<(char, char)> },
}

impl One {
    fn fits(&self, character: char) -> bool {
        match self {
            One::Any => true,
            One::Character(own) => *own == character,
            One::Set { is_negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *is_negated
            }
        }
    }
}

/// Where an expression fits, in bytes: the whole, then its groups.
pub(super) type Places = [Option<(usize, usize)>; 10];

impl Regex {
    /// Reads an expression; `None` for one that has more than is understood. In an extended one `+ ? | ( )` are
    /// special without a backslash, in others with one.
    pub fn parse(text: &str, extended: bool) -> Option<Regex> {
        let mut parser = Parser { text: text.chars().collect(), at: 0, extended, groups: 0, depth: 0 };
        let body = parser.either()?;
        if parser.at < parser.text.len() {
            return None;
        }
        let mut program = vec![Step::Save(0)];
        emit(&body, &mut program)?;
        program.extend([Step::Save(1), Step::Fits]);
        (program.len() <= PROGRAM_MAX).then_some(Regex { program })
    }

    /// Returns the first place of a text that fits; `None` where none does, or the text is too long.
    pub fn find(&self, text: &str) -> Option<Places> {
        let characters: Vec<(usize, char)> = text.char_indices().collect();
        if characters.len() > TEXT_MAX {
            return None;
        }
        let mut seen = vec![false; self.program.len() * (characters.len() + 1)];
        (0..=characters.len()).find_map(|start| self.find_at(&characters, start, text.len(), &mut seen))
    }

    fn find_at(
        &self,
        text: &[(usize, char)],
        start: usize,
        length: usize,
        seen: &mut [bool],
    ) -> Option<Places> {
        let byte = |place: usize| text.get(place).map_or(length, |character| character.0);
        let mut waiting = vec![(0, start, [usize::MAX; 20])];
        while let Some((mut at, mut place, mut saved)) = waiting.pop() {
            loop {
                if std::mem::replace(&mut seen[at * (text.len() + 1) + place], true) {
                    break;
                }
                match &self.program[at] {
                    Step::One(one) => match text.get(place) {
                        Some((_, character)) if one.fits(*character) => place += 1,
                        _ => break,
                    },
                    Step::Start if place > 0 => break,
                    Step::End if place < text.len() => break,
                    Step::Boundary if is_word(text, place) == is_word(text, place.wrapping_sub(1)) => break,
                    Step::Start | Step::End | Step::Boundary => {}
                    Step::Split(first, second) => {
                        waiting.push((*second, place, saved));
                        at = *first;
                        continue;
                    }
                    Step::Jump(to) => {
                        at = *to;
                        continue;
                    }
                    Step::Save(slot) => saved[*slot] = byte(place),
                    Step::Fits => {
                        let place = |group: usize| {
                            let (start, end) = (saved[group * 2], saved[group * 2 + 1]);
                            (start <= end && end != usize::MAX).then_some((start, end))
                        };
                        return Some(std::array::from_fn(place));
                    }
                }
                at += 1;
            }
        }
        None
    }
}

/// Tells whether a character of a word stands at a place.
fn is_word(text: &[(usize, char)], place: usize) -> bool {
    text.get(place).is_some_and(|(_, character)| character.is_alphanumeric() || *character == '_')
}

/// An expression as a value.
enum Node {
    One(One),
    Boundary,
    Start,
    End,
    All(Vec<Node>),
    Either(Vec<Node>),
    Group(usize, Box<Node>),
    /// (what, may be none, may be several)
    Repeat(Box<Node>, bool, bool),
}

fn emit(node: &Node, program: &mut Vec<Step>) -> Option<()> {
    if program.len() > PROGRAM_MAX {
        return None;
    }
    match node {
        Node::One(one) => program.push(Step::One(one.clone())),
        Node::Start => program.push(Step::Start),
        Node::End => program.push(Step::End),
        Node::Boundary => program.push(Step::Boundary),
        Node::All(nodes) => nodes.iter().try_for_each(|node| emit(node, program))?,
        Node::Group(number, node) => {
            program.push(Step::Save(number * 2));
            emit(node, program)?;
            program.push(Step::Save(number * 2 + 1));
        }
        Node::Either(nodes) => {
            let mut ends = Vec::new();
            for (index, node) in nodes.iter().enumerate() {
                let split = program.len();
                if index + 1 < nodes.len() {
                    program.push(Step::Fits);
                }
                emit(node, program)?;
                if index + 1 < nodes.len() {
                    ends.push(program.len());
                    program.push(Step::Fits);
                    program[split] = Step::Split(split + 1, program.len());
                }
            }
            let behind = program.len();
            ends.into_iter().for_each(|end| program[end] = Step::Jump(behind));
        }
        Node::Repeat(node, none, several) => {
            let start = program.len();
            if *none {
                program.push(Step::Fits);
            }
            emit(node, program)?;
            if *several {
                let again = if *none { Step::Jump(start) } else { Step::Split(start, program.len() + 1) };
                program.push(again);
            }
            if *none {
                program[start] = Step::Split(start + 1, program.len());
            }
        }
    }
    Some(())
}

struct Parser {
    text: Vec<char>,
    at: usize,
    extended: bool,
    groups: usize,
    depth: usize,
}

impl Parser {
    /// Tells whether a special character comes next, as this kind of expression writes it, and takes it.
    fn eat(&mut self, special: char) -> bool {
        let written: &[char] = if self.extended { &[special] } else { &['\\', special] };
        let is_there = self.text[self.at..].starts_with(written);
        self.at += if is_there { written.len() } else { 0 };
        is_there
    }

    fn is_closed(&mut self) -> bool {
        let before = self.at;
        let is_closed = self.at == self.text.len() || self.eat('|') || (self.depth > 0 && self.eat(')'));
        self.at = before;
        is_closed
    }

    fn either(&mut self) -> Option<Node> {
        let mut branches = vec![self.all()?];
        while self.eat('|') {
            branches.push(self.all()?);
        }
        Some(if branches.len() == 1 { branches.remove(0) } else { Node::Either(branches) })
    }

    fn all(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        let first = self.at;
        while !self.is_closed() {
            let is_first = self.at == first;
            let node = self.one(is_first)?;
            nodes.push(self.repeated(node)?);
        }
        Some(Node::All(nodes))
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let (none, several) = match () {
            () if self.text.get(self.at) == Some(&'*') => {
                self.at += 1;
                (true, true)
            }
            () if self.eat('+') => (false, true),
            () if self.eat('?') => (true, false),
            () => return Some(node),
        };
        // What may be empty is not repeated: the program would go round.
        matches!(node, Node::One(_) | Node::Group(..)).then(|| Node::Repeat(Box::new(node), none, several))
    }

    fn one(&mut self, is_first: bool) -> Option<Node> {
        if self.eat('(') {
            self.groups += 1;
            self.depth += 1;
            if self.groups > 9 || self.depth > DEPTH_MAX {
                return None;
            }
            let number = self.groups;
            let inner = self.either()?;
            self.depth -= 1;
            return self.eat(')').then(|| Node::Group(number, Box::new(inner)));
        }
        let character = self.text[self.at];
        self.at += 1;
        Some(match character {
            '^' if is_first || self.extended => Node::Start,
            '$' if self.extended || self.is_closed() => Node::End,
            '.' => Node::One(One::Any),
            '[' => Node::One(self.set()?),
            '\\' => {
                let next = *self.text.get(self.at)?;
                self.at += 1;
                match next {
                    's' => Node::One(One::Set { is_negated: false, ranges: class("space")? }),
                    'S' => Node::One(One::Set { is_negated: true, ranges: class("space")? }),
                    'b' | '<' | '>' => Node::Boundary,
                    't' => Node::One(One::Character('\t')),
                    next if next.is_ascii_punctuation() && !"<>`'".contains(next) => {
                        if !self.extended && "{}".contains(next) {
                            return None;
                        }
                        Node::One(One::Character(next))
                    }
                    _ => return None,
                }
            }
            '{' | '}' | '+' | '?' | ')' if self.extended => return None,
            '*' if self.extended || !is_first => return None,
            character => Node::One(One::Character(character)),
        })
    }

    fn set(&mut self) -> Option<One> {
        let is_negated = self.text.get(self.at) == Some(&'^');
        self.at += usize::from(is_negated);
        let (first, mut ranges) = (self.at, Vec::new());
        loop {
            let low = *self.text.get(self.at)?;
            match low {
                ']' if self.at > first => {
                    self.at += 1;
                    return Some(One::Set { is_negated, ranges });
                }
                '[' if self.text.get(self.at + 1) == Some(&':') => {
                    let rest: String = self.text[self.at + 2..].iter().collect();
                    let name = rest.split_once(":]")?.0;
                    ranges.extend(class(name)?);
                    self.at += name.chars().count() + 4;
                }
                low => match self.text.get(self.at + 1..self.at + 3) {
                    Some(['-', high]) if *high != ']' => {
                        ranges.push((low, *high));
                        self.at += 3;
                    }
                    _ => {
                        ranges.push((low, low));
                        self.at += 1;
                    }
                },
            }
        }
    }
}

fn class(name: &str) -> Option<Vec<(char, char)>> {
    Some(match name {
        "space" => vec![(' ', ' '), ('\t', '\r')],
        "blank" => vec![(' ', ' '), ('\t', '\t')],
        "digit" => vec![('0', '9')],
        "alpha" => vec![('a', 'z'), ('A', 'Z')],
        "alnum" => vec![('a', 'z'), ('A', 'Z'), ('0', '9')],
        "upper" => vec![('A', 'Z')],
        "lower" => vec![('a', 'z')],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(regex: &str, extended: bool, text: &str) -> Option<(usize, usize)> {
        Regex::parse(regex, extended).expect(regex).find(text)?[0]
    }

    #[test]
    fn expressions_fit_as_grep_fits_them() {
        for (regex, text, place) in [
            ("^shadow:[^:]*:42", "shadow:x:42:", Some((0, 11))),
            ("b*", "abb", Some((0, 0))),
            ("ab*", "xabbb", Some((1, 5))),
            ("a.c$", "abcabc", Some((3, 6))),
            ("^x", "ax", None),
            ("[[:space:]]", "a b", Some((1, 2))),
            ("a+", "aa+", Some((1, 3))),
            ("a$b", "a$b", Some((0, 3))),
            ("\\(ab\\)*c", "xababc", Some((1, 6))),
            ("a\\|b", "xb", Some((1, 2))),
            ("é.", "xéy", Some((1, 4))),
            ("\\bb\\b", "ab b", Some((3, 4))),
        ] {
            assert_eq!(find(regex, false, text), place, "{regex}");
        }
        for (regex, text, place) in [
            ("^passwd:[^#]*\\s(systemd)(\\s|#|$)", "passwd: files systemd", Some((0, 21))),
            ("(a|b)+c?", "xabba", Some((1, 5))),
            ("a|b|", "c", Some((0, 0))),
            ("\\.d(/|$)", "x.d", Some((1, 3))),
        ] {
            assert_eq!(find(regex, true, text), place, "{regex}");
        }
        for regex in ["[a", "a**", "\\w", "\\", "a\\{2\\}", "\\(a", "\\B"] {
            assert!(Regex::parse(regex, false).is_none(), "{regex}");
        }
        for regex in ["a{2}", "(a", "(a))", "a++"] {
            assert!(Regex::parse(regex, true).is_none(), "{regex}");
        }
    }

    #[test]
    fn groups_are_remembered_and_nothing_takes_long() {
        let places =
            Regex::parse(".*\\.\\(.*\\)\\..*", false).expect("read").find("psql.1.gz").expect("fits");
        assert_eq!(places[1], Some((5, 6)));
        let hard = Regex::parse(&"(a*)*".repeat(9), true).expect("read");
        assert!(hard.find(&"a".repeat(4000)).is_some());
        let hard = Regex::parse("(a|aa)+$", true).expect("read");
        assert!(hard.find(&("a".repeat(4000) + "b")).is_none());
        assert!(Regex::parse(&"(".repeat(10_000), true).is_none());
    }
}
