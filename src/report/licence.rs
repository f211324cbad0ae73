//! Licences as packages state them, as SPDX expressions (SPDX 2.3, annex D). A name of a list that everybody knows
//! stays; any other becomes a `LicenseRef-…` with the text that the package gives. Nothing is guessed from prose.

use std::collections::{BTreeMap, BTreeSet};

use crate::packages::deb::control;

/// Longest copyright file that is read, in bytes.
pub const COPYRIGHT_BYTES_MAX: u64 = 4 << 20;
/// Longest text of a licence that a bill carries, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What a package says of its licence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Licence {
    pub expression: String,
    /// Name and text of each `LicenseRef-…` of the expression, by reference.
    pub texts: BTreeMap<String, (String, String)>,
}

/// Where a licence is stated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dialect {
    Debian,
    Rpm,
}

/// Identifiers of the SPDX list that are taken as they are.
const KNOWN: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AFL-3.0",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CECILL-2.1",
    "curl",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.2",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.1-or-later",
    "GFDL-1.2-only",
    "GFDL-1.2-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "Libpng",
    "LPPL-1.3c",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-1.1",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "NTP",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PostgreSQL",
    "PSF-2.0",
    "Python-2.0",
    "QPL-1.0",
    "Ruby",
    "SISSL",
    "Sleepycat",
    "SMLNJ",
    "TCL",
    "Unicode-DFS-2016",
    "Unlicense",
    "UPL-1.0",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "Zlib",
    "ZPL-2.1",
];

