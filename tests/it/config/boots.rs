//! Real boots: one image, told different things.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::guest::{Guest, free_port, image, witness_image};
use super::secrets::{Plant, sha256};
use super::service::{Service, metadata_service};
use crate::tool::{hello_image, kept, mkimage, succeed, tool};

/// Says that a page has each of these lines.
fn has(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|found| found == *line), "{line:?} is not in\n{page}");
    }
}

#[test]
fn one_image_serves_development_and_production() {
    let image = hello_image();
    let before = sha256(&image);
    for greeting in ["Hello, developers", "Hello, customers"] {
        let mut command = mkimage(["run", "--accel", "tcg", "--snapshot", "--fetch", "/", "--env"]);
        let page = succeed(command.arg(format!("GREETING={greeting}")).arg(&image));
        assert!(page.contains(greeting), "{page}");
        assert_eq!(sha256(&image), before, "the image is the same one");
    }
}

/// Other people's collector.
struct Rsyslog {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Rsyslog {
    fn start() -> Rsyslog {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let text = format!(
            "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"plain\" type=\"string\" \
             string=\"%pri% %protocol-version% %hostname% %app-name% %structured-data% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"plain\")\n",
            folder.path().join("received").display()
        );
        std::fs::write(folder.path().join("rsyslog.conf"), text).expect("written");
        let child = Rsyslog::spawn(folder.path());
        Rsyslog { folder, port, child }
    }

    fn spawn(folder: &Path) -> Child {
        let mut command = tool("rsyslogd", ["-n", "-f"]);
        command.arg(folder.join("rsyslog.conf")).arg("-i").arg(folder.join("pid")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("rsyslogd is there; `make test` installs it")
    }

    /// Ends it without a chance to write what it holds.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        std::fs::remove_file(self.folder.path().join("pid")).expect("its file");
    }

    fn start_again(&mut self) {
        self.child = Rsyslog::spawn(self.folder.path());
    }

