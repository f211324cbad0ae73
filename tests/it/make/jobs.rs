//! Job tokens of GNU make, pipes and fifos, and the same store under builds at once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{events, make};
use crate::adversary::{Site, digest};
use crate::tool::{ends, fail_with, kept, run, succeed, tool};

/// Four recipes, each with files enough for many hands.
fn four() -> Site {
    let site = Site::bootable();
    let recipe = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let recipe = recipe.replace("  slot_size = \"1MiB\"\n", "");
    for number in 1..=4 {
        let folder = format!("data{number}");
        std::fs::create_dir(site.path(&folder)).expect("a folder");
        for file in 0..24 {
            let mut bytes = vec![0; 512 << 10];
            blake3::Hasher::new().update(&[number, file]).finalize_xof().fill(&mut bytes);
            site.write(&format!("{folder}/{file}"), &bytes);
        }
        let text = recipe.replace("image \"disk\"", &format!("image \"disk{number}\""));
        let text = format!("{text}\ntree \"data\" {{\n  source = \"{folder}\"\n  path = \"/srv\"\n}}\n");
        site.write(&format!("{number}.hcl"), text.as_bytes());
    }
    let rule = "IMAGES = 1.img 2.img 3.img 4.img\nall: $(IMAGES)\nBUILD = $(MKIMAGE) build --quiet $< -o $@ --events $@.events --depfile $@.d\n\
        %.img: %.hcl\n\t$(PLUS)$(BEFORE)$(BUILD)\n-include $(IMAGES:=.d)\n";
    site.write("Makefile", rule.replace("$(PLUS)", "+").as_bytes());
    site.write("alone.mk", rule.replace("$(PLUS)", "").as_bytes());
    site
}

/// Returns how many threads worked at once, at most, in all processes of these event files.
fn most_at_once(files: &[std::path::PathBuf]) -> i64 {
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for file in files {
        let lines = events(file);
        let begin = lines[0]["unix_nanoseconds"].as_u64().expect("a time");
        let mut now = 0;
        for line in &lines {
            let at = begin + line["at_microseconds"].as_u64().expect("a time") * 1000;
            let next = match line["event"].as_str().expect("a name") {
                "begin" => 1,
                "working" => line["threads"].as_i64().expect("a number"),
                "end" => 0,
                _ => now,
            };
            changes.push((at, next - now));
            now = next;
        }
        assert_eq!(now, 0, "{}: no end", file.display());
    }
    // What ends at the same moment ends first.
    changes.sort();
    let mut now = 0;
    changes
        .iter()
        .map(|change| {
            now += change.1;
            now
        })
        .max()
        .unwrap_or(0)
}

fn event_files(site: &Site) -> Vec<std::path::PathBuf> {
    (1..=4).map(|number| site.path(&format!("{number}.img.events"))).collect()
}

fn clean(site: &Site) {
    let _ = std::fs::remove_dir_all(site.path("store"));
    for number in 1..=4 {
        for end in ["", ".events", ".d"] {
            let _ = std::fs::remove_file(site.path(&format!("{number}.img{end}")));
        }
    }
}

