//! `closure = "elf"`: a dynamic program runs in the image that it got, and nothing else of this machine is in it.

use std::path::{Path, PathBuf};

use mkimage::archive::Limits;
use mkimage::compose::{Accounts, check_closures, prepare_all};
use mkimage::elf::{HostLibrary, Library};
use mkimage::tree::{Directory, File, Metadata, Node};

use super::*;
use crate::tool::{self, fail_with, succeed};

const HELLO: &str = r#"
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void *work(void *name) { printf("hello %s\n", (char *)name); pthread_exit(0); }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, work, "thread");
    pthread_join(thread, 0);
    struct passwd *user = getpwuid(1000);
    struct addrinfo *found = 0;
    int problem = getaddrinfo("127.0.0.1", "80", 0, &found);
    printf("user %s, address %d, passwd %d\n", user ? user->pw_name : "none", problem, access("/etc/passwd", R_OK));
    return 0;
}
"#;

/// A folder with a project and a store of its own.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        Site(tempfile::tempdir().expect("a folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.at(name).parent().expect("a folder")).expect("made");
        std::fs::write(self.at(name), text).expect("written");
    }

    fn compile<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) {
        succeed(tool::tool("cc", arguments).current_dir(self.0.path()));
    }

    fn recipe(&self, app: &str) {
        self.write(
            "app.hcl",
            &format!("image \"app\" {{\n  version = \"1\"\n}}\n\napp \"hello\" {{\n{app}}}\n"),
        );
    }

    fn mkimage(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = tool::mkimage(arguments);
        command.env("MKIMAGE_STORE", self.at("store")).current_dir(self.0.path());
        command
    }

    /// Composes the recipe and lays it out in a folder.
    fn image(&self) -> PathBuf {
        succeed(&mut self.mkimage(&["compose", "app.hcl"]));
        succeed(&mut self.mkimage(&["checkout", "app", "tree"]));
        self.at("tree")
    }

    fn inputs(&self) -> Vec<String> {
        let text = succeed(&mut self.mkimage(&["--json", "show", "app"]));
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let inputs = value["inputs"].as_array().expect("inputs").iter();
        inputs.map(|input| input["name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// Runs a program with a folder as its root and no variable of ours.
fn run_in(root: &Path, program: &str) -> String {
    let mut command = match rustix::process::getuid().is_root() {
        true => tool::tool("chroot", [root]),
        false => {
            let mut command = tool::tool("unshare", ["--map-root-user", "--root"]);
            command.arg(root);
            command
        }
    };
    succeed(command.arg(program))
}

#[test]
fn a_dynamic_program_runs_with_what_came_along() {
    let site = Site::new();
    site.write("hello.c", HELLO);
    site.compile(["-o", "hello", "hello.c"]);
    site.recipe("  source  = \"hello\"\n  closure = \"elf\"\n");
    let root = site.image();
    assert_eq!(run_in(&root, "/app/hello"), "hello thread\nuser app, address 0, passwd 0\n");
    let names = std::fs::read_to_string(root.join("etc/nsswitch.conf")).expect("nsswitch.conf");
    assert!(names.contains("hosts: files dns\n"), "{names}");
    assert!(!root.join("etc/ssl").exists() && !root.join("usr/share/zoneinfo").exists());
    let inputs = site.inputs();
    let is_there = |end: &str| inputs.iter().any(|input| input.ends_with(end));
    assert!(is_there("/libc.so.6") && is_there("hello") && is_there("/libgcc_s.so.1"), "{inputs:?}");
    assert!(inputs.len() < 10, "{inputs:?}");
    succeed(&mut site.mkimage(&["compose", "app.hcl"]));

    // Without it, nothing comes along.
    site.recipe("  source = \"hello\"\n");
    succeed(&mut site.mkimage(&["compose", "app.hcl"]));
    assert_eq!(site.inputs(), ["hello"]);
}

#[test]
fn an_apps_own_libraries_stay_its_own_and_what_it_names_comes_along() {
    let site = Site::new();
    site.write("own.c", "const char *own(void) { return \"/etc/ssl/certs/ca-certificates.crt\"; }\n");
    site.write("plugin.c", "double cbrt(double); const char *own(void);\ndouble plugin(double x) { return cbrt(x) + own()[0]; }\n");
    site.write("main.c", "#include <stdio.h>\nconst char *own(void);\nint main(void) { FILE *f = fopen(own(), \"r\"); printf(\"%d\\n\", f != 0); return 0; }\n");
    std::fs::create_dir_all(site.at("app/lib")).expect("made");
    site.compile(["-shared", "-fPIC", "-o", "app/lib/libown.so", "own.c"]);
    site.compile(["-shared", "-fPIC", "-o", "app/lib/plugin.so", "plugin.c", "-Lapp/lib", "-lown", "-lm"]);
    site.compile(["-o", "app/main", "main.c", "-Lapp/lib", "-lown", "-Wl,-rpath,/app/lib"]);
    site.recipe("  source  = \"app/\"\n  command = [\"/app/main\"]\n  closure = \"elf\"\n  environment = { TZ = \"Europe/Berlin\" }\n");
    let root = site.image();
    assert_eq!(run_in(&root, "/app/main"), "1\n");
    let inputs = site.inputs();
    assert!(!inputs.iter().any(|input| input.ends_with("libown.so")), "{inputs:?}");
    assert!(inputs.iter().any(|input| input.ends_with("/libm.so.6")), "the plugin needs it: {inputs:?}");
    assert!(root.join("usr/share/zoneinfo/Europe/Berlin").is_file());
    assert!(!root.join("usr/share/zoneinfo/UTC").exists());

    // Its library missing, the message names both.
    std::fs::remove_file(site.at("app/lib/libown.so")).expect("removed");
    std::fs::remove_file(site.at("app/lib/plugin.so")).expect("removed");
    let said = fail_with(3, &mut site.mkimage(&["compose", "app.hcl"]));
    assert!(
        said.contains("/app/main needs libown.so") && said.contains("app \"hello\" (app.hcl:5)"),
        "{said}"
    );
}

#[test]
fn with_packages_nothing_of_this_machine_is_taken_and_the_tree_must_have_all() {
    let site = Site::new();
    site.write("hello.c", HELLO);
    site.compile(["-o", "hello", "hello.c"]);
    site.recipe("  source  = \"hello\"\n  path    = \"/usr/bin/hello\"\n  closure = \"elf\"\n");
    let text = std::fs::read_to_string(site.at("app.hcl")).expect("the recipe");
    site.write(
        "app.hcl",
        &format!("{text}\npackages \"debian\" {{\n  suite = \"bookworm\"\n  names = [\"libc6\"]\n}}\n"),
    );
    let plan = mkimage::pipeline::load(&site.at("app.hcl"), &Default::default()).expect("a recipe").plan;
    let accounts = Accounts::of(&plan).expect("accounts");
    let prepared = prepare_all(&plan.parts, &accounts, &Limits::default(), &Job::quiet(1)).expect("prepared");
    assert!(prepared.iter().all(|prepared| prepared.along.taken.is_empty()));

    let contents = MemoryContents::default();
    let mut tree = Directory::default();
    let put = |tree: &mut Directory, at: &str, bytes: &[u8]| {
        let content = contents.put(bytes).expect("put");
        let file = File { metadata: Metadata::root(0o755), content };
        tree.insert(&path(at), Node::File(file)).expect("inserted");
    };
    let program = std::fs::read(site.at("hello")).expect("read");
    put(&mut tree, "/usr/bin/hello", &program);
    let said = check_closures(&tree, &plan, &contents).expect_err("no libraries");
    assert!(said.iter().any(|error| whole(error).contains("which is not there")), "{said:?}");
    let program = path(&site.at("hello").display().to_string());
    let host = HostLibrary::new("/");
    for library in mkimage::elf::closure(&[program], &host).expect("a closure") {
        let bytes = host.read(&library).expect("read");
        put(&mut tree, &library.to_string(), &bytes);
    }
    check_closures(&tree, &plan, &contents).expect("all there");
}
