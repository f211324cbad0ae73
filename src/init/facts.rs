//! Gathers what the machine is told at start from where it is told: the app's environment, its files, and two
//! addresses. Who has the last word stands in `mkimage::boot::environment`.

use std::collections::BTreeMap;
use std::path::Path;

use mkimage::base::{Endpoint, fs};
use mkimage::boot::command_line::CommandLine;
use mkimage::boot::environment::{self, LOG_ADDRESS, LOG_NOWHERE, METADATA_ADDRESS, Sources};
use mkimage::boot::service::App;

use crate::error::{Doing, Result};
use crate::logic::found::Found;
use crate::logic::smbios;
use crate::report::say;

const DMI_ENTRIES: &str = "/sys/firmware/dmi/entries";
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
const SOURCE_MAX_BYTES: u64 = 1 << 20;
/// Variables for whole systems, in the form of systemd's `EnvironmentFile=`.
const ENVIRONMENT_FILE: &str = "/run/mkimage/environment";

/// What this machine is told besides its image: by its command line and its hypervisor.
pub struct Told {
    pub variables: Vec<(String, String)>,
    addresses: Vec<(String, String)>,
    credentials: Vec<(String, Vec<u8>)>,
}

/// What the app gets.
pub struct Given {
    pub environment: BTreeMap<String, String>,
    /// Later ones go before earlier ones.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where logs go; `None`: nowhere but the console.
    pub log: Option<Endpoint>,
}

impl Told {
    /// Reads the hypervisor's credentials: SMBIOS, then fw_cfg.
    pub fn read(line: CommandLine) -> Told {
        let mut credentials = smbios_credentials();
        credentials.extend(fw_cfg_credentials());
        let mut addresses: Vec<(String, String)> =
            line.addresses.into_iter().map(|(name, address)| (name.to_owned(), address)).collect();
        for (name, value) in &credentials {
            if let (true, Ok(value)) =
                ([METADATA_ADDRESS, LOG_ADDRESS].contains(&name.as_str()), std::str::from_utf8(value))
            {
                addresses.push((name.clone(), value.trim().to_owned()));
            }
        }
        Told { variables: line.environment, addresses, credentials }
    }

    /// Returns the address of the metadata service, where one is told.
    pub fn metadata_service(&self) -> Option<Endpoint> {
        endpoint(METADATA_ADDRESS, self.address(METADATA_ADDRESS)?)
    }

    fn address(&self, name: &str) -> Option<&str> {
        self.addresses.iter().rev().find(|(found, _)| found == name).map(|(_, address)| address.as_str())
    }

    /// Puts together what the app gets; what is refused is told by name.
    pub fn give(self, app: &App, state_directory: &str, found: Found) -> Given {
        let log = self.log(app, found.log.as_deref());
        let own = self.credentials.iter().filter(|(name, _)| environment::is_credential_name(name)).cloned();
        let files = found.files.into_iter().chain(own).collect();
        let mut recipe = app.environment.clone();
        if let Some(id) = found.instance_id {
            recipe.entry("INSTANCE_ID".to_owned()).or_insert(id);
        }
        let sources = Sources {
            recipe,
            command_line: self.variables,
            metadata: found.variables,
            credentials: environment::variables(&self.credentials),
        };
        let (environment, refused) = environment::resolve(state_directory, sources);
        refused.iter().for_each(|refusal| say!("{refusal}"));
        Given { environment, files, log }
    }

    fn log(&self, app: &App, metadata: Option<&str>) -> Option<Endpoint> {
        let recipe = app.log.as_ref()?.address.as_deref();
        // The command line goes before metadata, credentials behind it: an address of the line is no credential's.
        let credential = self.credentials.iter().any(|(name, _)| name == LOG_ADDRESS);
        let told = self.address(LOG_ADDRESS);
        let address = if credential { told } else { metadata.or(told) };
        address.or(recipe).filter(|address| *address != LOG_NOWHERE).and_then(|it| endpoint(LOG_ADDRESS, it))
    }

    /// Writes the variables for a whole system's services, which name the file as their `EnvironmentFile=`.
    pub fn write_environment_file(self) -> Result<()> {
        let mut variables = BTreeMap::new();
        let credentials = environment::variables(&self.credentials);
        let sources = Sources { command_line: self.variables, credentials, ..Sources::default() };
        let refused = environment::overlay(&mut variables, sources);
        refused.iter().for_each(|refusal| say!("{refusal}"));
        let path = Path::new(ENVIRONMENT_FILE);
        fs::create_directories(path.parent().expect("because it has one"))?;
        crate::credentials::write(path, environment::file(&variables).as_bytes(), 0o600)
            .doing("write", ENVIRONMENT_FILE)
    }
}

fn endpoint(name: &str, text: &str) -> Option<Endpoint> {
    text.parse().inspect_err(|error| say!("{name}: {error}")).ok()
}

fn smbios_credentials() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::list(Path::new(DMI_ENTRIES)).unwrap_or_default() {
        if !entry.to_str().is_some_and(|name| name.starts_with("11-")) {
            continue;
        }
        let path = Path::new(DMI_ENTRIES).join(entry).join("raw");
        let raw = fs::read_at_most(&path, SOURCE_MAX_BYTES).unwrap_or_default();
        for string in smbios::oem_strings(&raw) {
            match environment::smbios_credential(string) {
                Some(Ok(pair)) => found.push(pair),
                Some(Err(refusal)) => say!("{refusal}"),
                None => {}
            }
        }
    }
    found
}

fn fw_cfg_credentials() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(FW_CFG);
    let mut found = Vec::new();
    for entry in fs::list(folder).unwrap_or_default() {
        let Some(name) = entry.to_str() else { continue };
        if let Ok(value) = fs::read_at_most(&folder.join(name).join("raw"), SOURCE_MAX_BYTES) {
            found.push((name.to_owned(), value));
        }
    }
    found
}
