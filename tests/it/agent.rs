//! Machines that update themselves: the agent on an image file, without a machine, and in machines.

use std::io::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::remote::server::Nginx;
use crate::tool::{self, hello_app, inspect, kept, mkimage, run, succeed, tool};

mod confined;
mod hostile;
mod meanwhile;
mod reboots;
mod rotten;
mod rotten_machines;
mod show;

/// The agent that `make` built, or that of this test build without what only debuggers read.
fn agent() -> PathBuf {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT
        .get_or_init(|| match std::env::var_os("MKIMAGE_AGENT") {
            Some(agent) => agent.into(),
            None => {
                let (built, stripped) =
                    (env!("CARGO_BIN_EXE_mkimage-agent"), kept("agent").join("mkimage-agent"));
                let arguments = ["--strip-all".as_ref(), "-o".as_ref(), stripped.as_os_str(), built.as_ref()];
                succeed(&mut tool("strip", arguments));
                stripped
            }
        })
        .clone()
}

/// A folder with a recipe, a store of packages that all tests share, a site and its key.
struct Farm {
    folder: tempfile::TempDir,
    /// Of the image: refs of the shared store differ by it.
    name: &'static str,
    /// Who shows the site, where it is not read from its directory.
    server: Option<Nginx>,
}

/// What differs between versions.
#[derive(Clone, Copy)]
struct Version<'a> {
    version: &'a str,
    /// The app: program, its arguments, its user, and the path of its health check.
    program: &'a Path,
    arguments: &'a [&'a str],
    user: &'a str,
    health: &'a str,
}

impl Farm {
    fn new(name: &'static str) -> Farm {
        let farm = Farm { folder: tempfile::tempdir().expect("a folder"), name, server: None };
        succeed(&mut mkimage(["key", "generate", &farm.text("site.key")]));
        farm
    }

    /// Lets nginx show the site.
    fn served(mut self) -> Farm {
        std::fs::create_dir_all(self.path("site")).expect("a folder");
        self.server = Some(Nginx::start(&self.path("site"), true));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Builds a version whose machines follow a site, into an image file. Returns its commit.
    fn build(&self, from: &str, version: Version<'_>, image: &str) -> String {
        let arguments: Vec<String> = version.arguments.iter().map(|word| format!(", {word:?}")).collect();
        let recipe = format!(
            r#"image "{name}" {{
  version = "{version}"
}}

app "app" {{
  source  = {program:?}
  path    = "/app/program"
  command = ["/app/program"{arguments}]
  user    = "{user}"
  ports   = [8080]

  health {{
    http             = ":8080{health}"
    interval_seconds = 1
    timeout_seconds  = 1
    hold_seconds     = 1
    start_seconds    = 10
  }}
}}

file "/etc/version" {{
  content = "this is version {version}\n"
}}

update {{
  from     = "{from}"
  ref      = "test/prod"
  key      = "site.key.pub"
  interval = "1s"
  jitter   = "0s"
}}

kernel "debian" {{
  suite = "bookworm"
}}

boot {{
  loader = "systemd-boot"
  tries = 1
}}
"#,
            name = self.name,
            version = version.version,
            program = version.program,
            arguments = arguments.join(""),
            user = version.user,
            health = version.health,
        );
        std::fs::write(self.path("recipe.hcl"), recipe).expect("the recipe");
        let (recipe, image) = (self.text("recipe.hcl"), self.text(image));
        let mut command = mkimage(["build", &recipe, "-o", &image, "--json"]);
        let built = succeed(command.env("MKIMAGE_AGENT", agent()).current_dir(self.folder.path()));
        let built: Value = serde_json::from_str(&built).expect("JSON");
        built["commit"].as_str().expect("a commit").to_owned()
    }

    /// Publishes what was built last, or another commit.
    fn push(&self, revision: &str) {
        let (to, what) = (format!("dir:{}", self.text("site")), format!("{revision}:test/prod"));
        std::fs::create_dir_all(self.path("site")).expect("a folder");
        let key = self.text("site.key");
        succeed(&mut mkimage(["push", &to, &what, "--force", "--site", "farm", "--key", &key]));
    }

    /// Says a word to an agent that runs on an image file, as if its machine ran from a slot of it.
    fn agent(&self, image: &str, running: &str, words: &[&str]) -> std::process::Command {
        let from = match &self.server {
            Some(server) => server.address(),
            None => format!("dir:{}", self.text("site")),
        };
        let settings = serde_json::json!({
            "from": from, "ref": "test/prod", "threshold": 1,
            "interval_seconds": 600, "jitter_seconds": 0, "window": null, "rings": [],
            "reboot": "when_told", "data_path": self.text("data"),
        });
        std::fs::write(self.path("update.json"), settings.to_string()).expect("written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mkimage-agent"));
        command.args(words).args(["--json", "--running", running]);
        for (option, name) in [
            ("--disk", image),
            ("--settings", "update.json"),
            ("--keys", "site.key.pub"),
            ("--state", "state"),
            ("--socket", "no-socket"),
        ] {
            command.arg(option).arg(self.path(name));
        }
        command
    }

    fn say(&self, image: &str, running: &str, words: &[&str]) -> Value {
        let said = succeed(&mut self.agent(image, running, words));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Says a word that must fail, and returns why.
    fn refused(&self, image: &str, running: &str, words: &[&str]) -> String {
        tool::fail_with(1, &mut self.agent(image, running, words))
    }
}

