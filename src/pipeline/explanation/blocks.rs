//! Which blocks of a recipe name a path, and which may have made it.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::real;
use crate::base::ImagePath;
use crate::recipe::plan::{Origin, Part, Plan, SourcePlan};
use crate::tree::Directory;

/// What a block has to do with a path.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub origin: Origin,
    pub sentence: String,
    /// It brings the path for sure, whoever else has it.
    pub wins: bool,
}

/// The blocks of a recipe by the paths that they are about.
#[derive(Default)]
pub(super) struct Claims {
    /// Paths that a block names, in recipe order; later ones win.
    named: Vec<(ImagePath, Claim)>,
    /// Directories that a source fills, or files that it is.
    filled: Vec<(ImagePath, Origin, Vec<ImagePath>)>,
    /// What commands may have changed.
    changed: Vec<(GlobSet, Origin)>,
    /// Apps that bring libraries along.
    closed: Vec<Origin>,
}

/// Directories that every image has, to mount on.
const PLACES: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
const ACCOUNTS: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];

impl Claims {
    /// Lists what the blocks of a plan say of paths.
    pub fn of(plan: &Plan, root: &Directory) -> Claims {
        let mut claims = Claims::default();
        for part in &plan.parts {
            claims.part(part, root);
        }
        claims.of_accounts(plan);
        claims.of_image(plan);
        claims
    }

    fn part(&mut self, part: &Part, root: &Directory) {
        let origin = part.origin();
        let mut named = |path: &ImagePath| {
            let path = real(root, path);
            let sentence = format!("{path} is what {origin} says.");
            self.named.push((path, Claim { origin: origin.clone(), sentence, wins: true }));
        };
        match part {
            Part::File(part) => named(&part.inode.path),
            Part::Directory(part) => named(&part.inode.path),
            Part::Symlink(part) => named(&part.inode.path),
            Part::HardLink(part) => named(&part.path),
            Part::Device(part) => named(&part.inode.path),
            Part::App(app) => {
                self.source(&app.source, origin, root);
                if app.closure.is_some() {
                    self.closed.push(origin.clone());
                }
            }
            Part::Tree(tree) => self.source(&tree.source, origin, root),
            Part::Run(run) => self.changed.extend(globs(&run.outputs).map(|globs| (globs, origin.clone()))),
            Part::Packages(_) => {}
        }
    }

    fn source(&mut self, source: &SourcePlan, origin: &Origin, root: &Directory) {
        let replaces = source.replace.iter().map(|path| real(root, path)).collect();
        self.filled.push((real(root, &source.target), origin.clone(), replaces));
    }

    fn of_accounts(&mut self, plan: &Plan) {
        let users = plan.users.iter().map(|user| &user.origin);
        let Some(first) = users.chain(plan.groups.iter().map(|group| &group.origin)).next() else { return };
        let count = plan.users.len() + plan.groups.len();
        for path in ACCOUNTS {
            let sentence = match count {
                1 => format!("{path} has a line for {first}."),
                count => {
                    format!("{path} has lines for {first} and {} more accounts of the recipe.", count - 1)
                }
            };
            self.named.push((of_program(path), Claim { origin: first.clone(), sentence, wins: false }));
        }
    }

    fn of_image(&mut self, plan: &Plan) {
        let image = &plan.image.origin;
        let disk = plan.disk.origin.as_ref().unwrap_or(image);
        let mut add = |path: ImagePath, origin: &Origin, sentence: String| {
            self.named.insert(0, (path, Claim { origin: origin.clone(), sentence, wins: false }));
        };
        for place in PLACES {
            add(of_program(place), image, format!("{place} is in every image, for what is mounted there."));
        }
        let data = plan.disk.data_path.clone();
        add(data.clone(), disk, format!("{data} is where the data partition is mounted."));
        for path in ["/etc/hostname", "/etc/os-release", "/etc/resolv.conf", "/etc/nsswitch.conf"] {
            let sentence = format!("{path} is in every image that brings none: it follows from {image}.");
            add(of_program(path), image, sentence);
        }
    }

    /// Returns what is claimed of a path: by its name, or because a source fills the directory that it is in, the
    /// innermost and last one.
    pub fn of_path(&self, path: &ImagePath) -> Option<Claim> {
        if let Some((_, claim)) = self.named.iter().rev().find(|(named, claim)| named == path && claim.wins) {
            return Some(claim.clone());
        }
        let within = |filled: &&(ImagePath, Origin, Vec<ImagePath>)| path.is_within(&filled.0);
        let best = self.filled.iter().filter(within).max_by_key(|filled| filled.0.names().count());
        let filled = best.map(|(target, origin, replaces)| {
            let sentence = match target == path {
                true => format!("{path} is the source of {origin}."),
                false => format!("{path} comes out of the source of {origin}, which fills {target}."),
            };
            Claim { origin: origin.clone(), sentence, wins: replaces.contains(path) || target == path }
        });
        // What fills the whole root says little: what is known by name goes first.
        let named =
            || self.named.iter().rev().find(|(named, _)| named == path).map(|(_, claim)| claim.clone());
        match filled {
            Some(claim) if claim.wins => Some(claim),
            filled => named().or(filled),
        }
    }

    /// Says which commands may have changed a file that came from elsewhere.
    pub fn maybe_changed(&self, path: &ImagePath) -> Option<String> {
        let (_, origin) = self.changed.iter().rev().find(|(globs, _)| matches(globs, path))?;
        Some(format!("{origin} may have changed it: its `outputs` allow that."))
    }

    /// Returns who may have made what nobody names.
    pub fn perhaps(&self, path: &ImagePath) -> Option<Claim> {
        if let Some((_, origin)) = self.changed.iter().rev().find(|(globs, _)| matches(globs, path)) {
            let sentence = format!("{path} was made by {origin}.");
            return Some(Claim { origin: origin.clone(), sentence, wins: false });
        }
        let is_library = path.as_bytes().windows(4).any(|part| part == b"/lib");
        let origin = self.closed.first().filter(|_| is_library)?;
        let sentence = format!("{path} came along with {origin}: its programs need it (`closure`).");
        Some(Claim { origin: origin.clone(), sentence, wins: false })
    }
}

fn globs(patterns: &[String]) -> Option<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().ok()?);
    }
    set.build().ok()
}

fn matches(globs: &GlobSet, path: &ImagePath) -> bool {
    use std::os::unix::ffi::OsStrExt;
    globs.is_match(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn of_program(path: &str) -> ImagePath {
    ImagePath::new(path.as_bytes()).expect("because it is a path of this program")
}
