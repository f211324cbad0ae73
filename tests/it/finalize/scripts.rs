//! Maintainer scripts, small ones: what is done to the tree, and what is refused.

use std::collections::BTreeMap;

use mkimage::base::Job;
use mkimage::finalize::{
    FinalizeError, KnownUser, Package, Report, ScriptPolicy, Settings, UnknownLine, finalize,
};
use mkimage::tree::{ContentSink, ContentSource, Directory, File, MemoryContents, Metadata, Node};

use super::reference::path;
use super::shown;

/// (name, files of control.tar, Depends)
type Parts = (&'static str, Vec<(&'static str, String)>, &'static str);

/// A tree with a few files and packages with scripts.
#[derive(Default)]
struct Small {
    files: Vec<(&'static str, String)>,
    packages: Vec<Parts>,
    settings: Settings,
}

const PASSWD: &str =
    "root:*:0:0:root:/root:/bin/bash\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n";
const GROUP: &str = "root:*:0:\nadm:*:4:\nwww-data:*:33:\nshadow:*:42:\nnogroup:*:65534:\n";

struct Finished {
    tree: Directory,
    report: Report,
    contents: MemoryContents,
}

impl Finished {
    fn text(&self, name: &str) -> String {
        match self.tree.get(&path(name)) {
            Some(Node::File(file)) => {
                String::from_utf8(self.contents.read_all(&file.content).expect("read")).expect("text")
            }
            other => panic!("{name} is {other:?}"),
        }
    }

    fn owner(&self, name: &str) -> (u16, u32, u32) {
        let node = self.tree.get(&path(name)).unwrap_or_else(|| panic!("{name} is not there"));
        let metadata = node.metadata().expect("metadata");
        (metadata.mode, metadata.uid, metadata.gid)
    }

    fn link(&self, name: &str) -> String {
        match self.tree.get(&path(name)) {
            Some(Node::Symlink(link)) => String::from_utf8(link.target.to_vec()).expect("text"),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.tree.get(&path(name)).is_some()
    }
}

fn put(tree: &mut Directory, contents: &MemoryContents, name: &str, text: &str, mode: u16) {
    let content = contents.put(text.as_bytes()).expect("put");
    let name = if name.starts_with('/') { path(name) } else { path(&format!("/{name}")) };
    tree.insert(&name, Node::File(File { metadata: Metadata::root(mode), content })).expect("inserted");
}

impl Small {
    fn script(text: &str) -> Small {
        let script = format!("#!/bin/sh\nset -e\n{text}\n");
        Small { packages: vec![("example", vec![("postinst", script)], "")], ..Small::default() }
    }

    fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    fn finish(self) -> Result<Finished, Vec<FinalizeError>> {
        let contents = MemoryContents::default();
        let mut tree = Directory::default();
        put(&mut tree, &contents, "/usr/share/base-passwd/passwd.master", PASSWD, 0o644);
        put(&mut tree, &contents, "/usr/share/base-passwd/group.master", GROUP, 0o644);
        for (name, text) in &self.files {
            put(&mut tree, &contents, name, text, 0o755);
        }
        let none = Directory::default();
        let mut made = Vec::new();
        for (name, files, depends) in &self.packages {
            let mut info = Directory::default();
            for (file, text) in files {
                put(&mut info, &contents, file, text, 0o755);
            }
            let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let fields = vec![field("Package", name), field("Version", "1"), field("Depends", depends)];
            made.push((*name, info, fields));
        }
        let packages: Vec<Package<'_>> = made
            .iter()
            .map(|(name, info, fields)| Package {
                name,
                version: "1",
                architecture: "amd64",
                fields,
                info,
                data: &none,
            })
            .collect();
        let job = Job::quiet(1);
        let report = finalize(&mut tree, &packages, &self.settings, &contents, &contents, &job)?;
        Ok(Finished { tree, report, contents })
    }

    fn done(self) -> Finished {
        self.finish().unwrap_or_else(|errors| panic!("{}", shown(&errors)))
    }

