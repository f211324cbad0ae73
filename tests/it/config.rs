//! Configuration at start: what one image is told in different environments, where its output goes, and that
//! secrets stay where they belong.

mod boots;
mod guest;
mod planted;
mod secrets;
mod service;
mod volumes;
