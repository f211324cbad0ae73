//! What an agent that stays can't do, and a site that only an authority of its own vouches for.

use std::process::Command;
use std::time::Duration;

use mkimage::base::{Stopwatch, fs};

use super::*;
use crate::slots::kit::Kit;

/// A disk with v1 of a small image, and a site that says v2.
pub struct Small {
    pub folder: tempfile::TempDir,
    pub from: String,
    certificates: Option<&'static str>,
    /// When it reboots.
    pub reboot: &'static str,
}

/// An agent that stays, and what it says.
pub struct Staying {
    pub child: Child,
    errors: PathBuf,
}

impl Drop for Staying {
    fn drop(&mut self) {
        // What runs under another program outlives it.
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let pid = rustix::process::Pid::from_raw(pid);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Small {
    pub fn new() -> Small {
        let folder = crate::store::folder();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("disk.img"), Kit::of(2).fresh(1)).expect("written");
        std::fs::create_dir_all(at("site")).expect("a folder");
        succeed(&mut mkimage(["key".as_ref(), "generate".as_ref(), at("key").as_os_str()]));
        let site = format!("dir:{}", at("site").display());
        let mut push = mkimage(["push", &site, "app/v2:test/prod", "--force", "--site", "farm", "--key"]);
        succeed(push.arg(at("key")).env("MKIMAGE_STORE", Kit::of(2).store.path()));
        Small { folder, from: site, certificates: None, reboot: "when_told" }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the agent of a machine that runs from slot A, under another program where one is named.
    pub fn agent(&self, under: &[&str], words: &[&str]) -> Command {
        let settings = serde_json::json!({
            "from": self.from, "ref": "test/prod", "threshold": 1, "interval_seconds": 600, "jitter_seconds": 0,
            "window": null, "rings": [], "reboot": self.reboot, "data_path": self.path("data"),
            "certificates": self.certificates.map(|name| self.path(name)),
        });
        std::fs::write(self.path("update.json"), settings.to_string()).expect("written");
        let agent = env!("CARGO_BIN_EXE_mkimage-agent");
        let mut command = match under {
            [] => Command::new(agent),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(agent);
                command
            }
        };
        command.args(words).args(["--json", "--running", "slot-a"]).env_remove("SSL_CERT_FILE");
        command.env_remove("CURL_CA_BUNDLE");
        for (option, name) in [
            ("--disk", "disk.img"),
            ("--settings", "update.json"),
            ("--keys", "key.pub"),
            ("--state", "data/state"),
            ("--socket", "run/socket"),
        ] {
            command.arg(option).arg(self.path(name));
        }
        command
    }

    pub fn stay(&self, under: &[&str]) -> Staying {
        let errors = self.path("errors");
        let file = std::fs::File::create(&errors).expect("a file");
        let mut command = self.agent(under, &["run"]);
        let child = command.stdout(Stdio::null()).stderr(file).spawn();
        let child = child.unwrap_or_else(|error| panic!("{under:?}: {error}"));
        Staying { child, errors }
    }

    pub fn say(&self, words: &[&str]) -> Value {
        let said = succeed(&mut self.agent(&[], words));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Waits until the agent that stays has said something.
    pub fn wait(&self, staying: &mut Staying, text: &str) {
        let watch = Stopwatch::start();
        loop {
            let said = std::fs::read_to_string(&staying.errors).expect("what it said");
            if said.contains(text) {
                return;
            }
            let ended = staying.child.try_wait().expect("asked");
            let late = watch.elapsed() > Duration::from_secs(60);
            assert!(ended.is_none() && !late, "no {text:?}, {ended:?}: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn an_agent_that_stays_updates_by_https_and_reaches_nothing_but_its_own() {
    let mut small = Small::new();
    crate::tool::certificates(small.folder.path());
    let nginx = Nginx::start_tls(&small.path("site"), small.folder.path());
    small.from = format!("https://127.0.0.1:{}", nginx.port);
    small.certificates = Some("ca.pem");
    let mut staying = small.stay(&[]);
    small.wait(&mut staying, "bytes pulled");
    assert_eq!(small.say(&["status"])["disk"]["slots"][1]["version"], "2.0");

    let about = |file: &str| {
        let path = format!("/proc/{}/{file}", staying.child.id());
        std::fs::read_to_string(path).expect("what the kernel says of it")
    };
    let status = about("status");
    assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
    assert!(about("limits").contains("Max data size             1073741824           1073741824"));

    // The same certificates in another place: whoever takes the agent over finds no file but its own.
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "waiting");
    std::fs::create_dir(small.path("elsewhere")).expect("a folder");
    std::fs::copy(small.path("ca.pem"), small.path("elsewhere/ca.pem")).expect("copied");
    fs::rename(&small.path("ca.pem"), &small.path("was.pem")).expect("renamed");
    std::os::unix::fs::symlink("elsewhere/ca.pem", small.path("ca.pem")).expect("a link");
    let without = std::fs::read_to_string(&staying.errors).expect("read").contains("has no Landlock");
    let mut check = small.agent(&[], &["upgrade", "--check"]);
    match without {
        true => assert!(run(&mut check).status.success(), "nothing but Landlock keeps it"),
        false => {
            let said = tool::fail_with(1, &mut check);
            assert!(said.contains("ca.pem") && said.contains("Permission denied"), "{said}");
        }
    }
}

#[test]
fn a_server_that_nobody_named_vouches_for_is_not_asked() {
    let mut small = Small::new();
    crate::tool::certificates(small.folder.path());
    let nginx = Nginx::start_tls(&small.path("site"), small.folder.path());
    small.from = format!("https://127.0.0.1:{}", nginx.port);
    let refused = |small: &Small| tool::fail_with(1, &mut small.agent(&[], &["upgrade", "--check"]));
    let said = refused(&small);
    assert!(said.contains("ertificate") || said.contains("UnknownIssuer"), "{said}");
    small.certificates = Some("key.pub");
    let said = refused(&small);
    assert!(said.contains("key.pub holds no CA certificate"), "{said}");
    small.certificates = Some("ca.pem");
    assert_eq!(small.say(&["upgrade", "--check"])["state"], "available");
    // Another authority of the same name.
    let other = crate::store::folder();
    crate::tool::certificates(other.path());
    std::fs::copy(other.path().join("ca.pem"), small.path("ca.pem")).expect("copied");
    let said = refused(&small);
    assert!(said.contains("ertificate") || said.contains("UnknownIssuer"), "{said}");
}

#[test]
fn a_kernel_without_landlock_is_told_of_and_the_agent_works_on() {
    let small = Small::new();
    let call = "landlock_create_ruleset";
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error=ENOSYS"));
    let mut staying = small.stay(&["strace", "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    small.wait(&mut staying, "this kernel has no Landlock");
    small.wait(&mut staying, "bytes pulled");
    assert_eq!(small.say(&["status"])["disk"]["slots"][1]["version"], "2.0");
}
