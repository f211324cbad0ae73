//! Credentials, region and endpoint, from where AWS's tools take them.
//!
//! Environment first; then the profile `AWS_PROFILE` (else `default`) of the file `AWS_SHARED_CREDENTIALS_FILE`
//! (else `~/.aws/credentials`); then what the machine itself is given (instance metadata), unless
//! `AWS_EC2_METADATA_DISABLED` says `true`: then requests go unsigned, which public buckets answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, RetryConfig};

use super::super::error::TransferProblem;
use crate::base::fs;

/// What is read of the environment, and what it sets.
const VARIABLES: &[(&str, AmazonS3ConfigKey)] = &[
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_DEFAULT_REGION", AmazonS3ConfigKey::DefaultRegion),
    ("AWS_REGION", AmazonS3ConfigKey::Region),
    ("AWS_ENDPOINT_URL", AmazonS3ConfigKey::Endpoint),
    ("AWS_ENDPOINT_URL_S3", AmazonS3ConfigKey::S3Endpoint),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_SKIP_SIGNATURE", AmazonS3ConfigKey::SkipSignature),
    ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", AmazonS3ConfigKey::VirtualHostedStyleRequest),
    ("AWS_REQUEST_PAYER", AmazonS3ConfigKey::RequestPayer),
];
/// Any of these says where credentials come from.
const SOURCES: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;
/// How long a request is tried again that a server failed to answer.
const RETRY_TIME: Duration = Duration::from_secs(60);

type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Gathers the settings of a bucket.
///
/// # Errors
/// Says which setting can't be used.
pub(super) fn builder(
    bucket: &str,
    environment: &Environment<'_>,
) -> Result<AmazonS3Builder, TransferProblem> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(retry());
    let mut builder = builder.with_config(AmazonS3ConfigKey::DisableBulkDelete, "true");
    for (name, key) in VARIABLES {
        if let Some(value) = set(name) {
            builder = builder.with_config(*key, value);
        }
    }
    if SOURCES.iter().any(|name| set(name).is_some()) {
        return Ok(builder);
    }
    if let Some(profile) = profile(&set)? {
        for (key, value) in profile {
            builder = builder.with_config(key, value);
        }
    } else if set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        builder = builder.with_skip_signature(true);
    }
    Ok(builder)
}

/// Returns where the requests go, or an address of that kind.
pub(super) fn endpoint(environment: &Environment<'_>) -> String {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL")).unwrap_or_else(|| "https:".to_owned())
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 5, retry_timeout: RETRY_TIME }
}

type Settings = Vec<(AmazonS3ConfigKey, String)>;

/// Reads a profile; `None` where there is no file of them and none was asked for.
fn profile(set: &Environment<'_>) -> Result<Option<Settings>, TransferProblem> {
    let named = set("AWS_PROFILE");
    let of_home = || set("HOME").map(|home| Path::new(&home).join(".aws/credentials"));
    let path = set("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(of_home);
    let bytes = match path.as_deref().map(|path| fs::read_at_most(path, CREDENTIALS_BYTES_MAX)) {
        None => return Ok(None),
        Some(Err(error)) if error.is_missing() && named.is_none() => return Ok(None),
        Some(bytes) => bytes?,
    };
    let name = named.clone().unwrap_or_else(|| "default".to_owned());
    let found = section(&String::from_utf8_lossy(&bytes), &name);
    match (found, named) {
        (None, Some(name)) => {
            let problem = format!("AWS_PROFILE is {name:?}, and there is no such profile");
            Err(TransferProblem::Settings { problem })
        }
        (found, _) => Ok(found),
    }
}

/// Finds a section of an INI file, and what it says of credentials.
fn section(text: &str, name: &str) -> Option<Settings> {
    let head = |line: &str| {
        let inside = line.strip_prefix('[')?.strip_suffix(']')?;
        Some(inside.trim().trim_start_matches("profile ").trim().to_owned())
    };
    let mut lines = text.lines().map(str::trim).skip_while(|line| head(line).as_deref() != Some(name));
    lines.next()?;
    let pairs = lines.take_while(|line| head(line).is_none()).filter_map(|line| line.split_once('='));
    let setting = |(key, value): (&str, &str)| {
        let key = match key.trim() {
            "aws_access_key_id" => AmazonS3ConfigKey::AccessKeyId,
            "aws_secret_access_key" => AmazonS3ConfigKey::SecretAccessKey,
            "aws_session_token" => AmazonS3ConfigKey::Token,
            "region" => AmazonS3ConfigKey::Region,
            "endpoint_url" => AmazonS3ConfigKey::Endpoint,
            _ => return None,
        };
        Some((key, value.trim().to_owned()))
    };
    Some(pairs.filter_map(setting).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(builder: &AmazonS3Builder, key: AmazonS3ConfigKey) -> Option<String> {
        builder.get_config_value(&key)
    }

    #[test]
    fn the_environment_says_who_where_and_with_what() {
        let environment = |name: &str| {
            let value = match name {
                "AWS_ACCESS_KEY_ID" => "key",
                "AWS_SECRET_ACCESS_KEY" => "secret",
                "AWS_ENDPOINT_URL" => "http://127.0.0.1:1",
                "AWS_REGION" => "eu-central-1",
                "AWS_SESSION_TOKEN" => "",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let builder = builder("bucket", &environment).expect("settings");
        assert_eq!(value(&builder, AmazonS3ConfigKey::AccessKeyId).as_deref(), Some("key"));
        assert_eq!(value(&builder, AmazonS3ConfigKey::Region).as_deref(), Some("eu-central-1"));
        assert_eq!(value(&builder, AmazonS3ConfigKey::Token), None, "an empty variable is none");
    }

    #[test]
    fn a_profile_is_read_where_the_environment_has_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        let text = "# mine\n[default]\naws_access_key_id = one\naws_secret_access_key=two\n\n[ci]\naws_access_key_id=three\n";
        std::fs::write(&path, text).expect("written");
        let with = |profile: Option<&'static str>| {
            let path = path.clone();
            let environment = move |name: &str| match name {
                "AWS_SHARED_CREDENTIALS_FILE" => path.to_str().map(str::to_owned),
                "AWS_PROFILE" => profile.map(str::to_owned),
                _ => None,
            };
            builder("bucket", &environment)
        };
        let key = |builder: AmazonS3Builder| value(&builder, AmazonS3ConfigKey::AccessKeyId);
        assert_eq!(with(None).map(key).expect("settings").as_deref(), Some("one"));
        assert_eq!(with(Some("ci")).map(key).expect("settings").as_deref(), Some("three"));
        let error = with(Some("none")).map(key).expect_err("no profile");
        assert!(error.to_string().contains("no such profile"), "{error}");
    }

    #[test]
    fn without_any_credentials_public_buckets_can_be_read() {
        let environment = |name: &str| (name == "AWS_EC2_METADATA_DISABLED").then(|| "true".to_owned());
        let builder = builder("bucket", &environment).expect("settings");
        assert_eq!(value(&builder, AmazonS3ConfigKey::SkipSignature).as_deref(), Some("true"));
    }
}
