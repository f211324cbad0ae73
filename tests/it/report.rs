//! Bills of materials and pictures of images, before other people's programs and in a browser.

mod lines;

use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::base::{ImagePath, Job};
use mkimage::report::{Bill, Component, Family, Page, Subject, What};
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node};

use crate::recipes::reference::ours;
use crate::tool::{fail_with, mkimage, python, root, succeed, tool};

fn script(name: &str) -> PathBuf {
    root().join("tests/it/report").join(name)
}

/// Has `judge.py` say something; what it finds wrong fails the test.
fn judge(arguments: &[&std::ffi::OsStr]) -> Vec<String> {
    let said = succeed(python().arg(script("judge.py")).args(arguments));
    said.lines().map(str::to_owned).collect()
}

fn sbom(of: &str, format: &str, to: &Path) -> Command {
    let mut command = mkimage(["sbom", of, "--format", format]);
    command.arg("--output").arg(to);
    command
}

/// A project of its own with a store of its own: an app, a few packages whose documentation is left out.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new(recipe: &str) -> Project {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("server"), b"#!/bin/sh\necho hello\n").expect("a file");
        std::fs::write(folder.path().join("small.hcl"), recipe).expect("a recipe");
        Project { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = mkimage(arguments);
        command.env("MKIMAGE_STORE", self.path("store")).current_dir(self.folder.path());
        command
    }

    fn bill(&self, format: &str) -> serde_json::Value {
        let text = succeed(&mut self.run(&["sbom", "small", "--format", format]));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

const PLAIN: &str = "image \"small\" {\n  version = \"1\"\n}\n\n\
    app \"server\" {\n  source = \"server\"\n  path   = \"/app/server\"\n  mode   = \"0755\"\n}\n\n\
    file \"/etc/motd\" {\n  content = \"welcome\\n\"\n}\n";

const PACKAGED: &str = "image \"small\" {\n  version = \"1\"\n}\n\n\
    packages \"debian\" {\n  suite        = \"bookworm\"\n  names        = [\"less\", \"libtinfo6\"]\n  \
    dependencies = false\n  essential    = false\n  database     = \"status.d\"\n  \
    drop         = [\"/usr/share/doc/**\"]\n  scripts      = { less = \"ignore\" }\n}\n";

#[test]
fn bills_validate_and_a_scanner_finds_the_same_packages() {
    let name = ours();
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path().join("tree");
    succeed(&mut mkimage(["checkout".as_ref(), name.as_ref(), tree.as_os_str()]));
    let scanned = judge(&["scan".as_ref(), tree.as_os_str()]);
    assert!(scanned.len() > 140, "{} packages", scanned.len());
    let admin = format!("--admindir={}", tree.join("var/lib/dpkg").display());
    let format = "${Package} ${Version} ${Architecture}\n";
    let listed = succeed(&mut tool("dpkg-query", [&admin, "-W", "-f", format]));
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(scanned, listed, "the scanner and dpkg see other packages");
    for format in ["spdx", "cyclonedx"] {
        let path = folder.path().join(format!("{format}.json"));
        succeed(sbom(name, format, &path).arg("--no-files"));
        let billed = judge(&[format.as_ref(), path.as_os_str()]);
        assert_eq!(billed, scanned, "{format} lists other packages than the scanner finds");
    }
    let spdx = folder.path().join("whole.json");
    succeed(&mut sbom(name, "spdx", &spdx));
    let checked = judge(&["hashes".as_ref(), spdx.as_os_str(), tree.as_os_str()]);
    assert!(checked[0].parse::<u64>().expect("a number") > 5000, "{checked:?}");
}

#[test]
fn a_bill_is_a_function_of_its_commit() {
    let project = Project::new(PLAIN);
    succeed(&mut project.run(&["compose", "small.hcl"]));
    for format in ["spdx", "cyclonedx"] {
        let arguments = ["sbom", "small", "--format", format];
        let first = succeed(project.run(&arguments).env("MKIMAGE_JOBS", "1"));
        let second = succeed(
            project
                .run(&arguments)
                .env("MKIMAGE_JOBS", "3")
                .env("TZ", "Pacific/Kiritimati")
                .env("LC_ALL", "C"),
        );
        assert_eq!(first, second);
        assert!(first.contains("1980-01-01T00:00:00Z"), "the time of a bill is the commit's epoch");
    }
    let before = project.bill("spdx")["documentNamespace"].clone();
    std::fs::write(project.path("server"), b"#!/bin/sh\necho other\n").expect("a file");
    succeed(&mut project.run(&["compose", "small.hcl"]));
    assert_ne!(project.bill("spdx")["documentNamespace"], before, "another commit has another name");
}

#[test]
fn an_app_is_a_component_with_its_files_and_no_others() {
    let project = Project::new(PLAIN);
    succeed(&mut project.run(&["compose", "small.hcl"]));
    let bill = project.bill("cyclonedx");
    let components = bill["components"].as_array().expect("components");
    let app = components.iter().find(|one| one["type"] == "application").expect("the app");
    assert_eq!((&app["name"], &app["version"]), (&"server".into(), &"1".into()));
    let files = app["components"].as_array().expect("files");
    assert_eq!(files.iter().map(|file| &file["name"]).collect::<Vec<_>>(), ["/app/server"]);
    let own: Vec<&serde_json::Value> = components.iter().filter(|one| one["type"] == "file").collect();
    assert!(own.iter().any(|file| file["name"] == "/etc/motd"), "{own:?}");
    assert!(own.iter().all(|file| file["name"] != "/app/server"));
}

#[test]
fn a_program_that_says_what_it_was_built_of_is_believed() {
    let project = Project::new(PLAIN);
    let list = r#"{"packages":[{"name":"left-pad","version":"1.3.0","source":"crates.io","dependencies":[]},
        {"name":"server","version":"0.1.0","source":"local","root":true,"dependencies":[0]}]}"#;
    let pack = "import sys,zlib; open(sys.argv[1],'wb').write(zlib.compress(sys.stdin.buffer.read()))";
    std::fs::write(project.path("list.json"), list).expect("a file");
    let mut packed = tool("python3", ["-c", pack]);
    packed
        .arg(project.path("section"))
        .stdin(std::fs::File::open(project.path("list.json")).expect("a file"));
    succeed(&mut packed);
    let section = format!(".dep-v0={}", project.path("section").display());
    let mut copy = tool("objcopy", ["--add-section", &section]);
    succeed(copy.arg("/bin/true").arg(project.path("server")));
    succeed(&mut project.run(&["compose", "small.hcl"]));
    let bill = project.bill("spdx");
    let packages = bill["packages"].as_array().expect("packages");
    let crates: Vec<&serde_json::Value> = packages.iter().filter(|one| one["name"] == "left-pad").collect();
    assert_eq!(crates.len(), 1, "{packages:?}");
    assert_eq!(crates[0]["externalRefs"][0]["referenceLocator"], "pkg:cargo/left-pad@1.3.0");
}

