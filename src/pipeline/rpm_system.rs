//! The packages of RPM repositories become one finished tree.

use std::collections::BTreeMap;

use super::error::{PipelineError, Result};
use super::system::System;
use crate::base::{ImagePath, Job};
use crate::finalize::{self, Database, caches};
use crate::packages::rpm::{self, KnownAccount, Layout, Script, ScriptPolicy, Settings};
use crate::sandbox;
use crate::store::Transaction;
use crate::tree::Directory;

/// Where the shell scripts of packages lie while they run, out of the way of any package.
const SCRIPTS: &str = "/run/mkimage/scripts";

impl System<'_> {
    pub(super) fn make_of_rpm(&self, transaction: &Transaction<'_>, job: &Job) -> Result<Directory> {
        let packages = self.unpacking.rpm_packages(self.request, transaction, job)?;
        let (drop, keep) = (self.globs(|block| &block.drop), self.globs(|block| &block.keep));
        let layout = Layout { drop: &drop, keep: &keep };
        let (mut tree, _) = rpm::lay(&packages, &layout, transaction, job).map_err(PipelineError::Rpm)?;
        let settings = rpm_settings(&self.settings());
        let report = rpm::finalize(&mut tree, &packages, &settings, transaction, transaction, job);
        let report = report.map_err(PipelineError::Rpm)?;
        let notes =
            caches::write(&mut tree, transaction, transaction, job).map_err(PipelineError::Finalize)?;
        notes.into_iter().for_each(|note| job.note(note));
        self.run_rpm_scripts(tree, &report.to_run, transaction, job)
    }

    fn run_rpm_scripts(
        &self,
        tree: Directory,
        scripts: &[Script],
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        if scripts.is_empty() {
            return Ok(tree);
        }
        let mut folder = Directory::default();
        let mut commands = Vec::new();
        for (index, script) in scripts.iter().enumerate() {
            let name = format!("{index}");
            let content = crate::tree::ContentSink::put(transaction, &script.body)?;
            let metadata = crate::tree::Metadata::root(0o644);
            let file = crate::tree::Node::File(crate::tree::File { metadata, content });
            let key = crate::base::Name::new(name.as_bytes()).expect("because a number is a name");
            folder.entries.insert(key, file);
            let mut command = script.interpreter.clone();
            command.push(format!("{SCRIPTS}/{name}"));
            command.extend(script.arguments.iter().cloned());
            commands.push(command);
        }
        let at = ImagePath::new(SCRIPTS.as_bytes()).expect("because it is a path of this program");
        let request = sandbox::Request {
            tree: &tree,
            source: transaction,
            commands,
            environment: BTreeMap::new(),
            working_directory: ImagePath::root(),
            inputs: vec![(at, &folder)],
            epoch: self.epoch,
            limits: sandbox::Limits::default(),
            scratch: self.scratch,
            label: "scripts of packages".to_owned(),
            program: None,
        };
        Ok(sandbox::run(&request, transaction, job)?.tree)
    }
}

fn rpm_settings(settings: &finalize::Settings) -> Settings {
    let policy = |policy: &finalize::ScriptPolicy| match policy {
        finalize::ScriptPolicy::Refuse => ScriptPolicy::Refuse,
        finalize::ScriptPolicy::Ignore => ScriptPolicy::Ignore,
        finalize::ScriptPolicy::Run => ScriptPolicy::Run,
    };
    Settings {
        architecture: settings.architecture.clone(),
        epoch: settings.epoch,
        database: settings.database != Database::None,
        scripts: settings.scripts.iter().map(|(name, one)| (name.clone(), policy(one))).collect(),
        users: settings.users.iter().map(|user| known(&user.name, user.uid)).collect(),
        groups: settings.groups.iter().map(|group| known(&group.name, group.gid)).collect(),
    }
}

fn known(name: &str, id: u32) -> KnownAccount {
    KnownAccount { name: name.to_owned(), id }
}
