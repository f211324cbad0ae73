//! Compiles the boot loader (`src/loader/`), which is part of the tool: a UEFI application that shares one file with
//! it and nothing else. One call of the compiler for a target that is there anyway; no UEFI target is needed, as
//! `src/boot/elf_to_pe.rs` makes a PE image of the result.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The only architecture that the loader is written for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Interrupts of firmware share our stack, nobody links or unwinds us, and sections need pages of their own.
const FLAGS: [&str; 15] = [
    "opt-level=2",
    "lto=fat",
    "codegen-units=1",
    "panic=abort",
    "strip=symbols",
    "no-redzone=yes",
    "force-unwind-tables=no",
    "relocation-model=pic",
    "relro-level=off",
    "linker=rust-lld",
    "linker-flavor=ld.lld",
    "link-args=-pie --no-dynamic-linker -znorelro",
    "link-args=-zseparate-loadable-segments -zmax-page-size=4096",
    "link-args=-eefi_main --no-eh-frame-hdr",
    "metadata=mkimage-loader",
];

fn main() {
    pack_relocations();
    spawn_without_copies();
    watch(&["src/loader", "src/boot/slots/record.rs"]);
    if env::var_os("CARGO_FEATURE_TOOL").is_none() {
        return;
    }
    let program = Path::new(&variable("OUT_DIR")).join("mkimage-loader");
    match variable("TARGET").as_str() {
        TARGET => compile(&program),
        _ => fs::write(&program, []).expect("the output folder is there"),
    }
}

/// Has the linker write the relocations of what goes into images in their packed form (ELF gABI, SHT_RELR): a tenth
/// of their size otherwise, for nothing.
#[allow(clippy::disallowed_macros, reason = "a build script talks to Cargo")]
fn pack_relocations() {
    for program in ["mkimage-init", "mkimage-agent"] {
        println!("cargo::rustc-link-arg-bin={program}=-Wl,-z,pack-relative-relocs");
    }
}

/// Links what the standard library needs to start a program in another folder without a copy of the whole process, and
/// does without in static programs: tests are large, and start thousands.
#[allow(clippy::disallowed_macros, reason = "a build script talks to Cargo")]
fn spawn_without_copies() {
    println!("cargo::rustc-link-arg-tests=-Wl,--undefined=posix_spawn_file_actions_addchdir_np");
}

/// Has Cargo run this again when one of these changed.
#[allow(clippy::disallowed_macros, reason = "a build script talks to Cargo")]
fn watch(paths: &[&str]) {
    for path in paths {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn compile(program: &Path) {
    let root = variable("CARGO_MANIFEST_DIR");
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition=2024", "--crate-name=mkimage_loader", "--crate-type=bin", "--deny=warnings"])
        .arg(format!("--target={TARGET}"))
        .args(FLAGS.map(|flag| format!("-C{flag}")))
        // No path of this machine gets into the loader.
        .arg(format!("--remap-path-prefix={root}="))
        .env("MKIMAGE_VERSION", variable("CARGO_PKG_VERSION"))
        .arg("-o")
        .arg(program)
        .arg(Path::new(&root).join("src/loader/main.rs"));
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "the boot loader can't be compiled: {command:?}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
