//! Integration tests: one binary, one module a room.

mod adversary;
mod archive;
mod boot;
mod compose;
mod day;
mod disk;
mod ext4;
mod fuzz;
mod house;
mod init;
mod judge;
mod packages;
mod recipe;
mod store;
mod tool;
mod trial;
mod twice;
mod uefi;
