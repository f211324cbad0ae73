//! What packages come for a name: rich dependencies, weak ones, conflicts; against `libsolv`, which dnf and zypper
//! solve with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use mkimage::base::Job;
use mkimage::packages::rpm::{self, RepositoryFiles, Request, Source};
use mkimage::packages::{PackagesError, Sha256};

use crate::packages::keys::{self, GOOD, NOW, TestKey};
use crate::tool::{succeed, tool};

/// A repository in memory, signed.
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    folder: tempfile::TempDir,
}

impl RepositoryFiles for Memory {
    fn read(
        &self,
        _: &Source,
        path: &str,
        _: Option<(Sha256, u64)>,
        _: u64,
        _: &Job,
    ) -> Result<Option<Vec<u8>>, PackagesError> {
        Ok(self.files.get(path).cloned())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Writes one package as an index has it. `relations` are lines such as `requires b >= 1`.
pub fn package(name: &str, evr: &str, relations: &[&str]) -> String {
    let (epoch, version) = evr.split_once(':').unwrap_or(("0", evr));
    let (version, release) = version.split_once('-').expect("a release");
    let digest = Sha256::of(format!("{name} {evr}").as_bytes());
    let mut text = format!(
        "<package type=\"rpm\"><name>{name}</name><arch>noarch</arch><version epoch=\"{epoch}\" ver=\"{version}\" \
         rel=\"{release}\"/><checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum><size package=\"1\"/>\
         <location href=\"{name}-{version}-{release}.rpm\"/><format>"
    );
    let own = format!("provides {name} = {evr}");
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for relation in relations.iter().copied().chain([&*own]) {
        let (kind, relation) = relation.split_once(' ').expect("a relation");
        groups.entry(kind).or_default().push(relation);
    }
    for (kind, relations) in groups {
        if kind == "file" {
            relations.iter().for_each(|path| write!(text, "<file>{path}</file>").expect("written"));
            continue;
        }
        write!(text, "<rpm:{kind}>").expect("written");
        for relation in relations {
            write!(text, "{}", entry(relation)).expect("written");
        }
        write!(text, "</rpm:{kind}>").expect("written");
    }
    text + "</format></package>\n"
}

fn entry(relation: &str) -> String {
    let words: Vec<&str> = relation.split(' ').collect();
    match words[..] {
        [name, operator, evr] if !relation.starts_with('(') => {
            let flags = match operator {
                "=" => "EQ",
                "<" => "LT",
                "<=" => "LE",
                ">" => "GT",
                _ => "GE",
            };
            let (epoch, version) = evr.split_once(':').unwrap_or(("0", evr));
            let (version, release) = version.split_once('-').unwrap_or((version, ""));
            let release = if release.is_empty() { String::new() } else { format!(" rel=\"{release}\"") };
            format!(
                "<rpm:entry name=\"{name}\" flags=\"{flags}\" epoch=\"{epoch}\" ver=\"{version}\"{release}/>"
            )
        }
        _ => format!("<rpm:entry name=\"{}\"/>", escaped(relation)),
    }
}

pub fn primary(packages: &[String]) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"common\" xmlns:rpm=\"rpm\" packages=\"{}\">\n{}</metadata>\n",
        packages.len(),
        packages.concat()
    )
}

pub fn repomd(primary: &[u8], kind: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<repomd xmlns=\"repo\" xmlns:rpm=\"rpm\"><revision>1</revision><data type=\"{kind}\">\
         <checksum type=\"sha256\">{}</checksum><location href=\"repodata/{kind}.xml\"/><size>{}</size></data></repomd>",
        Sha256::of(primary),
        primary.len()
    )
}

impl Memory {
    pub fn new(packages: &[String]) -> Memory {
        let index = primary(packages);
        Memory::of(&repomd(index.as_bytes(), "primary"), index.as_bytes(), &keys::make(GOOD))
    }

