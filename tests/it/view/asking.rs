//! Why something is there, what a build would do, why it was done.

use super::Project;
use crate::tool::{mkimage, succeed};

#[test]
fn a_path_is_traced_to_its_line() {
    let project = Project::new();
    let text = "image \"web\" {\n  init = \"/app/app\"\n}\n\ninclude \"parts/files.hcl\" {}\n\n\
        tree \"pages\" {\n  source = \"pages/\"\n  path   = \"/srv/www\"\n}\n\n\
        user \"www\" {\n  uid = 80\n}\n";
    std::fs::write(project.path("web.hcl"), text).expect("written");
    std::fs::create_dir_all(project.path("pages/deep")).expect("a folder");
    std::fs::create_dir_all(project.path("parts")).expect("a folder");
    std::fs::write(project.path("pages/deep/index"), "x").expect("written");
    let part = "variable \"greeting\" {\n  default = \"hello\"\n}\n\n\
        file \"/app/app\" {\n  content = \"#!/bin/sh\\n\"\n  mode    = \"0755\"\n}\n\n\
        file \"/srv/www/motd\" {\n  content = var.greeting\n}\n";
    std::fs::write(project.path("parts/files.hcl"), part).expect("written");
    project.done(&["compose", "web.hcl", "--set", "greeting=good day"]);
    let why = |path: &str| project.json(&["why", "web", path]);
    let place = |path: &str| {
        let why = why(path);
        format!(
            "{}:{} {}",
            why["part"]["file"].as_str().unwrap_or("-"),
            why["part"]["line"],
            why["part"]["block"]
        )
    };
    assert_eq!(place("/srv/www/motd"), "parts/files.hcl:10 \"file \\\"/srv/www/motd\\\"\"");
    assert_eq!(place("/srv/www/deep/index"), "web.hcl:7 \"tree \\\"pages\\\"\"");
    assert_eq!(place("/etc/passwd"), "web.hcl:12 \"user \\\"www\\\"\"");
    assert_eq!(place("/app"), "parts/files.hcl:5 \"file \\\"/app/app\\\"\"");
    assert_eq!(place("/tmp"), "web.hcl:1 \"image \\\"web\\\"\"");
    let said = project.done(&["why", "web:/srv/www/motd"]);
    assert!(said.contains("parts/files.hcl:10"), "{said}");
    project.refused(5, &["why", "web", "/etc/none"]);
    let said = project.refused(5, &["why", "web", "libssl3"]);
    assert!(said.contains("no lock"), "{said}");
    let said = project.refused(2, &["why", "web.hcl"]);
    assert!(said.contains("which package"), "{said}");
    project.refused(5, &["why", "web.hcl", "libssl3"]);
}

#[test]
fn a_plan_writes_nothing_and_knows_what_is_cached() {
    let project = Project::new();
    project.recipe(1, "\ntree \"pages\" {\n  source = \"pages/\"\n  path   = \"/srv/www\"\n}\n");
    std::fs::create_dir(project.path("pages")).expect("a folder");
    std::fs::write(project.path("pages/index"), "x".repeat(1000)).expect("written");
    let state = |step: &str| {
        let plan = project.json(&["plan", "all.hcl"]);
        let steps = plan["steps"].as_array().expect("steps").clone();
        let found = steps.iter().find(|found| found["step"].as_str().is_some_and(|name| name.contains(step)));
        found.unwrap_or_else(|| panic!("{step} is no step of {plan}"))["state"].clone()
    };
    assert_eq!(state("tree \"pages\""), "runs");
    assert!(!project.path("store").exists(), "a plan made a store");
    project.done(&["compose", "all.hcl"]);
    let before = snapshot(&project);
    assert_eq!(state("tree \"pages\""), "cached");
    assert!(project.json(&["plan", "all.hcl"])["commit"].is_string());
    std::fs::write(project.path("pages/index"), "y").expect("written");
    assert_eq!(state("tree \"pages\""), "runs");
    assert_eq!(state("merge"), "runs");
    assert!(project.json(&["plan", "all.hcl"])["commit"].is_null());
    assert_eq!(snapshot(&project), before, "a plan changed the store");
}

