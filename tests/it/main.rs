//! Integration tests: one binary, one module a room.

mod adversary;
mod agent;
mod archive;
mod base;
mod boot;
mod bundle;
mod compose;
mod day;
mod deb;
mod disk;
mod elf;
mod ext4;
mod finalize;
mod fuzz;
mod history;
mod house;
mod init;
mod judge;
mod ostree;
mod packages;
mod recipe;
mod recipes;
mod remote;
mod rpm;
#[allow(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod s3;
mod sandbox;
mod solver;
mod store;
mod tool;
mod trial;
mod trust;
mod twice;
mod uefi;
