//! Machines in QEMU that follow a site behind nginx on this host.

use super::*;

/// A machine that runs, whose console is read line by line.
pub struct Machine {
    child: Child,
    console: std::io::Lines<BufReader<std::process::ChildStdout>>,
    seen: Vec<String>,
}

impl Machine {
    pub fn start(image: &Path) -> Machine {
        let run = ["run".as_ref(), image.as_os_str(), "--accel".as_ref(), "tcg".as_ref()];
        // The console of a machine that gets nowhere ends with it.
        let mut command = tool::mkimage_within(1800, run);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a machine");
        let console = BufReader::new(child.stdout.take().expect("piped")).lines();
        Machine { child, console, seen: Vec::new() }
    }

    /// Waits for a line of the console.
    pub fn wait(&mut self, text: &str) -> String {
        loop {
            let Some(Ok(line)) = self.console.next() else {
                panic!("the machine ended before it said {text:?}:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        tool::stop(&mut self.child);
    }
}

/// A program that answers as its first argument says: `panic` panics the kernel, `hang` takes connections and never
/// answers.
fn bad_app(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("bad.c"), folder.join("bad"));
    std::fs::write(&source, BAD_APP).expect("written");
    let mut compiler = tool("gcc", ["-static", "-Os", "-o"]);
    succeed(compiler.args([&program, &source]));
    program
}

const BAD_APP: &str = r#"
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "panic")) {
        int trigger = open("/proc/sysrq-trigger", O_WRONLY);
        return write(trigger, "c", 1) != 1;
    }
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(8080) };
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (struct sockaddr *)&at, sizeof at) || listen(server, 16)) return 1;
    for (;;) {
        accept(server, 0, 0);
    }
}
"#;

#[test]
fn a_machine_updates_itself_confirms_and_falls_back_from_what_is_sick_panics_or_hangs() {
    let farm = Farm::new("agent-show").served();
    let nginx = farm.server.as_ref().expect("nginx");
    let from = format!("http://10.0.2.2:{}", nginx.port);
    let bad = bad_app(farm.folder.path());
    farm.build(&from, healthy("1"), "disk.img");
    farm.push("agent-show");
    let second = farm.build(&from, healthy("2"), "second.img");
    farm.push("agent-show");

    let mut machine = Machine::start(&farm.path("disk.img"));
    let told = machine.wait("bytes pulled");
    writeln!(std::io::stdout(), "v1 to v2, a line in a file and the version: {told}").expect("printed");
    machine.wait(&format!("commit {} (2) in slot-b is confirmed", &second[..12]));
    let sick = Version { health: "/sick", ..healthy("3") };
    let panics =
        Version { version: "4", program: &bad, arguments: &["panic"], user: "root", health: "/health" };
    let hangs = Version { version: "5", program: &bad, arguments: &["hang"], user: "app", health: "/health" };
    for (version, why) in [
        (sick, "fell back: the app did not become healthy in time"),
        (panics, "fell back: it went down without a word"),
        (hangs, "fell back: the app did not become healthy in time"),
    ] {
        let commit = farm.build(&from, version, "next.img");
        farm.push("agent-show");
        let told = machine.wait("bytes pulled");
        writeln!(std::io::stdout(), "v2 to v{}: {told}", version.version).expect("printed");
        machine.wait(&format!("commit {} ({}) in slot-a {why}", &commit[..12], version.version));
    }
    machine.wait("is not tried again until the ref moves");
    drop(machine);

    let facts = inspect(&farm.path("disk.img"));
    assert_eq!((&facts["next"]["slot"], &facts["slots"][1]["state"]), (&"slot-b".into(), &"blessed".into()));
    assert_eq!(facts["slots"][1]["commit"], second.as_str());
    assert_eq!((&facts["slots"][0]["tries_left"], &facts["slots"][0]["version"]), (&0.into(), &"5".into()));
    let requests = nginx.log().len();
    writeln!(std::io::stdout(), "the site was asked {requests} times").expect("printed");
}
