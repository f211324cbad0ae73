//! Starting a machine.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::arguments::{self, Decided, arguments};
use super::console::Console;
use super::control::Control;
use super::error::MachineError;
use super::firmware::{Firmware, find_emulator, find_firmware};
use super::memory::MemoryFile;
use super::options::{Acceleration, Accelerator, Forward, MachineOptions};
use super::probe;
use super::running::{Folder, Running};
use crate::base::{FileError, Job, fs, publish};

/// What a machine has to tell while it starts and runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MachineEvent {
    /// A trial shows whether KVM works: it takes up to 6 s.
    TriesKvm,
    /// It starts, with this accelerator; the reason says why it is not KVM, where KVM was possible.
    Starts { accelerator: Accelerator, reason: Option<String> },
    /// A port of this host's loopback address leads to a port of the machine.
    Forwards(Forward),
    /// A line of its console, without escape sequences.
    Line(String),
}

/// A machine that can be started.
pub struct Machine {
    options: MachineOptions,
}

impl Machine {
    /// Takes the options; they are checked when the machine starts.
    pub fn new(options: MachineOptions) -> Self {
        Machine { options }
    }

    /// Starts the machine and returns as soon as its processor runs. Where the accelerator is to be chosen,
    /// a trial with KVM comes first (up to 6 s). `sink` is handed what happens.
    pub fn start<'a>(
        self,
        job: &Job,
        sink: impl FnMut(MachineEvent) + 'a,
    ) -> Result<Running<'a>, MachineError> {
        let mut sink: Box<dyn FnMut(MachineEvent) + 'a> = Box::new(sink);
        let host = Host::find(&self.options)?;
        fs::open(&self.options.disk)?;
        let (accelerator, reason) = match self.options.acceleration {
            Acceleration::Auto => probe::choose(&self.options, &host, job, &mut sink)?,
            Acceleration::Tcg => (Accelerator::Tcg, None),
            Acceleration::Kvm => {
                probe::is_usable(Path::new("/dev/kvm")).map_err(|problem| MachineError::Kvm { problem })?;
                (Accelerator::Kvm, None)
            }
        };
        sink(MachineEvent::Starts { accelerator, reason });
        let mut running = spawn_with_ports(&self.options, &host, accelerator)?;
        for forward in &running.forwards {
            sink(MachineEvent::Forwards(*forward));
        }
        running.sink = sink;
        Ok(running)
    }
}

/// How often ports are chosen anew because another program took one meanwhile.
const MOST_PORT_CHOICES: u32 = 5;

/// Starts the emulator with ports that are free when it asks for them: between our look and its own, another
/// program may take one, and where any port will do the machine gets the next.
fn spawn_with_ports<'a>(
    options: &MachineOptions,
    host: &Host,
    accelerator: Accelerator,
) -> Result<Running<'a>, MachineError> {
    let mut choice = 1;
    loop {
        let forwards = choose_ports(&options.forwards)?;
        match spawn(options, host, accelerator, forwards, Box::new(|_| {})) {
            Err(error) if choice < MOST_PORT_CHOICES && lost_a_port(&error) => choice += 1,
            outcome => return outcome,
        }
    }
}

fn lost_a_port(error: &MachineError) -> bool {
    matches!(error, MachineError::Ended { message, .. } if message.contains("Could not set up host forwarding rule"))
}

/// What of this host a machine needs.
pub(super) struct Host {
    emulator: PathBuf,
    firmware: Firmware,
    /// Program and arguments that start the emulator so that it dies with us, whatever ends us.
    guard: Option<[&'static str; 3]>,
}

/// util-linux. Without it a killed process (signal 9) leaves its emulator behind.
const GUARD: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];

impl Host {
    fn find(options: &MachineOptions) -> Result<Self, MachineError> {
        let emulator = match &options.emulator {
            Some(emulator) => emulator.clone(),
            None => find_emulator(&std::env::var_os("PATH").unwrap_or_default(), Path::is_file)?,
        };
        let firmware = match &options.firmware {
            Some(firmware) => firmware.clone(),
            None => find_firmware(Path::is_file)?,
        };
        Ok(Host { emulator, firmware, guard: guard_works().then_some(GUARD) })
    }
}

/// Tells whether the guard is there and knows the option (other programs of its name don't).
fn guard_works() -> bool {
    let mut command = Command::new(GUARD[0]);
    command.args(&GUARD[1..]).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Host {
    fn command(&self) -> Command {
        let Some([program, arguments @ ..]) = self.guard else { return Command::new(&self.emulator) };
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.emulator);
        command
    }
}

