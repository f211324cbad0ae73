//! The web as mirrors and sites are asked over it: how connections are made, and how answers lead on.
//!
//! In: settings of who asks (patience, certificates, proxies), addresses, answers. Out: the configuration of a
//! pooled client, a table of host names, the answer at the end of a chain of redirects.
//!
//! Always true: an answer's status is never an error here, and no redirect is followed but by [`follow`], within
//! one scheme; each host is looked up once; bodies are asked for as they lie there, without compression.
//!
//! Not here: whom to ask, proxies of apt (`packages`), what a body may be and how it is taken up again where a
//! line was cut (`packages::download`, `remote::http`).
//!
//! Read first: `client.rs`.
#![forbid(unsafe_code)]

mod client;
mod error;
mod redirect;

pub use client::{Lookups, Patience, certificates, configuration};
pub use error::WebError;
pub use redirect::{follow, header, scheme};
