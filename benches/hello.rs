//! The whole program on the hello image: from a warm store, with nothing changed; and its peak memory
//! on a tree of 2 GiB. There is no peer that makes the same thing, so a published figure stands beside.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark reads the clock and prints"
)]

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 11;
/// The demo's app, as its recipe names it.
const APP: &str = "target/x86_64-unknown-linux-gnu/release/hello";

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-hello");
    std::fs::create_dir_all(&folder).expect("a folder");
    hello(&folder);
    memory(&folder);
}

fn mkimage(folder: &Path, arguments: &[&OsStr]) -> Command {
    let init = std::env::var_os("MKIMAGE_INIT").unwrap_or_else(|| env!("CARGO_BIN_EXE_mkimage-init").into());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkimage"));
    command
        .env("MKIMAGE_STORE", folder.join("store"))
        .env("MKIMAGE_INIT", init)
        .arg("--quiet")
        .args(arguments);
    command
}

fn seconds(mut command: Command) -> f64 {
    let started = Instant::now();
    let status = command.status().expect("mkimage starts");
    assert!(status.success(), "{command:?}: {status}");
    started.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn hello(folder: &Path) {
    let recipe = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recipes/hello/hello.hcl");
    let app = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recipes/hello").join(APP);
    assert!(app.exists(), "run `make hello` first: {} is missing", app.display());
    let image = folder.join("hello.img");
    let build = || mkimage(folder, &["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]);
    seconds(build());
    let mut fresh = Vec::new();
    let mut unchanged = Vec::new();
    for _ in 0..ROUNDS {
        std::fs::remove_file(&image).expect("removed");
        fresh.push(seconds(build()));
        unchanged.push(seconds(build()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let allocated = std::fs::metadata(&image).expect("the image").blocks() * 512;
    println!(
        "hello image, warm store, whole process    median {:7.1} ms   (target < 500; Boxfuse published 517 for a Go app)",
        median(fresh) * 1e3
    );
    println!(
        "hello image, nothing changed              median {:7.1} ms   (target < 50)",
        median(unchanged) * 1e3
    );
    println!(
        "hello image, allocated                           {:7.2} MB   (target <= 24, kernel included; Boxfuse published 7.34)",
        allocated as f64 / 1e6
    );
    let packed = folder.join("hello.img.xz");
    let file = std::fs::File::create(&packed).expect("a file");
    let status =
        Command::new("xz").args(["-9", "-T1", "--stdout"]).arg(&image).stdout(file).status().expect("xz");
    assert!(status.success());
    let length = std::fs::metadata(&packed).expect("the file").len();
    println!(
        "hello image as an xz file                        {:7.2} MB   (target <= 12)",
        length as f64 / 1e6
    );
}

/// Composes 2 GiB of files that don't compress and measures the largest memory of the process.
fn memory(folder: &Path) {
    let project = folder.join("large");
    let tree = project.join("tree");
    if !project.join("done").exists() {
        std::fs::create_dir_all(&tree).expect("a folder");
        let mut state = 1u64;
        let mut piece = vec![0u8; 1 << 20];
        for file in 0..64 {
            let mut out = std::fs::File::create(tree.join(format!("file{file:02}"))).expect("a file");
            for _ in 0..32 {
                for word in piece.chunks_exact_mut(8) {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    word.copy_from_slice(&state.to_le_bytes());
                }
                out.write_all(&piece).expect("written");
            }
        }
        std::fs::write(project.join("done"), b"").expect("written");
    }
    let recipe = project.join("large.hcl");
    let hello =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/hello/hello.hcl"))
            .expect("a recipe");
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/hello").join(APP);
    let text = hello.replace(&format!("{APP:?}"), &format!("{:?}", app.display().to_string()));
    std::fs::write(
        &recipe,
        format!("{text}\ntree \"large\" {{\n  source = \"tree\"\n  path   = \"/large\"\n}}\n"),
    )
    .expect("a recipe");
    let image = folder.join("large.img");
    let inner = mkimage(folder, &["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]);
    let mut command = Command::new("/usr/bin/env");
    let python = "import resource,subprocess,sys,time\nt=time.time()\nr=subprocess.run(sys.argv[1:])\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, time.time()-t)\nsys.exit(r.returncode)";
    command.args(["python3", "-c", python]).arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    let output = command.output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().expect("a number"));
    let (kib, wall) = (numbers.next().expect("memory"), numbers.next().expect("seconds"));
    println!(
        "tree of 2 GiB, compose and write: peak memory    {:7.1} MiB  (target < 150), {wall:.1} s",
        kib / 1024.0
    );
    let _ = std::fs::remove_file(image);
}
