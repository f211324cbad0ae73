//! What the machine and the command line say about how to get packages.

use std::path::PathBuf;

use super::apt_conf;
use super::error::PackagesError;
use super::mirror::MirrorRule;
use super::proxy::Proxies;
use crate::web::Patience;

/// Holds what the machine and the command line say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mirrors that flags or `MKIMAGE_MIRROR` name, first ones first.
    pub mirrors: Vec<MirrorRule>,
    /// A folder that [`super::vendor`] made: packages are looked for there before any mirror is asked.
    pub vendor: Option<PathBuf>,
    /// No connection may be made; `file:` mirrors still serve.
    pub offline: bool,
    /// The folder of apt's configuration.
    pub apt: PathBuf,
    /// The folder in which `DISTRIBUTION-archive-keyring.gpg` lies.
    pub keyrings: PathBuf,
    pub proxies: Proxies,
    /// Files of CA certificates for `https:`; none: those of the system.
    pub certificates: Option<PathBuf>,
    /// Connections at once, 1 to 16.
    pub connections: usize,
    pub patience: Patience,
    /// The time against which signatures and `Valid-Until` are checked, in seconds since 1970.
    pub now_seconds: u64,
}

impl Settings {
    /// Reads the settings of this machine: apt's configuration, and of the environment `MKIMAGE_MIRROR`, the
    /// usual proxy variables, `CURL_CA_BUNDLE` and `SSL_CERT_FILE`. apt's own switches for the checks of dates
    /// and certificates are not obeyed.
    pub fn of_machine(
        now_seconds: u64,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, PackagesError> {
        let apt = PathBuf::from("/etc/apt");
        Settings::of_folder(apt, "/usr/share/keyrings".into(), now_seconds, environment)
    }

    /// As [`Settings::of_machine`], with apt's configuration and the keyrings in other folders.
    pub fn of_folder(
        apt: PathBuf,
        keyrings: PathBuf,
        now_seconds: u64,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, PackagesError> {
        let values = apt_conf::read(&apt);
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let certificates = values.get("acquire::https::cainfo").cloned().filter(|value| !value.is_empty());
        let certificates =
            certificates.or_else(|| variable("CURL_CA_BUNDLE")).or_else(|| variable("SSL_CERT_FILE"));
        let mirrors = variable("MKIMAGE_MIRROR").unwrap_or_default();
        Ok(Settings {
            mirrors: MirrorRule::parse_list(&mirrors)?,
            proxies: Proxies::of_machine(&values, environment),
            certificates: certificates.map(PathBuf::from),
            ..Settings::bare(apt, keyrings, now_seconds)
        })
    }

    /// Makes settings without a mirror or proxy of their own.
    pub fn bare(apt: PathBuf, keyrings: PathBuf, now_seconds: u64) -> Settings {
        Settings {
            mirrors: Vec::new(),
            vendor: None,
            offline: false,
            apt,
            keyrings,
            proxies: Proxies::default(),
            certificates: None,
            connections: 6,
            patience: Patience::default(),
            now_seconds,
        }
    }
}
