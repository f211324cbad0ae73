//! Builds that are done twice, and one that can't be done twice.

use crate::adversary::Site;
use crate::tool::{fail_with, run, succeed, tool};

#[test]
fn a_build_under_another_host_agrees_and_leaves_nothing_behind() {
    let site = Site::bootable();
    std::fs::create_dir(site.path("tmp")).expect("a folder");
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let more = "variable \"name\" {\n  type = string\n}\n\nfile \"/etc/name\" {\n  content = var.name\n}\n\n\
        file \"/etc/zone\" {\n  content = env(\"TZ\", \"none\")\n}\n\ntree \"t\" {\n  source = \"files/../files\"\n  path = \"/srv\"\n}\n";
    site.write("disk.hcl", format!("{text}\n{more}").as_bytes());
    site.write("names.vars", b"name = \"a b\"\n");
    std::fs::create_dir(site.path("files")).expect("a folder");
    for name in ["z", "a", "m", "Z", "é"] {
        site.write(&format!("files/{name}"), name.as_bytes());
    }
    let build = ["build", "--vars", "names.vars", "--annotate", "by=somebody", "disk.hcl", "-o", "disk.img"];
    for zone in [None, Some("Europe/Paris")] {
        let mut command = site.mkimage(&build);
        command.args(["--paranoid", "--events", "events"]).env("TMPDIR", site.path("tmp"));
        if let Some(zone) = zone {
            command.env("TZ", zone);
        }
        succeed(&mut command);
        assert_eq!(site.names("tmp"), [""; 0], "the second build's folder stays");
        let events = std::fs::read_to_string(site.path("events")).expect("events");
        assert!(events.contains("build again under another host"), "{events}");
    }
    // The image is the one that a plain build makes.
    assert!(
        succeed(site.mkimage(&build).arg("--json").env("TZ", "Europe/Paris")).contains("\"changed\": false")
    );
}

/// Adds a shell and a step that runs in it.
fn with_step(site: &Site, script: &str) {
    for name in ["bash", "ls"] {
        let program = ["/bin", "/usr/bin"].iter().map(|folder| format!("{folder}/{name}"));
        let program =
            program.into_iter().find(|path| std::path::Path::new(path).exists()).expect("a program");
        std::fs::create_dir_all(site.path("tools")).expect("a folder");
        std::fs::copy(program, site.path(&format!("tools/{name}"))).expect("a copy");
    }
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let text = text.replace("  slot_size = \"1MiB\"\n", "");
    let more = format!(
        "app \"tools\" {{\n  source = \"tools\"\n  path = \"/bin\"\n  command = [\"/bin/bash\"]\n  closure = \"elf\"\n}}\n\n\
         run \"step\" {{\n  command = [\"/bin/bash\", \"-c\", {script:?}]\n  outputs = [\"/made\"]\n}}\n"
    );
    let text = text.replace("app \"app\" {\n  source = \"app\"\n  ports = [80]\n}\n", &more);
    site.write("disk.hcl", text.as_bytes());
}

#[test]
fn what_depends_on_the_host_is_refused_with_its_place() {
    for (script, expected) in [
        // Numbers of the kernel's own, another one each time.
        (
            "read -r -N 16 x < <(exec ls -i /proc/self/ns/pid /dev/urandom); exec 3</dev/urandom; IFS= read -r -u 3 -N 8 y; printf %q \"$y\" > /made",
            "root tree",
        ),
        // The order in which the host lists a directory.
        ("ls -U /bin > /made", "root tree"),
    ] {
        let site = Site::bootable();
        with_step(&site, script);
        let said = fail_with(1, &mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img", "--paranoid"]));
        assert!(said.contains("second build") && said.contains(expected), "{said}");
        assert!(said.contains("slot-a"), "the partition is named: {said}");
        assert!(!site.path("disk.img").exists());
        assert_eq!(succeed(&mut site.mkimage(&["refs"])).trim(), "", "no ref moved");
        site.assert_tidy();
        // Without a second build nobody notices.
        succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img"]));
    }
}

#[test]
fn steps_that_are_repeatable_pass_and_run_again() {
    let site = Site::bootable();
    with_step(&site, "ls /bin > /made; echo $UID $PWD $RANDOM_SEED >> /made");
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img", "--paranoid"]));
    assert!(site.path("disk.img").exists());
}

#[test]
fn what_is_wrong_with_the_recipe_is_said_as_always() {
    let site = Site::bootable();
    let said = fail_with(3, &mut site.mkimage(&["build", "small.hcl", "-o", "disk.img", "--paranoid"]));
    assert!(said.contains("kernel"), "{said}");
    std::fs::remove_file(site.path("app")).expect("removed");
    let said = fail_with(4, &mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img", "--paranoid"]));
    assert!(said.contains("app") && !said.contains("second build"), "{said}");
}

#[test]
fn a_recipe_on_a_base_is_built_twice_on_the_same_base() {
    let site = Site::bootable();
    site.compose("small.hcl");
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    site.write("disk.hcl", format!("{text}\nbase {{\n  commit = \"small\"\n}}\n").as_bytes());
    let check = run(&mut site.mkimage(&["check", "disk.hcl"]));
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img", "--paranoid", "--depfile", "disk.d"]));
    let text = std::fs::read_to_string(site.path("disk.d")).expect("a dependency file");
    assert!(text.contains("store/refs/small"), "the base is a ref: {text}");
    succeed(&mut tool("test", ["-f", &site.path("store/refs/small").display().to_string()]));
}

mod nightly {
    use crate::tool::{kept, mkimage, root, succeed, tool};

    #[test]
    #[ignore = "a whole Debian, twice: `make nightly` runs it"]
    fn a_whole_debian_of_todays_packages_is_the_same_under_another_host() {
        let folder = tempfile::tempdir().expect("a folder");
        // A copy, so that its lock is nobody else's.
        for name in ["nginx", "debian-server"] {
            let from = root().join("recipes").join(name);
            succeed(tool("cp", ["-R", "--no-preserve=mode"]).arg(&from).arg(folder.path()));
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let recipe = at("nginx/nginx.hcl");
        succeed(&mut mkimage(["lock", "--update", &recipe]));
        let image = kept("images").join("nginx-paranoid.img");
        let mut build = mkimage(["build", &recipe, "--paranoid", "--json", "--events", &at("events"), "-o"]);
        let built: serde_json::Value = serde_json::from_str(&succeed(build.arg(&image))).expect("JSON");
        let events = std::fs::read_to_string(at("events")).expect("events");
        assert!(events.contains("build again under another host"), "the second build did not run");
        let verified = succeed(mkimage(["verify", "--json"]).arg(&image));
        let verified: serde_json::Value = serde_json::from_str(&verified).expect("JSON");
        assert_eq!((&verified["sound"], &verified["commit"]), (&true.into(), &built["commit"]));
        std::fs::remove_file(&image).expect("removed");
    }
}
