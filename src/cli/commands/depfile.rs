use std::path::{Path, PathBuf};

use clap::Args;

use super::super::args::RecipeArgs;
use super::super::failure::{Failure, Kind};
use crate::pipeline::Depfile;

/// Dependency files for make and ninja.
#[derive(Args, Debug, Clone)]
pub struct DepfileArgs {
    /// Write all files and folders that were read as a rule for make or ninja
    #[arg(long, value_name = "FILE")]
    pub depfile: Option<PathBuf>,
    /// What that rule makes [default: the output]
    #[arg(long, value_name = "NAME", requires = "depfile")]
    pub depfile_target: Option<PathBuf>,
}

impl DepfileArgs {
    /// Returns where the dependency file goes and what it is about: `output`, where nothing else is named.
    pub(super) fn depfile(
        &self,
        recipe: &RecipeArgs,
        output: Option<&Path>,
    ) -> Result<Option<Depfile>, Failure> {
        let Some(path) = &self.depfile else { return Ok(None) };
        let target = self.depfile_target.clone().or(output.map(Path::to_owned));
        let target = target.ok_or_else(|| {
            let failure =
                Failure::new(Kind::Usage, "--depfile: this verb writes no file that make could want");
            failure.hint("name what depends on the inputs: --depfile-target NAME")
        })?;
        Ok(Some(Depfile { path: path.clone(), target, also: recipe.vars.clone() }))
    }
}