    fn received(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("received")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_metadata_service_tells_and_a_syslog_collector_that_goes_away_misses_nothing() {
    let plant = Plant::new();
    let user_data = format!(
        "#mkimage\nGREETING=from user data\nSECOND=from user data\nLINES=150\nPAUSE=80\nPLANTED={}\n",
        plant.secret
    );
    let service = metadata_service(&user_data);
    let mut rsyslog = Rsyslog::start();
    let log = format!("tcp://10.0.2.2:{}", rsyslog.port);
    let metadata = service.address();
    let told = ["--metadata", &metadata, "--log", &log, "--env", "SECOND=from the hypervisor"];
    let mut guest = Guest::boot(&witness_image(), &told);
    let page = guest.get("/");
    has(
        &page,
        &[
            "GREETING=from user data",
            "SECOND=from the hypervisor",
            "TAGGED=by a tag",
            "KEPT=by the recipe",
            &format!("PLANTED={}", plant.secret),
            "INSTANCE_ID=i-0123456789abcdef0",
            "stdout by name true",
        ],
    );
    assert!(!page.contains("LD_PRELOAD"), "{page}");
    guest.says("LD_PRELOAD may be set by the recipe only");
    assert!(service.requests().iter().any(|request| request.method == "PUT"));
    guest.until("twenty lines at the collector", |_| rsyslog.received().contains(" line 20\n").then_some(()));
    rsyslog.kill();
    guest.says("lines wait");
    std::thread::sleep(Duration::from_secs(1));
    rsyslog.start_again();
    guest.until("all lines at the collector", |_| rsyslog.received().contains(" line 150\n").then_some(()));
    plant.search_text(&guest.power_off(), "the console");
    let received = rsyslog.received();
    plant.search_text(&received, "the collector");
    // Each line came, and came first in its order; a line that was in doubt may have come twice.
    let mut firsts: Vec<u32> = Vec::new();
    for number in received.lines().filter_map(|line| line.rsplit_once(" line ")?.1.parse().ok()) {
        if !firsts.contains(&number) {
            firsts.push(number);
        }
    }
    assert_eq!(firsts, (1..=150).collect::<Vec<u32>>(), "{received}");
    for wanted in [
        "30 1 i-0123456789abcdef0 witness [meta sequenceId=\"1\"][origin software=\"witness\" swVersion=\"1.0\"] witness: started",
        "garbage \\x1B[2J\u{fffd}\\x00 end",
        "unfinished",
        " and finished",
        "by the name of the output",
    ] {
        assert!(received.contains(wanted), "{wanted:?} is not in\n{received}");
    }
    assert!(received.lines().any(|line| line.starts_with("27 1 ") && line.contains("garbage")), "{received}");
    assert!(!received.contains('\u{1b}'), "nothing steers a terminal");
}

/// A collector over HTTP that may be closed.
fn collector(open: Arc<AtomicBool>) -> Service {
    Service::start(move |_, count| match (open.load(Ordering::SeqCst), count) {
        (true, 0) => (503, Vec::new()),
        (true, 1) => (0, Vec::new()),
        (true, _) => (204, Vec::new()),
        (false, _) => (500, b"closed".to_vec()),
    })
}

/// Returns the lines that a collector took, as JSON; what it refused is left out.
fn delivered(service: &Service, open: &[bool]) -> Vec<serde_json::Value> {
    let requests = service.requests();
    let taken = requests.iter().skip(2).zip(open.iter().chain(std::iter::repeat(&true)));
    let bodies = taken.filter(|(_, open)| **open).map(|(request, _)| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/ingest"));
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        String::from_utf8(request.body.clone()).expect("text")
    });
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    bodies.flat_map(|body| body.lines().map(line).collect::<Vec<_>>()).collect()
}

#[test]
fn a_seed_tells_secrets_stay_secret_and_a_flood_never_holds_the_app_up() {
    let plant = Plant::new();
    let image = plant.copy(&witness_image());
    let open = Arc::new(AtomicBool::new(true));
    let service = collector(open.clone());
    let user_data = format!(
        "{{\"environment\": {{\"GREETING\": \"from the seed\", \"WORKERS\": 4, \"PLANTED_DATA\": \"{0}\"}},\n\
         \"files\": {{\"token\": \"not this one\", \"tls.key\": {{\"base64\": \"AP8K\"}}, \"stray\": \"{0}\"}},\n\
         \"log\": \"{1}ingest\"}}",
        plant.secret,
        service.address()
    );
    let seed = plant.file("user-data", &user_data);
    let token = plant.file("token", &plant.secret);
    let mut command = mkimage(["run".as_ref(), image.as_os_str(), "--user-data".as_ref(), seed.as_os_str()]);
    command.args(["--env", "PLANTED", "--credential", &format!("token={}", token.display())]);
    let (events, trace) = (plant.scratch().join("events"), plant.scratch().join("trace"));
    command.arg("--events").arg(&events).arg("--trace").arg(trace);
    command.env("PLANTED", &plant.secret).env("TMPDIR", plant.scratch()).env("MKIMAGE_STORE", plant.store());
    let mut guest = Guest::start(&mut command);
    let page = guest.get("/");
    has(
        &page,
        &[
            "GREETING=from the seed",
            "WORKERS=4",
            "INSTANCE_ID=mkimage-run",
            "CREDENTIALS_DIRECTORY=/run/credentials/witness",
            "folder 500 1000",
            &format!("PLANTED={}", plant.secret),
            &format!("PLANTED_DATA={}", plant.secret),
            &format!("file token 400 1000 {:?}", plant.secret),
            "file tls.key 400 1000 \"\\0\u{fffd}\\n\"",
            "written false",
        ],
    );
    assert_eq!(page.matches("\nfile ").count(), 2, "only what the recipe names: {page}");
    guest.says("credential absent: nobody hands it over");
    plant.search_processes(guest.pid());
    plant.search_scratch();
    guest.get("/secret");
    let says = |guest: &mut Guest, text: &str| {
        guest.until(text, |_| {
            service.requests().iter().any(|it| String::from_utf8_lossy(&it.body).contains(text)).then_some(())
        });
    };
    says(&mut guest, "the token is [token]!");
    guest.says("the token is [token]!");

    let before = service.requests().len() - 2;
    open.store(false, Ordering::SeqCst);
    let took = guest.get("/flood");
    let took: u64 = took.trim_end_matches(" ms\n").parse().expect("a time");
    assert!(took < 60_000, "4 MiB held the app up for {took} ms");
    guest.says("status 500: lines wait");
    let refused = service.requests().len() - 2 - before;
    open.store(true, Ordering::SeqCst);
    says(&mut guest, "flood is over");
    let console = guest.power_off();
    let between = service.requests().len() - 2 - before - refused;
    // A request that was under way when the collector opened again may have been refused, too.
    assert!(between >= 1);
    let mut taken = vec![true; before];
    taken.extend(vec![false; refused]);
    let lines = delivered(&service, &taken);
    let mut expected = 1;
    for line in &lines {
        match line["sequence"].as_u64() {
            Some(number) if number < expected => {}
            Some(number) => {
                assert_eq!(number, expected, "a gap that nothing tells of, before {line}");
                expected += 1;
            }
            None => {
                let text = line["message"].as_str().expect("a message");
                let words: Vec<&str> = text.split(' ').collect();
                assert!(text.ends_with("lines are missing here: the buffer was full"), "{text}");
                expected += words[1].parse::<u64>().expect("a number of lines");
            }
        }
    }
    assert!(lines.iter().any(|line| line["sequence"].is_null()), "4 MiB are more than the buffer holds");
    assert!(console.contains("lines are missing here"), "the console, too, is behind");
    plant.search_text(&console, "the console");
    let bodies: String =
        service.requests().iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    plant.search_text(&bodies, "the collector");
    assert!(events.metadata().expect("the events").len() > 0);
    plant.search_file(&image);
    plant.search_scratch();
}

fn config_drive() -> PathBuf {
    let folder = kept("config-drive");
    let latest = folder.join("tree/openstack/latest");
    std::fs::create_dir_all(&latest).expect("a folder");
    let meta_data = r#"{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "name": "x",
        "meta": {"mkimage.env.GREETING": "from meta", "mkimage.env.META": "of the drive", "role": "web"}}"#;
    std::fs::write(latest.join("meta_data.json"), meta_data).expect("written");
    std::fs::write(latest.join("user_data"), "GREETING=from the drive\n").expect("written");
    let image = folder.join("drive.iso");
    let mut command = tool("genisoimage", ["-quiet", "-J", "-R", "-V", "config-2", "-o"]);
    succeed(command.arg(&image).arg(folder.join("tree")));
    image
}

#[test]
fn a_config_drive_tells_and_a_courier_that_dies_takes_nothing_along() {
    let drive = config_drive();
    let drive = drive.to_str().expect("a plain path");
    let mut guest = Guest::boot(&witness_image(), &["--disk", drive]);
    let page = guest.get("/");
    has(
        &page,
        &[
            "GREETING=from the drive",
            "META=of the drive",
            "KEPT=by the recipe",
            "INSTANCE_ID=83679162-1378-4288-a2d4-70e13ec132aa",
            "CREDENTIALS_DIRECTORY=/run/credentials/witness",
        ],
    );
    assert!(!page.contains("\nfile "), "{page}");
    guest.says("metadata from config-drive");
    assert_eq!(guest.get("/kill"), "killed 1\n");
    guest.says("the log's courier ended");
    guest.says("the courier is dead");
    assert_eq!(guest.get("/health"), "healthy\n");
    let console = guest.power_off();
    assert!(!console.contains("app witness ended") || console.contains("power"), "{console}");
    assert_eq!(console.matches("app witness started").count(), 1, "{console}");
}

#[test]
fn an_app_that_requires_metadata_is_not_started_without() {
    let inside = "configuration {\n  metadata = [\"nocloud\"]\n  required = true\n}";
    let image = image("required", inside);
    let foreign = kept("witness").join("broken-user-data");
    std::fs::write(&foreign, "#mkimage\nno variable at all\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkimage"));
    command.arg("run").arg(&image).arg("--user-data").arg(&foreign);
    let said = crate::tool::fail_with(2, &mut command);
    assert!(said.contains("line 2 is not NAME=VALUE"), "{said}");
    let mut guest = Guest::boot(&image, &[]);
    guest.says("the recipe requires metadata from nocloud");
    assert!(!guest.console().contains("app witness started"));
    guest.pull_the_plug();
}
