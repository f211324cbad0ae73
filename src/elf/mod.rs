//! What a dynamic program needs: libraries, loader, their order.
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
