//! Gathers the app's environment from where the machine says it.

use std::collections::BTreeMap;
use std::path::Path;

use mkimage::base::fs;
use mkimage::boot::environment::{self, CREDENTIAL_PREFIX, Sources};
use mkimage::boot::service::App;

use crate::logic::smbios;
use crate::report::say;

const DMI_ENTRIES: &str = "/sys/firmware/dmi/entries";
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
const SOURCE_MAX_BYTES: u64 = 1 << 20;

/// Returns the app's environment; what is refused is told by name.
pub fn environment(
    app: &App,
    state_directory: &str,
    command_line: Vec<(String, String)>,
) -> BTreeMap<String, String> {
    let mut credentials = smbios_credentials();
    credentials.extend(fw_cfg_credentials());
    let sources = Sources { recipe: app.environment.clone(), command_line, credentials };
    let (variables, refused) = environment::resolve(state_directory, sources);
    for refusal in refused {
        say!("{refusal}");
    }
    variables
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
        let Some(name) = entry.to_str().and_then(|name| name.strip_prefix(CREDENTIAL_PREFIX)) else {
            continue;
        };
        if let Ok(value) = fs::read_at_most(&folder.join(&entry).join("raw"), SOURCE_MAX_BYTES) {
            found.push((name.to_owned(), value));
        }
    }
    found
}
