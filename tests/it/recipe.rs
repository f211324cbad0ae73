//! Tests of the room `recipe`: whole recipes, every message, the reference page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mkimage::base::{Bytes, ImagePath, fs};
use mkimage::recipe::plan::{
    Account, Architecture, FileContent, HealthCheck, KernelSource, LoaderProgram, LoaderSource,
    MetadataSource, PackageDatabase, Part, Restart, ScriptPolicy,
};
use mkimage::recipe::{Code, Entry, MemoryLoader, Settings, Severity, format, load, reference};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recipes")
}

/// Returns the paths of all recipes under a folder, relative to it.
fn recipes_under(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for name in fs::list(folder).expect("the folder of fixtures") {
        let name = name.into_string().expect("fixtures have plain names");
        let path = folder.join(&name);
        if path.is_dir() {
            recipes_under(&path, &format!("{prefix}{name}/"), found);
        } else if name.ends_with(".hcl") {
            found.push(format!("{prefix}{name}"));
        }
    }
}

fn recipes(folder: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    let root = fixtures().join(folder);
    recipes_under(&root, "", &mut names);
    assert!(!names.is_empty(), "no fixtures under {folder}");
    names.into_iter().map(|name| (name.clone(), text(&root.join(name)))).collect()
}

fn text(path: &Path) -> String {
    String::from_utf8(fs::read(path).expect("a fixture")).expect("fixtures are text")
}

fn loader(texts: &[(String, String)]) -> MemoryLoader {
    MemoryLoader { texts: texts.iter().cloned().collect(), ..MemoryLoader::default() }
}

fn load_text(text: &str) -> Result<mkimage::recipe::Loaded, mkimage::recipe::Diagnostics> {
    load("recipe.hcl", &loader(&[("recipe.hcl".into(), text.into())]), &Settings::default())
}

