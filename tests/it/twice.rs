//! The same recipe under another host gives the same image.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tool::{hello_app, init, install, kept, mkimage, root, run, succeed, tool};

/// Copies the hello project into a folder, its files made in another order.
fn project(folder: &Path, backwards: bool) -> PathBuf {
    let mut names = vec!["assets/a.txt", "assets/b.txt", "assets/sub/c.txt", "assets/tool.sh"];
    if backwards {
        names.reverse();
    }
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, format!("the file {name}\n").repeat(1000)).expect("a file");
    }
    let script = folder.join("assets/tool.sh");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::symlink("a.txt", folder.join("assets/link")).expect("a link");
    std::fs::copy(hello_app(), folder.join("hello")).expect("the app");
    let recipe = std::fs::read_to_string(root().join("recipes/hello/hello.hcl")).expect("the recipe");
    let recipe = recipe.replace("target/x86_64-unknown-linux-gnu/release/hello", "hello");
    let recipe = format!(
        "{recipe}\ntree \"assets\" {{\n  source = \"assets\"\n  path   = \"/srv/assets\"\n}}\n\
         user \"web\" {{\n  uid = 2000\n}}\n\
         file \"/srv/note\" {{\n  content = \"note\"\n  owner   = \"web\"\n  mode    = \"0640\"\n}}\n"
    );
    let path = folder.join("project.hcl");
    std::fs::write(&path, recipe).expect("the recipe");
    let lock = kept("images").join("project.lock");
    if lock.exists() {
        std::fs::copy(&lock, folder.join("project.lock")).expect("the lock");
    }
    path
}

fn digest(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).expect("an image")).expect("read");
    hasher.finalize().to_string()
}

/// Prepares a build of a project into an image, with a store of its own.
fn build(recipe: &Path, image: &Path, store: &Path) -> Command {
    let mut command = mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]);
    command.env("MKIMAGE_STORE", store);
    command
}

#[test]
fn another_host_gives_the_same_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = folder.path().join("one");
    let second = folder.path().join("a-longer-path/with spaces/two");
    let recipe = project(&first, false);
    let image = first.join("disk.img");
    // The first build shares the kept store, so that packages are fetched once; the second has its own.
    succeed(&mut build(&recipe, &image, &kept("store")));
    std::fs::copy(first.join("project.lock"), kept("images").join("project.lock")).expect("the lock is kept");

    let recipe = project(&second, true);
    let other = second.join("other.img");
    let store = second.join("store");
    let mut command = Command::new("sh");
    let line = "umask 077; exec \"$@\"";
    command.args(["-c", line, "sh", "taskset", "-c", "0"]);
    let inner = build(&recipe, &other, &store);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MKIMAGE_INIT", init());
    command
        .env("MKIMAGE_STORE", &store)
        .env("MKIMAGE_JOBS", "3")
        .env("HOME", "/nonexistent")
        .env("USER", "somebody");
    command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8");
    succeed(&mut command);
    assert_eq!(digest(&image), digest(&other), "{} and {} differ", image.display(), other.display());
}

#[test]
fn an_ordinary_user_builds_what_root_builds() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
    };
    set(folder.path(), 0o777).expect("a mode");
    let recipe = project(&folder.path().join("p"), false);
    let by_root = folder.path().join("root.img");
    succeed(&mut build(&recipe, &by_root, &kept("store")));
    std::fs::copy(recipe.with_extension("lock"), kept("images").join("project.lock"))
        .expect("the lock is kept");

    // The tools and the project are copied to where an ordinary user may read them.
    for (from, name) in [(PathBuf::from(env!("CARGO_BIN_EXE_mkimage")), "mkimage"), (init(), "mkimage-init")]
    {
        install(&from, &folder.path().join(name));
    }
    let line = format!(
        "cd {folder} && MKIMAGE_STORE={folder}/store ./mkimage build p/project.hcl -o {folder}/user.img",
        folder = folder.path().display()
    );
    let id = String::from_utf8(run(&mut tool("id", ["-u"])).stdout).expect("a number");
    let mut command = match id.trim() {
        "0" => tool("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &line]),
        _ => tool("sh", ["-c", &line]),
    };
    succeed(&mut command);
    assert_eq!(digest(&by_root), digest(&folder.path().join("user.img")));
}

#[test]
fn one_two_and_eight_workers_give_the_same_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = project(&folder.path().join("p"), false);
    let digests = ["1", "2", "8"].map(|jobs| {
        let image = folder.path().join(format!("{jobs}.img"));
        succeed(build(&recipe, &image, &kept("store")).env("MKIMAGE_JOBS", jobs));
        digest(&image)
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    std::fs::copy(recipe.with_extension("lock"), kept("images").join("project.lock"))
        .expect("the lock is kept");
}

#[test]
fn source_date_epoch_reaches_the_image_and_nothing_else_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = project(&folder.path().join("p"), false);
    let [plain, dated] = [None, Some("1700000000")].map(|epoch| {
        let image = folder.path().join(format!("{}.img", epoch.unwrap_or("plain")));
        let mut command = build(&recipe, &image, &kept("store"));
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        succeed(&mut command);
        digest(&image)
    });
    assert_ne!(plain, dated);
}
