//! `mkimage-ostree`: the only program here that is linked with libostree, and so can't be static.
//!
//! `mkimage ostree …` starts it as `mkimage-ostree serve REPOSITORY [MODE]` and talks to it over standard
//! input and output, see `mkimage::ostree::wire`. With a mode it makes the repository. It knows objects by
//! their bytes and checksums and nothing of mkimage's store; what a repository is, libostree decides.
#![forbid(unsafe_code)]

#[cfg(target_feature = "crt-static")]
compile_error!("libostree can't be linked into a static program: `make ostree` builds this one");

mod body;
mod serve;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use mkimage::ostree::wire::{self, Answer};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (repository, mode) = match arguments.as_slice() {
        [verb, repository] if verb == "serve" => (repository, None),
        [verb, repository, mode] if verb == "serve" => (repository, mode.to_str()),
        _ => {
            let text = "mkimage starts this program by itself: see `mkimage ostree --help`\n";
            let _ = std::io::stderr().write_all(text.as_bytes());
            return ExitCode::from(2);
        }
    };
    match serve::run(repository.as_ref(), mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut out = std::io::stdout().lock();
            let answer = Answer::Failed { doing: failure.doing, problem: failure.problem };
            // Nobody to hear it is no reason to say more.
            let _ = wire::send(&mut out, &answer).and_then(|()| out.flush());
            ExitCode::FAILURE
        }
    }
}