    pub fn of(repomd: &str, primary: &[u8], key: &TestKey) -> Memory {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), key.binary()).expect("a key");
        let files = [
            ("repodata/repomd.xml.asc", key.sign_detached(repomd.as_bytes())),
            ("repodata/repomd.xml", repomd.as_bytes().to_vec()),
            ("repodata/primary.xml", primary.to_vec()),
        ];
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Memory { files, folder }
    }

    pub fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), bytes);
    }

    pub fn request(&self, names: &[&str]) -> Request {
        let source = Source {
            name: "main".to_owned(),
            mirror: "memory".to_owned(),
            signed_by: Some(self.folder.path().join("key")),
            priority: 500,
        };
        Request {
            architecture: "amd64".to_owned(),
            sources: vec![source],
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            dependencies: true,
            ..Request::default()
        }
    }

    pub fn resolve(&self, request: &Request) -> Result<Vec<String>, String> {
        let resolved = rpm::resolve(request, self, NOW, &Job::quiet(1)).map_err(|error| error.to_string())?;
        Ok(resolved.packages.iter().map(|chosen| format!("{}-{}", chosen.name, chosen.version)).collect())
    }

    fn choose(&self, names: &[&str]) -> Result<Vec<String>, String> {
        self.resolve(&self.request(names))
    }
}

fn repository() -> Memory {
    Memory::new(&[
        package(
            "app",
            "2-1",
            &[
                "requires lib >= 1",
                "requires (extra if lib)",
                "requires /usr/bin/tool",
                "recommends nice",
                "recommends (pretty or prettier)",
            ],
        ),
        package("app", "1-1", &["requires lib"]),
        package("lib", "1-1", &["provides lib(abi) = 3"]),
        package(
            "lib",
            "1.5-1",
            &["provides lib(abi) = 3", "requires rpmlib(CompressedFileNames) <= 3.0.4-1"],
        ),
        package("lib", "3-1", &["requires rpmlib(TimeTravel) <= 5"]),
        package("extra", "1-1", &[]),
        package("tool", "1-1", &["file /usr/bin/tool", "requires (lib(abi) >= 2 with lib(abi) < 4)"]),
        package("nice", "1-1", &["conflicts extra"]),
        package("prettier", "1-1", &[]),
        package("add-on", "1-1", &["supplements (app and lib)"]),
        package("alpha", "1-1", &["provides virtual"]),
        package("beta", "1-1", &["provides virtual", "requires lib"]),
        package("new", "5-1", &["obsoletes old < 3", "provides old = 3"]),
        package("old", "2-1", &[]),
        package("needs-old", "1-1", &["requires old"]),
        package("foe", "1-1", &["conflicts lib >= 1.2"]),
        package("bound", "1-1", &["requires lib >= 9"]),
        package("lost", "1-1", &["requires nowhere"]),
        package("broken", "1-1", &["requires (a b)"]),
        package("unlike", "1-1", &["requires (virtual without alpha)"]),
        package("choosy", "1-1", &["requires (alpha unless lib)"]),
    ])
}

#[test]
fn dependencies_of_every_form_bring_what_they_mean() {
    let repository = repository();
    for (names, expected) in [
        (&["app"][..], &["app-2-1", "extra-1-1", "lib-1.5-1", "tool-1-1"][..]),
        (&["app=1*"], &["app-1-1", "lib-1.5-1"]),
        (&["virtual"], &["alpha-1-1"]),
        (&["/usr/bin/tool"], &["lib-1.5-1", "tool-1-1"]),
        (&["needs-old"], &["needs-old-1-1", "new-5-1"]),
        (&["foe", "lib"], &["foe-1-1", "lib-1-1"]),
        (&["unlike"], &["beta-1-1", "lib-1.5-1", "unlike-1-1"]),
        (&["choosy"], &["alpha-1-1", "choosy-1-1"]),
        (&["lib.noarch"], &["lib-1.5-1"]),
    ] {
        assert_eq!(
            repository.choose(names).as_deref(),
            Ok(expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).as_deref(),
            "{names:?}"
        );
    }
}

#[test]
fn weak_dependencies_come_where_they_are_asked_and_can() {
    let repository = repository();
    let mut request = repository.request(&["app"]);
    request.recommends = true;
    let expected = ["add-on-1-1", "app-2-1", "extra-1-1", "lib-1.5-1", "prettier-1-1", "tool-1-1"];
    assert_eq!(repository.resolve(&request), Ok(expected.map(str::to_owned).to_vec()));
    request.exclude = vec!["add-on".into(), "prettier".into()];
    assert_eq!(repository.resolve(&request).map(|found| found.len()), Ok(4));
}

