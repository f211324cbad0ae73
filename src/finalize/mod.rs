//! What maintainer scripts would have done, done to a tree without running them.
//!
//! Stub card.
//!
//! Always true
//! - Nothing yet.
//!
//! Not here: nothing yet.
//!
//! Read first: nothing yet.
#![forbid(unsafe_code)]