/// A version of the demo's app, which is healthy.
fn healthy(version: &str) -> Version<'_> {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    let program = APP.get_or_init(hello_app);
    Version { version, program, arguments: &[], user: "app", health: "/health" }
}

/// Confirms the trial of an image file, as PID 1 does.
fn confirm(image: &Path) {
    use mkimage::base::Job;
    let disk = mkimage::slots::Disk::change(image).expect("the image");
    let turned = mkimage::slots::confirm(disk.device(), None, &Job::quiet(1)).expect("confirmed");
    assert!(turned.changed);
}

#[test]
fn an_agent_brings_an_image_to_what_the_site_says_bit_for_bit_and_in_few_bytes() {
    let farm = Farm::new("agent-file").served();
    let site = "https://updates.invalid/site";
    farm.build(site, healthy("1"), "disk.img");
    farm.push("agent-file");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade"])["state"], "up_to_date");

    let second = farm.build(site, healthy("2"), "second.img");
    farm.push("agent-file");
    let checked = farm.say("disk.img", "slot-a", &["upgrade", "--check"]);
    assert_eq!((&checked["state"], &checked["commit"]), (&"available".into(), &second.clone().into()));
    let first_pull = farm.say("disk.img", "slot-a", &["upgrade"]);
    assert_eq!((&first_pull["state"], &first_pull["slot"]), (&"staged".into(), &"slot-b".into()));
    let (here, there) = (inspect(&farm.path("disk.img")), inspect(&farm.path("second.img")));
    assert_eq!(here["slots"][1]["root_hash"], there["slots"][0]["root_hash"], "the same bits");
    assert_eq!(here["slots"][1]["commit"], second.as_str());
    assert_eq!((&here["slots"][1]["verified"], &here["slots"][1]["state"]), (&true.into(), &"trial".into()));
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade"])["state"], "waiting");
    assert!(!farm.path("state/store").exists(), "what was fetched is gone when it is written");

    confirm(&farm.path("disk.img"));
    farm.build(site, healthy("3"), "third.img");
    farm.push("agent-file");
    let next_pull = farm.say("disk.img", "slot-b", &["upgrade"]);
    assert_eq!(next_pull["slot"], "slot-a", "{next_pull}");
    let pulled = |outcome: &Value| outcome["pulled_bytes"].as_u64().expect("a number");
    writeln!(
        std::io::stdout(),
        "a first update pulls {} bytes, the next one {}",
        pulled(&first_pull),
        pulled(&next_pull)
    )
    .expect("printed");
    assert!(pulled(&first_pull) < 300_000, "{first_pull}");
    // The version stands behind PID 1 in the initrd, one zstd frame: where that lands in a block decides whether a few
    // bytes of the frame change, or all from there on, which are some 280 kB.
    assert!(pulled(&next_pull) < 300_000, "{next_pull}");
    let (here, there) = (inspect(&farm.path("disk.img")), inspect(&farm.path("third.img")));
    assert_eq!(here["slots"][0]["root_hash"], there["slots"][0]["root_hash"]);

    let history = farm.say("disk.img", "slot-b", &["history"]);
    let words: Vec<&str> =
        history.as_array().expect("a list").iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert_eq!(words, ["found", "writing", "staged", "confirmed", "found", "writing", "staged"], "{history}");
    let status = farm.say("disk.img", "slot-b", &["status"]);
    assert_eq!(status["disk"]["slots"][1]["running"], true, "{status}");
    assert_eq!(status["waiting"], next_pull["commit"], "{status}");
    let text = succeed(std::process::Command::new(env!("CARGO_BIN_EXE_mkimage-agent")).arg("--help"));
    assert!(text.contains("rollback"), "{text}");
}