/// Runs make, which must have nothing to say: it counts its tokens at the end.
fn quietly(command: &mut Command) {
    let output = run(command.env("MKIMAGE_JOBS", "4"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn two_jobs_of_make_and_four_images_are_never_more_than_two_at_work() {
    let site = four();
    let mut recorded = String::new();
    for jobs in ["-j2", "-j3"] {
        clean(&site);
        quietly(&mut make(&site, &[jobs]));
        let allowed: i64 = jobs[2..].parse().expect("a number");
        let most = most_at_once(&event_files(&site));
        recorded.push_str(&format!("make {jobs}, 4 images: at most {most} at work\n"));
        assert_eq!(most, allowed, "make {jobs}");
        assert!(event_files(&site).iter().all(|file| events(file)[0]["jobserver"] == true));
    }
    // The same four without the jobserver are more: what was counted can be more than two.
    clean(&site);
    quietly(&mut make(&site, &["-j2", "BEFORE=MAKEFLAGS= "]));
    let most = most_at_once(&event_files(&site));
    recorded.push_str(&format!("make -j2, 4 images, each without the jobserver: at most {most} at work\n"));
    std::fs::write(kept("make").join("jobs.txt"), recorded).expect("the record");
    assert!(most > 2, "{most}");
}

#[test]
fn one_image_alone_takes_all_that_make_has() {
    let site = four();
    for (jobs, expected) in [("-j2", 2), ("-j8", 4), ("-j1", 4)] {
        clean(&site);
        quietly(&mut make(&site, &[jobs, "1.img"]));
        // With -j1 make has no jobserver, and nobody else runs.
        assert_eq!(most_at_once(&event_files(&site)[..1]), expected, "make {jobs}");
    }
}

#[test]
fn a_rule_without_a_plus_runs_one_job_and_says_nothing() {
    let site = four();
    let mut command = make(&site, &["-j2", "-f", "alone.mk"]);
    let output = run(&mut command);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    for file in event_files(&site) {
        let begin = &events(&file)[0];
        // From make 4.4 on there is a fifo for all, and tokens are taken of it.
        assert!(begin["workers"] == 1 || begin["jobserver"] == true, "{begin}");
    }
    assert!(most_at_once(&event_files(&site)) <= 2);
}

#[test]
fn make_with_many_jobs_fills_one_store_with_sound_images() {
    let site = four();
    let alone = four();
    for number in 1..=4 {
        let (recipe, image) = (format!("{number}.hcl"), format!("{number}.img"));
        succeed(&mut alone.mkimage(&["build", &recipe, "-o", &image]));
    }
    quietly(&mut make(&site, &["-j4"]));
    for number in 1..=4 {
        let image = format!("{number}.img");
        assert_eq!(digest(&site.path(&image)), digest(&alone.path(&image)), "{image}");
        succeed(&mut site.mkimage(&["inspect", "--verify", &image]));
    }
    succeed(&mut site.mkimage(&["fsck"]));
    site.assert_tidy();
    // Nothing changed: nothing is called.
    let output = run(&mut make(&site, &["-j4"]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Nothing to be done for 'all'"), "{output:?}");
}

/// A fifo with tokens in it, as make 4.4 makes one.
struct Fifo {
    file: File,
    path: String,
}

impl Fifo {
    fn with(site: &Site, tokens: usize) -> Fifo {
        let path = site.path("a fifo").display().to_string();
        succeed(&mut tool("mkfifo", [&path]));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc_nonblock()).open(&path).expect("a fifo");
        (&file).write_all(&vec![b'+'; tokens]).expect("tokens");
        Fifo { file, path }
    }

    fn flags(&self) -> String {
        format!(" -j9 --jobserver-auth=fifo:{} -- A=b", self.path.replace(' ', "\\ "))
    }

    fn left(&mut self) -> usize {
        let mut bytes = [0; 64];
        let left = self.file.read(&mut bytes).unwrap_or(0);
        self.file.write_all(&bytes[..left]).expect("put back");
        left
    }
}

/// O_NONBLOCK on Linux.
fn libc_nonblock() -> i32 {
    0o4000
}

fn build(site: &Site, fifo: &Fifo, more: &[&str]) -> Command {
    let mut command = site.mkimage(&["build", "1.hcl", "-o", "1.img", "--events", "1.img.events"]);
    command.args(more).env("MAKEFLAGS", fifo.flags()).env("MKIMAGE_JOBS", "8");
    command
}

#[test]
fn tokens_go_back_however_a_build_ends() {
    let site = four();
    let mut fifo = Fifo::with(&site, 3);
    succeed(&mut build(&site, &fifo, &[]));
    assert_eq!(fifo.left(), 3, "after a build");
    assert_eq!(most_at_once(&event_files(&site)[..1]), 4, "one of its own, three of make's");
    clean(&site);
    site.write("data1/0", b"changed");
    fail_with(2, &mut build(&site, &fifo, &["--output", "no/such/folder/1.img"]));
    assert_eq!(fifo.left(), 3, "after wrong usage");
    site.write("1.img.d", b"");
    let strace =
        ["-f", "-qq", "-o", "calls", "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EIO:when=9"];
    let mut failing = site.through("strace", &strace, &["build", "1.hcl", "-o", "1.img"]);
    let output = run(failing.env("MAKEFLAGS", fifo.flags()).env("MKIMAGE_JOBS", "8"));
    assert!(!output.status.success());
    assert_eq!(fifo.left(), 3, "after an error in the midst of work");
    for signals in [vec!["-INT"], vec!["-TERM"], vec!["-INT", "-INT"], vec!["-INT", "-TERM", "-HUP"]] {
        for pause in [5, 25, 60] {
            clean(&site);
            let mut child = build(&site, &fifo, &[]).stderr(Stdio::null()).spawn().expect("mkimage");
            std::thread::sleep(std::time::Duration::from_millis(pause));
            for signal in &signals {
                let _ = run(&mut tool("kill", [*signal, &child.id().to_string()]));
            }
            ends(&mut child, std::time::Duration::from_secs(120));
            assert_eq!(fifo.left(), 3, "after {signals:?} at {pause} ms");
        }
    }
    // Nobody can put back what a killed process held; it held no more than it could use.
    let mut child = build(&site, &fifo, &["--jobs", "2"]).spawn().expect("mkimage");
    std::thread::sleep(std::time::Duration::from_millis(50));
    child.kill().expect("killed");
    child.wait().expect("its end");
    assert!(fifo.left() >= 2, "{}", fifo.left());
}

#[test]
fn without_a_token_a_build_does_all_with_one_thread() {
    let site = four();
    let mut fifo = Fifo::with(&site, 0);
    succeed(&mut build(&site, &fifo, &[]));
    assert_eq!(most_at_once(&event_files(&site)[..1]), 1);
    assert_eq!(fifo.left(), 0);
    let one = digest(&site.path("1.img"));
    clean(&site);
    let mut command = site.mkimage(&["build", "1.hcl", "-o", "1.img"]);
    succeed(command.env("MKIMAGE_JOBS", "4"));
    assert_eq!(digest(&site.path("1.img")), one, "the number of threads reaches no byte");
}

#[test]
fn what_makeflags_may_hold_harms_nobody() {
    let site = four();
    let plain = site.path("app").display().to_string();
    for flags in [
        "--jobserver-auth=fifo:/nowhere".to_owned(),
        format!("--jobserver-auth=fifo:{plain}"),
        "--jobserver-auth=-2,-2".to_owned(),
        "--jobserver-auth=0,1".to_owned(),
        "--jobserver-auth=4000000000,99999999999999999999".to_owned(),
        "--jobserver-auth=".to_owned(),
        "\\".to_owned(),
    ] {
        clean(&site);
        let mut command = site.mkimage(&["build", "--quiet", "1.hcl", "-o", "1.img"]);
        let output = run(command.env("MAKEFLAGS", &flags).env_remove("MKIMAGE_JOBS"));
        assert!(output.status.success() && output.stderr.is_empty(), "{flags}: {output:?}");
    }
    assert!(Path::new(&plain).exists());
}
