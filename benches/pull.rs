//! Pulling commits over HTTP on the loopback, against `ostree pull`, `casync extract` and `restic restore`, on
//! the same trees in one run; then a second commit with one changed package, against an ostree static delta
//! and casync with the old tree as its seed; then a large file of which little changed, in the same way, with what
//! restic's repository grows by.
//!
//! `cargo bench --bench pull`. `MKIMAGE_BENCH_TREE` names a directory; without it, a Debian minbase tree is
//! made once with mmdebstrap. `MKIMAGE_BENCH_ROUNDS` (3) says how often each takes its turn;
//! `MKIMAGE_BENCH_PACKAGES` which packages change, each from the oldest to the newest version that the
//! mirror's suites have; `MKIMAGE_BENCH_LARGE_MIB` (200) how large the file is, 0 leaves it out. nginx serves all
//! but restic's repository (restic has no static HTTP: it reads it from the disk, which favours it). Bytes are
//! those that nginx counts, headers and all.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mkimage::base::{CommitId, Job};
use mkimage::bundle::{self, Contents, Receiver, Table};
use mkimage::store::{Expected, RefName, RefUpdate, Store};

mod minbase;
mod sizes;
#[path = "versions/mod.rs"]
mod versions;
use minbase::debian::run;
use minbase::{ingest, median, seconds, tree};
use sizes::disk_bytes;

fn main() {
    let tree = tree();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let site = Site::start(scratch.path());
    first_pull(&site, &tree);
    let packages = std::env::var("MKIMAGE_BENCH_PACKAGES");
    let packages = packages.unwrap_or_else(|_| "perl-base libsystemd0 libc6 tzdata".to_owned());
    for package in packages.split_whitespace() {
        update(&site, &tree, package);
    }
    let large = std::env::var("MKIMAGE_BENCH_LARGE_MIB").map_or(200, |text| text.parse().expect("a number"));
    if large > 0 {
        large_file(&site, large << 20);
    }
}

/// One line of a table.
struct Row {
    name: &'static str,
    seconds: f64,
    bytes: u64,
}

