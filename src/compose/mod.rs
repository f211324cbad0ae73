//! Stub card.
