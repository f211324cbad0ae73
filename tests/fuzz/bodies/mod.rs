//! What each fuzz target does with its bytes, and the seeds that it starts from.
//!
//! One list serves two drivers: `cargo fuzz` (a binary a target, `targets/`) and `tests/it/fuzz.rs`, which
//! runs every body over its seeds and a few thousand mutations with the stable compiler. Errors of a parser
//! are fine. A panic is a bug, and so is a value that does not come back from its own encoding.
//!
//! Where a checksum guards a format, the body repairs it first: bit flips alone would never get behind it.

mod archive;
mod boot;
mod build;
mod bundle;
mod damage;
mod device;
mod elf;
mod ext4;
mod finalize;
mod init;
mod metadata;
mod openpgp;
mod ostree;
mod packages;
mod partitions;
mod recipe;
mod records;
mod report;
mod rpm;
mod solving;
mod store;
mod trust;
mod verify;
mod volume;

use std::sync::LazyLock;

use mkimage::base::Job;

/// A parser of foreign bytes under test.
pub struct Target {
    /// That of the binary under `targets/`.
    pub name: &'static str,
    /// Feeds the parser; panics where it has a bug.
    pub run: fn(&[u8]),
    /// Sound inputs, built in process, and those that once found a bug.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of the format, for mutations.
    pub words: &'static [&'static str],
    /// Mutations that the test run makes of each seed: fewer for slow parsers.
    pub rounds: usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "archive",
        run: archive::tar,
        seeds: archive::tar_seeds,
        words: archive::WORDS,
        rounds: 400,
    },
    Target {
        name: "decompress",
        run: archive::decompressed,
        seeds: archive::packed_seeds,
        words: &[],
        rounds: 1500,
    },
    Target { name: "ar", run: archive::ar, seeds: archive::ar_seeds, words: archive::WORDS, rounds: 2000 },
    Target {
        name: "deb",
        run: packages::deb,
        seeds: packages::deb_seeds,
        words: archive::WORDS,
        rounds: 300,
    },
    Target {
        name: "lock",
        run: packages::lock,
        seeds: packages::lock_seeds,
        words: packages::WORDS,
        rounds: 5000,
    },
    Target {
        name: "control",
        run: packages::control,
        seeds: packages::control_seeds,
        words: packages::WORDS,
        rounds: 1200,
    },
    Target {
        name: "sources",
        run: packages::sources,
        seeds: packages::source_seeds,
        words: packages::WORDS,
        rounds: 2500,
    },
    Target {
        name: "version",
        run: packages::version,
        seeds: packages::version_seeds,
        words: packages::WORDS,
        rounds: 2000,
    },
    Target {
        name: "relations",
        run: solving::relations,
        seeds: solving::relations_seeds,
        words: solving::WORDS,
        rounds: 3000,
    },
    Target {
        name: "index",
        run: solving::index,
        seeds: solving::index_seeds,
        words: solving::WORDS,
        rounds: 1500,
    },
    Target {
        name: "inrelease",
        run: openpgp::inrelease,
        seeds: openpgp::inrelease_seeds,
        words: openpgp::WORDS,
        rounds: 400,
    },
    Target {
        name: "keyring",
        run: openpgp::keyring,
        seeds: openpgp::keyring_seeds,
        words: openpgp::WORDS,
        rounds: 400,
    },
    Target { name: "rpm", run: rpm::package, seeds: rpm::package_seeds, words: rpm::WORDS, rounds: 3000 },
    Target {
        name: "repodata",
        run: rpm::repodata,
        seeds: rpm::repodata_seeds,
        words: rpm::WORDS,
        rounds: 1500,
    },
    Target {
        name: "dependency",
        run: rpm::dependency,
        seeds: rpm::dependency_seeds,
        words: rpm::WORDS,
        rounds: 5000,
    },
    Target {
        name: "scriptlet",
        run: rpm::scriptlet,
        seeds: rpm::scriptlet_seeds,
        words: rpm::WORDS,
        rounds: 4000,
    },
    Target { name: "recipe", run: recipe::run, seeds: recipe::seeds, words: recipe::WORDS, rounds: 350 },
    Target { name: "partitions", run: partitions::run, seeds: partitions::seeds, words: &[], rounds: 80 },
    Target { name: "volume", run: volume::run, seeds: volume::seeds, words: volume::WORDS, rounds: 12 },
    Target { name: "ext4", run: ext4::run, seeds: ext4::seeds, words: &[], rounds: 120 },
    Target { name: "verity", run: device::verity, seeds: device::verity_seeds, words: &[], rounds: 1000 },
    Target { name: "slots", run: boot::slots, seeds: boot::slots_seeds, words: boot::WORDS, rounds: 2500 },
    Target { name: "records", run: records::records, seeds: records::record_seeds, words: &[], rounds: 1200 },
    Target {
        name: "program",
        run: records::program,
        seeds: records::program_seeds,
        words: &[],
        rounds: 2500,
    },
    Target { name: "pe", run: boot::pe, seeds: boot::pe_seeds, words: boot::WORDS, rounds: 1500 },
    Target { name: "module", run: boot::module, seeds: boot::module_seeds, words: boot::WORDS, rounds: 1500 },
    Target { name: "elf", run: elf::elf, seeds: elf::elf_seeds, words: elf::WORDS, rounds: 2500 },
    Target { name: "caches", run: elf::caches, seeds: elf::cache_seeds, words: elf::WORDS, rounds: 300 },
    Target {
        name: "command_line",
        run: boot::command_line,
        seeds: boot::line_seeds,
        words: boot::WORDS,
        rounds: 3000,
    },
    Target {
        name: "credentials",
        run: init::credentials,
        seeds: init::credential_seeds,
        words: boot::WORDS,
        rounds: 3000,
    },
    Target { name: "dhcp", run: init::dhcp, seeds: init::dhcp_seeds, words: &[], rounds: 4000 },
    Target {
        name: "metadata",
        run: metadata::text,
        seeds: metadata::text_seeds,
        words: metadata::WORDS,
        rounds: 2500,
    },
    Target { name: "seed", run: metadata::volume, seeds: metadata::volume_seeds, words: &[], rounds: 4000 },
    Target { name: "loader", run: init::loader, seeds: init::loader_seeds, words: boot::WORDS, rounds: 2000 },
    Target {
        name: "directory",
        run: store::directory,
        seeds: store::directory_seeds,
        words: &[],
        rounds: 4000,
    },
    Target { name: "commit", run: store::commit, seeds: store::commit_seeds, words: &[], rounds: 4000 },
    Target { name: "ostree", run: ostree::objects, seeds: ostree::seeds, words: ostree::WORDS, rounds: 3000 },
    Target { name: "bundle", run: bundle::file, seeds: bundle::file_seeds, words: &[], rounds: 400 },
    Target { name: "delta", run: bundle::delta, seeds: bundle::delta_seeds, words: &[], rounds: 150 },
    Target { name: "patch", run: bundle::patch, seeds: bundle::patch_seeds, words: &[], rounds: 400 },
    Target { name: "names", run: store::names, seeds: store::name_seeds, words: store::WORDS, rounds: 3000 },
    Target {
        name: "envelope",
        run: trust::envelope,
        seeds: trust::envelope_seeds,
        words: trust::WORDS,
        rounds: 3000,
    },
    Target { name: "site", run: trust::site, seeds: trust::site_seeds, words: trust::WORDS, rounds: 3000 },
    Target { name: "key", run: trust::key, seeds: trust::key_seeds, words: trust::WORDS, rounds: 3000 },
    Target {
        name: "sysusers",
        run: finalize::sysusers,
        seeds: finalize::sysusers_seeds,
        words: finalize::WORDS,
        rounds: 2000,
    },
    Target {
        name: "script",
        run: finalize::script,
        seeds: finalize::script_seeds,
        words: finalize::WORDS,
        rounds: 1500,
    },
    Target {
        name: "unit",
        run: finalize::unit,
        seeds: finalize::unit_seeds,
        words: finalize::WORDS,
        rounds: 1500,
    },
    Target { name: "pack", run: damage::pack, seeds: damage::pack_seeds, words: damage::WORDS, rounds: 150 },
    Target {
        name: "store_lines",
        run: damage::lines,
        seeds: damage::lines_seeds,
        words: damage::WORDS,
        rounds: 150,
    },
    Target { name: "bill", run: report::bill, seeds: report::bill_seeds, words: report::WORDS, rounds: 300 },
    Target {
        name: "timeline",
        run: report::timeline,
        seeds: report::timeline_seeds,
        words: report::TIMELINE_WORDS,
        rounds: 2000,
    },
    Target { name: "image", run: verify::run, seeds: verify::seeds, words: &[], rounds: 20 },
    Target { name: "origin", run: verify::origin, seeds: verify::origin_seeds, words: &[], rounds: 2000 },
];

/// One job for all runs: starting threads would be most of a run.
static JOB: LazyLock<Job> = LazyLock::new(|| Job::quiet(1));

/// Takes a number off the front; 0 where the bytes have ended.
fn take(bytes: &mut &[u8], length: usize) -> u64 {
    let (number, rest) = bytes.split_at(length.min(bytes.len()));
    *bytes = rest;
    number.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
