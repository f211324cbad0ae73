//! The recipes that people use: built, booted, asked for what they serve.
//!
//! What CI has no time for stands in `nightly`, which `make nightly` runs and `make test` leaves out.

mod apps;
mod compare;
mod guest;
mod hosts;
mod nightly;
mod readers;
pub mod reference;
mod servers;

use std::path::PathBuf;

use crate::tool::{kept, mkimage, root, succeed};

const RECIPES: [&str; 6] = ["nginx", "python", "java", "node", "minimal", "debian-server"];

/// Returns the path of a recipe.
fn recipe(name: &str) -> PathBuf {
    root().join("recipes").join(name).join(format!("{name}.hcl"))
}

/// Builds the image of a recipe, with the versions that the archive has today: it drops superseded ones.
fn image(name: &str) -> PathBuf {
    let recipe = recipe(name);
    let folder = recipe.parent().expect("a folder");
    if folder.join("Makefile").exists() {
        let mut make = crate::tool::tool("make", ["--silent", "-C"]);
        succeed(make.arg(folder));
    }
    succeed(&mut mkimage(["lock".as_ref(), "--update".as_ref(), recipe.as_os_str()]));
    let image = kept("images").join(format!("{name}.img"));
    succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
    image
}

#[test]
fn every_recipe_is_right_and_formatted() {
    let included = root().join("recipes/debian-server/server.hcl");
    for path in RECIPES.iter().map(|name| recipe(name)).chain([included]) {
        succeed(mkimage(["fmt", "--check"]).arg(&path));
        if !path.ends_with("server.hcl") || path.ends_with("debian-server.hcl") {
            succeed(mkimage(["check"]).arg(&path));
        }
    }
}

#[test]
fn every_recipe_is_named_in_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    for name in RECIPES {
        assert!(readme.contains(&format!("recipes/{name}/")), "the README does not name recipes/{name}/");
    }
}
