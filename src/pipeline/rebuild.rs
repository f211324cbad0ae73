//! Building a commit again from what it says of itself, in a store of its own.
//!
//! In: the commit with its recipe texts and lock (an image carries them, a store has them), and whatever has the
//! right digests: files that are named, a folder with the sources, packages of a store, a vendored folder or the
//! archives. Out: a store that holds the commit which that makes, and which commit it is.
//!
//! Nothing is taken by its name: an input is used where its bytes have the digest that the commit names, wherever it
//! lies. Texts never touch the disk: they are served from memory, and paths that lead out of the folder are refused.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::compose::{Options, recompose};
use super::error::{PipelineError, Result};
use crate::archive::{self, Digesting, InputKind, Limits};
use crate::base::{CommitId, Digest, FileError, Job, fs};
use crate::recipe::{self, MemoryLoader, Plan, Settings};
use crate::store::{Commit, Input, InputDigest, Objects, Store};
use crate::tree::{Content, ContentSource};

/// The name under which variables are served to the recipe.
const VARIABLES: &str = "variables of the commit";
/// Folders above that of the recipe, so that its `..` stay inside of what we made.
const DEPTH: usize = 8;

/// A commit with the texts that it names.
#[derive(Clone, Debug)]
pub struct Provenance {
    pub commit: Commit,
    /// The recipe texts, in the order of the commit.
    pub recipe: Vec<String>,
    pub lock: Option<String>,
}

/// Where inputs may be found.
pub struct Sources<'a> {
    /// Files and folders, known by their digests.
    pub given: &'a [PathBuf],
    /// Folders in which the inputs lie under the names that the commit has for them.
    pub folders: &'a [PathBuf],
    /// A store that may have objects and packages.
    pub store: Option<&'a Store>,
}

/// What came of it.
pub struct Rebuilt {
    /// A new store, in the scratch folder.
    pub store: Store,
    pub commit: CommitId,
    /// The plan that the texts gave: which line asked for what.
    pub plan: Plan,
}

impl Provenance {
    /// Takes a commit of a store with its texts.
    pub fn of(store: &Store, id: &CommitId) -> Result<Self> {
        let commit = store.read_commit(id)?;
        let text = |content: &Content| {
            String::from_utf8(store.read_all(content)?).map_err(|_| not("a recipe text is no UTF-8"))
        };
        let recipe = commit.recipe.iter().map(|(_, content)| text(content)).collect::<Result<_>>()?;
        let lock = commit.lock.as_ref().map(text).transpose()?;
        Ok(Provenance { commit, recipe, lock })
    }

    /// Refuses texts that are not those which the commit names.
    pub fn check(&self) -> Result<()> {
        let named: Vec<Content> = self.commit.recipe.iter().map(|(_, content)| *content).collect();
        let given: Vec<Content> = self.recipe.iter().map(|text| Content::of(text.as_bytes())).collect();
        let lock = self.lock.as_ref().map(|text| Content::of(text.as_bytes()));
        match named == given && lock == self.commit.lock && !named.is_empty() {
            true => Ok(()),
            false => Err(not("its recipe texts or its lock are not those that the commit names")),
        }
    }
}

fn not(problem: impl Into<String>) -> PipelineError {
    PipelineError::NotRebuildable { problem: problem.into() }
}

/// Builds a commit again. `scratch` is an empty folder, which takes the new store; `options` say how packages are
/// found and which PID 1 is used. The result need not be the commit that was asked for: that is the question.
pub fn rebuild(
    provenance: &Provenance,
    sources: &Sources<'_>,
    options: Options,
    scratch: &Path,
    job: &Job,
) -> Result<Rebuilt> {
    provenance.check()?;
    let commit = &provenance.commit;
    let folder = (0..DEPTH).fold(scratch.join("work"), |folder, depth| folder.join(depth.to_string()));
    fs::create_directories(&folder)?;
    let main = &commit.recipe[0].0;
    if Path::new(main).components().count() != 1 || main.starts_with('.') || main.contains('\0') {
        return Err(not(format!("its recipe is called {main:?}, which is no name of a file")));
    }
    let recipe = folder.join(main);
    let plan = load(provenance, &folder, &recipe)?;
    let mut options = Options {
        recipe: recipe.clone(),
        epoch: outer_epoch(commit),
        annotations: BTreeMap::new(),
        scratch: scratch.to_owned(),
        ..options
    };
    options.annotations = added(&plan, commit);
    if let Some(text) = &provenance.lock {
        std::fs::write(options.lock_path(), text).map_err(FileError::at("write", &options.lock_path()))?;
    }
    place_inputs(commit, sources, &folder, job)?;
    let store = Store::open(scratch.join("store"))?;
    match sources.store {
        // What the recipe stands on is in no image: only the store that has it can tell.
        Some(outer) if plan.base.is_some() => {
            let made = recompose(&plan, &options, outer, job)?;
            let store = Store::open(outer.path())?;
            return Ok(Rebuilt { store, commit: made, plan });
        }
        Some(outer) if provenance.lock.is_some() => {
            let vendored = scratch.join("packages");
            fs::create_directories(&vendored)?;
            super::vendor(&plan, &options, outer, &vendored, job)?;
            options.packages.vendor = Some(vendored);
            options.packages.offline = true;
        }
        _ => {}
    }
    let made = recompose(&plan, &options, &store, job)?;
    Ok(Rebuilt { store, commit: made, plan })
}

