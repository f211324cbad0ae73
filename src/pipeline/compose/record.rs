//! What the commit says beside its trees: recipe, lock, inputs, variables, the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::error::{PipelineError, Result};
use super::work::Work;
use crate::archive::{InputKind, Inputs};
use crate::base::Digest;
use crate::compose::Prepared;
use crate::image::PORTS;
use crate::packages::vendor;
use crate::recipe::plan::{self, Architecture, Part, Plan};
use crate::store::{self, Commit, DiskSpec, Input, InputDigest, Transaction, TreeRef};
use crate::tree::ContentSink;

/// The epoch of images that name none: 1980-01-01, the first day of FAT.
pub const DEFAULT_EPOCH: u64 = 315_532_800;

impl Work<'_> {
    pub(super) fn commit(
        &self,
        tree: TreeRef,
        boot: Option<TreeRef>,
        transaction: &Transaction<'_>,
    ) -> Result<Commit> {
        let plan = self.plan;
        let mut recipe = Vec::new();
        for (name, text) in &plan.sources {
            recipe.push((self.options.name_of(Path::new(name)), transaction.put(text.as_bytes())?));
        }
        let lock = match self.requests.is_empty() {
            true => None,
            false => Some(transaction.put(self.lock.to_string().as_bytes())?),
        };
        Ok(Commit {
            tree,
            boot,
            disk: disk_spec(plan),
            epoch: self.epoch(),
            name: plan.image.name.clone(),
            version: plan.image.version.clone(),
            recipe,
            variables: self.variables(),
            lock,
            inputs: self.inputs()?,
            // The same inputs make the same commit, wherever its ref led before: the log of the ref is the
            // history of builds. Parents are for who imports commits of a system that has them.
            parents: Vec::new(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            annotations: annotations(plan, &self.options.annotations)?,
        })
    }

    /// Lists what was read: host files and folders, packages, the base, PID 1.
    pub(in super::super) fn inputs(&self) -> Result<Vec<Input>> {
        let host = self.host_inputs().chain(&self.boot_inputs).map(|inputs| Input {
            name: self.options.name_of(&inputs.root),
            digest: InputDigest::Blake3(digest_of(inputs)),
            size: inputs.bytes(),
        });
        let mut all: Vec<Input> = host.collect();
        for wanted in self.lock.select(self.requests)? {
            let digest = InputDigest::Sha256(Digest(wanted.package.sha256.0));
            all.push(Input {
                name: format!("package {}", wanted.package),
                digest,
                size: wanted.package.size_bytes,
            });
        }
        if let Some((base, plan)) = self.base.as_ref().zip(self.plan.base.as_ref()) {
            let (name, size) = (format!("base {}", plan.commit), base.commit.encode().len() as u64);
            all.push(Input { name, digest: InputDigest::Blake3(base.id.0), size });
        }
        let own = [("mkimage-init", &self.init)].into_iter().filter(|_| self.plan.kernel.is_some());
        for (name, bytes) in own.chain(self.own_loader.as_ref().map(|bytes| ("mkimage-loader", bytes))) {
            let digest = InputDigest::Blake3(Digest::of(bytes));
            all.push(Input { name: name.to_owned(), digest, size: bytes.len() as u64 });
        }
        if !self.agent.is_empty() {
            let digest = InputDigest::Blake3(Digest::of(&self.agent));
            all.push(Input { name: "mkimage-agent".to_owned(), digest, size: self.agent.len() as u64 });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup();
        Ok(all)
    }

    pub(in super::super) fn epoch(&self) -> u64 {
        self.options.epoch.or(self.plan.image.epoch).unwrap_or(DEFAULT_EPOCH)
    }

    /// Returns the variables that the commit follows from: a time stamp from outside is one of them.
    pub(in super::super) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.plan.variables.clone();
        if let Some(epoch) = self.options.epoch {
            variables.insert("env.SOURCE_DATE_EPOCH".to_owned(), format!("\"{epoch}\""));
        }
        variables
    }

    /// Returns what was read of the host.
    fn host_inputs(&self) -> impl Iterator<Item = &Inputs> {
        let parts = self.prepared.iter().flat_map(Prepared::all_inputs);
        parts.chain(self.stepped.values().flatten())
    }

    pub(super) fn host_paths(&self) -> Vec<PathBuf> {
        self.host_inputs().map(|inputs| inputs.root.clone()).collect()
    }

    /// Lists every file that composing reads, and every directory whose listing it reads, the recipe first.
    pub(super) fn dependencies(&self) -> Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = self.plan.sources.iter().map(|(name, _)| name.into()).collect();
        if !self.requests.is_empty() {
            paths.push(self.options.lock_path());
        }
        if self.plan.kernel.is_some() {
            paths.push(self.options.init.clone());
        }
        paths.extend(self.host_inputs().chain(&self.boot_inputs).flat_map(Inputs::paths));
        paths.extend(self.requests.iter().flat_map(|request| request.rules.local.clone()));
        if let Some(folder) = &self.options.packages.vendor {
            paths.extend(vendor::held(self.lock, self.requests, folder)?);
        }
        // A base is a ref: the file of the store that says where it leads.
        let base = self.plan.base.iter().filter_map(|base| base.commit.split(['~', ':']).next());
        let base = base.map(|name| self.unpacking.store.path().join("refs").join(name));
        paths.extend(base.filter(|path| path.is_file()));
        Ok(paths)
    }
}

/// A file is named by its content, as everywhere; a folder by the list of what it holds.
fn digest_of(inputs: &Inputs) -> Digest {
    match inputs.entries.as_slice() {
        [only] => match &only.kind {
            InputKind::File { content, .. } => content.id.0,
            _ => inputs.digest(),
        },
        _ => inputs.digest(),
    }
}

/// What is good to know of a commit and reaches no byte but its own.
pub(in super::super) fn annotations(
    plan: &Plan,
    added: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut annotations = BTreeMap::new();
    if let Some(text) = &plan.image.description {
        annotations.insert("description".to_owned(), text.clone());
    }
    let app = plan.parts.iter().find_map(|part| match part {
        Part::App(app) if !app.ports.is_empty() => Some(app),
        _ => None,
    });
    if let Some(app) = app {
        let ports: Vec<String> = app.ports.iter().map(ToString::to_string).collect();
        annotations.insert(PORTS.to_owned(), ports.join(" "));
    }
    for (name, value) in added {
        if let Some(recipe) = annotations.insert(name.clone(), value.clone()) {
            return Err(PipelineError::Annotated { name: name.clone(), recipe, value: value.clone() });
        }
    }
    Ok(annotations)
}

pub(in super::super) fn disk_spec(plan: &Plan) -> DiskSpec {
    let disk = &plan.disk;
    DiskSpec {
        layout: disk.layout,
        architecture: match plan.image.architecture {
            Architecture::X86_64 => store::Architecture::X86_64,
            Architecture::Aarch64 => store::Architecture::Aarch64,
        },
        filesystem: match (disk.filesystem, disk.placement) {
            (plan::Filesystem::Ext4, plan::Placement::Dense) => store::Filesystem::Ext4,
            (plan::Filesystem::Ext4, plan::Placement::Stable) => store::Filesystem::Ext4Stable,
        },
        slot_size: disk.slot_size.map(|size| size.0),
        uki_size: disk.uki_size.map(|size| size.0),
        data_size: disk.data_size.0,
        data_path: disk.data_path.to_string(),
        tries: plan.boot.tries,
    }
}