/// Lists the files of the store with their times and lengths.
fn snapshot(project: &Project) -> String {
    let mut find = std::process::Command::new("find");
    succeed(find.arg(project.path("store")).args(["-printf", "%p %s %T@ %C@\n"]))
}

#[test]
fn the_plan_of_the_hello_image_has_its_partitions() {
    let image = crate::tool::hello_image();
    let recipe = crate::tool::root().join("recipes/hello/hello.hcl");
    let text = succeed(mkimage(["plan", "--json"]).arg(&recipe));
    let plan: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let inspected = crate::tool::inspect(&image);
    assert_eq!(plan["commit"], inspected["slots"][0]["commit"]);
    assert_eq!(plan["disk"]["partitions"], inspected["partitions"]);
    assert_eq!(plan["disk"]["size_bytes"], inspected["size_bytes"]);
    assert_eq!(plan["disk"]["exact"], true);
    let said = succeed(mkimage(["plan"]).arg(&recipe));
    assert!(said.contains("unchanged") && said.contains("slot-a") && said.contains("pins"), "{said}");
}

#[test]
fn a_rebuild_is_blamed_on_what_changed() {
    let project = Project::new();
    let said = |arguments: &[&str]| project.done(&[&["why-rebuilt"], arguments].concat());
    project.recipe(1, "");
    assert!(said(&["all.hcl"]).contains("no build before"));
    project.done(&["compose", "all.hcl"]);
    assert!(said(&["all.hcl"]).contains("nothing changed"));
    project.recipe(2, "");
    let told = said(&["all.hcl"]);
    assert!(told.contains("recipe all.hcl:2: changed") && told.contains("version: 1 → 2"), "{told}");
    assert!(told.contains("-  content = \"welcome to 1\\n\"\n"), "{told}");
    project.done(&["compose", "all.hcl"]);
    std::fs::write(project.path("app"), b"#!/bin/sh\necho other\n").expect("written");
    let told = said(&["all.hcl"]);
    assert!(told.contains("input app:") && !told.contains("recipe"), "{told}");
    let told = said(&["all"]);
    assert!(told.contains("recipe all.hcl:2: changed") && !told.contains("input app"), "{told}");
    project.done(&["compose", "all.hcl"]);
    assert!(said(&["all"]).contains("input app:"));
    let value = project.json(&["why-rebuilt", "all.hcl"]);
    assert_eq!(value["changed"], false, "{value}");
    project.refused(5, &["why-rebuilt", "nothing"]);
}

#[test]
fn packages_answer_for_their_files() {
    // The list of one package, as dpkg keeps it; the lock is not in an image, and the list is enough.
    let project = Project::new();
    let text = "image \"web\" {\n  init = \"/usr/bin/tool\"\n}\n\n\
        file \"/usr/bin/tool\" {\n  content = \"x\"\n  mode    = \"0755\"\n}\n\n\
        tree \"system\" {\n  source = \"system/\"\n}\n";
    std::fs::write(project.path("web.hcl"), text).expect("written");
    for (at, text) in [
        (
            "system/var/lib/dpkg/status",
            "Package: one\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.2-3\n",
        ),
        ("system/var/lib/dpkg/info/one.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/share/one\n"),
        ("system/usr/share/one", "x"),
        ("system/usr/share/two", "x"),
    ] {
        let at = project.path(at);
        std::fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
        std::fs::write(at, text).expect("written");
    }
    project.done(&["compose", "web.hcl"]);
    let why = |path: &str| project.json(&["why", "web", path]);
    assert_eq!(
        (why("/usr/share/one")["package"].as_str(), why("/usr/share/one")["version"].as_str()),
        (Some("one"), Some("1.2-3"))
    );
    assert_eq!(why("/usr/share/two")["part"]["block"], "tree \"system\"");
    let tool = why("/usr/bin/tool");
    assert!(tool["package"].is_null() && tool["part"]["line"] == 5, "the recipe's file wins: {tool}");
    let file = project.filesystem("web", "web.ext4");
    assert_eq!(project.json(&["why", &file, "/usr/share/one"])["package"], "one");
}