#[test]
fn a_commit_that_fell_back_is_left_alone_until_the_ref_moves_or_somebody_says_so() {
    let farm = Farm::new("agent-back");
    let site = "https://updates.invalid/site";
    farm.build(site, healthy("1"), "disk.img");
    let second = farm.build(site, healthy("2"), "second.img");
    farm.push("agent-back");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade"])["state"], "staged");
    use_up_the_tries(&farm.path("disk.img"));
    let status = farm.say("disk.img", "slot-a", &["status"]);
    assert_eq!(status["last"]["what"], "fell_back", "{status}");
    assert!(status["last"]["detail"].as_str().expect("why").contains("without a word"), "{status}");
    assert_eq!(status["fell_back"], serde_json::json!([second]), "{status}");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade", "--check"])["state"], "fell_back");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade"])["state"], "staged", "told so");

    use_up_the_tries(&farm.path("disk.img"));
    // PID 1 leaves a word under the root hash that it booted.
    let root_hash =
        inspect(&farm.path("disk.img"))["slots"][1]["root_hash"].as_str().expect("a hash").to_owned();
    std::fs::create_dir_all(farm.path("data/.mkimage")).expect("a folder");
    std::fs::write(farm.path("data/.mkimage/gave-up"), format!("{root_hash} the app is not healthy\n"))
        .expect("written");
    let status = farm.say("disk.img", "slot-a", &["status"]);
    assert_eq!(status["last"]["detail"], "the app is not healthy", "{status}");
    farm.build(site, healthy("3"), "third.img");
    farm.push("agent-back");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade", "--check"])["state"], "available");
}

/// Does what a loader does when the only try of a trial begins: `g2+1-0.efi` becomes `g2+0-1.efi`.
fn use_up_the_tries(image: &Path) {
    use mkimage::disk::BlockDevice;
    let disk = mkimage::slots::Disk::change(image).expect("the image");
    let open = mkimage::image::OpenImage::open(disk.device()).expect("an image");
    let esp = open.partition("esp").expect("the ESP");
    let mut sector = [0; 512];
    esp.read_at(open.map().directory_offset, &mut sector).expect("read");
    // FAT specification §7: the letters of a long name stand at 1, 3, 5, 7, 9, 14, …
    let is_trial = |entry: &&mut [u8]| entry[11] == 0x0f && entry[1] == b'g' && entry[5] == b'+';
    let entry = sector.chunks_exact_mut(32).find(is_trial).expect("a slot on trial");
    (entry[7], entry[14]) = (b'0', b'1');
    esp.write_at(open.map().directory_offset, &sector).expect("written");
    disk.device().flush().expect("flushed");
}
