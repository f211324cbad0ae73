//! PAM's common stacks, put together from the profiles that packages bring, as pam-auth-update(8) does on a
//! fresh installation.

use std::collections::BTreeMap;

use super::FinalizeError;
use super::world::{World, path};
use crate::base::Name;

const PROFILES: &str = "/usr/share/pam-configs";
const TEMPLATES: &str = "/usr/share/pam";
const STACKS: [&str; 5] = ["auth", "account", "password", "session", "session-noninteractive"];

/// Lines of the templates between which the modules stand.
const PRIMARY_BEGINS: &str = "# here are the per-package modules (the \"Primary\" block)";
const PRIMARY_ENDS: &str = "# here's the fallback if no module succeeds";
const ADDITIONAL_BEGINS: &str = "# and here are more per-package modules (the \"Additional\" block)";
const ADDITIONAL_ENDS: &str = "# end of pam-auth-update config";
/// A module that Debian has taken away: profiles that name it are passed over.
const GONE: &str = "pam_tally";
/// What a stack without modules begins with.
const PERMIT: &str = "[default=1]\t\t\tpam_permit.so";

/// One file of `/usr/share/pam-configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Profile {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Profile {
    fn parse(name: &str, text: &str) -> Self {
        let mut fields = BTreeMap::<String, String>::new();
        let mut field = String::new();
        for line in text.lines() {
            let header = line.split_once(':').filter(|(name, value)| {
                !name.is_empty()
                    && !name.contains([' ', '\t'])
                    && (value.is_empty() || value.starts_with([' ', '\t']))
            });
            match header {
                Some((header, value)) => {
                    field = header.strip_suffix("-Final").unwrap_or(header).to_owned();
                    fields.insert(field.clone(), value.trim().to_owned());
                }
                None if !line.trim().is_empty() => {
                    let lines = fields.entry(field.clone()).or_default();
                    if !lines.is_empty() {
                        lines.push('\n');
                    }
                    lines.push_str(line.trim());
                }
                None => {}
            }
        }
        if !fields.contains_key("Session-Interactive-Only") {
            for end in ["-Type", "", "-Initial"] {
                if let Some(value) = fields.get(&format!("Session{end}")).cloned() {
                    fields.insert(format!("Session-noninteractive{end}"), value);
                }
            }
        }
        Profile { name: name.to_owned(), fields }
    }

    fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn priority(&self) -> i64 {
        self.get("Priority").parse().unwrap_or(0)
    }

    /// Returns the module lines for a stack; the first module of a block may have lines of its own.
    fn lines(&self, stack: &str, is_first: bool) -> &str {
        let initial = self.get(&format!("{stack}-Initial"));
        if is_first && !initial.is_empty() { initial } else { self.get(stack) }
    }
}

/// Writes the stacks that are not there yet, and the state that pam-auth-update keeps of them.
pub(super) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    if world.directory(&path(TEMPLATES)).is_none() || world.directory(&path(PROFILES)).is_none() {
        return Ok(());
    }
    let mut profiles = Vec::new();
    for name in world.names(&path(PROFILES)) {
        let text = world.read_text(&path(PROFILES).join(&name))?.unwrap_or_default();
        let name = name.to_string();
        let is_backup = name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'));
        if !is_backup && !text.contains(GONE) {
            profiles.push(Profile::parse(&name, &text));
        }
    }
    profiles.sort_by(|a, b| b.priority().cmp(&a.priority()).then_with(|| b.name.cmp(&a.name)));
    let seen: String = profiles.iter().map(|profile| format!("{}\n", profile.name)).collect();
    let enabled = enabled(profiles);
    for stack in STACKS {
        let place = path("/etc/pam.d")
            .join(&Name::new(format!("common-{stack}").as_bytes()).expect("because it is a name"));
        let template = path(&format!("{TEMPLATES}/common-{stack}"));
        let Some(template) = world.read_text(&template)?.filter(|_| !world.exists(&place)) else { continue };
        match stack_of(&template, stack, &enabled) {
            Some(text) => world.write(&place, text.as_bytes(), 0o644)?,
            None => {
                let problem = "the template has not the four lines between which modules stand".to_owned();
                return Err(FinalizeError::Place { path: place, problem });
            }
        }
        world.write(&path(&format!("/var/lib/pam/{stack}")), state_of(stack, &enabled).as_bytes(), 0o644)?;
    }
    world.write(&path("/var/lib/pam/seen"), seen.as_bytes(), 0o644)
}

/// Returns the profiles that are on by default; of two in conflict, the one of higher priority.
fn enabled(profiles: Vec<Profile>) -> Vec<Profile> {
    let mut enabled: Vec<Profile> = Vec::new();
    for profile in profiles.into_iter().filter(|profile| profile.get("Default") == "yes") {
        let conflicts = |one: &Profile, other: &Profile| {
            one.get("Conflicts").split(',').any(|name| name.trim() == other.name)
        };
        if !enabled.iter().any(|other| conflicts(other, &profile) || conflicts(&profile, other)) {
            enabled.push(profile);
        }
    }
    enabled
}

