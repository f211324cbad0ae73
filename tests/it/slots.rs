//! Tests of the room `slots`: updates that are cut anywhere, and what people do with slots.

mod enumeration;
mod explore;
mod firmware;
mod given_up;
mod host;
pub mod kit;
mod known;
mod lost;
mod model;
mod rehearsed;
mod rotten;
pub mod verbs;