#[test]
fn pins_locks_and_the_lack_of_dependencies_are_honoured() {
    let repository = repository();
    let mut request = repository.request(&["app"]);
    request.pins = BTreeMap::from([("lib".into(), "1".into())]);
    assert!(repository.resolve(&request).is_ok_and(|found| found.contains(&"lib-1-1".to_owned())));
    request.pins = BTreeMap::new();
    request.locked = BTreeMap::from([("lib".into(), "1-1".into()), ("app".into(), "2-1".into())]);
    assert!(repository.resolve(&request).is_ok_and(|found| found.contains(&"lib-1-1".to_owned())));
    request.dependencies = false;
    assert_eq!(repository.resolve(&request), Ok(vec!["app-2-1".to_owned()]));
}

#[test]
fn dead_ends_are_told_in_sentences() {
    let repository = repository();
    for (names, parts) in [
        (
            &["lost"][..],
            &["lost-1-1.noarch needs nowhere, and no package of the repositories provides it"][..],
        ),
        (&["bound"], &["bound-1-1.noarch needs lib >= 9", "only other versions are there", "lib-1.5-1"]),
        (
            &["foe", "tool", "lib=1.5"],
            &["foe-1-1.noarch conflicts with lib-1.5-1.noarch (it conflicts with lib >= 1.2)"],
        ),
        (&["old=2", "new"], &["new-5-1.noarch takes the place of old-2-1.noarch (it obsoletes old < 3)"]),
        (&["lib=1", "lib=1.5"], &["lib-1-1.noarch and lib-1.5-1.noarch are versions of one package"]),
        (&["lib=3"], &["what has it can't be taken", "rpm's feature TimeTravel"]),
        (&["broken"], &["broken-1-1.noarch can't be installed", "expected an operator"]),
        (&["ap"], &["no repository has ap; did you mean app?"]),
    ] {
        let said = repository.choose(names).expect_err("a dead end");
        for part in parts {
            assert!(said.contains(part), "{names:?}: {said}");
        }
    }
    // An older version that does not need what is excluded is taken; where that is not asked for, there is none.
    let mut request = repository.request(&["app"]);
    request.exclude = vec!["extra".into()];
    assert_eq!(repository.resolve(&request), Ok(vec!["app-1-1".to_owned(), "lib-1.5-1".to_owned()]));
    request.names = vec!["app=2*".into()];
    let said = repository.resolve(&request).expect_err("a dead end");
    assert!(said.contains("(extra if lib)"), "{said}");
}

#[test]
fn paths_outside_of_the_primary_index_are_found_in_the_full_list() {
    let packages = [
        package("app", "1-1", &["requires /opt/hidden/file"]),
        package("far", "1-1", &[]),
        package("near", "1-1", &["requires /opt/nowhere"]),
    ];
    let index = primary(&packages);
    let digest = Sha256::of(b"far 1-1");
    let lists = format!(
        "<filelists xmlns=\"f\" packages=\"1\"><package pkgid=\"{digest}\" name=\"far\" arch=\"noarch\"><version epoch=\"0\" \
         ver=\"1\" rel=\"1\"/><file type=\"dir\">/opt/hidden</file><file>/opt/hidden/file</file></package></filelists>"
    );
    let both = repomd(index.as_bytes(), "primary");
    let data = repomd(lists.as_bytes(), "filelists");
    let (start, end) = (data.find("<data").expect("data"), data.find("</repomd>").expect("an end"));
    let both = both.replace("</repomd>", &format!("{}</repomd>", &data[start..end]));
    let mut memory = Memory::of(&both, index.as_bytes(), &keys::make(GOOD));
    memory.put("repodata/filelists.xml", lists.into_bytes());
    assert_eq!(memory.choose(&["app"]), Ok(vec!["app-1-1".to_owned(), "far-1-1".to_owned()]));
    assert_eq!(memory.choose(&["/opt/hidden"]), Ok(vec!["far-1-1".to_owned()]));
    let said = memory.choose(&["near"]).expect_err("a dead end");
    assert!(said.contains("near-1-1.noarch needs /opt/nowhere, and no package"), "{said}");
}

