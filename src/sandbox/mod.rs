//! Commands that run on a tree: unprivileged, without network, with the same result every time.
//!
//! Stub card.
//!
//! Always true
//! - Nothing yet.
//!
//! Not here: nothing yet.
//!
//! Read first: nothing yet.