/// Returns the name of a stack as fields of profiles spell it.
fn capital(stack: &str) -> String {
    let (first, rest) = stack.split_at(1);
    first.to_uppercase() + rest
}

/// Fills a template.
fn stack_of(template: &str, stack: &str, enabled: &[Profile]) -> Option<String> {
    let kind = stack.strip_suffix("-noninteractive").unwrap_or(stack);
    let mut text = String::new();
    let mut waited: Option<&str> = None;
    let mut blocks =
        [(PRIMARY_BEGINS, PRIMARY_ENDS, "Primary"), (ADDITIONAL_BEGINS, ADDITIONAL_ENDS, "Additional")]
            .into_iter();
    let mut next = blocks.next();
    for line in template.split_inclusive('\n') {
        if let Some(end) = waited {
            if !line.starts_with(end) {
                continue;
            }
            waited = None;
        }
        text.push_str(line);
        if let Some((begin, end, block)) = next.filter(|block| line.starts_with(block.0)) {
            debug_assert!(!begin.is_empty());
            text.push_str(&modules(kind, &capital(stack), block, enabled));
            waited = Some(end);
            next = blocks.next();
        }
    }
    (waited.is_none() && next.is_none()).then_some(text)
}

/// Returns the lines of one block, jumps counted.
fn modules(kind: &str, stack: &str, block: &str, enabled: &[Profile]) -> String {
    let of_block = enabled.iter().filter(|profile| profile.get(&format!("{stack}-Type")) == block);
    let lines: Vec<&str> =
        of_block.enumerate().flat_map(|(index, profile)| profile.lines(stack, index == 0).lines()).collect();
    if lines.is_empty() {
        return if block == "Primary" { format!("{kind}\t{PERMIT}\n") } else { String::new() };
    }
    let mut left = lines.len() - usize::from(block == "Additional");
    let mut text = String::new();
    for line in lines {
        text.push_str(&format!("{kind}\t{}\n", module(line, left)));
        left = left.saturating_sub(1);
    }
    text
}

/// Returns a module line with its jumps counted: control and module as they stand, then the options.
fn module(line: &str, left: usize) -> String {
    let control = match line.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(line.len(), |at| at + 2),
        None => line.find(char::is_whitespace).unwrap_or(line.len()),
    };
    let behind = &line[control..];
    let start = control + (behind.len() - behind.trim_start().len());
    let end = line[start..].find(char::is_whitespace).map_or(line.len(), |at| start + at);
    let options: Vec<&str> = line[end..].split_whitespace().collect();
    format!("{} {}", line[..end].replace("end", &left.to_string()), options.join(" "))
}

/// Returns what pam-auth-update remembers of a stack.
fn state_of(stack: &str, enabled: &[Profile]) -> String {
    let stack = capital(stack);
    let kind = |profile: &Profile| profile.get(&format!("{stack}-Type")).to_owned();
    let mut text = String::new();
    for (skipped, is_primary) in [("Additional", true), ("Primary", false)] {
        let of_block = enabled.iter().filter(|profile| !kind(profile).is_empty() && kind(profile) != skipped);
        let mut count = 0;
        for (index, profile) in of_block.enumerate() {
            count += 1;
            let lines = profile.lines(&stack, index == 0);
            if !lines.is_empty() {
                text.push_str(&format!("Module: {}\n{lines}\n", profile.name));
            }
        }
        if is_primary && count == 0 {
            text.push_str(&format!("Module: null\n{PERMIT}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: &str = "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\nAuth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\nSession-Type: Additional\nSession:\n\trequired\tpam_unix.so\n";

    #[test]
    fn jumps_lead_behind_the_block() {
        let other = "Default: yes\nPriority: 10\nAuth-Type: Primary\nAuth-Final:\n\t[success=end default=ignore]  pam_x.so  use_first_pass\n\t[success=end]  pam_y.so\n";
        let no = "Default: no\nPriority: 900\nAuth-Type: Primary\nAuth:\n\trequired pam_no.so\n";
        let profiles =
            vec![Profile::parse("unix", UNIX), Profile::parse("x", other), Profile::parse("no", no)];
        let enabled = enabled(profiles);
        assert_eq!(
            modules("auth", "Auth", "Primary", &enabled),
            "auth\t[success=3 default=ignore]\tpam_unix.so nullok\nauth\t[success=2 default=ignore]  pam_x.so use_first_pass\nauth\t[success=1]  pam_y.so \n"
        );
        assert_eq!(
            modules("session", "Session", "Primary", &enabled),
            "session\t[default=1]\t\t\tpam_permit.so\n"
        );
        assert_eq!(
            modules("session", "Session-noninteractive", "Additional", &enabled),
            "session\trequired\tpam_unix.so \n"
        );
        assert_eq!(
            state_of("session", &enabled),
            "Module: null\n[default=1]\t\t\tpam_permit.so\nModule: unix\nrequired\tpam_unix.so\n"
        );
    }

    #[test]
    fn a_template_without_its_lines_is_refused() {
        assert_eq!(stack_of("auth required pam_deny.so\n", "auth", &[]), None);
        let open = format!("{PRIMARY_BEGINS}\n$auth_primary\n");
        assert_eq!(stack_of(&open, "auth", &[]), None);
    }
}