/// Returns the time stamp that came from outside of the recipe, where one did.
fn outer_epoch(commit: &Commit) -> Option<u64> {
    commit.variables.get("env.SOURCE_DATE_EPOCH")?.trim_matches('"').parse().ok()
}

/// Returns the notes that the recipe does not give by itself: those of the command line.
fn added(plan: &Plan, commit: &Commit) -> BTreeMap<String, String> {
    let own = |name: &str| {
        name == crate::image::PORTS || (name == "description" && plan.image.description.is_some())
    };
    let notes = commit.annotations.iter().filter(|(name, _)| !own(name));
    notes.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Reads the recipe from memory, with the variables and the environment that the commit names.
fn load(provenance: &Provenance, folder: &Path, recipe: &Path) -> Result<Plan> {
    let mut loader = MemoryLoader::default();
    for ((name, _), text) in provenance.commit.recipe.iter().zip(&provenance.recipe) {
        loader.texts.insert(format!("{}/{name}", folder.display()), text.clone());
        loader.texts.insert(name.clone(), text.clone());
    }
    let mut variables = String::new();
    for (name, value) in &provenance.commit.variables {
        match name.strip_prefix("env.") {
            Some(name) => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.clone());
                loader.environment.insert(name.to_owned(), value);
            }
            None => variables.push_str(&format!("{name} = {value}\n")),
        }
    }
    loader.texts.insert(VARIABLES.to_owned(), variables);
    let settings = Settings { set: Vec::new(), vars_files: vec![VARIABLES.to_owned()] };
    let loaded = recipe::load(&recipe.to_string_lossy(), &loader, &settings);
    Ok(loaded.map_err(|diagnostics| PipelineError::Recipe(Box::new(diagnostics)))?.plan)
}

/// Lays every file and folder that the commit was made of where the recipe looks for it.
fn place_inputs(commit: &Commit, sources: &Sources<'_>, folder: &Path, job: &Job) -> Result<()> {
    let given = sources.given.iter().map(|path| Ok((digest(path, job)?, path.clone())));
    let given: Vec<(Digest, PathBuf)> = given.collect::<Result<_>>()?;
    let mut missing = Vec::new();
    for input in commit.inputs.iter().filter(|input| is_of_host(input)) {
        let InputDigest::Blake3(wanted) = input.digest else { continue };
        let place = inside(folder, &input.name)?;
        if place.is_none() && digest(Path::new(&input.name), job).ok() == Some(wanted) {
            continue; // named by an absolute path, and there it is
        }
        let named = sources.folders.iter().map(|folder| folder.join(&input.name));
        let named = named.filter(|path| path.exists() && digest(path, job).ok() == Some(wanted));
        let own = given.iter().filter(|(digest, _)| *digest == wanted).map(|(_, path)| path.clone());
        let source = own.chain(named).next();
        match (place, source) {
            (Some(place), Some(source)) => lay(&source, &place)?,
            (Some(place), None) => match sources.store.and_then(|store| object(store, wanted, input.size)) {
                Some(bytes) => lay_bytes(&bytes, &place)?,
                None => missing.push(format!("{} ({wanted}, {} bytes)", input.name, input.size)),
            },
            (None, _) => missing.push(format!("{} ({wanted}, {} bytes)", input.name, input.size)),
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(PipelineError::MissingInputs { missing }),
    }
}

/// Tells whether an input is a file or folder of the machine that built.
fn is_of_host(input: &Input) -> bool {
    let is_other = ["package ", "base "].iter().any(|word| input.name.starts_with(word));
    !is_other && !["mkimage-init", "mkimage-agent", "mkimage-loader"].contains(&input.name.as_str())
}

/// Returns where an input of this name lies; nothing for an absolute one. What leads out of our folders is refused.
fn inside(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let mut depth = DEPTH;
    for component in Path::new(name).components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return Ok(None),
            Component::ParentDir => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| not(format!("{name:?} lies too far from its recipe")))?;
            }
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
        }
    }
    Ok(Some(folder.join(name)))
}

