//! The connections of a web site: pooled, with the machine's proxies and CA roots, each host looked up once.

use std::path::Path;

use ureq::Agent;
use ureq::tls::RootCerts;
use ureq::unversioned::transport::DefaultConnector;

use super::error::TransferProblem;
use crate::web::{Lookups, Patience, WebError, certificates, configuration};

/// Idle connections that are kept for a host.
const CONNECTIONS: usize = 8;
/// The files of CA certificates that the environment may name, the first that is set counts.
const CERTIFICATES: [&str; 2] = ["CURL_CA_BUNDLE", "SSL_CERT_FILE"];

/// Makes the agent for an address. Of the environment, the usual proxy variables (`https_proxy`, `all_proxy`,
/// `no_proxy`, …) and the files of CA certificates count, unless `certificates` names one.
pub(super) fn agent(
    address: &str,
    patience: &Patience,
    certificates: Option<&Path>,
) -> Result<Agent, TransferProblem> {
    // Reading CA certificates takes a while, and who speaks http needs none.
    let roots = match address.starts_with("https:") {
        true => roots(certificates)?,
        false => RootCerts::PlatformVerifier,
    };
    let config = configuration(patience, roots, ureq::Proxy::try_from_env(), CONNECTIONS);
    Ok(Agent::with_parts(config, DefaultConnector::new(), Lookups::default()))
}

/// Returns the CA certificates of a file, else those that the environment names, else what the system has.
fn roots(named: Option<&Path>) -> Result<RootCerts, TransferProblem> {
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let path = named.map(|path| path.as_os_str().to_owned()).or_else(|| CERTIFICATES.iter().find_map(set));
    certificates(path.as_deref().map(Path::new)).map_err(|error| match error {
        WebError::File(error) => TransferProblem::File(error),
        error => TransferProblem::Settings { problem: error.to_string() },
    })
}
