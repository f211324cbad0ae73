use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::super::failure::Failure;
use super::super::text::plural;
use super::subject::Opened;
use super::{Context, Done};
use crate::base::FileError;
use crate::base::publish::Publication;
use crate::report::{self, Bill, Format};

/// `mkimage sbom`: writes a bill of materials.
#[derive(Args, Debug)]
pub struct Sbom {
    /// Ref, REF~N or id of a commit; an image; or a recipe or its lock, for the packages alone
    #[arg(value_name = "REV|IMAGE|RECIPE")]
    pub what: String,
    /// Form of the document: SPDX 2.3 or CycloneDX 1.6, both as JSON
    #[arg(long, value_name = "FORM", default_value = "spdx")]
    pub format: Form,
    /// Leave the files out, and with them the reading of each: packages, licences and relations only
    #[arg(long)]
    pub no_files: bool,
    /// Where the document goes [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Spdx,
    Cyclonedx,
}

impl From<Form> for Format {
    fn from(form: Form) -> Format {
        match form {
            Form::Spdx => Format::Spdx,
            Form::Cyclonedx => Format::CycloneDx,
        }
    }
}

pub fn run(context: &Context, arguments: &Sbom) -> Done {
    let opened = Opened::open(context, &arguments.what)?;
    let bill = Bill::of(opened.subject(), !arguments.no_files, &context.job).map_err(Failure::from)?;
    bill.unknown.iter().for_each(|text| context.job.warn(text.clone()));
    let format = arguments.format.into();
    let Some(path) = &arguments.output else {
        let mut bytes = Vec::new();
        report::write(&bill, format, &mut bytes)
            .map_err(FileError::at("write", "standard output".as_ref()))?;
        context.printer.bytes(&bytes)?;
        return Ok(ExitCode::SUCCESS);
    };
    let publication = Publication::create(path)?;
    let mut out = std::io::BufWriter::new(publication.file());
    let written = report::write(&bill, format, &mut out).and_then(|()| out.flush());
    drop(out);
    written.map_err(FileError::at("write", path))?;
    publication.publish()?;
    let (components, files) = (bill.components.len() as u64, bill.files.len() as u64);
    let packages = bill.installed().count() as u64;
    if context.printer.wants_json() {
        let value = serde_json::json!({
            "output": path.display().to_string(), "of": bill.what.digest().to_string(), "packages": packages, "components": components,
            "files": files, "unknown": bill.unknown,
        });
        context.printer.data(&value, String::new)?;
    } else {
        let (packages, files) = (plural(packages, "package"), plural(files, "file"));
        context.printer.say(&format!("wrote {}: {packages}, {files}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
