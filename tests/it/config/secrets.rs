//! A secret that is planted, and the places where it must not be found.

use std::path::{Path, PathBuf};

use mkimage::base::{base64, fs};

use crate::tool::{run, succeed, tool};

pub fn sha256(path: &Path) -> String {
    succeed(&mut tool("sha256sum", [path])).split(' ').next().expect("a digest").to_owned()
}

/// A secret, and a folder for what a machine is given and leaves behind.
pub struct Plant {
    pub secret: String,
    folder: tempfile::TempDir,
}

impl Plant {
    pub fn new() -> Plant {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["scratch", "store", "given"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        // Not in the sources, so that no file of this test holds it.
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a random id");
        Plant { secret: format!("planted-{}", random.trim().replace('-', "")), folder }
    }

    pub fn copy(&self, image: &Path) -> PathBuf {
        let to = self.folder.path().join("image.img");
        succeed(&mut tool("cp", ["--sparse=always".as_ref(), image.as_os_str(), to.as_os_str()]));
        to
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join("given").join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Where the run may put its files.
    pub fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    /// Plants another secret, which somebody else made.
    pub fn of(secret: String) -> Plant {
        Plant { secret, ..Plant::new() }
    }

    /// A store that nothing should be put into.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The forms in which it could be found.
    fn forms(&self) -> [Vec<u8>; 4] {
        let plain = self.secret.as_bytes();
        let hex: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        let wide = self.secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let encoded = base64::encode(plain).trim_end_matches('=').as_bytes().to_vec();
        [plain.to_vec(), encoded, hex.into_bytes(), wide]
    }

    pub fn search_text(&self, text: &str, place: &str) {
        self.search(text.as_bytes(), place);
    }

    pub fn search_file(&self, path: &Path) {
        for form in &self.forms()[..3] {
            let form = std::str::from_utf8(form).expect("text");
            let found = run(tool("grep", ["-a", "-F", "-q", form]).arg(path));
            assert_eq!(found.status.code(), Some(1), "{} holds the secret", path.display());
        }
    }

    /// Looks at every file that the run has made on this machine.
    pub fn search_scratch(&self) {
        let mut waiting = vec![self.scratch(), self.store()];
        while let Some(folder) = waiting.pop() {
            for name in fs::list(&folder).expect("a folder") {
                let path = folder.join(name);
                match path.is_dir() {
                    true => waiting.push(path),
                    false => self.search_file(&path),
                }
            }
        }
        assert!(fs::list(&self.store()).expect("a folder").is_empty(), "running needs no store");
    }

    /// Looks at the command lines of a process and its children.
    pub fn search_processes(&self, pid: u32) {
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a process");
        let mut all = vec![pid.to_string()];
        all.extend(children.split_whitespace().map(str::to_owned));
        assert!(all.len() >= 2, "the emulator runs: {all:?}");
        for pid in all {
            self.search(
                &std::fs::read(format!("/proc/{pid}/cmdline")).expect("a command line"),
                "a command line",
            );
        }
    }

    pub fn search(&self, bytes: &[u8], place: &str) {
        for form in self.forms() {
            assert!(!contains(bytes, &form), "{place} holds the secret");
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return true;
        }
        from += at + 1;
    }
    false
}

#[test]
fn what_is_planted_is_found_where_it_is() {
    let plant = Plant::new();
    for form in plant.forms() {
        assert!(contains(&[b"before ", &form[..], b" behind"].concat(), &form));
    }
    assert!(!contains(b"before and behind", &plant.forms()[0]));
    let file = plant.file("planted", &format!("before {} behind", plant.secret));
    assert!(std::panic::catch_unwind(|| plant.search_file(&file)).is_err());
}