/// Digests a file or a folder as a commit names it.
fn digest(path: &Path, job: &Job) -> Result<Digest> {
    if path.is_dir() {
        let scanned =
            archive::scan(path, &Limits::default(), &Digesting, job).map_err(PipelineError::Archive)?;
        return Ok(scanned.1.digest());
    }
    let inputs = archive::read_host_file(path, &Digesting, job);
    let inputs = inputs.map_err(|error| PipelineError::Archive(vec![error]))?;
    Ok(match inputs.entries.first().map(|input| &input.kind) {
        Some(InputKind::File { content, .. }) => content.id.0,
        _ => inputs.digest(),
    })
}

fn object(store: &Store, wanted: Digest, size: u64) -> Option<Vec<u8>> {
    let content = Content { id: crate::base::BlobId(wanted), size };
    store.has(&wanted).then(|| store.read_all(&content).ok()).flatten()
}

fn lay(source: &Path, place: &Path) -> Result<()> {
    make_room(place)?;
    if source.is_dir() {
        let source = std::path::absolute(source).map_err(FileError::at("find", source))?;
        return Ok(std::os::unix::fs::symlink(source, place).map_err(FileError::at("make", place))?);
    }
    std::fs::copy(source, place).map(drop).map_err(FileError::at("copy", source))?;
    Ok(())
}

/// Writes an object of a store. Whether a file may be executed is not in its bytes: programs may.
fn lay_bytes(bytes: &[u8], place: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    make_room(place)?;
    std::fs::write(place, bytes).map_err(FileError::at("write", place))?;
    let is_program = bytes.starts_with(b"\x7fELF") || bytes.starts_with(b"#!");
    let mode = std::fs::Permissions::from_mode(if is_program { 0o755 } else { 0o644 });
    std::fs::set_permissions(place, mode).map_err(FileError::at("set the mode of", place))?;
    Ok(())
}

fn make_room(place: &Path) -> Result<()> {
    let folder = place.parent().ok_or_else(|| not("an input has no name"))?;
    Ok(fs::create_directories(folder)?)
}

/// Returns in which fields two commits differ, as sentences: which input, which setting.
pub fn commit_differences(expected: &Commit, found: &Commit) -> Vec<String> {
    let mut all = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            all.push(format!("{what}: {one} and {other}"));
        }
    };
    differ("the tree", expected.tree.id.to_string(), found.tree.id.to_string());
    let boot = |commit: &Commit| commit.boot.map_or("none".to_owned(), |tree| tree.id.to_string());
    differ("the boot files", boot(expected), boot(found));
    differ("the disk", format!("{:?}", expected.disk), format!("{:?}", found.disk));
    differ("the epoch", expected.epoch.to_string(), found.epoch.to_string());
    differ("the version of mkimage", expected.tool_version.clone(), found.tool_version.clone());
    differ("the annotations", format!("{:?}", expected.annotations), format!("{:?}", found.annotations));
    differ("the variables", format!("{:?}", expected.variables), format!("{:?}", found.variables));
    differ("the recipe texts", format!("{:?}", expected.recipe), format!("{:?}", found.recipe));
    let named = |commit: &Commit| {
        let input = |input: &Input| (input.name.clone(), format!("{:?}", input.digest));
        commit.inputs.iter().map(input).collect::<BTreeMap<_, _>>()
    };
    let (old, new) = (named(expected), named(found));
    for name in old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>() {
        let value = |side: &BTreeMap<String, String>| side.get(name).cloned().unwrap_or("nothing".to_owned());
        differ(&format!("input {name}"), value(&old), value(&new));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_lead_out_of_the_folder_are_refused() {
        let folder = Path::new("/x/0/1/2/3/4/5/6/7");
        assert_eq!(inside(folder, "a/b").expect("inside"), Some(folder.join("a/b")));
        assert_eq!(inside(folder, "../a").expect("inside"), Some(folder.join("../a")));
        assert_eq!(inside(folder, "/etc/passwd").expect("absolute"), None);
        assert!(inside(folder, &"../".repeat(9)).is_err());
        assert!(inside(folder, &format!("a/{}", "../".repeat(10))).is_err());
    }
}
