use std::process::ExitCode;

use clap::Args;

use super::look::Stores;
use super::{Context, Done};
use crate::base::units::{Bytes, approximate};
use crate::view::usage;

/// `mkimage du`: says what takes the space, the largest first.
#[derive(Args, Debug)]
pub struct Usage {
    /// Ref, REF~N, id or IMAGE, IMAGE:slot-b; with :/PATH what lies there
    #[arg(value_name = "REV")]
    pub place: String,
    /// Path inside the tree [default: /]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// Tell apart what lies this many levels down
    #[arg(long, short, value_name = "LEVELS", default_value_t = 2)]
    pub depth: usize,
    /// Show no more than the largest ones
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub lines: Option<usize>,
}

pub fn run(context: &Context, arguments: &Usage) -> Done {
    let stores = Stores::default();
    let (view, path) = stores.place(context, &arguments.place, arguments.path.as_deref())?;
    let tree = view.below(&path, &context.job)?;
    let mut rows = usage::measure(&tree, &path, arguments.depth);
    rows.truncate(arguments.lines.unwrap_or(usize::MAX));
    context.printer.data(&rows, || {
        let line = |row: &usage::Usage| format!("{:>10}  {}\n", approximate(Bytes(row.bytes)), row.path);
        rows.iter().map(line).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}
