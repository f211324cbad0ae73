use std::fmt::Write;
use std::process::ExitCode;

use super::super::args::{Log, Show};
use super::super::failure::Failure;
use super::{Context, Done};
use crate::base::CommitId;
use crate::store::{Commit, InputDigest, Objects, RefName, StoreError};

/// `mkimage refs`: lists the refs.
pub fn refs(context: &Context) -> Done {
    let refs = context.store()?.refs().map_err(Failure::from)?;
    let rows: Vec<serde_json::Value> =
        refs.iter().map(|(name, value)| serde_json::json!({ "name": name, "value": value })).collect();
    context.printer.data(&rows, || {
        let width = refs.keys().map(|name| name.as_str().len()).max().unwrap_or(0);
        let line = |(name, value): (&RefName, &crate::store::RefValue)| {
            format!("{:width$} {} move {}\n", name.as_str(), short(&value.commit), value.generation)
        };
        refs.iter().map(line).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `mkimage log`: shows the moves of a ref, the newest first.
pub fn log(context: &Context, arguments: &Log) -> Done {
    let name = RefName::new(&arguments.reference).map_err(StoreError::from).map_err(Failure::from)?;
    let store = context.store()?;
    let entries = store.log(&name).map_err(Failure::from)?;
    if entries.is_empty() {
        return Err(Failure::from(StoreError::Unknown { name: arguments.reference.clone(), near: None }));
    }
    context.printer.data(&entries, || {
        let mut text = String::new();
        for entry in &entries {
            let value = &entry.value;
            let version = store.read_commit(&value.commit).ok().and_then(|commit| commit.version);
            let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
            let time = date(value.seconds);
            let _ = writeln!(
                text,
                "{:>4} {time} {}{version} {}",
                value.generation,
                short(&value.commit),
                entry.message
            );
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `mkimage show`: shows a commit.
pub fn show(context: &Context, arguments: &Show) -> Done {
    let store = context.store()?;
    let id = store.resolve(&arguments.commit).map_err(Failure::from)?;
    let commit = store.read_commit(&id).map_err(Failure::from)?;
    context.printer.data(&as_json(&id, &commit), || as_text(&id, &commit))?;
    Ok(ExitCode::SUCCESS)
}

fn short(id: &CommitId) -> String {
    id.to_string()[..12].to_owned()
}

fn digest(digest: &InputDigest) -> String {
    match digest {
        InputDigest::Blake3(digest) => format!("blake3:{digest}"),
        InputDigest::Sha256(digest) => format!("sha256:{digest}"),
    }
}

fn as_json(id: &CommitId, commit: &Commit) -> serde_json::Value {
    let inputs: Vec<_> = commit
        .inputs
        .iter()
        .map(|input| serde_json::json!({ "name": input.name, "digest": digest(&input.digest), "size": input.size }))
        .collect();
    let recipe: Vec<_> = commit
        .recipe
        .iter()
        .map(|(name, content)| serde_json::json!({ "name": name, "id": content.id, "size": content.size }))
        .collect();
    let disk = &commit.disk;
    serde_json::json!({
        "commit": id, "name": commit.name, "version": commit.version, "identity": commit.identity().to_string(),
        "tree": commit.tree, "boot": commit.boot, "epoch": commit.epoch,
        "disk": {
            "layout": disk.layout, "architecture": disk.architecture, "filesystem": disk.filesystem,
            "slot_size": disk.slot_size, "uki_size": disk.uki_size, "data_size": disk.data_size,
            "data_path": disk.data_path, "tries": disk.tries,
        },
        "recipe": recipe, "variables": commit.variables, "lock": commit.lock.map(|lock| lock.id),
        "inputs": inputs, "parents": commit.parents, "tool_version": commit.tool_version,
        "annotations": commit.annotations,
    })
}

fn as_text(id: &CommitId, commit: &Commit) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| text.push_str(&format!("{key:<12} {value}\n"));
    line("commit", id.to_string());
    line("name", commit.name.clone());
    if let Some(version) = &commit.version {
        line("version", version.clone());
    }
    line("tree", commit.tree.id.to_string());
    if let Some(boot) = &commit.boot {
        line("boot", boot.id.to_string());
    }
    line("epoch", format!("{} ({})", commit.epoch, date(commit.epoch)));
    line("layout", commit.disk.layout.to_string());
    for (name, content) in &commit.recipe {
        line("recipe", format!("{} {name}", content.id));
    }
    for (name, value) in &commit.variables {
        line("variable", format!("{name} = {value}"));
    }
    if let Some(lock) = &commit.lock {
        line("lock", lock.id.to_string());
    }
    for input in &commit.inputs {
        line("input", format!("{} {} ({} bytes)", digest(&input.digest), input.name, input.size));
    }
    for parent in &commit.parents {
        line("parent", parent.to_string());
    }
    line("made by", format!("mkimage {}", commit.tool_version));
    for (key, value) in &commit.annotations {
        line(key, value.clone());
    }
    text
}

/// Prints seconds since 1970 as a UTC date and time (proleptic Gregorian calendar).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 0000-03-01, so that a leap day is the last of its year.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(315_532_800), "1980-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(4_354_819_199), "2107-12-31 23:59:59 UTC");
    }
}
