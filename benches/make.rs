//! `make` with nothing changed on ten images: what mkimage adds, where dependency files keep it from being called
//! and where a rule asks it every time.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark reads the clock and prints"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 15;
const IMAGES: usize = 10;
/// The demo's app, as its recipe names it.
const APP: &str = "target/x86_64-unknown-linux-gnu/release/hello";

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-make");
    project(&folder);
    make(&folder, &[]);
    let depfiles = median(|| make(&folder, &[]));
    let asked = median(|| make(&folder, &["-f", "ask.mk"]));
    let empty = median(|| make(&folder, &["-f", "ask.mk", "MKIMAGE=true"]));
    println!(
        "make, ten images, nothing changed, dependency files  median {:6.1} ms   mkimage is not called",
        depfiles
    );
    println!(
        "make, ten images, nothing changed, asked each time   median {:6.1} ms   {:.1} ms an image beside `true` (target < 30)",
        asked,
        (asked - empty) / IMAGES as f64
    );
}

/// Ten recipes with an image each, and two Makefiles.
fn project(folder: &Path) {
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/hello");
    let app = hello.join(APP);
    assert!(app.exists(), "run `make hello` first: {} is missing", app.display());
    std::fs::create_dir_all(folder).expect("a folder");
    let text = std::fs::read_to_string(hello.join("hello.hcl")).expect("a recipe");
    let text = text.replace(&format!("{APP:?}"), &format!("{:?}", app.display().to_string()));
    for number in 0..IMAGES {
        let name = format!("image \"hello{number}\"");
        let recipe = text.replacen("image \"hello\"", &name, 1);
        assert_ne!(recipe, text, "the recipe of the demo has another name");
        let path = folder.join(format!("{number}.hcl"));
        if std::fs::read_to_string(&path).is_ok_and(|there| there == recipe) {
            continue;
        }
        std::fs::write(&path, recipe).expect("a recipe");
    }
    let images: Vec<String> = (0..IMAGES).map(|number| format!("{number}.img")).collect();
    let rules = format!("IMAGES := {}\nall: $(IMAGES)\n", images.join(" "));
    let build = "\t+@$(MKIMAGE) build --quiet $*.hcl -o $@ --depfile $*.d\n";
    std::fs::write(
        folder.join("Makefile"),
        format!("{rules}%.img: %.hcl\n{build}-include $(IMAGES:.img=.d)\n"),
    )
    .expect("a Makefile");
    std::fs::write(folder.join("ask.mk"), format!("{rules}$(IMAGES): %.img: FORCE\n{build}FORCE:\n"))
        .expect("a Makefile");
}

/// Runs make and returns how long it took, in milliseconds.
fn make(folder: &Path, arguments: &[&str]) -> f64 {
    let init = std::env::var_os("MKIMAGE_INIT").unwrap_or_else(|| env!("CARGO_BIN_EXE_mkimage-init").into());
    let mut command = Command::new("make");
    command.arg("-j2").args(arguments).current_dir(folder).stdout(Stdio::null());
    command.env("MKIMAGE", env!("CARGO_BIN_EXE_mkimage")).env("MKIMAGE_INIT", init);
    command.env("MKIMAGE_STORE", folder.join("store")).env_remove("MAKEFLAGS").env_remove("MKIMAGE_JOBS");
    let started = Instant::now();
    let status = command.status().expect("make starts");
    assert!(status.success(), "{command:?}: {status}");
    started.elapsed().as_secs_f64() * 1e3
}

fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut values: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    values.sort_by(f64::total_cmp);
    values[ROUNDS / 2]
}
