//! Integration tests: one binary, one module a room.

mod adversary;
mod archive;
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
mod house;
mod init;
mod judge;
mod packages;
mod recipe;
mod recipes;
mod rpm;
mod sandbox;
mod solver;
mod store;
mod tool;
mod trial;
mod twice;
mod uefi;