fn say(text: String) {
    writeln!(std::io::stdout().lock(), "{text}").expect("written");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Runs `work`, says how long it took, and returns that.
fn preparing(what: &str, work: impl FnOnce()) {
    let time = seconds(work);
    say(format!("  prepared {what:24} {time:7.2} s"));
}

fn first_pull(site: &Site, tree: &Path) {
    let rounds: usize =
        std::env::var("MKIMAGE_BENCH_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    say(format!("pull of {} ({:.0} MiB) into an empty store", tree.display(), mib(disk_bytes(tree))));
    let source = site.path("source");
    let commit = ingest(&source, tree);
    preparing("mkimage bundle", || publish(site, &source, &[commit], &[], "first.bundle"));
    let archive = site.www("ostree");
    preparing("ostree commit", || drop(ostree_commit(&archive, tree)));
    preparing("casync make", || casync_make(site, tree, "first"));
    let restic = site.path("restic");
    preparing("restic backup", || {
        run(restic_command(&restic).arg("init"));
        run(restic_command(&restic).arg("backup").arg(".").current_dir(tree));
    });
    let mut times = [const { Vec::new() }; 4];
    let mut bytes = [0; 4];
    for round in 0..rounds {
        let at = |name: &str| site.path(&format!("{name}-{round}"));
        let (store, repository, extracted, restored) =
            (at("store"), at("ostree"), at("casync"), at("restic"));
        site.bytes();
        times[0].push(seconds(|| assert_eq!(pull(&site.url, &store, "first.bundle"), commit)));
        bytes[0] = site.bytes();
        ostree_remote(site, &repository);
        times[1].push(seconds(|| run(ostree(&repository).args(["pull", "site", "bench"]))));
        bytes[1] = site.bytes();
        times[2].push(seconds(|| run(&mut casync_extract(site, "first", &extracted))));
        bytes[2] = site.bytes();
        times[3]
            .push(seconds(|| run(restic_command(&restic).args(["restore", "latest", "-t"]).arg(&restored))));
        bytes[3] = disk_bytes(&restic);
        for folder in [store, repository, extracted, restored] {
            fs::remove_dir_all(folder).expect("removed");
        }
    }
    let names = ["mkimage", "ostree pull", "casync extract", "restic restore (disk)"];
    let rows = names.iter().zip(times.iter_mut()).zip(bytes);
    let rows: Vec<Row> =
        rows.map(|((name, times), bytes)| Row { name, seconds: median(times), bytes }).collect();
    report(&rows);
    say("  targets: time 0.3 of ostree, 0.5 of the others; bytes 1.0 of the best".to_owned());
}

fn report(rows: &[Row]) {
    let ours = &rows[0];
    for row in rows {
        say(format!(
            "  {:24} {:7.3} s   {:10} bytes   ours/its: time {:.3}, bytes {:.3}",
            row.name,
            row.seconds,
            row.bytes,
            ours.seconds / row.seconds,
            ours.bytes as f64 / row.bytes as f64
        ));
    }
    let best = rows[1..].iter().map(|row| row.bytes).min().expect("a peer");
    say(format!("  bytes against the best peer: {:.3}", ours.bytes as f64 / best as f64));
}

fn update(site: &Site, tree: &Path, package: &str) {
    let found = versions::of(package);
    let [old, .., new] = &found[..] else {
        return say(format!("update of {package}: the mirror has fewer than two versions, left out"));
    };
    say(format!("update of {package} from {old} to {new}"));
    let (before, after) = (site.path("before"), site.path("after"));
    for (version, at) in [(old, &before), (new, &after)] {
        run(Command::new("cp").arg("-a").arg(tree).arg(at));
        versions::install(&site.folder, package, version, at);
    }
    compare(site, &before, &after, 0.5);
}

/// A file that nothing packs, of which little changes: an archive, a database, an image within the image.
fn large_file(site: &Site, size: usize) {
    let noise = |seed: &[u8], length: usize| {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
        bytes
    };
    let old = noise(b"large", size);
    let mut middle = old.clone();
    middle[size / 2..size / 2 + 100].copy_from_slice(&noise(b"middle", 100));
    let cases = [
        ("100 bytes in the middle changed", middle, 0.1),
        ("one byte inserted at the front", [b"x", &old[..]].concat(), 0.1),
        // What is new travels, whoever carries it.
        ("1 MiB appended", [&old[..], &noise(b"end", 1 << 20)].concat(), 1.0),
    ];
    for (what, new, target) in cases {
        say(format!("{what} of a file of {:.0} MiB", mib(size as u64)));
        let (before, after) = (site.path("before"), site.path("after"));
        for (folder, bytes) in [(&before, &old), (&after, &new)] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join("large"), bytes).expect("written");
        }
        let repository = site.path("restic-large");
        run(restic_command(&repository).arg("init"));
        run(restic_command(&repository).arg("backup").arg("large").current_dir(&before));
        let first = disk_bytes(&repository);
        let time =
            seconds(|| run(restic_command(&repository).arg("backup").arg("large").current_dir(&after)));
        let grown = disk_bytes(&repository) - first;
        compare(site, &before, &after, target);
        say(format!("  restic backup            {time:7.3} s   {grown:10} bytes more in its repository"));
        fs::remove_dir_all(repository).expect("removed");
    }
}