/// A generator that is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn name(&mut self) -> String {
        format!("p{}", self.below(12))
    }

    fn plain(&mut self) -> String {
        let name = if self.below(4) == 0 { format!("v{}", self.below(3)) } else { self.name() };
        match self.below(3) {
            0 => format!(
                "{name} {} {}",
                ["=", "<", "<=", ">", ">="][self.below(5) as usize],
                1 + self.below(3)
            ),
            _ => name,
        }
    }

    fn rich(&mut self, operators: &[&str]) -> String {
        let operator = operators[self.below(operators.len() as u64) as usize];
        let (first, second) = (self.plain(), self.plain());
        match operator {
            "if else" => format!("({first} if {second} else {})", self.plain()),
            "nested" => format!("(({first} and {second}) or {})", self.plain()),
            "with" => format!("({0} >= 1 with {0} < 3)", self.name()),
            "without" => format!("(v{} without {})", self.below(3), self.name()),
            operator => format!("({first} {operator} {second})"),
        }
    }

    fn package(&mut self, name: &str, version: u64) -> String {
        let mut relations: Vec<String> = Vec::new();
        for _ in 0..self.below(4) {
            let relation = match self.below(3) {
                0 => self.rich(&["and", "or", "or", "if", "if else", "nested", "with", "without"]),
                _ => self.plain(),
            };
            relations.push(format!("requires {relation}"));
        }
        if self.below(3) == 0 {
            relations.push(format!("provides v{} = {}", self.below(3), 1 + self.below(3)));
        }
        if self.below(5) == 0 {
            relations.push(format!("conflicts {}", self.plain()));
        }
        if self.below(12) == 0 {
            relations.push(format!("obsoletes {} < {}", self.name(), 2 + self.below(2)));
        }
        let relations: Vec<&str> = relations.iter().map(String::as_str).collect();
        package(name, &format!("{version}-1"), &relations)
    }
}

/// Lets libsolv solve; returns what it would install, or `None` where it finds no solution.
fn libsolv(folder: &Path, jobs: &[String]) -> Option<BTreeSet<String>> {
    let case = folder.join("case.t");
    let jobs: String = jobs.iter().map(|job| format!("job install {job}\n")).collect();
    let text = format!(
        "repo system 0 empty\nrepo available 0 solv available.solv\nsystem x86_64 rpm system\nsolverflags \
         ignorerecommended\n{jobs}"
    );
    std::fs::write(&case, text).expect("a case");
    let output = crate::tool::run(tool("testsolv", ["-r"]).arg(&case).current_dir(folder));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.lines().any(|line| line.starts_with("problem")) {
        return None;
    }
    let installed = said.lines().filter_map(|line| line.strip_prefix("install ")?.split(".noarch@").next());
    Some(installed.map(str::to_owned).collect())
}

#[test]
fn libsolv_agrees_on_what_fits_together() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut solved, mut equal, mut dead) = (0, 0, 0);
    for round in 0..150 {
        let mut packages = Vec::new();
        for number in 0..12 {
            for version in 1..=1 + random.below(3) {
                packages.push(random.package(&format!("p{number}"), version));
            }
        }
        let names: BTreeSet<String> = (0..1 + random.below(3)).map(|_| random.name()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let memory = Memory::new(&packages);
        let folder = memory.folder.path();
        std::fs::write(folder.join("primary.xml"), primary(&packages)).expect("an index");
        let shell = format!("rpmmd2solv < {0}/primary.xml > {0}/available.solv", folder.display());
        succeed(&mut tool("sh", ["-c", &shell]));
        let jobs: Vec<String> = names.iter().map(|name| format!("name {name}")).collect();
        let theirs = libsolv(folder, &jobs);
        match (memory.choose(&names), theirs) {
            (Ok(ours), Some(theirs)) => {
                // What we chose must be all that libsolv would install when it is asked for just that.
                let jobs: Vec<String> = ours
                    .iter()
                    .map(|package| package.split_once('-').expect("a version"))
                    .map(|(name, version)| format!("name {name} = {version}"))
                    .collect();
                let ours: BTreeSet<String> = ours.into_iter().collect();
                assert_eq!(libsolv(folder, &jobs).as_ref(), Some(&ours), "round {round}: {names:?}");
                solved += 1;
                equal += usize::from(ours == theirs);
            }
            (Err(_), None) => dead += 1,
            (ours, theirs) => panic!(
                "round {round}: {names:?}: we say {ours:?}, libsolv {theirs:?}\n{}",
                primary(&packages)
            ),
        }
    }
    // Both kinds must occur, or the test says nothing; and where there is a choice, it is mostly the same.
    assert!(solved > 40 && dead > 20, "{solved} solved, {dead} dead ends");
    assert!(equal * 10 >= solved * 7, "{equal} of {solved} alike");
}
