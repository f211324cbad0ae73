//! `base { commit = … }`: images that stand on another commit of the store.

use std::path::Path;
use std::process::Command;

use crate::tool::{fail_with, mkimage, succeed};

const UNDER: &str = r#"
image "under" { version = "1" }
file "/etc/motd" { content = "under" }
file "/opt/tool" {
  content = "tool"
  mode    = "0755"
}
hard_link "/opt/same" { target = "/opt/tool" }
symlink "/opt/link" { target = "nowhere" }
user "worker" { uid = 900 }
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn mkimage(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        command.env("MKIMAGE_STORE", self.0.path().join("store")).current_dir(self.0.path());
        command
    }

    fn write(&self, name: &str, recipe: &str) {
        std::fs::write(self.0.path().join(name), recipe).expect("written");
    }

    /// Composes a recipe and returns the commit.
    fn compose(&self, recipe: &str) -> String {
        self.write("recipe.hcl", recipe);
        succeed(&mut self.mkimage(&["compose", "recipe.hcl", "--quiet"])).trim().to_owned()
    }

    fn cat(&self, commit: &str, path: &str) -> String {
        succeed(&mut self.mkimage(&["cat", commit, path]))
    }
}

fn over(commit: &str, more: &str) -> String {
    format!("image \"over\" {{ version = \"2\" }}\nbase {{ commit = \"{commit}\" }}\n{more}\n")
}

#[test]
fn an_image_stands_on_another_and_replaces_what_it_wants() {
    let place = Place::new();
    let under = place.compose(UNDER);
    let parts = r#"
        file "/etc/motd" { content = "over" }
        file "/opt/tool" { content = "another tool" }
        file "/opt/link/inside" { content = "a directory now" }
        user "worker" { uid = 900 }
        user "second" { uid = 901 }
    "#;
    let id = place.compose(&over("under", parts));
    assert_eq!(place.cat("over", "/etc/motd"), "over");
    assert_eq!(place.cat("over", "/opt/tool"), "another tool");
    assert_eq!(place.cat("over", "/opt/same"), "tool", "its other name keeps the file");
    assert_eq!(place.cat("over", "/opt/link/inside"), "a directory now");
    assert_eq!(place.cat("over", "/etc/hostname"), "over\n", "the name is not inherited");
    assert!(place.cat("over", "/etc/os-release").contains("over 2"));
    let accounts = place.cat("over", "/etc/passwd");
    assert!(accounts.contains("worker:x:900:") && accounts.contains("second:x:901:"), "{accounts}");
    assert_eq!(place.cat("under", "/etc/motd"), "under", "what is stood on stays");
    let shown = succeed(&mut place.mkimage(&["show", "over"]));
    assert!(shown.contains(&format!("blake3:{under} base under")), "{shown}");
    assert_eq!(place.compose(&over("under", parts)), id, "again, the same");
}

#[test]
fn a_base_counts_as_what_it_is_when_it_is_used() {
    let place = Place::new();
    let first = place.compose(UNDER);
    let by_name = place.compose(&over("under", ""));
    let pinned = place.compose(&over(&first, ""));
    place.compose(&UNDER.replace("\"under\" }\n", "\"changed\" }\n"));
    assert_ne!(place.compose(&over("under", "")), by_name, "the ref leads elsewhere");
    assert_eq!(place.cat("over", "/etc/motd"), "changed");
    assert_eq!(place.compose(&over(&first, "")), pinned, "a whole id pins it");
    assert_eq!(place.cat("over", "/etc/motd"), "under");
    place.compose(&over("under~1", ""));
    assert_eq!(place.cat("over", "/etc/motd"), "under");
}

#[test]
fn parts_conflict_over_a_base_as_they_do_without_and_directories_stay() {
    let place = Place::new();
    place.compose(UNDER);
    let twice = "file \"/etc/motd\" { content = \"a\" }\ntree \"t\" { source = \"t\" }\n";
    std::fs::create_dir_all(place.0.path().join("t/etc")).expect("made");
    std::fs::write(place.0.path().join("t/etc/motd"), "b").expect("written");
    place.write("over.hcl", &over("under", twice));
    let said = fail_with(3, &mut place.mkimage(&["compose", "over.hcl"]));
    assert!(said.contains("/etc/motd: both file \"/etc/motd\"") && said.contains("tree \"t\""), "{said}");
    place.write("over.hcl", &over("under", "file \"/opt\" { content = \"flat\" }"));
    let said = fail_with(3, &mut place.mkimage(&["compose", "over.hcl"]));
    assert!(
        said.contains("/opt: both base (over.hcl:2)") && said.contains("a directory and a file"),
        "{said}"
    );
}

#[test]
fn a_base_that_is_not_there_is_named_with_its_place_in_the_recipe() {
    let place = Place::new();
    place.write("over.hcl", &over("nobody/there", ""));
    let said = fail_with(5, &mut place.mkimage(&["compose", "over.hcl"]));
    assert!(said.contains("base (over.hcl:2)") && said.contains("nobody/there"), "{said}");
    assert!(!Path::new(&place.0.path().join("store/refs/over")).exists());
}
