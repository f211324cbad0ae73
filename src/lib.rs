//! `mkimage` turns an app and a declarative recipe into a bootable, bit-for-bit reproducible GPT disk
//! image with atomic A/B slots.
//!
//! ```text
//! recipe text ──recipe──▶ Plan ──compose──▶ SealedTree ──store──▶ Commit ──disk + boot──▶ image
//!                                  ▲
//!              app, files, packages, users, kernel
//! ```
//!
//! The rule that makes everything else possible: **an image is a pure function of a commit.** Every
//! byte of every partition, identifier, time stamp and salt follows from the commit and the disk plan
//! that it names. No clock, host state, thread count or directory order reaches one.
//!
//! # The map
//!
//! | room | what happens in it |
//! |---|---|
//! | [`base`] | digests and ids, units, image paths, the clock, workers, jobs, durable publishing |
//! | [`recipe`] | text becomes a [`recipe::Plan`]; diagnostics, formatter, reference |
//! | [`tree`] | the filesystem as a value; merging, sealing, diffing |
//! | [`archive`] | tar, ar and compressed streams, parsed strictly into trees, never unpacked onto the host |
//! | [`store`] | objects, packs, trees, commits, refs: content-addressed, durable, git-like |
//! | [`trust`] | keys, signed envelopes, the index of a site, the order of the checks |
//! | [`web`] | connections, redirects: the web as mirrors and sites are asked over it |
//! | [`bundle`] | what travels between stores: objects in frames, and deltas to what the receiver has |
//! | [`packages`] | names become verified, locked, unpacked packages |
//! | [`elf`] | what a dynamic program needs |
//! | [`finalize`] | what maintainer scripts would have done to a tree, without running them |
//! | [`sandbox`] | commands that run on a tree: unprivileged, without network, repeatable |
//! | [`compose`] | the parts of a recipe become trees, each under the digest of all that it reads |
//! | [`disk`] | bytes of block images: GPT, FAT32, ext4, dm-verity |
//! | [`boot`] | what firmware, loader and PID 1 see: UKI, initrd, slot sector, service description |
//! | [`image`] | a commit as the bytes of a disk, and a disk as the commit that it holds |
//! | [`ostree`] | commits into OSTree repositories, and out of them |
//! | [`pipeline`] | the story, top to bottom; read it first |
//! | [`report`] | bills of materials, a page of pictures, timelines |
//! | [`remote`] | push, pull, clone, mirror: commits from store to store |
//! | [`confine`] | foreign bytes in a child that can do nothing else |
//! | [`view`] | one way to look into commits, images and partitions |
//! | [`slots`] | a disk with two slots: status, update, rollback, switch, confirm |
//! | [`agent`] | a machine updates itself: asks a site, fetches what it lacks, fills the other slot |
//! | [`verify`] | an image against itself, against another, against what others state of it |
//! | [`machine`] | an image in a virtual machine |
//! | [`cli`] | arguments, progress, messages, exit codes |
//!
//! What links with libostree is a binary of its own, `mkimage-ostree` (`src/ostree/libostree/`, feature
//! `ostree`), which [`ostree`] starts.
//!
//! PID 1 of app images is the binary `mkimage-init` (`src/init/`). It is built without the feature
//! `tool` and shares [`base`] and parts of [`boot`]. What updates an image from within is the binary
//! `mkimage-agent` ([`agent`]): the feature `agent` has the rooms that it needs, and `tool` implies it.
#![deny(unsafe_code)]
#![allow(rustdoc::private_intra_doc_links, reason = "the cards of the rooms name their sub-modules")]

pub mod base;
pub mod boot;
pub mod tree;

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "tool")]
pub mod archive;
#[cfg(feature = "agent")]
pub mod bundle;
#[cfg(feature = "tool")]
pub mod cli;
#[cfg(feature = "tool")]
pub mod compose;
#[cfg(feature = "tool")]
pub mod confine;
#[cfg(feature = "agent")]
pub mod disk;
#[cfg(feature = "tool")]
pub mod elf;
#[cfg(feature = "tool")]
pub mod finalize;
#[cfg(feature = "agent")]
pub mod image;
#[cfg(feature = "tool")]
pub mod machine;
#[cfg(any(feature = "tool", feature = "ostree"))]
pub mod ostree;
#[cfg(feature = "tool")]
pub mod packages;
#[cfg(feature = "tool")]
pub mod pipeline;
#[cfg(feature = "tool")]
pub mod recipe;
#[cfg(feature = "agent")]
pub mod remote;
#[cfg(feature = "tool")]
pub mod report;
#[cfg(feature = "tool")]
pub mod sandbox;
#[cfg(feature = "agent")]
pub mod slots;
#[cfg(feature = "agent")]
pub mod store;
#[cfg(feature = "agent")]
pub mod trust;
#[cfg(feature = "tool")]
pub mod verify;
#[cfg(feature = "tool")]
pub mod view;
#[cfg(feature = "agent")]
pub mod web;