/// Names of Debian's machine-readable form (its specification, "License short name") that SPDX spells otherwise.
const DEBIAN: &[(&str, &str)] = &[
    ("Expat", "MIT"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("GPL-1", "GPL-1.0-only"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("AGPL-3", "AGPL-3.0-only"),
    ("AGPL-3+", "AGPL-3.0-or-later"),
    ("GFDL-1.2", "GFDL-1.2-only"),
    ("GFDL-1.2+", "GFDL-1.2-or-later"),
    ("GFDL-1.3", "GFDL-1.3-only"),
    ("GFDL-1.3+", "GFDL-1.3-or-later"),
    ("CC0", "CC0-1.0"),
    ("ZLIB", "Zlib"),
];

/// Names that RPM packages used before they took SPDX's.
const RPM: &[(&str, &str)] = &[
    ("ASL 2.0", "Apache-2.0"),
    ("GPL+", "GPL-1.0-or-later"),
    ("GPLv2", "GPL-2.0-only"),
    ("GPLv2+", "GPL-2.0-or-later"),
    ("GPLv3", "GPL-3.0-only"),
    ("GPLv3+", "GPL-3.0-or-later"),
    ("LGPLv2", "LGPL-2.0-only"),
    ("LGPLv2+", "LGPL-2.0-or-later"),
    ("LGPLv3", "LGPL-3.0-only"),
    ("LGPLv3+", "LGPL-3.0-or-later"),
    ("MPLv2.0", "MPL-2.0"),
    ("zlib", "Zlib"),
];

/// Reads a copyright file of Debian's machine-readable form (DEP-5): all licences of its `Files` paragraphs, each of
/// which holds for a part of the source. `None` for prose, and for what does not parse.
pub fn of_copyright(text: &str) -> Option<Licence> {
    let is_form = |format: &str| {
        let format = format.trim().trim_end_matches('/');
        format.contains("copyright-format/1.0") || format.contains("dep/dep5")
    };
    let stanzas = control::stanzas(text).ok()?;
    stanzas.first()?.get("Format").filter(|format| is_form(format))?;
    let mut texts = BTreeMap::new();
    let mut names = BTreeSet::new();
    for stanza in &stanzas {
        let Some(field) = stanza.get("License") else { continue };
        let (name, body) = field.split_once('\n').unwrap_or((field, ""));
        let name = name.trim();
        if !body.trim().is_empty() {
            texts.entry(name.to_owned()).or_insert_with(|| plain(body));
        }
        if stanza.get("Files").is_some() && !name.is_empty() {
            names.insert(name.to_owned());
        }
    }
    let mut licence = Licence { expression: String::new(), texts: BTreeMap::new() };
    let mut all = BTreeSet::new();
    for name in &names {
        let text = |word: &str| texts.get(word).or_else(|| texts.get(name)).cloned();
        all.insert(licence.expression_of(name, Dialect::Debian, &text));
    }
    licence.join(all)
}

/// Reads the `License` tag of an RPM package.
pub fn of_tag(tag: &str) -> Option<Licence> {
    let mut licence = Licence { expression: String::new(), texts: BTreeMap::new() };
    let text = |_: &str| Some(format!("The package states: {tag}"));
    let expression = licence.expression_of(tag.trim(), Dialect::Rpm, &text);
    licence.join([expression].into())
}

impl Licence {
    fn join(mut self, all: BTreeSet<String>) -> Option<Licence> {
        let several = all.len() > 1;
        let bracketed = all
            .into_iter()
            .filter(|one| !one.is_empty())
            .map(|one| if several && one.contains(" OR ") { format!("({one})") } else { one });
        self.expression = bracketed.collect::<Vec<_>>().join(" AND ");
        (!self.expression.is_empty()).then_some(self)
    }

    /// Translates what a package calls its licence. `A, or B and C`: a comma binds least.
    fn expression_of(
        &mut self,
        name: &str,
        dialect: Dialect,
        text: &dyn Fn(&str) -> Option<String>,
    ) -> String {
        // Brackets and what stands behind `with` have no fixed spelling in either dialect.
        let has_words = |word: &str| name.split_whitespace().any(|found| found.eq_ignore_ascii_case(word));
        if name.contains(['(', ')']) || has_words("with") {
            return self.word(name, dialect, text);
        }
        let mut out = String::new();
        for (index, outer) in name.split(',').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
            let (join, outer) = leading(outer).unwrap_or(("AND", outer));
            let inner = self.inner(outer, dialect, text);
            let is_mixed = name.contains(',') && inner.contains(' ');
            let inner = if is_mixed { format!("({inner})") } else { inner };
            out = if index == 0 { inner } else { format!("{out} {join} {inner}") };
        }
        out
    }

    fn inner(&mut self, text: &str, dialect: Dialect, body: &dyn Fn(&str) -> Option<String>) -> String {
        let mut out = Vec::new();
        let mut word: Vec<&str> = Vec::new();
        for next in text.split_whitespace() {
            let join = ["and", "or"].into_iter().find(|join| join.eq_ignore_ascii_case(next));
            match join {
                Some(join) if !word.is_empty() => {
                    out.push(self.word(&word.join(" "), dialect, body));
                    out.push(join.to_uppercase());
                    word.clear();
                }
                Some(_) => {}
                None => word.push(next),
            }
        }
        match word.is_empty() {
            true => drop(out.pop()),
            false => out.push(self.word(&word.join(" "), dialect, body)),
        }
        out.join(" ")
    }

    /// Translates the name of one licence.
    fn word(&mut self, name: &str, dialect: Dialect, text: &dyn Fn(&str) -> Option<String>) -> String {
        let table = if dialect == Dialect::Debian { DEBIAN } else { RPM };
        if let Some((_, known)) = table.iter().find(|known| known.0 == name) {
            return (*known).to_owned();
        }
        if let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            return (*known).to_owned();
        }
        let reference = reference(name, dialect);
        let text = text(name)
            .unwrap_or_else(|| format!("The package names this licence {name:?} and gives no text."));
        self.texts.insert(reference.clone(), (name.to_owned(), text));
        reference
    }
}

/// Splits off the word that joins a part behind a comma.
fn leading(text: &str) -> Option<(&'static str, &str)> {
    [("and ", "AND"), ("or ", "OR")]
        .into_iter()
        .find_map(|(word, join)| text.strip_prefix(word).map(|rest| (join, rest.trim_start())))
}

