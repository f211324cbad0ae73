//! The other end, opened.

use super::address::Address;
use super::directory::DirectorySite;
use super::error::{RemoteError, Result};
use super::http::HttpSite;
use super::transport::{Line, Transport};
use crate::store::Store;
use crate::web::Patience;

/// A store that takes part like any other writer, or a site of files.
pub enum Far {
    Store(Box<Store>),
    Site(Box<dyn Transport>),
}

impl Far {
    /// Opens the far end to read from it. A directory that is no store is an error; a site is not asked yet.
    pub fn open(address: &Address, line: &Line) -> Result<Far> {
        if let Address::Store(path) = address
            && !path.join("format").exists()
        {
            return Err(no_store(address, "there is no file \"format\" in it"));
        }
        Far::open_to_write(address, line)
    }

    /// Opens the far end to write to it. An empty directory becomes a store; one that isn't there does not: its
    /// disk may not be mounted.
    pub fn open_to_write(address: &Address, line: &Line) -> Result<Far> {
        Ok(match address {
            Address::Store(path) if !path.is_dir() => return Err(no_store(address, "there is no directory")),
            Address::Store(path) => Far::Store(Box::new(Store::open(path)?)),
            Address::Directory(path) => Far::Site(Box::new(DirectorySite::new(path, line.clone()))),
            Address::Http(base) => {
                Far::Site(Box::new(HttpSite::new(base, line.clone(), Patience::default())?))
            }
            Address::Bucket { bucket, prefix } => open_bucket(bucket, prefix, address, line)?,
        })
    }
}

fn no_store(address: &Address, problem: &str) -> RemoteError {
    RemoteError::NotThere { remote: address.to_string(), expected: "store", problem: problem.to_owned() }
}

#[cfg(feature = "s3")]
fn open_bucket(bucket: &str, prefix: &str, _: &Address, line: &Line) -> Result<Far> {
    let environment = |name: &str| std::env::var(name).ok();
    Ok(Far::Site(Box::new(super::s3::BucketSite::new(bucket, prefix, &environment, line)?)))
}

#[cfg(not(feature = "s3"))]
fn open_bucket(_: &str, _: &str, address: &Address, _: &Line) -> Result<Far> {
    let problem = "this mkimage was built without the feature \"s3\"".to_owned();
    Err(RemoteError::NotThere { remote: address.to_string(), expected: "site", problem })
}