/// Starts the emulator. Its standard input and output are sockets: the control connection and the
/// serial console. It has a process group of its own, so that Ctrl-C reaches us alone.
pub(super) fn spawn<'a>(
    options: &MachineOptions,
    host: &Host,
    accelerator: Accelerator,
    forwards: Vec<Forward>,
    sink: Box<dyn FnMut(MachineEvent) + 'a>,
) -> Result<Running<'a>, MachineError> {
    let options = MachineOptions { forwards, ..options.clone() };
    let folder = private_folder(&host.firmware)?;
    let variables = folder.variables();
    let secrets = Secrets::of(&options)?;
    let decided = Decided {
        accelerator,
        firmware_code: &host.firmware.code,
        firmware_variables: &variables,
        strings: &secrets.strings,
        firmware_files: &secrets.firmware_files,
    };
    let arguments = arguments(&options, &decided)?;
    let messages = folder.messages();
    let errors = std::fs::File::create(&messages).map_err(FileError::at("create", &messages))?;
    let (control, control_end) = UnixStream::pair()?;
    let (serial, serial_end) = UnixStream::pair()?;
    serial.set_nonblocking(true)?;
    let child = host
        .command()
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(control_end)))
        .stdout(Stdio::from(OwnedFd::from(serial_end)))
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|source| MachineError::Start { program: host.emulator.clone(), source })?;
    let mut running = Running {
        child,
        control: Control::new(control),
        serial,
        console: Console::default(),
        sink,
        forwards: options.forwards,
        accelerator,
        folder,
        power_down_within: Duration::from_secs(options.power_down_seconds),
        hung_up: false,
    };
    match running.control.negotiate() {
        Ok(()) => Ok(running),
        Err(error) => Err(running.explain(error)),
    }
}

/// What must be on no command line, in files that the emulator inherits.
struct Secrets {
    strings: Vec<PathBuf>,
    firmware_files: Vec<(String, PathBuf)>,
    /// Open until the emulator runs.
    _files: Vec<MemoryFile>,
}

impl Secrets {
    fn of(options: &MachineOptions) -> Result<Self, MachineError> {
        let mut files = Vec::new();
        let mut keep = |bytes: &[u8]| {
            let file = MemoryFile::with(bytes)?;
            let path = file.path();
            files.push(file);
            Ok::<PathBuf, std::io::Error>(path)
        };
        let strings = arguments::strings(options);
        let strings = strings.iter().map(|string| keep(string.as_bytes())).collect::<Result<_, _>>()?;
        let mut firmware_files = Vec::new();
        for (name, bytes) in arguments::firmware_files(options) {
            firmware_files.push((name, keep(bytes)?));
        }
        Ok(Secrets { strings, firmware_files, _files: files })
    }
}

/// Makes a folder that only this user may enter, with a copy of the firmware's variables.
fn private_folder(firmware: &Firmware) -> Result<Folder, MachineError> {
    let path = std::env::temp_dir().join(format!("mkimage-machine-{}", publish::unique()));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    made.map_err(FileError::at("create the directory", &path))?;
    let folder = Folder(path);
    let variables = folder.variables();
    let bytes = fs::read(&firmware.variables)?;
    std::fs::write(&variables, bytes).map_err(FileError::at("write", &variables))?;
    Ok(folder)
}