#[test]
fn a_bill_of_an_image_is_that_of_its_commit() {
    let image = crate::tool::hello_image();
    let of_commit = succeed(&mut mkimage(["sbom", "hello"]));
    let of_image = succeed(mkimage(["sbom"]).arg(&image));
    assert_eq!(of_commit, of_image);
    assert!(of_commit.contains("\"name\": \"mkimage-init\"") && of_commit.contains("linux-image-"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut elsewhere = mkimage(["sbom"]);
    let said = fail_with(5, elsewhere.arg(&image).env("MKIMAGE_STORE", folder.path().join("store")));
    assert!(said.contains("does not know commit"), "{said}");
    let page = folder.path().join("page.html");
    succeed(mkimage(["report"]).arg(&image).arg("--output").arg(&page));
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("\"name\":\"slot-b\"") && page.contains("verity tree"), "the disk is not mapped");
    assert!(page.contains("boot files"), "the time of the build is not noted");
}

#[test]
fn licences_are_known_where_documentation_is_left_out() {
    let project = Project::new(PACKAGED);
    // The packages come out of the tests' own store, so that they are fetched once.
    let compose = |command: &mut Command| succeed(command.current_dir(project.folder.path()));
    compose(&mut mkimage(["compose", "small.hcl"]));
    let bill = compose(&mut mkimage(["sbom", "small"]));
    let bill: serde_json::Value = serde_json::from_str(&bill).expect("JSON");
    let packages = bill["packages"].as_array().expect("packages");
    let package = |name: &str| {
        let found =
            packages.iter().find(|one| one["name"] == name && one["primaryPackagePurpose"] == "LIBRARY");
        found.unwrap_or_else(|| panic!("{name} is not in {packages:?}"))
    };
    let less = package("less");
    assert!(less["licenseDeclared"].as_str().expect("a text").contains("GPL-3.0-or-later"), "{less:?}");
    assert_eq!(less["checksums"][0]["algorithm"], "SHA256");
    assert!(less["packageFileName"].as_str().expect("a text").starts_with("pool/main/l/less/"), "{less:?}");
    let purl = less["externalRefs"][0]["referenceLocator"].as_str().expect("a text");
    assert!(
        purl.starts_with("pkg:deb/debian/less@") && purl.ends_with("?arch=amd64&distro=bookworm"),
        "{purl}"
    );
    let relations = bill["relationships"].as_array().expect("relations");
    let has = |kind: &str, from: &serde_json::Value| {
        relations.iter().any(|one| one["relationshipType"] == kind && one["spdxElementId"] == *from)
    };
    assert!(has("CONTAINS", &less["SPDXID"]) && has("GENERATED_FROM", &less["SPDXID"]));
    let files = bill["files"].as_array().expect("files");
    let is_of = |file: &&serde_json::Value| {
        file["fileName"].as_str().is_some_and(|name| name.starts_with("./usr/share/doc/"))
    };
    assert_eq!(files.iter().filter(is_of).count(), 0, "the image holds documentation");
    // With their files too, the documents are what their specifications say.
    for format in ["spdx", "cyclonedx"] {
        let path = project.path(&format!("whole.{format}.json"));
        succeed(sbom("small", format, &path).current_dir(project.folder.path()));
        let billed = judge(&[format.as_ref(), path.as_os_str()]);
        assert_eq!(billed.len(), 2, "{billed:?}");
    }
    // A recipe alone tells its packages, without a file.
    let alone = compose(&mut mkimage(["sbom", "small.hcl"]));
    let alone: serde_json::Value = serde_json::from_str(&alone).expect("JSON");
    assert!(alone["packages"].as_array().expect("packages").iter().any(|one| one["name"] == "libtinfo6"));
    assert!(alone["files"].is_null());
}

#[test]
fn the_packages_of_rpm_are_those_that_rpm_lists() {
    use crate::rpm::kit::{Kit, Spec, check_out};
    let kit = Kit::new();
    for (name, evr) in [("base", "1.0-1"), ("tool", "2:2.5-3.fc40")] {
        let install = "mkdir -p $R/usr/bin && echo x > $R/usr/bin/$RPM_PACKAGE_NAME";
        let files = format!("/usr/bin/{name}");
        kit.build("main", Spec { name, evr, install, files: &files, ..Spec::default() });
    }
    kit.key();
    kit.index("main", true);
    let (tree, _, contents) = kit.tree(&kit.request(&["main"], &["base", "tool"]), |_| {});
    let subject = subject_of(&tree, &contents);
    let bill = Bill::of(subject, true, &Job::quiet(2)).expect("a bill");
    let mut billed: Vec<String> = bill
        .installed()
        .map(|one| format!("{} {}", one.name, one.version.as_deref().unwrap_or_default()))
        .collect();
    billed.sort();
    let folder = tempfile::tempdir().expect("a folder");
    check_out(&tree, &contents, folder.path());
    let format = "%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n";
    let listed = succeed(&mut kit.rpm(folder.path(), ["-qa", "--qf", format]));
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(billed, listed);
    let licences: Vec<_> =
        bill.installed().map(|one| one.licence.as_ref().map(|it| &*it.expression)).collect();
    assert_eq!(licences, [Some("MIT"); 2]);
    let owned: Vec<usize> = bill.installed().map(|one| one.files.len()).collect();
    assert_eq!(owned, [1, 1]);
}

fn subject_of<'a>(tree: &'a Directory, contents: &'a MemoryContents) -> Subject<'a> {
    let what = What::Tree(mkimage::base::Digest::of(b"a test"));
    Subject { architecture: "amd64".to_owned(), ..Subject::named(what, "test", tree, contents) }
}

fn browse(arguments: &[&std::ffi::OsStr]) -> String {
    succeed(python().arg(script("browse.py")).args(arguments))
}

#[test]
fn the_report_answers_to_clicks_keys_and_words() {
    let name = ours();
    let page = root().join("target/report.html");
    succeed(mkimage(["report", name, "--output"]).arg(&page));
    let screenshot = root().join("target/report.png");
    let said = browse(&[page.as_os_str(), screenshot.as_os_str(), "nginx-light".as_ref()]);
    assert!(said.contains(name), "{said}");
    assert!(screenshot.metadata().expect("a screenshot").len() > 20_000);
}

#[test]
fn hostile_names_reach_the_page_as_text() {
    let contents = MemoryContents::default();
    let mut tree = Directory::default();
    let evil = "<script>window.hostile=1<\\script>";
    let names =
        [evil, "<img src=x onerror=window.hostile=1>", "]]>\u{2028}--><!--", "{{script}}", "\"'&amp;"];
    for (index, name) in names.iter().enumerate() {
        let content = contents.put(&vec![b'x'; 4000 * (index + 1)]).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o644), content });
        let path = ImagePath::new(format!("/{name}").as_bytes()).expect("a path");
        tree.insert(&path, file).expect("inserted");
    }
    let mut subject = subject_of(&tree, &contents);
    subject.name = "</title><script>window.hostile=1</script>".to_owned();
    subject.lines = &|path| vec!["</script><script>window.hostile=1</script>".to_owned(), path.to_string()];
    let mut bill = Bill::of(subject, true, &Job::quiet(1)).expect("a bill");
    let mut component = Component::named(Family::Debian, "</script><script>window.hostile=1</script>");
    component.homepage = Some("javascript:window.hostile=1".to_owned());
    component.summary = Some("<img src=x onerror=window.hostile=1>".to_owned());
    bill.components.push(component);
    bill.unknown.push("<script>window.hostile=1</script>".to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hostile.html");
    let page = Page { bill: &bill, against: Some(&bill), disk: None, timeline: None }.to_html();
    assert_eq!(page.matches("</script>").count(), 2, "a name ended an element");
    std::fs::write(&path, &page).expect("a page");
    let said = browse(&["--hostile".as_ref(), path.as_os_str()]);
    assert!(said.contains("hostile names are text"), "{said}");
}

