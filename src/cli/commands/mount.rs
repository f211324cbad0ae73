use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::base::ImagePath;
use crate::confine::Term;
use crate::store::Hold;
use crate::tree::ContentSource;
use crate::view::mount::Mountable;
use crate::view::{self, View};

/// `mkimage mount`: shows a commit or image as a read-only file system, until it is interrupted.
#[derive(Args, Debug)]
#[command(
    after_help = "It runs until Ctrl-C, or until the directory is unmounted. Whoever mounts may read all of \
    it, whatever its modes say; nobody else sees it. Needs /dev/fuse, and fusermount3 (package fuse3) or root."
)]
pub struct Mount {
    /// Ref, REF~N, id or IMAGE, IMAGE:slot-b; with :/PATH what lies there
    #[arg(value_name = "REV")]
    pub place: String,
    /// Directory to mount at
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

pub fn run(context: &Context, arguments: &Mount) -> Done {
    if !arguments.directory.is_dir() {
        let problem = format!("{} is no directory to mount at", arguments.directory.display());
        return Err(Failure::new(Kind::NotFound, problem).hint("make it first: mkdir DIR"));
    }
    let (mountable, contents, _hold) = prepare(context, &arguments.place)?;
    let mounted = mountable.mount(contents, &arguments.directory, &context.job)?;
    let directory = arguments.directory.display();
    context.printer.say(&format!("{} is at {directory}, until Ctrl-C or umount", arguments.place));
    mounted.wait(&context.job)?;
    Ok(ExitCode::SUCCESS)
}

/// What is mounted: the names, what gives the bytes, and what keeps these from being collected.
type Prepared = (Mountable, Box<dyn ContentSource + Send>, Option<Hold>);

fn prepare(context: &Context, text: &str) -> Result<Prepared, Failure> {
    let at = |view: &View<'_>| view.path().cloned().unwrap_or_else(ImagePath::root);
    if view::needs_store(text) {
        let store = context.store()?;
        let (mountable, hold) = {
            let view = view::open(text, Some(&store), Term::Lasting, &context.job)?;
            let hold = store.try_hold(view.commit_id().as_slice())?;
            (Mountable::of(&view, &at(&view), &context.job)?, hold)
        };
        return Ok((mountable, Box::new(store), hold));
    }
    let view = view::open(text, None, Term::Lasting, &context.job)?;
    let mountable = Mountable::of(&view, &at(&view), &context.job)?;
    Ok((mountable, Box::new(view), None))
}