/// Moves whoever has one tree to another, and says at what cost; `target` is our part of the best peer's bytes.
fn compare(site: &Site, before: &Path, after: &Path, target: f64) {
    let source = site.path("update");
    let first = ingest(&source, before);
    let second = ingest(&source, after);
    publish(site, &source, &[first], &[], "before.bundle");
    preparing("mkimage bundle", || publish(site, &source, &[second], &[first], "after.bundle"));
    let archive = site.www("ostree-update");
    let from = ostree_commit(&archive, before);
    let (store, repository, extracted) = (site.path("store"), site.path("ostree"), site.path("extracted"));
    ostree_remote_at(site, &repository, "ostree-update");
    run(ostree(&repository).args(["pull", "site", "bench"]));
    let to = ostree_commit(&archive, after);
    preparing("ostree static delta", || {
        run(ostree(&archive).args(["static-delta", "generate"]).args(["--from", &from, "--to", &to]));
        run(ostree(&archive).args(["summary", "-u"]));
    });
    casync_make(site, after, "after");
    assert_eq!(pull(&site.url, &store, "before.bundle"), first);
    site.bytes();
    let mut rows = Vec::new();
    let mut row = |name, seconds| rows.push(Row { name, seconds, bytes: site.bytes() });
    row("mkimage", seconds(|| assert_eq!(pull(&site.url, &store, "after.bundle"), second)));
    row("ostree static delta", seconds(|| run(ostree(&repository).args(["pull", "site", "bench"]))));
    let mut casync = casync_extract(site, "after", &extracted);
    row("casync extract --seed", seconds(|| run(casync.arg("--seed").arg(before))));
    report(&rows);
    say(format!("  target: bytes {target} of the best"));
    for folder in [before.to_owned(), after.to_owned(), source, archive, store, repository, extracted] {
        fs::remove_dir_all(folder).expect("removed");
    }
}

fn publish(site: &Site, store: &Path, commits: &[CommitId], bases: &[CommitId], name: &str) {
    let (store, job) = (Store::open(store).expect("opened"), Job::quiet(0));
    let contents = Contents::gather(&store, commits, bases, &job).expect("gathered");
    let scratch = tempfile::tempfile().expect("a file");
    let mut bundle = bundle::write(&store, &contents, scratch, &job).expect("written");
    let mut file = fs::File::create(site.www(name)).expect("made");
    std::io::copy(&mut bundle, &mut file).expect("copied");
    // What a signed index says of a bundle: its name and the length of its table.
    fs::write(site.www(&format!("{name}.index")), format!("{} {}", bundle.id(), bundle.table_bytes()))
        .expect("written");
}

/// Everything between opening the store and a durable ref.
fn pull(url: &str, store: &Path, name: &str) -> CommitId {
    let (store, job) = (Store::open(store).expect("opened"), Job::quiet(0));
    let agent = ureq::Agent::new_with_defaults();
    let index = agent.get(format!("{url}{name}.index")).call().expect("fetched");
    let index = index.into_body().read_to_string().expect("read");
    let (id, table_bytes) = index.split_once(' ').expect("two words");
    let get = |from: u64, to: u64| {
        let request = agent.get(format!("{url}{name}")).header("Range", format!("bytes={from}-{}", to - 1));
        let mut bytes = Vec::new();
        let response = request.call().expect("fetched").into_body();
        response.into_reader().read_to_end(&mut bytes).expect("read");
        bytes
    };
    let prefix = get(0, table_bytes.parse().expect("a number"));
    let table = Table::parse(&prefix, &id.parse().expect("a digest")).expect("parsed");
    let transaction = store.begin(&job);
    let plan = table.plan(&transaction, None, &job).expect("planned");
    let ranges = plan.ranges().to_vec();
    let receiver = Receiver::new(&table, plan, &transaction, &job);
    let taken = job.workers.for_each(requests(&ranges).into_iter(), |frames| {
        let (from, to) = (ranges[frames.start].start, ranges[frames.end - 1].end);
        let bytes = get(from, to);
        for frame in frames {
            let range = &ranges[frame];
            receiver.take(frame, &bytes[(range.start - from) as usize..(range.end - from) as usize])?;
        }
        Ok::<_, bundle::BundleError>(())
    });
    taken.expect("taken");
    let commit = receiver.finish().expect("finished").commits[0];
    let name = RefName::new("bench").expect("a name");
    transaction
        .commit(&[RefUpdate { name, expected: Expected::Any, new: commit }], "pull")
        .expect("committed");
    commit
}