#[test]
fn a_page_is_bounded_and_says_what_it_left_out() {
    let contents = MemoryContents::default();
    let mut tree = Directory::default();
    for index in 0..20_000usize {
        let content = contents.put(format!("{index}").as_bytes()).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o644), content });
        let path = ImagePath::new(format!("/d{}/f{index}", index % 200).as_bytes()).expect("a path");
        tree.insert(&path, file).expect("inserted");
    }
    let bill = Bill::of(subject_of(&tree, &contents), false, &Job::quiet(2)).expect("a bill");
    let empty = Directory::default();
    let nothing = Bill::of(subject_of(&empty, &contents), false, &Job::quiet(2)).expect("a bill");
    let page = Page { bill: &bill, against: Some(&nothing), disk: None, timeline: None };
    let html = page.to_html();
    assert!(html.len() < 1 << 20, "{} bytes", html.len());
    assert!(html.contains("\"left_out\":19000"), "1000 of the 20,000 changes are listed");
    assert_eq!(html, page.to_html());
    assert!(html.contains("20000"), "all files are counted");
}

#[test]
fn a_trace_is_the_chrome_format_with_times_inside_each_other() {
    let project = Project::new(PLAIN);
    let trace = project.path("trace.json");
    succeed(&mut project.run(&["compose", "small.hcl", "--quiet", "--trace", "trace.json"]));
    let text = std::fs::read(&trace).expect("a trace");
    let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let events = value["traceEvents"].as_array().expect("events");
    let steps: Vec<&serde_json::Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert!(steps.iter().any(|step| step["name"] == "merge"), "{steps:?}");
    let lanes: Vec<&serde_json::Value> = events.iter().filter(|one| one["name"] == "thread_name").collect();
    for step in &steps {
        let number = |key: &str| step[key].as_u64().unwrap_or_else(|| panic!("{key} of {step}"));
        let (start, end) = (number("ts"), number("ts") + number("dur"));
        assert!(step["args"]["cached"].is_boolean() && step["args"]["unit"].is_string(), "{step}");
        assert!(lanes.iter().any(|lane| lane["tid"] == step["tid"]), "{step} is on no lane");
        for other in steps.iter().filter(|other| other["tid"] == step["tid"]) {
            let (first, last) =
                (other["ts"].as_u64().expect("a time"), other["dur"].as_u64().expect("a time"));
            let last = first + last;
            let (apart, around) = (first >= end || start >= last, first <= start && end <= last);
            assert!(apart || around || (start <= first && last <= end), "{step} and {other} overlap");
        }
    }
    // The second time everything is known.
    succeed(&mut project.run(&["compose", "small.hcl", "--quiet", "--trace", "again.json"]));
    let again = std::fs::read_to_string(project.path("again.json")).expect("a trace");
    assert!(again.contains("\"name\":\"compose\"") && again.contains("\"cached\":true"), "{again}");
    // What the store noted is the first run's; a file may be given instead.
    succeed(&mut project.run(&["report", "small", "-o", "noted.html"]));
    succeed(&mut project.run(&["report", "small", "-o", "given.html", "--timeline", "again.json"]));
    let page = |name: &str| std::fs::read_to_string(project.path(name)).expect("a page");
    assert!(page("noted.html").contains("\"merge\"") && !page("given.html").contains("\"merge\""));
    std::fs::write(project.path("wrong"), b"{}").expect("a file");
    let said = fail_with(4, &mut project.run(&["report", "small", "-o", "x.html", "--timeline", "wrong"]));
    assert!(said.contains("no timeline"), "{said}");
    assert!(!project.path("x.html").exists());
}

#[test]
fn a_report_tells_what_changed() {
    let project = Project::new(PLAIN);
    succeed(&mut project.run(&["compose", "small.hcl"]));
    std::fs::write(project.path("server"), vec![b'#'; 5000]).expect("a file");
    succeed(&mut project.run(&["compose", "small.hcl"]));
    succeed(&mut project.run(&["report", "small", "--against", "small~1", "-o", "page.html"]));
    let page = std::fs::read_to_string(project.path("page.html")).expect("a page");
    assert!(page.contains("[\"/app/server\",\"changed\",21,5000]"), "the changed file is not in the page");
    assert!(page.contains("\"counts\":{\"added\":0,\"changed\":1,\"removed\":0}"));
}
