use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::super::text::plural;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::store::GcRules;

#[derive(Args, Debug)]
pub struct Gc {
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Keep what came into the store in this time, such as 90s, 30m or 24h [default: 24h; 7d where several
    /// machines write]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub grace: Option<u64>,
    /// Keep what refs led to in this time: so far back `mkimage undo` reaches
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "90d")]
    pub reflog: u64,
    /// Keep results of build steps that were used in this time
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "30d")]
    pub memo: u64,
    /// Empty trash that is older than this; with 0s, as soon as nobody at work can need it
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "1h")]
    pub trash: u64,
    /// Keep so many generations of parents of each commit, too
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub parents: u32,
}

/// `mkimage gc`: takes what nothing leads to out of the store.
pub fn gc(context: &Context, arguments: &Gc) -> Done {
    let store = context.store()?;
    let rules = GcRules {
        grace_seconds: arguments.grace.unwrap_or(store.gc_rules().grace_seconds),
        reflog_seconds: arguments.reflog,
        memo_seconds: arguments.memo,
        trash_seconds: arguments.trash,
        parents: arguments.parents,
    };
    let plan = store.plan_gc(&rules, &context.job).map_err(Failure::from)?;
    let lines = plan.describe();
    if arguments.dry_run {
        let value = serde_json::json!({ "dry_run": true, "plan": plan.summary() });
        context.printer.data(&value, || lines.join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    lines.iter().for_each(|line| context.printer.say(line));
    let planned = plan.summary();
    let done = store.run_gc(plan, &context.job).map_err(Failure::from)?;
    let value = serde_json::json!({ "dry_run": false, "plan": planned, "done": done });
    context.printer.data(&value, || {
        let spared = match done.packs_spared {
            0 => String::new(),
            packs => format!("; something came to lead to {} meanwhile", plural(packs, "pack")),
        };
        let (objects, freed) =
            (plural(done.objects_trashed, "object"), approximate(Bytes(done.bytes_emptied)));
        format!("{objects} went to the trash, {freed} were freed{spared}")
    })?;
    if done.objects_trashed > 0 {
        context.printer.say(
            "a later `mkimage gc` empties the trash; with --trash 0s, as soon as nobody at work can need it",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `mkimage repack`: puts packs together.
pub fn repack(context: &Context) -> Done {
    let done = context.store()?.repack(&context.job).map_err(Failure::from)?;
    context.printer.data(&done, || match done.bytes_copied {
        0 => format!("{}: nothing to do", plural(done.packs_before, "pack")),
        bytes => format!(
            "{} became {}, {} were copied",
            plural(done.packs_before, "pack"),
            done.packs_after,
            approximate(Bytes(bytes))
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a duration: a whole number and s, m, h or d; 0 alone will do.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no duration: expected a whole number and s, m, h or d, such as 24h");
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "" if number == 0 => 1,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in
            [("0", 0), ("0s", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)]
        {
            assert_eq!(seconds(text), Ok(expected));
        }
        for wrong in
            ["", "7", "d", "-1d", "1.5h", "1w", "99999999999999999999d", "9999999999999999999d", "7 d"]
        {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