/// Joins neighbours to requests of some mebibytes.
fn requests(ranges: &[std::ops::Range<u64>]) -> Vec<std::ops::Range<usize>> {
    let mut requests: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        match requests.last_mut() {
            Some(last)
                if ranges[last.end - 1].end == range.start
                    && range.end - ranges[last.start].start <= 4 << 20 =>
            {
                last.end = index + 1;
            }
            _ => requests.push(index..index + 1),
        }
    }
    requests
}

fn ostree(repository: &Path) -> Command {
    let mut command = Command::new("ostree");
    command.arg(format!("--repo={}", repository.display()));
    command
}

fn ostree_commit(repository: &Path, tree: &Path) -> String {
    if !repository.exists() {
        run(ostree(repository).args(["init", "--mode=archive"]));
    }
    let mut command = ostree(repository);
    command.args([
        "commit",
        "-b",
        "bench",
        "--timestamp=@0",
        "--owner-uid=0",
        "--owner-gid=0",
        "--no-xattrs",
    ]);
    let output = command.arg(format!("--tree=dir={}", tree.display())).output().expect("ostree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run(ostree(repository).args(["summary", "-u"]));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn ostree_remote(site: &Site, repository: &Path) {
    ostree_remote_at(site, repository, "ostree");
}

/// Makes a repository of the kind that costs the least: objects are kept as they come.
fn ostree_remote_at(site: &Site, repository: &Path, name: &str) {
    run(ostree(repository).args(["init", "--mode=archive"]));
    let url = format!("{}{name}", site.url);
    run(ostree(repository).args(["remote", "add", "--no-gpg-verify", "site", &url]));
}

fn casync_make(site: &Site, tree: &Path, name: &str) {
    let mut command = Command::new("casync");
    command.args(["make", "--store"]).arg(site.www("casync.castr"));
    run(command.arg(site.www(name).with_extension("caidx")).arg(tree));
}

fn casync_extract(site: &Site, name: &str, to: &Path) -> Command {
    let mut command = Command::new("casync");
    command.args(["extract", "--store"]).arg(format!("{}casync.castr", site.url));
    command.arg(format!("{}{name}.caidx", site.url)).arg(to);
    command
}

fn restic_command(repository: &Path) -> Command {
    let mut command = Command::new("restic");
    command.env("RESTIC_PASSWORD", "bench").args(["--no-cache", "-q", "-r"]).arg(repository);
    command
}

/// nginx with the files of this run.
struct Site {
    folder: PathBuf,
    url: String,
    server: Child,
}

impl Site {
    fn start(folder: &Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let at = folder.display();
        fs::create_dir_all(folder.join("www")).expect("made");
        let configuration = format!(
            "daemon off; master_process off; user root; pid {at}/pid; error_log {at}/error.log;\n\
             events {{}}\n\
             http {{ log_format bytes '$bytes_sent'; access_log {at}/access.log bytes; sendfile on;\n\
             client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
             uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5; keepalive_requests 1000000;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/www; }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), configuration).expect("written");
        let server = Command::new("nginx").arg("-c").arg(folder.join("nginx.conf")).spawn();
        let server = server.expect("nginx runs (install nginx-light)");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Site { folder: folder.to_owned(), url: format!("http://127.0.0.1:{port}/"), server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn www(&self, name: &str) -> PathBuf {
        self.folder.join("www").join(name)
    }

    /// Returns how many bytes were sent since this was asked last.
    fn bytes(&self) -> u64 {
        let log = self.path("access.log");
        let text = fs::read_to_string(&log).expect("read");
        fs::write(&log, "").expect("emptied");
        text.lines().filter_map(|line| line.parse::<u64>().ok()).sum()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