fn good(name: &str) -> mkimage::recipe::Loaded {
    let loaded = load(name, &loader(&recipes("good")), &Settings::default());
    let loaded = loaded.unwrap_or_else(|wrong| panic!("{name} is refused:\n{wrong}"));
    assert!(loaded.warnings.is_empty(), "{name}:\n{}", loaded.warnings);
    loaded
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

// ---- Cases of mistakes -------------------------------------------------------------------------------------

/// What must be said: warning or error, file, line, message, hint.
type Said = (bool, String, usize, String, Option<String>);

/// A message whose line has not come yet.
struct Open {
    warning: bool,
    /// How many lines further down.
    below: usize,
    message: String,
    hint: Option<String>,
}

#[derive(Default)]
struct Case {
    title: String,
    loader: MemoryLoader,
    settings: Settings,
    expected: BTreeSet<Said>,
}

/// Reads the cases of a file; see `fixtures/recipes/errors/README.md`.
fn cases(name: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut file = String::new();
    let mut open: Vec<Open> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(header) = line.strip_prefix("#---") {
            let (verb, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if !["file", "set", "vars", "env"].contains(&verb) {
                cases.push(Case { title: format!("{name}: {}", header.trim()), ..Case::default() });
                file = "recipe.hcl".to_owned();
            }
            let case = cases.last_mut().expect("a file of cases starts with a title");
            let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
            match verb {
                "file" => file = rest.to_owned(),
                "set" => {
                    expect(case, "--set", 1, &mut open);
                    case.settings.set.push((key.into(), value.into()));
                }
                "vars" => {
                    expect(case, rest, 1, &mut open);
                    case.settings.vars_files.push(rest.into());
                }
                "env" => drop(case.loader.environment.insert(key.into(), value.into())),
                _ => {}
            }
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        let text = case.loader.texts.entry(file.clone()).or_default();
        text.push_str(line);
        text.push('\n');
        let number = text.lines().count();
        if let Some(rest) = trimmed.strip_prefix("#!").or(trimmed.strip_prefix("#~")) {
            let (below, message) = rest.split_once(' ').expect("a message");
            let below = below.strip_prefix('+').map_or(0, |lines| lines.parse().expect("a number of lines"));
            open.push(Open {
                warning: trimmed.starts_with("#~"),
                below,
                message: message.into(),
                hint: None,
            });
        } else if let Some(hint) = trimmed.strip_prefix("#? ") {
            open.last_mut().expect("a hint follows a message").hint = Some(hint.into());
        } else {
            expect(case, &file, number, &mut open);
        }
    }
    assert!(open.is_empty(), "{name}: messages at the end belong to no line");
    cases
}

fn expect(case: &mut Case, file: &str, line: usize, open: &mut Vec<Open>) {
    for Open { warning, below, message, hint } in open.drain(..) {
        let hint = hint.filter(|hint| hint != "(no hint)");
        case.expected.insert((warning, file.to_owned(), line + below, message, hint));
    }
}

fn said(entry: &Entry) -> Said {
    let warning = entry.severity == Severity::Warning;
    (warning, entry.file.clone(), entry.line, entry.message.clone(), entry.hint.clone())
}

/// Runs a case; returns what it said, or how that differs.
fn run(case: &Case) -> Result<Vec<Entry>, String> {
    let diagnostics = match load("recipe.hcl", &case.loader, &case.settings) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    let entries = diagnostics.entries();
    let found: BTreeSet<Said> = entries.iter().map(said).collect();
    if found == case.expected && entries.len() == found.len() {
        return Ok(entries);
    }
    let mut report = format!("{}\n", case.title);
    case.expected.difference(&found).for_each(|said| report.push_str(&format!("  missing: {said:?}\n")));
    found.difference(&case.expected).for_each(|said| report.push_str(&format!("  not expected: {said:?}\n")));
    Err(format!("{report}\n{diagnostics}"))
}

#[test]
fn every_mistake_has_its_message_and_hint_on_its_line() {
    let mut wrong = Vec::new();
    let mut codes: BTreeSet<Code> = BTreeSet::new();
    let mut count = 0;
    for (name, text) in recipes("errors") {
        for case in cases(&name, &text) {
            assert!(!case.expected.is_empty(), "{}: a case without a mistake", case.title);
            match run(&case) {
                Ok(entries) => codes.extend(entries.iter().map(|entry| entry.code)),
                Err(report) => wrong.push(report),
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n\n{}", wrong.len(), wrong.join("\n"));
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !codes.contains(code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

#[test]
fn a_recipe_with_ten_mistakes_prints_ten_diagnostics() {
    let text = text(&fixtures().join("ten_mistakes.hcl"));
    let case = cases("ten_mistakes.hcl", &format!("#--- ten mistakes\n{text}")).remove(0);
    let entries = run(&case).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(entries.len(), 10);
    let wrong = load("recipe.hcl", &case.loader, &Settings::default()).expect_err("ten mistakes");
    assert_eq!(wrong.len(), 10);
    let shown = wrong.render(false);
    assert_eq!(shown.matches("error: ").count(), 10, "{shown}");
    assert_eq!(shown.matches("help: ").count(), 10, "{shown}");
    assert!(!shown.contains('\u{1b}'));
    assert!(wrong.render(true).contains('\u{1b}'));
}

#[test]
fn a_diagnostic_shows_place_excerpt_caret_and_hint() {
    let wrong = load_text("image \"x\" {}\napp \"x\" {\n  source = \"é/x\"\n  comand = [\"/x\"]\n}\n")
        .expect_err("a typo");
    assert_eq!(
        wrong.render(false),
        "error: unknown key `comand` in `app`\n \
         --> recipe.hcl:4:3\n  |\n4 |   comand = [\"/x\"]\n  |   ^^^^^^\n  |\n  = help: did you mean `command`?\n"
    );
    let json = serde_json::to_value(wrong.entries()).expect("entries are data");
    assert_eq!(
        json,
        serde_json::json!([{
            "severity": "error", "code": "unknown-key", "file": "recipe.hcl", "line": 4, "column": 3,
            "message": "unknown key `comand` in `app`", "expected": null, "hint": "did you mean `command`?",
            "related": [],
        }])
    );
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let line = format!("  description = \"{}\" + 1", "é".repeat(100_000));
    let wrong = load_text(&format!("image \"x\" {{\n{line}\n}}\n")).expect_err("an operator");
    let shown = wrong.render(false);
    assert!(shown.len() < 2000, "{} bytes", shown.len());
    assert!(shown.contains("recipe.hcl:2:100020"), "{shown}");
}

#[test]
fn a_thousand_mistakes_are_counted_but_not_all_shown() {
    let wrong = load_text(&"nonsense {}\n".repeat(1000)).expect_err("nonsense");
    assert!(wrong.entries().len() <= 200);
    assert!(wrong.render(false).contains("and "), "{}", wrong.len());
}

// ---- Good recipes ------------------------------------------------------------------------------------------

#[test]
fn hello_gets_its_defaults() {
    let plan = good("hello.hcl").plan;
    assert_eq!(plan.image.name, "hello");
    assert_eq!(plan.image.description.as_deref(), Some("Says hello on port 8080"));
    assert_eq!((plan.image.architecture, plan.image.epoch), (Architecture::X86_64, None));
    let [Part::App(app)] = plan.parts.as_slice() else { panic!("one app, found {:?}", plan.parts) };
    assert_eq!(app.source.path, Path::new("target/hello"));
    assert_eq!(app.source.target, path("/app/hello"));
    assert_eq!(app.command, ["/app/hello", "--port", "8080"]);
    assert_eq!((app.user.as_str(), app.ports.as_slice(), app.restart), ("app", &[8080][..], Restart::Always));
    assert_eq!((app.stop_signal.as_str(), app.stop_timeout_seconds), ("SIGTERM", 10));
    let health = app.health.as_ref().expect("health");
    assert_eq!(health.check, HealthCheck::Http { port: 8080, path: "/".into() });
    assert_eq!(
        (health.interval_seconds, health.timeout_seconds, health.hold_seconds, health.start_seconds),
        (2, 2, 5, 60)
    );
    assert_eq!(app.origin.to_string(), "app \"hello\" (hello.hcl:14)");
    let [user] = plan.users.as_slice() else { panic!("one user, found {:?}", plan.users) };
    assert_eq!((user.name.as_str(), user.uid, user.home.as_str()), ("app", 1000, "/data/hello"));
    assert_eq!(user.group, Account::Name("app".into()));
    assert_eq!(plan.variables.get("port").map(String::as_str), Some("8080"));
    assert_eq!(plan.sources.len(), 1);
}

#[test]
fn hello_boots_from_packages_of_its_kernel_s_suite() {
    let plan = good("hello.hcl").plan;
    let kernel = plan.kernel.expect("a kernel");
    let KernelSource::Package(package) = kernel.source else { panic!("a package") };
    assert_eq!(
        (package.archive.suite.as_str(), package.name.as_str()),
        ("bookworm", "linux-image-cloud-amd64")
    );
    assert_eq!(package.archive.components, ["main"]);
    assert_eq!(kernel.modules, mkimage::recipe::plan::DEFAULT_MODULES);
    let LoaderSource::Package(loader) = plan.boot.loader else { panic!("a package") };
    assert_eq!((loader.archive.suite.as_str(), loader.name.as_str()), ("bookworm", "systemd-boot-efi"));
    assert_eq!((plan.boot.tries, plan.boot.watchdog_seconds), (3, 30));
    assert_eq!(plan.boot.command_line, ["console=ttyS0"]);
    assert_eq!((plan.disk.layout, plan.disk.slot_size, plan.disk.data_size), (2, None, Bytes::mib(64)));
    assert_eq!(plan.boot.program, LoaderProgram::Mkimage);
    assert_eq!(plan.disk.data_path, path("/data"));
}

#[test]
fn every_block_and_key_reaches_the_plan() {
    let plan = good("everything.hcl").plan;
    let app = plan.parts.iter().find_map(|part| match part {
        Part::App(app) => Some(app),
        _ => None,
    });
    let (configuration, log) = app.map(|app| (app.configuration.clone(), app.log.clone())).expect("an app");
    let configuration = configuration.expect("a configuration");
    assert_eq!(
        configuration.metadata,
        [MetadataSource::Nocloud, MetadataSource::ConfigDrive, MetadataSource::Ec2]
    );
    assert_eq!((configuration.wait_seconds, configuration.required), (30, true));
    assert_eq!(configuration.credentials, ["token", "tls.key"]);
    let log = log.expect("a log");
    assert_eq!((log.address.as_deref(), log.buffer), (Some("tcp://logs.example:6514"), Bytes::mib(4)));
    assert_eq!((plan.image.architecture, plan.image.epoch), (Architecture::Aarch64, Some(1_700_000_000)));
    assert_eq!(plan.image.description.as_deref(), Some("ALL OF IT"));
    assert_eq!(plan.base.map(|base| base.commit).as_deref(), Some("debian/base~1"));
    assert_eq!(plan.parts.len(), 11);
    let Some(Part::Packages(packages)) = plan.parts.iter().find(|part| matches!(part, Part::Packages(_)))
    else {
        panic!("packages")
    };
    let suites: Vec<(&str, i32)> =
        packages.archives.iter().map(|archive| (archive.suite.as_str(), archive.priority)).collect();
    assert_eq!(suites, [("bookworm", 500), ("bookworm-security", 600), ("bookworm-updates", 500)]);
    assert_eq!((packages.dependencies, packages.essential, packages.recommends), (true, false, true));
    assert_eq!(packages.scripts["tool"], ScriptPolicy::Ignore);
    assert_eq!(packages.database, PackageDatabase::StatusD);
    let Some(Part::Run(run)) = plan.parts.last() else { panic!("the step last") };
    assert_eq!(run.inputs, [(path("/in"), "setup".into())]);
    assert_eq!((run.outputs.as_slice(), run.timeout_seconds), (&["/etc/**".to_owned()][..], 60));
    let Part::App(app) = &plan.parts[0] else { panic!("the app first") };
    assert_eq!(app.command, ["/srv/web/bin/hello", "a", "b"]);
    assert_eq!(app.environment.get("WORKERS").map(String::as_str), Some("4"));
    assert_eq!(app.environment.get("DEBUG").map(String::as_str), Some("false"));
    assert_eq!(app.restart, Restart::OnFailure);
    let owner = app.source.owner.as_ref().expect("an owner");
    assert_eq!((&owner.user, &owner.group), (&Account::Name("www".into()), &Account::Id(33)));
    let Part::File(file) = &plan.parts[2] else { panic!("a file") };
    assert_eq!(file.content, FileContent::Inline("name = hello\n  inner = \"${not}\"\n\nend\n".into()));
    assert_eq!((file.inode.mode, file.inode.xattrs["user.bytes"].as_slice()), (0o640, &[0, 255, 16][..]));
    let Part::File(ping) = &plan.parts[3] else { panic!("a file") };
    assert_eq!((&ping.inode.capabilities[..], ping.inode.replace), (&["CAP_NET_RAW".to_owned()][..], true));
    assert_eq!((plan.boot.tries, plan.boot.watchdog_seconds), (5, 0));
    assert!(matches!(plan.boot.loader, LoaderSource::Host { loader: Some(_), .. }));
    assert_eq!((plan.boot.program, plan.disk.layout), (LoaderProgram::SystemdBoot, 1));
    assert_eq!((plan.disk.slot_size, plan.disk.uki_size), (Some(Bytes::mib(256)), None));
    assert_eq!(plan.disk.placement, mkimage::recipe::plan::Placement::Stable);
    assert_eq!(plan.users.len(), 1);
    let budget = plan.budget.expect("a budget");
    assert_eq!(
        (budget.max_size, budget.max_setuid, budget.max_boot_seconds),
        (Some(Bytes::mib(64)), Some(2), Some(9))
    );
    assert_eq!(budget.forbid, ["/**/*.pyc"]);
    let [test] = &plan.tests[..] else { panic!("one test") };
    assert_eq!(
        (&test.tcp[..], &test.console[..], test.timeout_seconds),
        (&[8080][..], &["ready".to_owned()][..], 30)
    );
    let [file, link, none] = &test.files[..] else { panic!("three files") };
    assert_eq!((file.mode, &file.group), (Some(0o640), &Some(Account::Id(33))));
    assert_eq!(file.origin.block, "file \"/etc/web.conf\" in test \"serves\"");
    assert_eq!((link.target.as_deref(), none.absent), (Some("web.conf"), true));
    assert_eq!(
        (test.http[0].port, test.http[0].path.as_str(), test.http[0].status),
        (8080, "/none", Some(404))
    );
}

#[test]
fn includes_keep_their_folder_and_count_once() {
    let plan = good("system.hcl").plan;
    assert_eq!(plan.image.init, Some(path("/sbin/init")));
    let KernelSource::Package(package) = plan.kernel.expect("a kernel").source else { panic!("a package") };
    assert_eq!(package.archive.suite, "trixie");
    assert_eq!(package.archive.signed_by.as_deref(), Some(Path::new("parts/archive.gpg")));
    let LoaderSource::Package(loader) = plan.boot.loader else { panic!("a package") };
    assert_eq!(loader.archive.signed_by.as_deref(), Some(Path::new("parts/archive.gpg")));
    let names: Vec<&str> = plan.sources.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["system.hcl", "parts/kernel.hcl"]);
    assert!(plan.users.is_empty());
}

#[test]
fn settings_win_over_vars_files_and_files_over_defaults() {
    let recipe = "image \"x\" {\n  description = \"${var.a}${var.b}${var.c} ${join(\"\", var.l)} ${env(\"HOME\")}\"\n}\n\
                  variable \"a\" {\n  default = \"1\"\n}\nvariable \"b\" {\n  default = 2\n}\n\
                  variable \"c\" {\n  default = true\n}\nvariable \"l\" {\n  type = list\n}\n";
    let texts =
        [("dir/r.hcl".to_owned(), recipe.to_owned()), ("v".to_owned(), "a = \"f\"\nb = 3\n".to_owned())];
    let mut loader = loader(&texts);
    loader.environment.insert("HOME".into(), "h\"".into());
    let set = [("b", "4"), ("c", "false"), ("l", "[\"x\", upper(\"y\")]")];
    let set = set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let plan = load("dir/r.hcl", &loader, &Settings { set, vars_files: vec!["v".into()] });
    let plan = plan.unwrap_or_else(|wrong| panic!("{wrong}")).plan;
    assert_eq!(plan.image.description.as_deref(), Some("f4false xY h\""));
    let shown: Vec<_> = plan.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["a=\"f\"", "b=4", "c=false", "env.HOME=\"h\\\"\"", "l=[\"x\", \"Y\"]"]);
    assert_eq!(plan.sources.len(), 1, "vars files and settings are no sources");
}

#[test]
fn the_app_s_place_follows_from_the_look_of_its_source() {
    for (source, target) in [
        ("hello", "/app/hello"),
        ("bin/hello", "/app/hello"),
        ("hello.tar", "/app"),
        ("hello.tar.gz", "/app"),
        ("a/hello.tgz", "/app"),
        ("dist/", "/app"),
        ("..", "/app"),
        ("hello.zip", "/app/hello.zip"),
    ] {
        let text =
            format!("image \"x\" {{}}\napp \"x\" {{\n  source  = \"{source}\"\n  command = [\"/x\"]\n}}\n");
        let plan = load_text(&text).unwrap_or_else(|wrong| panic!("{wrong}")).plan;
        let Part::App(app) = &plan.parts[0] else { panic!("an app") };
        assert_eq!(app.source.target, path(target), "{source}");
    }
}

#[test]
fn a_recipe_read_by_an_absolute_name_has_absolute_host_paths() {
    let text = "image \"x\" {}\ntree \"t\" {\n  source = \"a/b\"\n}\ntree \"u\" {\n  source = \"/c\"\n}\n";
    let loader = loader(&[("/r/x.hcl".to_owned(), text.to_owned())]);
    let plan = load("/r/x.hcl", &loader, &Settings::default()).unwrap_or_else(|wrong| panic!("{wrong}")).plan;
    let paths: Vec<_> = plan
        .parts
        .iter()
        .map(|part| match part {
            Part::Tree(tree) => tree.source.path.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, [Path::new("/r/a/b"), Path::new("/c")]);
}

#[test]
fn a_text_past_the_bound_is_refused_without_reading_it() {
    let wrong = load_text(&"#".repeat(5 << 20)).expect_err("too large");
    assert_eq!(wrong.entries()[0].code, Code::TooLarge);
}

// ---- Formatting --------------------------------------------------------------------------------------------

#[test]
fn formatting_aligns_and_keeps_comments() {
    let before = "\n\nimage   \"x\"{\n\n\n# first\nversion=\"1\" # last\n      description   = \"d\"\n\n\n\ninit=\"/i\"\n}\n\
                  app \"x\" {\n source=\"s\"\n environment={A=1,B=  2}\n command=[\n\"/a\",\n   \"b\",]\n ports=[1,2 ,3]\n\
                  capabilities = concat([\n\"CAP_KILL\" /* k */,\n], [])\n health { tcp=80 }\n // end\n\n}\n\
                  file \"/a\" {\ncontent=<<-EOT\n   x\n     y\n  EOT\nmode=\"0644\"\n}\n\n";
    let after = "image \"x\" {\n  # first\n  version     = \"1\" # last\n  description = \"d\"\n\n  init = \"/i\"\n}\n\
                 app \"x\" {\n  source      = \"s\"\n  environment = { A = 1, B = 2 }\n  command = [\n    \"/a\",\n    \"b\",]\n\
                 \x20 ports = [1, 2, 3]\n  capabilities = concat([\n    \"CAP_KILL\" /* k */,\n  ], [])\n  health { tcp = 80 }\n  // end\n}\n\
                 file \"/a\" {\n  content = <<-EOT\n   x\n     y\n  EOT\n  mode = \"0644\"\n}\n";
    let formatted = format("x.hcl", before).expect("no mistakes of syntax");
    assert_eq!(formatted, after);
    assert_eq!(format("x.hcl", &formatted).expect("still none"), after);
}

#[test]
fn the_good_recipes_are_formatted() {
    for (name, text) in recipes("good") {
        let formatted = format(&name, &text).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(formatted, text, "{name}");
    }
}

#[test]
fn a_text_with_mistakes_of_syntax_is_not_formatted() {
    let wrong = format("x.hcl", "image \"x\" {\n  version = \n}\n").expect_err("no value");
    assert_eq!(wrong.entries()[0].line, 2);
    assert!(format("x.hcl", "unknown_things { are = \"fine\" }").is_ok());
    assert_eq!(format("x.hcl", "").expect("empty"), "");
}

// ---- The reference page ------------------------------------------------------------------------------------

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/REFERENCE.md");
    if std::env::var_os("MKIMAGE_BLESS").is_some() {
        fs::create_directories(path.parent().expect("a folder")).expect("the folder of recipes");
        std::fs::write(&path, reference()).expect("the page is written");
    }
    let current = fs::read(&path).unwrap_or_default();
    assert!(
        current == reference().into_bytes(),
        "recipes/REFERENCE.md is not what the keyword table says: run `MKIMAGE_BLESS=1 cargo test` to write it anew"
    );
}

/// Returns the recipes in the fences of the page.
fn examples(page: &str) -> Vec<String> {
    page.split("```hcl\n").skip(1).filter_map(|part| Some(part.split("```").next()?.to_owned())).collect()
}

#[test]
fn the_examples_of_the_page_are_formatted_and_known() {
    let page = reference();
    let examples = examples(&page);
    assert!(examples.len() > 15);
    for example in &examples {
        assert_eq!(&format("example", example).expect("an example"), example);
        let Err(wrong) = load_text(example) else { continue };
        for entry in wrong.entries() {
            let alone = [
                Code::MissingBlock,
                Code::Unreadable,
                Code::UnusedVariable,
                Code::UnusedBlock,
                Code::Conflict,
            ];
            let nested = IN_APP.iter().any(|block| example.starts_with(block));
            assert!(alone.contains(&entry.code) || nested, "{example}\n{wrong}");
        }
    }
}

/// Blocks that stand in `app`.
const IN_APP: [&str; 3] = ["health", "configuration", "log"];

#[test]
fn the_examples_of_keys_have_the_kinds_of_their_keys() {
    let page = reference();
    let mut block = String::new();
    let mut seen = 0;
    let (mut is_in_test, mut is_in_boot) = (false, false);
    for line in page.lines() {
        is_in_test = match line.strip_prefix("## `") {
            Some(title) => {
                is_in_boot = title.starts_with("boot");
                title.starts_with("test")
            }
            None => is_in_test,
        };
        if let Some(title) = line.strip_prefix("## `").or(line.strip_prefix("### `")) {
            let label = if title.starts_with("http") { ":80/" } else { "l" };
            block = title.trim_end_matches('`').replace("/PATH", "/p").replace("LABEL", label);
        }
        let Some(example) = line.strip_prefix("| `").and_then(|row| row.rsplit_once("| `")).map(|(_, e)| e)
        else {
            continue;
        };
        let Some(example) =
            example.strip_suffix("` |").filter(|_| !block.is_empty() && example.contains(" = "))
        else {
            continue;
        };
        let inner = format!("{block} {{\n{example}\n}}\n");
        let text = if is_in_boot && block == "health" {
            format!("boot {{\n{inner}}}\n")
        } else if IN_APP.contains(&block.as_str()) {
            format!("app \"a\" {{\nsource = \"s\"\n{inner}}}\n")
        } else if is_in_test && !block.starts_with("test") {
            format!("test \"t\" {{\n{inner}}}\n")
        } else {
            inner
        };
        if let Err(wrong) = load_text(&text) {
            let bad = [Code::WrongType, Code::BadValue, Code::UnknownKey, Code::Unexpected, Code::BareWord];
            assert!(wrong.entries().iter().all(|entry| !bad.contains(&entry.code)), "{text}\n{wrong}");
        }
        seen += 1;
    }
    assert!(seen > 90, "{seen} examples");
}
