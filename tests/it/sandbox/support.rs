//! A small tree with a shell, and runs on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use mkimage::base::{ImagePath, Job};
use mkimage::sandbox::{Lies, Limits, Outcome, Request, SandboxError, run};
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node, Symlink};

pub const EPOCH: u64 = 1_700_000_000;

pub fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Programs of this machine that the small tree holds, with the libraries that they need.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "chgrp", "chmod", "chown", "cp", "date", "dd", "env", "find", "getcap", "getfacl",
    "getfattr", "head", "hostname", "id", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nproc",
    "perl", "ps", "readlink", "rm", "sed", "setcap", "setfacl", "setfattr", "sleep", "sort", "stat", "tar",
    "touch", "true", "umount", "uname", "unshare", "wc", "yes",
];

/// Contents and the small tree, made once.
pub fn machine() -> &'static (MemoryContents, Directory) {
    static MADE: OnceLock<(MemoryContents, Directory)> = OnceLock::new();
    MADE.get_or_init(|| {
        let contents = MemoryContents::default();
        let mut tree = Directory::default();
        let copy = |tree: &mut Directory, from: &Path, to: &str| {
            let bytes = std::fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            let file = File { metadata: Metadata::root(0o755), content: contents.put(&bytes).expect("put") };
            tree.replace(&path(to), Node::File(file)).expect("a file");
        };
        for program in PROGRAMS {
            let found = ["/usr/bin", "/usr/sbin"].iter().map(|folder| Path::new(folder).join(program));
            let from = found.into_iter().find(|path| path.exists());
            let from = from.unwrap_or_else(|| panic!("{program} is missing; `make test` installs it"));
            copy(&mut tree, &from, &format!("/usr/bin/{program}"));
            for library in libraries(&from) {
                let to = library.strip_prefix("/usr").unwrap_or(&library).to_owned();
                copy(&mut tree, Path::new(&library), &format!("/usr{to}"));
            }
        }
        let locale = Path::new("/usr/lib/locale/C.utf8");
        for name in mkimage::base::fs::list(locale).expect("Debian's C.UTF-8") {
            let from = locale.join(&name);
            let from = if from.is_dir() { from.join("SYS_LC_MESSAGES") } else { from };
            let to = from.to_str().expect("a name in ASCII").to_owned();
            copy(&mut tree, &from, &to);
        }
        for (link, target) in [
            ("/bin", "usr/bin"),
            ("/lib", "usr/lib"),
            ("/lib64", "usr/lib64"),
            ("/sbin", "usr/bin"),
            ("/usr/bin/sh", "bash"),
        ] {
            let symlink = Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() };
            tree.insert(&path(link), Node::Symlink(symlink)).expect("a link");
        }
        for (at, text) in [
            ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n"),
            ("/etc/group", "root:x:0:\nwww:x:33:\nshadow:x:42:\n"),
            ("/etc/hostname", "of-the-image\n"),
            ("/etc/old", "old\n"),
        ] {
            tree.insert(&path(at), file(&contents, text, 0o644)).expect("a file");
        }
        for at in ["/root", "/var/log", "/srv"] {
            tree.make_directories(&path(at)).expect("a directory");
        }
        (contents, tree)
    })
}

pub fn file(contents: &MemoryContents, text: &str, mode: u16) -> Node {
    let content = contents.put(text.as_bytes()).expect("put");
    Node::File(File { metadata: Metadata::root(mode), content })
}

fn libraries(program: &Path) -> Vec<String> {
    let said = super::super::tool::succeed(super::super::tool::tool("ldd", [program]).env("LC_ALL", "C"));
    said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// Returns the program that holds the stage.
pub fn program() -> PathBuf {
    std::env::var_os("MKIMAGE_TEST_STAGE").map_or_else(|| env!("CARGO_BIN_EXE_mkimage").into(), PathBuf::from)
}

/// A run on the small tree that a test may change.
pub struct Trial {
    pub tree: Directory,
    pub limits: Limits,
    pub environment: BTreeMap<String, String>,
    pub inputs: Vec<(ImagePath, Directory)>,
    pub working_directory: ImagePath,
    pub scratch: PathBuf,
}

impl Default for Trial {
    fn default() -> Self {
        let limits = Limits { time: Duration::from_secs(60), lies: Lies::InMemory, ..Limits::default() };
        Trial {
            tree: machine().1.clone(),
            limits,
            environment: BTreeMap::new(),
            inputs: Vec::new(),
            working_directory: ImagePath::root(),
            scratch: super::super::tool::kept("sandbox"),
        }
    }
}

impl Trial {
    pub fn run_with(&self, commands: &[&[&str]], job: &Job) -> Result<Outcome, SandboxError> {
        let contents = &machine().0;
        let words = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let request = Request {
            tree: &self.tree,
            source: contents,
            commands: commands.iter().map(words).collect(),
            environment: self.environment.clone(),
            working_directory: self.working_directory.clone(),
            inputs: self.inputs.iter().map(|(path, tree)| (path.clone(), tree)).collect(),
            epoch: EPOCH,
            limits: self.limits.clone(),
            scratch: &self.scratch,
            label: "trial".to_owned(),
            program: Some(program()),
        };
        run(&request, contents, job)
    }

    pub fn try_script(&self, script: &str) -> Result<Outcome, SandboxError> {
        self.run_with(&[&["/bin/sh", "-euc", script]], &Job::quiet(2))
    }

    /// Runs a shell script that must succeed.
    pub fn script(&self, script: &str) -> Outcome {
        self.try_script(script).unwrap_or_else(|error| panic!("{script}\n{error}"))
    }
}

/// Runs a script on the small tree and returns what it said.
pub fn say(script: &str) -> String {
    String::from_utf8(Trial::default().script(script).log).expect("text")
}

/// Reads a file of a result.
pub fn read(tree: &Directory, at: &str) -> String {
    use mkimage::tree::ContentSource;
    match tree.get(&path(at)) {
        Some(Node::File(file)) => {
            String::from_utf8(machine().0.read_all(&file.content).expect("a content")).expect("text")
        }
        other => panic!("{at}: {other:?}"),
    }
}

/// Runs a script that must fail and returns the message.
pub fn complaint(trial: &Trial, script: &str) -> String {
    match trial.try_script(script) {
        Err(error) => error.to_string(),
        Ok(outcome) => panic!("{script}\n{}", String::from_utf8_lossy(&outcome.log)),
    }
}
