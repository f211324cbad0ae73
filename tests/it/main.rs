//! Integration tests: one binary, one module a room.

mod archive;
mod boot;
mod compose;
mod disk;
mod ext4;
mod house;
mod init;
mod packages;
mod recipe;
mod store;
