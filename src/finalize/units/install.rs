//! The section `[Install]` of a unit file (systemd.unit(5), systemd.syntax(7)).

/// What a unit file says of being enabled.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Install {
    pub alias: Vec<String>,
    pub wanted_by: Vec<String>,
    pub required_by: Vec<String>,
    pub upheld_by: Vec<String>,
    pub also: Vec<String>,
    pub default_instance: Option<String>,
}

/// Reads the section `[Install]` of a unit file. Lists may be given in several lines; an empty one clears what
/// stands above it.
pub fn parse(text: &str) -> Install {
    let mut install = Install::default();
    let mut is_inside = false;
    for line in logical_lines(text) {
        let line = line.trim();
        if line.starts_with('[') {
            is_inside = line == "[Install]";
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_inside) else { continue };
        let (key, value) = (key.trim(), value.trim());
        let list = match key {
            "Alias" => &mut install.alias,
            "WantedBy" => &mut install.wanted_by,
            "RequiredBy" => &mut install.required_by,
            "UpheldBy" => &mut install.upheld_by,
            "Also" => &mut install.also,
            "DefaultInstance" => {
                install.default_instance = Some(value.to_owned()).filter(|value| !value.is_empty());
                continue;
            }
            _ => continue,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()));
    }
    install
}

/// Joins lines that end with a backslash; takes remarks out, between such lines too.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        match line.strip_suffix('\\') {
            Some(begun) => {
                whole.push_str(begun);
                whole.push(' ');
                open = Some(whole);
            }
            None => lines.push(whole + line),
        }
    }
    lines.extend(open);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_add_up_and_remarks_do_not_count() {
        let text = "[Unit]\nWantedBy=no.target\n[Install]\n# WantedBy=no.target\nWantedBy=a.target \\\n; remark\n b.target\n\
                    WantedBy=c.target\nAlias = x.service\nAlias=\nAlias=y.service\nAlso=z.socket\nDefaultInstance=tty1\n[X]\nAlias=no\n";
        let install = parse(text);
        assert_eq!(install.wanted_by, ["a.target", "b.target", "c.target"]);
        assert_eq!(install.alias, ["y.service"]);
        assert_eq!(
            (install.also, install.default_instance),
            (vec!["z.socket".to_owned()], Some("tty1".to_owned()))
        );
    }
}
