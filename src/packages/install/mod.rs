//! Unpacked packages become one tree.
//!
//! Stub card.
//!
//! Always true
//! - Nothing yet.
//!
//! Not here: nothing yet.
//!
//! Read first: nothing yet.
