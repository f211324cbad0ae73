//! RPM packages and repositories against the stock tools: `rpmbuild`, `createrepo_c` and GnuPG make them, `rpm` judges
//! what becomes of them, `libsolv` says what fits together.

mod adversary;
pub mod kit;
mod repositories;
mod solving;
mod trees;
