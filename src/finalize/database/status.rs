//! Stanzas of `/var/lib/dpkg/status`, in dpkg's own order of fields (`lib/dpkg/parse.c`, `fieldinfos`).

use crate::finalize::Package;

/// Fields that dpkg knows, in the order in which it writes them. `Status` and `Conffiles` are its own.
const ORDER: [&str; 26] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
    "Homepage",
];
/// Where the fields that dpkg does not know begin: `Homepage` is one of them.
const KNOWN: usize = 25;

/// Writes the stanza of a package. `installed` holds the lines of `Conffiles`; without it the stanza is the
/// control file's own, in its own order.
pub(super) fn stanza(package: &Package<'_>, installed: Option<&[String]>) -> String {
    let mut text = String::new();
    let Some(conffiles) = installed else {
        for (name, value) in package.fields {
            put(&mut text, name, value);
        }
        return text;
    };
    for name in &ORDER[..KNOWN] {
        match *name {
            "Status" => put(&mut text, name, "install ok installed"),
            "Conffiles" if !conffiles.is_empty() => {
                put(&mut text, name, &format!("\n{}", conffiles.join("\n")));
            }
            name => {
                if let Some(value) = package.field(name).filter(|value| !value.is_empty()) {
                    put(&mut text, name, value);
                }
            }
        }
    }
    for (name, value) in package.fields {
        let is_known = ORDER[..KNOWN].iter().any(|known| known.eq_ignore_ascii_case(name));
        if !is_known && !value.is_empty() {
            put(&mut text, name, value);
        }
    }
    text
}

fn put(text: &mut String, name: &str, value: &str) {
    let gap = if value.starts_with('\n') { "" } else { " " };
    text.push_str(&format!("{name}:{gap}{value}\n"));
}
