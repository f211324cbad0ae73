//! The scripts of packages that come to a new system: which there are, and what they would do.

use super::error::FinalizeError;
use super::lay::Read;
use super::shell::{self, Effect};
use super::tags;

/// Flags of triggers that fire when what they wait for comes (`RPMSENSE_TRIGGERIN`, `RPMSENSE_TRIGGERPREIN`).
const TRIGGER_IN: u64 = 1 << 16 | 1 << 25;
/// Shells whose language [`shell`] reads.
const SHELLS: [&str; 6] =
    ["/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash", "/bin/dash", "/usr/bin/dash"];

/// A script that would run when a package comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    pub package: String,
    /// `post`, `triggerin 0`, `transfiletriggerin 2`.
    pub name: String,
    /// Program and options; `<lua>` is rpm's own interpreter.
    pub interpreter: Vec<String>,
    pub body: Vec<u8>,
    /// What the script is called with.
    pub arguments: Vec<String>,
}

/// Scripts that run when a package comes, in their order.
const ON_INSTALL: [(&str, u32, u32); 4] = [
    ("pretrans", tags::PRETRANS, tags::PRETRANSPROG),
    ("pre", tags::PREIN, tags::PREINPROG),
    ("post", tags::POSTIN, tags::POSTINPROG),
    ("posttrans", tags::POSTTRANS, tags::POSTTRANSPROG),
];

/// Tags of one kind of trigger.
struct Triggers {
    name: &'static str,
    scripts: u32,
    programs: u32,
    names: u32,
    indexes: u32,
    flags: u32,
}

const TRIGGERS: Triggers = Triggers {
    name: "triggerin",
    scripts: tags::TRIGGERSCRIPTS,
    programs: tags::TRIGGERSCRIPTPROG,
    names: tags::TRIGGERNAME,
    indexes: tags::TRIGGERINDEX,
    flags: tags::TRIGGERFLAGS,
};
const FILE_TRIGGERS: Triggers = Triggers {
    name: "filetriggerin",
    scripts: tags::FILETRIGGERSCRIPTS,
    programs: tags::FILETRIGGERSCRIPTPROG,
    names: tags::FILETRIGGERNAME,
    indexes: tags::FILETRIGGERINDEX,
    flags: tags::FILETRIGGERFLAGS,
};
const TRANSACTION_FILE_TRIGGERS: Triggers = Triggers {
    name: "transfiletriggerin",
    scripts: tags::TRANSFILETRIGGERSCRIPTS,
    programs: tags::TRANSFILETRIGGERSCRIPTPROG,
    names: tags::TRANSFILETRIGGERNAME,
    indexes: tags::TRANSFILETRIGGERINDEX,
    flags: tags::TRANSFILETRIGGERFLAGS,
};

/// Returns a package's scripts that run when all of `packages` come at once.
pub(super) fn of(package: &Read<'_>, packages: &[Read<'_>]) -> Vec<Script> {
    let header = &package.header;
    let mut scripts = Vec::new();
    for (name, body, program) in ON_INSTALL {
        if header.has(body) || header.has(program) {
            scripts.push(Script {
                package: package.name().to_owned(),
                name: name.to_owned(),
                interpreter: interpreter(header.texts(program)),
                body: header.texts(body).first().map(|body| body.to_vec()).unwrap_or_default(),
                arguments: vec!["1".to_owned()],
            });
        }
    }
    let is_named = |name: &[u8]| packages.iter().any(|other| other.name().as_bytes() == name);
    scripts.extend(triggered(package, &TRIGGERS, &["1", "1"], &is_named));
    let has_files = |prefix: &[u8]| {
        let files = packages.iter().flat_map(|other| &other.table.files);
        files.map(|file| file.path.as_bytes()).any(|path| path.starts_with(prefix))
    };
    scripts.extend(triggered(package, &FILE_TRIGGERS, &["1", "1"], &has_files));
    scripts.extend(triggered(package, &TRANSACTION_FILE_TRIGGERS, &["1", "1"], &has_files));
    scripts
}

/// Returns the scripts of a package's triggers that fire.
fn triggered(
    package: &Read<'_>,
    triggers: &Triggers,
    arguments: &[&str],
    fires: &dyn Fn(&[u8]) -> bool,
) -> Vec<Script> {
    let header = &package.header;
    let (names, flags) = (header.texts(triggers.names), header.numbers(triggers.flags));
    let (indexes, bodies) = (header.numbers(triggers.indexes), header.texts(triggers.scripts));
    let programs = header.texts(triggers.programs);
    let mut fired = std::collections::BTreeSet::new();
    for ((name, flags), index) in names.iter().zip(flags).zip(indexes) {
        if flags & TRIGGER_IN != 0 && fires(name) {
            fired.insert(index as usize);
        }
    }
    let script = |index: usize| {
        Some(Script {
            package: package.name().to_owned(),
            name: format!("{} {index}", triggers.name),
            interpreter: interpreter(programs.get(index).copied().into_iter().collect()),
            body: bodies.get(index)?.to_vec(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        })
    };
    fired.into_iter().filter_map(script).collect()
}

fn interpreter(words: Vec<&[u8]>) -> Vec<String> {
    let words: Vec<String> =
        words.into_iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if words.is_empty() { vec!["/bin/sh".to_owned()] } else { words }
}

/// Says what a script does, or which of its lines are not understood.
pub fn classify(script: &Script, exists: &dyn Fn(&str) -> bool) -> Result<Vec<Effect>, FinalizeError> {
    let text = String::from_utf8_lossy(&script.body);
    let unknown = |lines: Vec<(usize, String)>| FinalizeError::Script {
        package: script.package.clone(),
        script: script.name.clone(),
        interpreter: script.interpreter.join(" "),
        lines,
    };
    let program = script.interpreter.first().map_or("", String::as_str);
    let is_ldconfig = program.rsplit('/').next() == Some("ldconfig");
    let arguments: Vec<&str> = script.arguments.iter().map(String::as_str).collect();
    match program {
        _ if is_ldconfig && text.trim().is_empty() => Ok(vec![Effect::Cache("ld.so.cache")]),
        program if SHELLS.contains(&program) => shell::read(&text, &arguments, exists).map_err(unknown),
        program => {
            let comment = if program == "<lua>" { "--" } else { "#" };
            let is_code = |line: &str| !line.trim().is_empty() && !line.trim().starts_with(comment);
            let lines = (1..).zip(text.lines()).filter(|(_, line)| is_code(line));
            let lines: Vec<(usize, String)> = lines.map(|(number, line)| (number, line.to_owned())).collect();
            if lines.is_empty() { Ok(Vec::new()) } else { Err(unknown(lines)) }
        }
    }
}
