//! Unpacked packages become one tree, as dpkg would have laid them over each other, whatever the order.
//!
//! In: [`Unpacked`] packages and a [`Layout`]. Out: one [`Directory`] and the [`Ownership`] of its paths, or
//! all conflicts at once.
//!
//! What two packages may do to one path
//! - Directories unite; the metadata is that of the first package: `base-files`, then by name.
//! - Equal nodes are one, owned by both (`Multi-Arch: same`).
//! - One that says `Replaces` of the other wins, whatever the order (`deb-control(5)`, Debian Policy 7.6.1).
//! - A package's diversions (`dpkg-divert(8)`, literal calls in its preinst) move the files of others away.
//! - A symlink that leads to a directory of the tree stands in for it: what another package has in a
//!   directory of that path goes where the link leads. So it is with the links of the merged `/usr`.
//! - Anything else is a [`LayError`] that names both.
//!
//! Always true
//! - The result follows from the set of packages and the layout alone: not from the order in which they
//!   come, nor from the number of workers.
//! - Hard links stay links: where the name that held the node is gone, another name of it holds it.
//! - Modes, owners and attributes are those of the packages: setuid bits too.
//! - Nothing that `keep` names is dropped; what is dropped is still known to the [`Ownership`].
//!
//! Not here: accounts, alternatives, caches, the dpkg database (`finalize/`), conffiles (on a fresh tree they
//! are files like others).
//!
//! Read first: [`lay`], `grow.rs`, `finish.rs`.

mod divert;
mod error;
mod finish;
mod grow;
mod ownership;
mod replaces;
mod routes;
mod select;

pub use divert::Diversion;
pub use error::LayError;
pub use ownership::{Ownership, Taken};

use super::unpack::Unpacked;
use crate::base::Job;
use crate::base::job::Unit;
use crate::tree::{ContentSource, Directory};
use replaces::Replaces;
use routes::Routes;
use select::Selection;

/// Says how packages are laid into a tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout<'a> {
    /// `/bin`, `/sbin` and `/lib*` are links into `/usr`, made where there is something behind them.
    pub usr_merge: bool,
    /// Globs of paths that are left out: `*` and `?` stay within a name, `**` does not; a directory that
    /// matches goes with all that it holds.
    pub drop: &'a [String],
    /// Globs of paths that stay though `drop` matches.
    pub keep: &'a [String],
    /// Debian's name of the image's architecture: packages of others are told apart by it.
    pub architecture: &'a str,
    /// Packages whose scripts the recipe ignores: a diversion of theirs that is not understood is passed over.
    pub ignored_scripts: &'a [String],
}

/// A package on its way into a tree.
struct Member<'a> {
    unpacked: &'a Unpacked,
    /// `name`, or `name:architecture` where it is not the image's.
    label: String,
    replaces: Vec<Replaces<'a>>,
}

/// Lays packages into one tree. Reads their preinst scripts from `source`; costs some microseconds an entry.
pub fn lay(
    packages: &[Unpacked],
    layout: &Layout<'_>,
    source: &dyn ContentSource,
    job: &Job,
) -> Result<(Directory, Ownership), Vec<LayError>> {
    let step = job.step("lay packages", Some(packages.len() as u64), Unit::Items);
    let members = members(packages, layout)?;
    let selection = Selection::new(layout)?;
    let diversions = divert::all(&members, layout, source)?;
    let mut routes = Routes::new(layout.usr_merge, diversions)?;
    for _ in 0..ROUNDS_MAX {
        let grown = grow::grow(&members, &routes, job).map_err(|error| vec![error.into()])?;
        if grown.links.is_empty() {
            step.advance(packages.len() as u64);
            return finish::finish(grown, &members, &routes, &selection);
        }
        routes.learn(grown.links, &grown.places)?;
    }
    Err(vec![LayError::TooManyLinks { rounds: ROUNDS_MAX }])
}

/// How often links that stand in for directories are learned: some lead through others. No set of real
/// packages needs more than two rounds.
const ROUNDS_MAX: usize = 40;

fn members<'a>(packages: &'a [Unpacked], layout: &Layout<'_>) -> Result<Vec<Member<'a>>, Vec<LayError>> {
    let member = |unpacked: &'a Unpacked| {
        let control = &unpacked.control;
        let is_native = control.architecture == layout.architecture || control.architecture == "all";
        let label = if is_native {
            control.name.clone()
        } else {
            format!("{}:{}", control.name, control.architecture)
        };
        Member { unpacked, label, replaces: replaces::parse(control.field("Replaces").unwrap_or_default()) }
    };
    let mut members: Vec<Member<'a>> = packages.iter().map(member).collect();
    members.sort_by(|a, b| {
        let key = |member: &Member<'a>| member.unpacked.control.name != "base-files";
        let version = |member: &Member<'a>| &member.unpacked.control.version;
        key(a).cmp(&key(b)).then_with(|| a.label.cmp(&b.label)).then_with(|| version(a).cmp(version(b)))
    });
    let twice = members.windows(2).filter(|pair| pair[0].label == pair[1].label);
    let twice: Vec<LayError> = twice
        .map(|pair| LayError::SamePackage {
            package: pair[0].label.clone(),
            first: pair[0].unpacked.control.version.clone(),
            second: pair[1].unpacked.control.version.clone(),
        })
        .collect();
    if twice.is_empty() { Ok(members) } else { Err(twice) }
}