    fn unknown(self) -> Vec<UnknownLine> {
        match self.finish().map(|done| done.report) {
            Err(errors) => match &errors[..] {
                [FinalizeError::Script { unknown, .. }] => unknown.clone(),
                errors => panic!("{}", shown(errors)),
            },
            Ok(report) => panic!("nothing is unknown: {report:?}"),
        }
    }
}

#[test]
fn a_script_does_to_the_tree_what_it_would_do_to_a_disk() {
    let done = Small::script(
        "NAME=svc\ncase \"$1\" in\nconfigure)\n  adduser --system --group --quiet --home /var/lib/$NAME --gecos 'A service' $NAME\n\
         install -d -o $NAME -g adm -m 2750 /var/log/$NAME\n  [ -e /etc/$NAME.conf ] || cat > /etc/$NAME.conf <<EOF\nuser = $NAME\nEOF\n\
         chmod 640 /etc/$NAME.conf && chown root:$NAME \"/etc/$NAME.conf\"\n  ln -sf /etc/svc.conf /etc/default/svc || true\n  mkdir -p /etc/default\n;;\n*) exit 1;;\nesac",
    )
    .done();
    let uid = done.report.users.iter().find(|user| user.name == "svc").expect("a user").uid;
    assert!((300..900).contains(&uid), "{uid}");
    assert_eq!(done.owner("/var/log/svc"), (0o2750, uid, 4));
    assert_eq!(done.owner("/var/lib/svc"), (0o755, uid, uid));
    assert_eq!(done.owner("/etc/svc.conf"), (0o640, 0, uid));
    assert_eq!(done.text("/etc/svc.conf"), "user = svc\n");
    assert!(
        done.text("/etc/passwd")
            .ends_with(&format!("svc:x:{uid}:{uid}:A service,,,:/var/lib/svc:/usr/sbin/nologin\n"))
    );
    assert!(done.text("/etc/shadow").contains("root:*:0:0:99999:7:::\n"));
    assert_eq!(done.owner("/etc/shadow"), (0o640, 0, 42));
}

#[test]
fn conditions_are_answered_by_the_tree_and_upgrades_are_passed_over() {
    let done = Small::script(
        "if [ -n \"$2\" ] && dpkg --compare-versions \"$2\" lt 2; then frobnicate; fi\n\
         if dpkg --compare-versions \"$2\" lt-nl 2; then frobnicate; fi\n\
         if command -v frobnicate >/dev/null; then frobnicate; fi\n\
         if [ -d /run/systemd/system ]; then frobnicate; fi\n\
         if [ -x /usr/bin/there ] && test ! -e /usr/bin/absent; then touch /etc/yes; else frobnicate; fi\n\
         for f in /etc/conf.d/*.conf /etc/none.d/*; do [ -f \"$f\" ] || continue; echo \"$(basename $f .conf)\" >> /etc/list; done",
    )
    .file("/usr/bin/there", "")
    .file("/etc/conf.d/b.conf", "")
    .file("/etc/conf.d/a.conf", "")
    .done();
    assert!(done.has("/etc/yes"));
    assert_eq!(done.text("/etc/list"), "a\nb\n");
}

#[test]
fn where_only_a_run_can_tell_nothing_may_be_done() {
    let lines = Small::script("if [ \"$(date +%u)\" = 5 ]; then\n touch /etc/friday\nfi").unknown();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].line, lines[0].text.as_str()), (4, "touch /etc/friday"));
    // A way that may have ended the script leaves the rest in the dark.
    let lines = Small::script("[ \"$(date +%u)\" = 5 ] && exit 0\ntouch /etc/later").unknown();
    assert_eq!(lines[0].line, 4);
    // One that fails is not the way of an installation that succeeds.
    let script = "if [ \"$(date +%u)\" = 5 ]; then echo no >&2; exit 1; fi\ntouch /etc/later";
    assert!(Small::script(script).done().has("/etc/later"));
    // What a function returns early does not reach behind its call.
    let script = "f() { [ \"$(date +%u)\" = 5 ] && return 0; return 0; }\nf\ntouch /etc/later";
    assert!(Small::script(script).done().has("/etc/later"));
}