/// Names a licence that no list has: letters, digits, `.` and `-`, and a digest, so that no two names are one.
fn reference(name: &str, dialect: Dialect) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let short: String = name.chars().take(40).map(plain).collect();
    let digest = crate::base::Digest::of(name.as_bytes()).to_string();
    let dialect = if dialect == Dialect::Debian { "Debian" } else { "RPM" };
    format!("LicenseRef-{dialect}-{}-{}", short.trim_matches('-'), &digest[..8])
}

/// Takes a text out of its field: continuation lines lose their blank, lines of one dot are empty.
fn plain(body: &str) -> String {
    let line = |line: &str| match line.strip_prefix([' ', '\t']).unwrap_or(line) {
        "." => String::new(),
        line => line.trim_end().to_owned(),
    };
    let mut text = body.lines().map(line).collect::<Vec<_>>().join("\n");
    if text.len() > TEXT_BYTES_MAX {
        let cut = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push_str("\n[…]");
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";

    fn expression(paragraphs: &str) -> Option<String> {
        of_copyright(&format!("{HEAD}{paragraphs}")).map(|licence| licence.expression)
    }

    #[test]
    fn names_of_debian_become_those_of_spdx() {
        let files = |licence: &str| expression(&format!("Files: *\nCopyright: x\nLicense: {licence}\n"));
        assert_eq!(files("GPL-2+").as_deref(), Some("GPL-2.0-or-later"));
        assert_eq!(files("GPL-1+ or Artistic-1.0").as_deref(), Some("GPL-1.0-or-later OR Artistic-1.0"));
        assert_eq!(files("Expat, and BSD-3-clause or ISC").as_deref(), Some("MIT AND (BSD-3-Clause OR ISC)"));
        assert_eq!(files("Apache-2.0\n text\n .\n more").as_deref(), Some("Apache-2.0"));
    }

    #[test]
    fn every_part_of_a_source_counts_and_every_licence_once() {
        let text = "Files: *\nLicense: GPL-2+ or MIT\n\nFiles: a\nLicense: ISC\n\nFiles: b\nLicense: ISC\n\n\
            License: ISC\n text\n";
        assert_eq!(expression(text).as_deref(), Some("(GPL-2.0-or-later OR MIT) AND ISC"));
    }

    #[test]
    fn a_name_of_no_list_keeps_its_text() {
        let text = "Files: *\nLicense: my licence/1\n Do\n .\n what you like.\n";
        let licence = of_copyright(&format!("{HEAD}{text}")).expect("a licence");
        let (reference, (name, text)) = licence.texts.iter().next().expect("a text");
        assert_eq!(licence.expression, *reference);
        assert!(reference.starts_with("LicenseRef-Debian-my-licence-1-"), "{reference}");
        assert_eq!((name.as_str(), text.as_str()), ("my licence/1", "Do\n\nwhat you like."));
        let other = of_copyright(&format!("{HEAD}Files: *\nLicense: my-licence-1\n x\n")).expect("a licence");
        assert_ne!(other.expression, *reference);
    }

    #[test]
    fn prose_says_nothing() {
        assert_eq!(of_copyright("This package was debianized by A. N. Other.\n\nLicense: GPL-2\n"), None);
        assert_eq!(of_copyright(""), None);
        assert_eq!(expression("Files: *\nLicense:\n"), None);
        assert_eq!(expression("Files: *\nLicense: , and\n"), None);
    }

    #[test]
    fn tags_of_rpm_are_read_in_both_spellings() {
        let of = |tag: &str| of_tag(tag).map(|licence| licence.expression);
        assert_eq!(of("GPLv2+ and MIT").as_deref(), Some("GPL-2.0-or-later AND MIT"));
        assert_eq!(of("GPL-2.0-or-later AND MIT").as_deref(), Some("GPL-2.0-or-later AND MIT"));
        assert!(of("(A or B) with exceptions").is_some_and(|text| text.starts_with("LicenseRef-RPM-")));
        assert_eq!(of(""), None);
    }
}
