//! Fragments of sysusers.d(5).

/// One line of a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fragment {
    User {
        name: String,
        id: Option<u32>,
        /// Name or number of the primary group, where it is not one of the user's name.
        group: Option<String>,
        comment: String,
        home: String,
        shell: String,
    },
    Group {
        name: String,
        id: Option<u32>,
    },
    Member {
        user: String,
        group: String,
    },
}

/// Says what is wrong in which line of a fragment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SysusersError {
    /// From 1 on.
    pub line: usize,
    pub problem: String,
}

/// Reads the lines of a file of sysusers.d(5). Ranges (`r`) say nothing here; an id that is a path of the tree
/// counts as none.
pub fn parse(text: &str) -> Result<Vec<Fragment>, SysusersError> {
    let mut fragments = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |problem: String| SysusersError { line: index + 1, problem };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = words(line).map_err(wrong)?;
        fragments.extend(fragment(&words).map_err(wrong)?);
    }
    Ok(fragments)
}

fn fragment(words: &[String]) -> Result<Option<Fragment>, String> {
    let field = |index: usize| words.get(index).map(String::as_str).filter(|word| *word != "-");
    let kind = words[0].trim_end_matches('!');
    if kind == "r" {
        return Ok(None);
    }
    let name = field(1).ok_or("a line names an account behind its type")?.to_owned();
    if !is_name(&name) {
        return Err(format!("{name:?} is no name of an account"));
    }
    Ok(Some(match kind {
        "u" => {
            let (id, group) = user_id(field(2))?;
            let text = |index: usize, default: &str| {
                let value = field(index).unwrap_or(default);
                match value.contains([':', '\n']) {
                    true => Err(format!("{value:?} has a colon, which /etc/passwd has no room for")),
                    false => Ok(value.to_owned()),
                }
            };
            let shell = if id == Some(0) { "/bin/sh" } else { super::NO_SHELL };
            Fragment::User {
                name,
                id,
                group,
                comment: text(3, "")?,
                home: text(4, "/")?,
                shell: text(5, shell)?,
            }
        }
        "g" => Fragment::Group { name, id: field(2).map(number).transpose()?.flatten() },
        "m" => {
            Fragment::Member { user: name, group: field(2).ok_or("a member line names a group")?.to_owned() }
        }
        other => return Err(format!("{other:?} is no type of a line; u, g, m and r are")),
    }))
}

fn user_id(field: Option<&str>) -> Result<(Option<u32>, Option<String>), String> {
    match field.map(|field| field.split_once(':').unwrap_or((field, ""))) {
        None => Ok((None, None)),
        Some((uid, "")) => Ok((number(uid)?, None)),
        Some((uid, group)) => {
            let uid = if uid == "-" { None } else { number(uid)? };
            Ok((uid, Some(group.to_owned())))
        }
    }
}

/// Reads an id; a path, whose owner would be taken, gives none.
fn number(text: &str) -> Result<Option<u32>, String> {
    match text.parse() {
        Ok(u32::MAX) => Err("ids go to 4294967294".to_owned()),
        Ok(id) => Ok(Some(id)),
        Err(_) if text.starts_with('/') => Ok(None),
        Err(_) => Err(format!("{text:?} is no id")),
    }
}

/// Tells whether a text may be the name of an account.
pub(crate) fn is_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_next = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.len() <= 32 && name.bytes().next().is_some_and(is_first) && name.bytes().all(is_next)
}

/// Splits a line at blanks, outside of single and double quotes; a backslash takes the next character as it is.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (_, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (' ' | '\t', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_fragments() {
        let text = "# remark\n\nu messagebus - \"System Message Bus\"\nu! root 0 - /root /bin/bash\n\
                    u sync 4:65534 - /bin /bin/sync\nu web -:www-data 'Web \"x\"'\ng kvm -\ng adm 4\nm web kvm\nr - 500-900\n";
        let fragments = parse(text).expect("parsed");
        let Fragment::User { name, id: None, group: None, comment, home, shell } = &fragments[0] else {
            panic!("{fragments:?}");
        };
        assert_eq!(
            [name.as_str(), comment, home, shell],
            ["messagebus", "System Message Bus", "/", super::super::NO_SHELL]
        );
        assert!(
            matches!(&fragments[2], Fragment::User { id: Some(4), group: Some(group), .. } if group == "65534")
        );
        assert!(matches!(&fragments[3], Fragment::User { id: None, comment, .. } if comment == "Web \"x\""));
        assert_eq!(fragments[4], Fragment::Group { name: "kvm".into(), id: None });
        assert_eq!(fragments[6], Fragment::Member { user: "web".into(), group: "kvm".into() });
        assert_eq!(fragments.len(), 7);
    }

    #[test]
    fn malformed_lines_are_named() {
        for text in [
            "x a\n",
            "u\n",
            "u -\n",
            "u a b\n",
            "u a 4294967295\n",
            "g a:b\n",
            "u a - \"x\n",
            "m a\n",
            "u a - \"a:b\"\n",
            "g ../x\n",
        ] {
            assert_eq!(parse(&format!("# one\n{text}")).expect_err(text).line, 2, "{text}");
        }
    }
}