#[test]
fn an_unknown_command_is_named_with_its_line_and_three_ways_out() {
    let error = Small::script("true\nfrobnicate --now").finish().err().expect("refused");
    let error = shown(&error);
    for part in ["package example", "postinst", "line 4: frobnicate --now", "\"ignore\"", "\"run\"", "table"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let policy = |policy| {
        let mut small = Small::script("frobnicate");
        small.settings.scripts = BTreeMap::from([("example".to_owned(), policy)]);
        small.done().report.to_run
    };
    assert_eq!(policy(ScriptPolicy::Ignore), [""; 0]);
    assert_eq!(policy(ScriptPolicy::Run), ["example"]);
}

#[test]
fn scripts_that_run_come_behind_what_they_need_and_all_errors_come_at_once() {
    let script = |text: &str| vec![("postinst", format!("#!/bin/sh\n{text}\n"))];
    let packages = || {
        vec![
            ("a", script("one"), "b"),
            ("b", script("two"), ""),
            ("c", vec![("postinst", "#!/usr/bin/perl\n1;\n".to_owned())], ""),
        ]
    };
    let mut small = Small { packages: packages(), ..Small::default() };
    let run = |name: &str| (name.to_owned(), ScriptPolicy::Run);
    small.settings.scripts = ["a", "b", "c"].map(run).into();
    assert_eq!(small.done().report.to_run, ["b", "a", "c"]);
    let errors = Small { packages: packages(), ..Small::default() }.finish().err().expect("refused");
    assert_eq!(errors.len(), 3, "{}", shown(&errors));
}

#[test]
fn debhelpers_sections_enable_what_they_would() {
    let unit = "[Install]\nWantedBy=multi-user.target\nAlias=alias.service\nAlso=also.socket\n";
    let done = Small::script(
        "# Automatically added by dh_installsystemd/13\nif deb-systemd-helper --quiet was-enabled 'a.service'; then\n\
         deb-systemd-helper enable 'a.service' >/dev/null || true\nfi\nif deb-systemd-helper debian-installed 'b.service'; then\n\
         deb-systemd-helper enable 'b.service'\nfi\n# End automatically added section\nsystemctl --user enable c.service\nsystemctl enable t@x.service missing.service",
    )
    .file("/usr/lib/systemd/system/a.service", unit)
    .file("/usr/lib/systemd/system/b.service", unit)
    .file("/usr/lib/systemd/system/also.socket", "[Install]\nRequiredBy=sockets.target\n")
    .file("/usr/lib/systemd/system/t@.service", "[Install]\nWantedBy=%i.target\n")
    .file("/usr/lib/systemd/user/c.service", "[Install]\nWantedBy=default.target\n")
    .done();
    assert_eq!(done.report.enabled_units, ["a.service", "also.socket", "c.service", "t@x.service"]);
    let system = "/etc/systemd/system";
    assert_eq!(
        done.link(&format!("{system}/multi-user.target.wants/a.service")),
        "/usr/lib/systemd/system/a.service"
    );
    assert_eq!(done.link(&format!("{system}/alias.service")), "/usr/lib/systemd/system/a.service");
    assert_eq!(
        done.link(&format!("{system}/sockets.target.requires/also.socket")),
        "/usr/lib/systemd/system/also.socket"
    );
    assert_eq!(
        done.link(&format!("{system}/x.target.wants/t@x.service")),
        "/usr/lib/systemd/system/t@.service"
    );
    assert_eq!(
        done.link("/etc/systemd/user/default.target.wants/c.service"),
        "/usr/lib/systemd/user/c.service"
    );
    assert!(done.report.notes.iter().any(|note| note.contains("missing.service")));
}

#[test]
fn answers_of_debconf_are_the_defaults_of_templates() {
    let files = vec![
        ("templates", "Template: example/on\nType: boolean\nDefault: true\n\nTemplate: example/word\nType: string\nDefault: no\n".to_owned()),
        ("config", "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_input low example/on || true\ndb_go || true\ndb_set example/word yes\n".to_owned()),
        ("postinst", "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get example/on\n[ \"$RET\" = true ] && touch /etc/on\ndb_get example/word\necho $RET > /etc/word\n".to_owned()),
    ];
    let done = Small { packages: vec![("example", files, "")], ..Small::default() }.done();
    assert!(done.has("/etc/on"));
    assert_eq!(done.text("/etc/word"), "yes\n");
}

#[test]
fn overrides_alternatives_and_capabilities_are_kept_and_done() {
    let done = Small::script(
        "dpkg-statoverride --list /usr/bin/tool >/dev/null || dpkg-statoverride --update --add root www-data 4750 /usr/bin/tool\n\
         update-alternatives --install /usr/bin/editor editor /usr/bin/tool 10 \\\n --slave /usr/share/man/editor.1 editor.1 /usr/share/man/tool.1\n\
         update-alternatives --install /usr/bin/editor editor /usr/bin/other 20\nsetcap cap_net_raw=ep /usr/bin/other",
    )
    .file("/usr/bin/tool", "1")
    .file("/usr/bin/other", "2")
    .done();
    assert_eq!(done.owner("/usr/bin/tool"), (0o4750, 0, 33));
    assert_eq!(done.text("/var/lib/dpkg/statoverride"), "root www-data 4750 /usr/bin/tool\n");
    assert_eq!(done.link("/usr/bin/editor"), "/etc/alternatives/editor");
    assert_eq!(done.link("/etc/alternatives/editor"), "/usr/bin/other");
    let xattrs = &done.tree.get(&path("/usr/bin/other")).and_then(Node::metadata).expect("metadata").xattrs;
    assert!(xattrs.contains_key(&b"security.capability"[..]));
}

#[test]
fn a_number_that_two_accounts_want_is_an_error_that_the_recipe_settles() {
    let fragment = |id: u32| format!("u one {id}\nu two {id}\n");
    let errors =
        Small::default().file("/usr/lib/sysusers.d/x.conf", &fragment(950)).finish().err().expect("clash");
    let error = shown(&errors);
    assert!(error.contains("\"one\"") && error.contains("\"two\"") && error.contains("950"), "{error}");
    let mut small = Small::default().file("/usr/lib/sysusers.d/x.conf", &fragment(950));
    small.settings.users = vec![KnownUser { name: "two".into(), uid: 951, gid: 951 }];
    let done = small.done();
    assert!(done.text("/etc/passwd").contains("two:x:951:951:"), "{}", done.text("/etc/passwd"));
}

#[test]
fn malformed_input_is_named_with_its_line() {
    let errors = Small::default().file("/usr/lib/sysusers.d/x.conf", "# fine\nu a:b -\n").finish().err();
    let error = shown(&errors.expect("refused"));
    assert!(error.contains("/usr/lib/sysusers.d/x.conf, line 2"), "{error}");
    let lines = Small::script("if true; then").unknown();
    assert!(lines[0].problem.contains("expected"), "{lines:?}");
}

#[test]
fn a_script_can_t_write_outside_of_the_tree_or_run_for_ever() {
    let lines = Small::script("while true; do x=$x$x; done").unknown();
    assert!(
        lines[0].problem.contains("more than can be followed") || lines[0].problem.contains("end"),
        "{lines:?}"
    );
    let lines = Small::script("f() { f; }\nf").unknown();
    assert!(!lines.is_empty());
    let done = Small::script("touch /../../etc/inside ../up").done();
    assert!(done.has("/etc/inside") && done.has("/up"));
}

/// Every construct that scripts use, with what it prints.
const LANGUAGE: &str = include_str!("shell.sh");

#[test]
fn the_language_means_what_it_means_to_a_shell() {
    let done = Small::script(&format!("{{\n{LANGUAGE}\n}} > /printed")).done();
    let script = crate::tool::root().join("tests/it/finalize/shell.sh");
    let expected = crate::tool::succeed(crate::tool::tool("/bin/sh", [script]).current_dir("/"));
    assert_eq!(done.text("/printed"), expected);
}
