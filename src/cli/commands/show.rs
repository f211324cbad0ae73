use std::process::ExitCode;

use clap::Args;

use super::super::failure::{Failure, Kind};
use super::super::text::date;
use super::look::{self, row};
use super::{Context, Done};
use crate::base::CommitId;
use crate::store::{Commit, InputDigest, Named, Objects, Store};
use crate::tree::{Content, ContentSource};

/// `mkimage show`: shows a commit, or any other object.
#[derive(Args, Debug)]
pub struct Show {
    /// Ref, REF~N (N moves ago), id, an unambiguous beginning of one, COMMIT^ (a parent); with :PATH what stands there
    #[arg(value_name = "REV")]
    pub revision: String,
    /// Print the recipe that the commit was made from
    #[arg(long)]
    pub recipe: bool,
    /// Print the lock of the packages
    #[arg(long, conflicts_with = "recipe")]
    pub lock: bool,
}

pub fn run(context: &Context, arguments: &Show) -> Done {
    let store = context.store()?;
    let (named, path) = store.resolve_any(&arguments.revision).map_err(Failure::from)?;
    let is_text = arguments.recipe || arguments.lock;
    match (named, path) {
        (Named::Commit(id), None) => {
            let commit = store.read_commit(&id).map_err(Failure::from)?;
            match () {
                () if arguments.recipe => return print_recipe(context, &store, &id, &commit),
                () if arguments.lock => return print_lock(context, &store, &id, &commit),
                () => context.printer.data(&as_json(&id, &commit), || as_text(&id, &commit))?,
            }
        }
        _ if is_text => {
            let problem =
                format!("{:?} names no commit, so it has neither recipe nor lock", arguments.revision);
            return Err(Failure::new(Kind::Usage, problem));
        }
        (Named::Blob(content), None) => {
            let value = serde_json::json!({ "object": content.id, "size": content.size });
            context
                .printer
                .data(&value, || format!("object       {}\nsize         {}", content.id, content.size))?;
        }
        (Named::Tree(tree), None) => {
            let entries = store.read_directory(&tree).map_err(Failure::from)?.entries.len();
            let value = serde_json::json!({ "tree": tree.id, "size": tree.size, "entries": entries });
            context.printer.data(&value, || format!("tree         {}\nentries      {entries}", tree.id))?;
        }
        (_, Some(_)) => {
            let place = look::place(&store, &arguments.revision, None)?;
            let (value, text) = row(&place.path.to_string(), &place.node(&store)?);
            context.printer.data(&value, || text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_recipe(context: &Context, store: &Store, id: &CommitId, commit: &Commit) -> Done {
    let several = commit.recipe.len() > 1;
    let mut texts = Vec::new();
    for (name, content) in &commit.recipe {
        texts.push((name.clone(), text(store, content)?));
    }
    if texts.is_empty() {
        return Err(Failure::new(Kind::NotFound, format!("commit {id} holds no recipe")));
    }
    let value: Vec<_> =
        texts.iter().map(|(name, text)| serde_json::json!({ "name": name, "text": text })).collect();
    let with_name = |(name, text): &(String, String)| match several {
        true => format!("# {name}\n{text}"),
        false => text.clone(),
    };
    context.printer.data(&value, || texts.iter().map(with_name).collect::<Vec<_>>().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn print_lock(context: &Context, store: &Store, id: &CommitId, commit: &Commit) -> Done {
    let Some(lock) = &commit.lock else {
        return Err(Failure::new(Kind::NotFound, format!("commit {id} holds no lock: it has no packages")));
    };
    let text = text(store, lock)?;
    context.printer.data(&serde_json::json!({ "text": text }), || text.clone())?;
    Ok(ExitCode::SUCCESS)
}

fn text(store: &Store, content: &Content) -> Result<String, Failure> {
    let bytes = store.read_all(content).map_err(crate::store::StoreError::from).map_err(Failure::from)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
