//! RPM's formats and repositories.
//!
//! Stub card.
//!
//! Always true
//! - Nothing yet.
//!
//! Not here: nothing yet.
//!
//! Read first: nothing yet.
