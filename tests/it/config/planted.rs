//! Secrets of the machine that builds and publishes, and everything that is left behind there.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use mkimage::base::fs;

use super::secrets::Plant;
use crate::adversary::Site;
use crate::tool::{run, succeed};

/// How a zstd frame begins (RFC 8878 §3.1.1).
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const FRAME_BYTES_MAX: u64 = 256 << 20;

/// Adds what each zstd frame in some bytes holds; a place that only looks like one holds nothing.
fn unfold(bytes: &[u8], found: &mut Vec<Vec<u8>>) {
    for at in (0..bytes.len().saturating_sub(FRAME.len())).filter(|&at| bytes[at..].starts_with(&FRAME)) {
        let mut content = Vec::new();
        let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) else { continue };
        if decoder.single_frame().take(FRAME_BYTES_MAX).read_to_end(&mut content).is_ok() {
            found.push(content);
        }
    }
}

/// Returns the bytes of each file below a folder, and of each frame in them, with its path.
fn everything(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut all, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::list(&path).expect("a folder").into_iter().map(|name| path.join(name)));
            continue;
        }
        let bytes = std::fs::read(&path).expect("read");
        let mut inside = Vec::new();
        unfold(&bytes, &mut inside);
        all.extend(inside.into_iter().map(|content| (format!("a frame in {}", path.display()), content)));
        all.push((path.display().to_string(), bytes));
    }
    all
}

/// Gives a command what a machine that builds may hold: secrets in its environment, a proxy with a password.
fn with_secrets<'a>(command: &'a mut Command, plant: &Plant) -> &'a mut Command {
    for name in ["PLANTED", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MKIMAGE_SECRET", "CI_TOKEN"] {
        command.env(name, &plant.secret);
    }
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"] {
        command.env(name, format!("http://builder:{}@127.0.0.1:1/", plant.secret));
    }
    command
}

#[test]
fn nothing_that_a_builder_knows_reaches_image_store_site_events_or_messages() {
    let (plant, marker) = (Plant::new(), Plant::new());
    let site = Site::bootable();
    let recipe = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let recipe = format!("{recipe}\nfile \"/etc/marker\" {{\n  content = \"{}\"\n}}\n", marker.secret);
    site.write("disk.hcl", recipe.as_bytes());
    let packages =
        "image \"p\" {}\n\npackages \"debian\" {\n  suite   = \"bookworm\"\n  install = [\"hello\"]\n}\n";
    site.write("packages.hcl", packages.as_bytes());
    let logs = ["--events", "out/events", "--trace", "out/trace"];
    std::fs::create_dir(site.path("out")).expect("a folder");
    std::fs::create_dir(site.path("site")).expect("a folder");

    succeed(with_secrets(&mut site.mkimage(&["key", "generate", "site.key"]), &plant));
    let key = std::fs::read_to_string(site.path("site.key")).expect("a key");
    let key = key.lines().max_by_key(|line| line.len()).expect("a line").to_owned();
    assert!(key.len() > 30, "a private key: {key}");
    let key = Plant::of(key);
    let to = format!("dir:{}", site.path("site").display());
    for (words, logged) in [
        (&["build", "disk.hcl", "-o", "disk.img", "--json"][..], true),
        (&["push", &to, "disk:test/prod", "--site", "farm", "--key", "site.key"], false),
        (&["inspect", "disk.img", "--json"], false),
        (&["sbom", "disk"], false),
        (&["report", "disk", "-o", "out/report.html"], false),
        (&["log", "disk", "--json"], false),
        // Nobody is behind the proxy: what is said of it tells no password.
        (&["lock", "packages.hcl", "--mirror", "http://mirror.invalid/debian"], false),
    ] {
        let more = if logged { &logs[..] } else { &[] };
        let arguments: Vec<&str> = words.iter().chain(more).copied().collect();
        let output = run(with_secrets(&mut site.mkimage(&arguments), &plant));
        assert_eq!(output.status.success(), words[0] != "lock", "{words:?}: {output:?}");
        for said in [&output.stdout, &output.stderr] {
            for secret in [&plant, &key] {
                secret.search(said, &format!("what `mkimage {}` says", words[0]));
            }
        }
    }
    for name in ["store", "site", "out", "disk.img"] {
        let everything = everything(&site.path(name));
        assert!(!everything.is_empty(), "{name}");
        for (place, bytes) in &everything {
            plant.search(bytes, place);
            key.search(bytes, place);
        }
        // What the image is to hold is found by the same eyes, also where it is compressed.
        let finds = |(_, bytes): &(String, Vec<u8>)| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| marker.search(bytes, "it"))).is_err()
        };
        assert!(name == "out" || everything.iter().any(finds), "{name} does not hold what it is to hold");
    }
}
