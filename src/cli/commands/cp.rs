use std::path::PathBuf;

use clap::Args;

use super::look::{Stores, say_copied};
use super::{Context, Done};

/// `mkimage cp`: copies a file or directory out of a commit or image.
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is written over, and no link of the tree is followed on the host. Owners, modes, \
    attributes and devices are applied as far as this user may."
)]
pub struct Copy {
    /// REV:/PATH, IMAGE:/PATH or IMAGE:slot-b:/PATH; without a path the whole tree
    #[arg(value_name = "REV")]
    pub place: String,
    /// Where it goes: a directory that is there takes it under its own name
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
}

pub fn run(context: &Context, arguments: &Copy) -> Done {
    let stores = Stores::default();
    let (view, path) = stores.place(context, &arguments.place, None)?;
    let copied = view.copy(&path, &arguments.target, &context.job)?;
    say_copied(context, &copied.path, "copied", &copied.report)
}