/// Finds a host port for each forward that names none, and checks those that do.
fn choose_ports(forwards: &[Forward]) -> Result<Vec<Forward>, MachineError> {
    // All are held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut chosen = Vec::new();
    for forward in forwards {
        let wish = if forward.host == 0 && forward.guest > 1023 { forward.guest } else { forward.host };
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, wish)) {
            Err(_) if forward.host == 0 => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)),
            other => other,
        };
        let listener = listener.map_err(|source| MachineError::Port { port: wish, source })?;
        chosen.push(Forward { host: listener.local_addr()?.port(), guest: forward.guest });
        held.push(listener);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::base::job::Silent;
    use crate::base::parallel::Workers;
    use crate::machine::End;

    #[test]
    fn free_ports_are_found_and_taken_ones_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let wishes = [Forward { host: 0, guest: port }, Forward { host: 0, guest: 80 }];
        let chosen = choose_ports(&wishes).expect("free ports");
        assert!(chosen.iter().all(|forward| forward.host != 0 && forward.host != port));
        assert_ne!(chosen[0].host, chosen[1].host);
        let error = choose_ports(&[Forward { host: port, guest: 80 }]).expect_err("taken");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }

    #[test]
    fn a_port_that_another_program_takes_in_between_is_chosen_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        // It fails as the emulator does, the first two times.
        let script = "#!/bin/sh\necho x >> \"$(dirname \"$0\")/count\"\n\
            [ $(wc -l < \"$(dirname \"$0\")/count\") -gt 2 ] && { echo broken >&2; exit 3; }\n\
            echo \"Could not set up host forwarding rule 'tcp:127.0.0.1:80-:80'\" >&2; exit 1\n";
        let emulator = emulator(script, folder.path());
        let file = folder.path().join("file");
        std::fs::write(&file, b"bytes").expect("written");
        let firmware = Firmware { code: file.clone(), variables: file.clone() };
        let options =
            MachineOptions { forwards: vec![Forward { host: 0, guest: 80 }], ..MachineOptions::new(&file) };
        let host = Host { emulator, firmware, guard: None };
        let error = spawn_with_ports(&options, &host, Accelerator::Tcg).map(drop).expect_err("it is broken");
        assert!(error.to_string().contains("broken"), "{error}");
    }

    /// Makes a program of a text. Another process writes it: what this one had open for writing, a child of another
    /// test might hold open for a moment, and then it could not be run.
    fn emulator(text: &str, folder: &Path) -> PathBuf {
        let (written, program) = (folder.join("script"), folder.join("emulator"));
        std::fs::write(&written, text).expect("written");
        let installed = Command::new("install").arg("-m755").args([&written, &program]).status();
        assert!(installed.expect("coreutils are there").success());
        program
    }

    /// Starts a script in place of the emulator; its descriptor 0 is the control connection.
    fn start<'a>(
        script: &str,
        folder: &Path,
        sink: impl FnMut(MachineEvent) + 'a,
    ) -> Result<Running<'a>, MachineError> {
        let text = format!("#!/bin/sh\necho '{{\"QMP\": {{}}}}' >&0\nread line\n{script}\n");
        let template = folder.join("template.fd");
        std::fs::write(&template, b"variables").expect("written");
        let mut options = MachineOptions::new(&template);
        options.emulator = Some(emulator(&text, folder));
        options.firmware = Some(Firmware { code: template.clone(), variables: template });
        options.acceleration = Acceleration::Tcg;
        options.power_down_seconds = 1;
        options.forwards = vec![Forward { host: 0, guest: 80 }];
        Machine::new(options).start(&Job::quiet(1), sink)
    }

    const NEGOTIATED: &str = "echo '{\"return\": {}}' >&0";

    #[test]
    fn the_console_comes_line_by_line_until_the_machine_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut events = Vec::new();
        let script = format!("{NEGOTIATED}\nprintf 'one\\r\\ntwo'\nsleep 0.1\nprintf ' words\\r\\nlogin: '");
        let mut machine = start(&script, folder.path(), |event| events.push(event)).expect("started");
        let private = machine.folder.0.clone();
        assert!(private.join("variables.fd").exists());
        let job = Job::quiet(1);
        let within = Duration::from_secs(60);
        let line = machine.wait_for_line("two", within, &job, |line| line.starts_with("two"));
        assert_eq!(line.expect("a line"), "two words");
        assert_eq!(machine.wait(&job).expect("ended"), End::ByItself);
        drop(machine);
        assert!(!private.exists());
        let MachineEvent::Forwards(forward) = events[1] else { panic!("{events:?}") };
        assert!(forward.host != 0 && forward.guest == 80);
        let lines = ["one", "two words", "login:"].map(|line| MachineEvent::Line(line.into()));
        assert_eq!(events[2..], lines);
    }

    #[test]
    fn an_emulator_that_does_not_start_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = start("echo 'no such device' >&2; exit 3", folder.path(), |_| {}).map(drop);
        let error = error.expect_err("not started").to_string();
        assert!(error.contains("no such device") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_machine_that_does_not_power_off_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("{NEGOTIATED}\nread line\n{NEGOTIATED}\nexec sleep 1000");
        let mut machine = start(&script, folder.path(), |_| {}).expect("started");
        let cancelled = Arc::new(AtomicBool::new(true));
        let job = Job::new(Workers::new(1), Arc::new(Silent), cancelled);
        assert_eq!(machine.wait(&job).expect("killed"), End::Killed);
    }

    #[test]
    fn what_does_not_come_is_told_with_the_last_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let script = format!(
            "{NEGOTIATED}\necho panic: no root\nuntil [ -e {} ]; do sleep 0.05; done",
            told.display()
        );
        let mut machine = start(&script, folder.path(), |_| {}).expect("started");
        let job = Job::quiet(1);
        let mut wait = |milliseconds| {
            let within = Duration::from_millis(milliseconds);
            machine.wait_for_http(80, "/", within, &job).expect_err("no answer").to_string()
        };
        let late = wait(1);
        std::fs::write(told, b"").expect("written");
        let ended = wait(60_000);
        assert!(late.contains("did not come within") && late.contains("GET / on port 80"), "{late}");
        assert!(ended.contains("ended before") && ended.contains("panic: no root"), "{ended}");
    }

    #[test]
    fn the_emulator_takes_every_argument() {
        let disk = tempfile::NamedTempFile::new().expect("a file");
        disk.as_file().set_len(1 << 20).expect("resized");
        let mut options = MachineOptions::new(disk.path());
        options.acceleration = Acceleration::Tcg;
        options.end_at_reboot = true;
        options.snapshot = true;
        options.forwards = vec![Forward { host: 0, guest: 8080 }];
        options.environment = [("A", "1,2"), ("B", "two\nlines")].map(|(k, v)| (k.into(), v.into())).into();
        options.credentials.insert("token".into(), b"\0\xff".to_vec());
        options.disks.push(disk.path().to_owned());
        let started = Machine::new(options).start(&Job::quiet(1), |_| {});
        let mut machine = started.unwrap_or_else(|error| panic!("{error}"));
        let status = machine.control("query-status", serde_json::json!({})).expect("answered");
        assert_eq!(status["status"], "running");
        machine.kill().expect("killed");
    }
}
