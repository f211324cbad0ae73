//! The `mkimage` program: see `mkimage::cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    mkimage::cli::main()
}
