//! Budgets and tests of recipes.

use super::Project;
use crate::tool::{mkimage, run};

#[test]
fn a_budget_fails_the_build_with_every_reason() {
    let project = Project::new();
    let budget = "\nbudget {\n  max_size   = \"1KiB\"\n  max_setuid = 0\n  forbid     = [\"/etc/only-*\", \"/**/*.pyc\"]\n}\n";
    project.recipe(1, budget);
    let line = std::fs::read_to_string(project.path("all.hcl"))
        .expect("a recipe")
        .lines()
        .position(|line| line == "budget {");
    let line = line.expect("a budget") + 1;
    let said = project.refused(3, &["compose", "all.hcl"]);
    let place = format!("budget (all.hcl:{line})");
    assert_eq!(said.matches(&place).count(), 3, "{said}");
    assert!(said.contains("`max_size` is 1 KiB") && said.contains("3.0 MiB  /srv/again"), "{said}");
    assert!(said.contains("/usr/bin/lend (a setuid bit)") && said.contains("/etc/only-1"), "{said}");
    assert!(!said.contains("pyc"), "{said}");
    project.refused(5, &["show", "all"]);
    project.recipe(
        1,
        "\nbudget {\n  max_size   = \"4MiB\"\n  max_setuid = 1\n  forbid     = [\"/**/*.pyc\"]\n}\n",
    );
    let with = project.done(&["compose", "all.hcl"]);
    let identity = |project: &Project| project.json(&["show", "all"])["identity"].clone();
    let kept = identity(&project);
    project.recipe(1, "");
    assert_ne!(project.done(&["compose", "all.hcl"]), with, "the recipe is part of the commit");
    assert_eq!(identity(&project), kept, "no byte of an image depends on a budget");
}

const GOOD: &str = r#"
test "files" {
  file "/etc/motd" {
    kind     = "file"
    mode     = "0640"
    owner    = "root"
    contains = "welcome"
    sha256   = "SHA256"
  }

  file "/etc/link" {
    target = "../srv/large"
  }

  file "/etc/shadow" {
    absent = true
  }
}
"#;

#[test]
fn assertions_are_reported_one_by_one() {
    let project = Project::new();
    let sum = crate::tool::succeed(
        std::process::Command::new("sh").args(["-c", "printf 'welcome to 1\\n' | sha256sum | cut -c1-64"]),
    );
    let good = GOOD.replace("SHA256", sum.trim());
    project.recipe(1, &good);
    project.done(&["fmt", "--check", "all.hcl"]);
    let said = project.done(&["test", "all.hcl"]);
    assert_eq!(said.matches("ok    files: file ").count(), 3, "{said}");
    project.recipe(1, &good.replace("0640", "0600").replace("\"welcome\"", "\"farewell\""));
    let output = run(&mut project.call(&["test", "all.hcl", "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((report["passed"].as_u64(), report["failed"].as_u64()), (Some(2), Some(1)), "{report}");
    let failed = &report["checks"][0];
    assert_eq!(failed["problems"].as_array().map(Vec::len), Some(2), "{failed}");
    assert!(
        failed["problems"][0].as_str().is_some_and(|text| text.contains("0640, expected 0600")),
        "{failed}"
    );
    let text = run(&mut project.call(&["test", "all.hcl"]));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("FAIL  files: file /etc/motd  (all.hcl:"), "{text}");
}

#[test]
fn a_test_that_checks_nothing_is_a_mistake() {
    let project = Project::new();
    project.recipe(1, "\ntest \"nothing\" {}\n");
    let said = project.refused(3, &["check", "all.hcl"]);
    assert!(said.contains("checks nothing"), "{said}");
    project.recipe(
        1,
        "\ntest \"both\" {\n  file \"/etc/x\" {\n    absent = true\n    mode   = \"0644\"\n  }\n}\n",
    );
    let said = project.refused(3, &["check", "all.hcl"]);
    assert!(said.contains("exclude each other"), "{said}");
}

/// The demo's recipe with tests: one boot, by emulation, as CI has no KVM.
#[test]
fn the_hello_image_passes_its_tests_and_fails_wrong_ones() {
    crate::tool::hello_app();
    let folder = tempfile::tempdir().expect("a folder");
    let hello = crate::tool::root().join("recipes/hello");
    let recipe = std::fs::read_to_string(hello.join("hello.hcl")).expect("a recipe");
    let app = crate::tool::hello_app();
    let recipe = recipe.replace("target/x86_64-unknown-linux-gnu/release/hello", &app.to_string_lossy());
    let tests = r#"
budget {
  max_size         = "64MiB"
  max_boot_seconds = 300
}

test "page" {
  tcp     = [8080, 8081]
  console = ["mkimage: "]

  timeout_seconds = 20

  file "/app/hello" {
    mode = "0755"
  }

  http ":8080/" {
    contains = "Hello"
  }

  http ":8080/none" {
    status   = 200
    contains = "this is not there"
  }
}
"#;
    let path = folder.path().join("hello.hcl");
    std::fs::write(&path, format!("{recipe}{tests}")).expect("written");
    std::fs::copy(hello.join("hello.lock"), folder.path().join("hello.lock")).ok();
    let output = run(mkimage(["test", "--json", "--accel", "tcg"]).arg(&path));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let passed = |what: &str| {
        let checks = report["checks"].as_array().expect("checks");
        let found =
            checks.iter().find(|check| check["check"].as_str().is_some_and(|name| name.contains(what)));
        found.unwrap_or_else(|| panic!("{what} is no check of {report}"))["passed"].as_bool()
    };
    for (what, expected) in [
        ("file /app/hello", true),
        ("healthy: http :8080/health", true),
        ("up within 300 s", true),
        ("the console says", true),
        ("tcp 8080", true),
        ("tcp 8081", false),
        ("http :8080/none", false),
    ] {
        assert_eq!(passed(what), Some(expected), "{what}: {report}");
    }
    let page =
        report["checks"].as_array().expect("checks").iter().find(|check| check["check"] == "http :8080/");
    assert_eq!(page.expect("a check")["passed"], true, "{report}");
}
