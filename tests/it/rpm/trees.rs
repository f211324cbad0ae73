//! From repositories to trees that `rpm` itself finds in order.

use std::collections::BTreeMap;
use std::path::Path;

use mkimage::base::Job;
use mkimage::packages::rpm::{self, KnownAccount, ScriptPolicy};
use mkimage::tree::{Content, ContentSource, Directory, MemoryContents, Node};

use super::kit::{EPOCH, Kit, PAYLOADS, Spec, check_out, path, verify};
use crate::tool::{run, succeed, tool};

/// A small distribution: a base with merged `/usr`, a library, a daemon with an account, files of every kind.
fn distribution(kit: &Kit) {
    let noarch = "BuildArch: noarch";
    kit.build("main", Spec {
        name: "filesystem",
        evr: "3.18-1",
        // rpmbuild makes the interpreters of scripts requirements of their packages.
        head: "BuildArch: noarch\nProvides: /bin/sh\nProvides: /sbin/ldconfig",
        install: "mkdir -p $R/usr/bin $R/usr/sbin $R/usr/lib $R/usr/lib64 $R/etc $R/var/log $R/root $R/tmp\n\
            ln -s usr/bin $R/bin; ln -s usr/sbin $R/sbin; ln -s usr/lib $R/lib; ln -s usr/lib64 $R/lib64\n\
            mkdir -p $R/var/lib $R/usr/share/doc $R/usr/lib/systemd/system-preset\n\
            printf 'enable daemon.service\\ndisable *\\n' > $R/usr/lib/systemd/system-preset/50-test.preset",
        files: "%dir %attr(0555,root,root) /\n/bin\n/sbin\n/lib\n/lib64\n%dir /usr\n%dir /usr/bin\n%dir /usr/sbin\n\
            %dir /usr/lib\n%dir /usr/lib64\n%dir /etc\n%dir /var\n%dir /var/log\n%dir /var/lib\n%attr(0550,root,root) %dir /root\n\
            %attr(1777,root,root) %dir /tmp\n/usr/lib/systemd",
        ..Spec::default()
    });
    kit.build(
        "main",
        Spec {
            name: "libthing",
            evr: "1:2.0~rc1-3",
            head: "Provides: libthing.so.2()(64bit)\nRequires: filesystem >= 3\nRequires: /sbin",
            install: "mkdir -p $R/lib64 $R/usr/lib64; echo library > $R/lib64/libthing.so.2.0\n\
            ln -s libthing.so.2.0 $R/lib64/libthing.so.2",
            files: "/lib64/libthing.so.2.0\n/lib64/libthing.so.2",
            scripts: "%post -p /sbin/ldconfig\n%postun -p /sbin/ldconfig",
            payload: "w3.zstdio",
        },
    );
    kit.build("main", Spec {
        name: "daemon",
        evr: "1.4-2.fc40",
        head: "Requires: libthing.so.2()(64bit)\nRequires: (tools if filesystem)\nRequires(pre): filesystem\n\
            Recommends: daemon-doc\nGroup: System/Daemons",
        install: "mkdir -p $R/usr/sbin $R/etc $R/var/log/daemon $R/usr/lib/systemd/system $R/usr/lib/sysusers.d $R/var/lib/daemon\n\
            echo program > $R/usr/sbin/daemon; ln $R/usr/sbin/daemon $R/usr/sbin/daemonctl; ln $R/usr/sbin/daemon $R/usr/sbin/zz\n\
            echo setting > $R/etc/daemon.conf; touch $R/var/log/daemon/daemon.log\n\
            printf '[Unit]\\n[Install]\\nWantedBy=multi-user.target\\n' > $R/usr/lib/systemd/system/daemon.service\n\
            printf 'u daemon-user - \"A daemon\" /var/lib/daemon\\n' > $R/usr/lib/sysusers.d/daemon.conf",
        files: "%attr(0755,root,root) /usr/sbin/*\n\
            %config(noreplace) %attr(0640,root,daemon-user) /etc/daemon.conf\n\
            %dir %attr(0750,daemon-user,adm) /var/log/daemon\n%ghost %attr(0600,daemon-user,daemon-user) /var/log/daemon/daemon.log\n\
            %dir %attr(0700,daemon-user,daemon-user) /var/lib/daemon\n/usr/lib/systemd/system/daemon.service\n\
            /usr/lib/sysusers.d/daemon.conf",
        scripts: "%pre\ngetent group adm >/dev/null || groupadd -r -g 4 adm\nexit 0\n%post\nif [ $1 -eq 1 ] && \
            [ -x \"/usr/lib/systemd/systemd-update-helper\" ]; then\n    systemd-update-helper install-system-units daemon.service || :\nfi\n\
            if [ $1 -eq 1 ]; then\n    systemctl --no-reload preset daemon.service &>/dev/null || :\nfi\n\
            %preun\nrm -rf /everything\n%triggerin -- tools\n/sbin/ldconfig\n%filetriggerin -- /usr/lib64\n/sbin/ldconfig\n\
            %transfiletriggerin -P 100 -- /usr/lib/systemd /nowhere\nsystemctl daemon-reload",
        payload: "w2.xzdio",
    });
    kit.build("main", Spec {
        name: "tools",
        evr: "0.9^git5-1",
        head: "Requires: filesystem\nProvides: everything = 3\nConflicts: old-tools\nObsoletes: ancient-tools < 2\n\
            Suggests: (ping if (filesystem and daemon) else (nowhere or (ping and zebra)))",
        install: "mkdir -p $R/usr/bin $R/usr/share/doc/tools; echo ping > $R/usr/bin/ping; echo su > $R/usr/bin/su\n\
            echo read > $R/usr/share/doc/tools/README; head -c 3000000 /dev/zero | tr '\\0' 'x' > $R/usr/bin/large",
        files: "%attr(0755,root,root) %caps(cap_net_raw=p) /usr/bin/ping\n%attr(4755,root,root) /usr/bin/su\n/usr/bin/large\n\
            %dir /usr/share/doc/tools\n%doc /usr/share/doc/tools/README",
        ..Spec::default()
    });
    kit.build(
        "main",
        Spec {
            name: "daemon-doc",
            evr: "1.4-2.fc40",
            head: noarch,
            install: "mkdir -p $R/usr/share/doc/daemon; echo book > $R/usr/share/doc/daemon/book",
            files: "/usr/share/doc/daemon",
            ..Spec::default()
        },
    );
    kit.index("main", true);
}

fn signed() -> Kit {
    let kit = Kit::new();
    kit.key();
    kit
}

fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    names
}

#[test]
fn rpm_finds_a_tree_of_ours_in_order() {
    let kit = signed();
    distribution(&kit);
    let mut request = kit.request(&["main"], &["daemon"]);
    request.recommends = true;
    let known = KnownAccount { name: "adm".into(), id: 4 };
    let (tree, report, contents) = kit.tree(&request, |settings| settings.groups = vec![known.clone()]);
    assert!(tree.clone().seal().is_ok());
    assert_eq!(report.enabled_units, ["daemon.service"]);
    assert!(report.to_run.is_empty() && report.caches.contains("ld.so.cache"), "{report:?}");
    let wants = "/etc/systemd/system/multi-user.target.wants/daemon.service";
    assert!(matches!(tree.get(&path(wants)), Some(Node::Symlink(_))));
    assert!(
        tree.get(&path("/usr/lib64/libthing.so.2.0")).is_some()
            && tree.get(&path("/var/log/daemon/daemon.log")).is_none()
    );

    let root = kit.path("root");
    check_out(&tree, &contents, &root);
    assert_eq!(verify(&kit, &root), "");
    let all = succeed(&mut kit.rpm(&root, ["-qa"]));
    assert_eq!(
        names(&all),
        [
            "daemon-1.4-2.fc40.x86_64",
            "daemon-doc-1.4-2.fc40.noarch",
            "filesystem-3.18-1.noarch",
            "libthing-2.0~rc1-3.x86_64",
            "tools-0.9^git5-1.x86_64",
        ]
    );
    for (question, answer) in [
        (&["-qf", "/usr/sbin/zz"][..], "daemon-1.4-2.fc40.x86_64\n"),
        (&["-q", "--whatprovides", "everything"], "tools-0.9^git5-1.x86_64\n"),
        (&["-q", "--whatrequires", "libthing.so.2()(64bit)"], "daemon-1.4-2.fc40.x86_64\n"),
        (&["-q", "--whatrecommends", "daemon-doc"], "daemon-1.4-2.fc40.x86_64\n"),
        (&["-q", "--qf", "%{INSTALLTIME} %{INSTALLTID}", "tools"], &format!("{EPOCH} {EPOCH}")),
        (&["-qc", "daemon"], "/etc/daemon.conf\n"),
        (&["-ql", "libthing"], "/lib64/libthing.so.2\n/lib64/libthing.so.2.0\n"),
        (&["-q", "--triggeredby", "tools"], "daemon-1.4-2.fc40.x86_64\n"),
    ] {
        assert_eq!(succeed(&mut kit.rpm(&root, question)), answer, "{question:?}");
    }
    // What rpm would check before installing more: every dependency is there.
    let output = run(&mut kit.rpm(&root, ["-Va", "--nofiles"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_changes_in_a_tree_is_seen_by_rpm() {
    let kit = signed();
    distribution(&kit);
    let (tree, _, contents) = kit.tree(&kit.request(&["main"], &["tools"]), |_| {});
    let root = kit.path("root");
    check_out(&tree, &contents, &root);
    std::fs::write(root.join("usr/bin/ping"), "other").expect("written");
    std::fs::remove_file(root.join("usr/bin/su")).expect("removed");
    let said = verify(&kit, &root);
    assert!(said.contains("/usr/bin/ping") && said.contains("missing     /usr/bin/su"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn what_is_left_out_is_not_missed() {
    let kit = signed();
    distribution(&kit);
    let drop = ["/usr/share/doc/**".to_owned(), "/usr/sbin/daemon".to_owned()];
    let known = KnownAccount { name: "adm".into(), id: 4 };
    let request = kit.request(&["main"], &["daemon"]);
    let (tree, _, contents) =
        kit.tree_without(&request, &drop, |settings| settings.groups = vec![known.clone()]);
    assert!(tree.get(&path("/usr/share/doc/tools/README")).is_none());
    assert!(tree.get(&path("/usr/sbin/daemon")).is_none());
    // The first name of a file with several is left out: the next one takes its place.
    assert!(matches!(tree.get(&path("/usr/sbin/daemonctl")), Some(Node::File(_))));
    assert_eq!(tree.get(&path("/usr/sbin/zz")), Some(&Node::HardLink(path("/usr/sbin/daemonctl"))));
    let root = kit.path("root");
    check_out(&tree, &contents, &root);
    let said = verify(&kit, &root);
    // Of three names of one file two are left: rpm counts the links of none.
    assert_eq!(said, "");
}

/// Returns every row of every table but those of rpm's own statistics, and headers without the time of installing.
fn database(file: &Path) -> BTreeMap<String, Vec<Vec<rusqlite::types::Value>>> {
    let connection = rusqlite::Connection::open(file).expect("a database");
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(verdict, "ok");
    let list =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = connection.prepare(list).expect("a statement");
    let tables: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .expect("tables")
        .map(|name| name.expect("a name"))
        .collect();
    let rows = |table: &String| {
        let mut statement =
            connection.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY rowid")).expect("a statement");
        let columns = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        let rows = statement.query_map([], read).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    let mut all: BTreeMap<_, Vec<Vec<_>>> = tables.iter().map(|table| (table.clone(), rows(table))).collect();
    for row in all.get_mut("Packages").expect("packages") {
        if let rusqlite::types::Value::Blob(blob) = &mut row[1] {
            forget_times(blob);
        }
    }
    all.get_mut("Installtid").expect("a table").iter_mut().for_each(|row| drop(row.remove(0)));
    all
}

/// Zeroes the values of INSTALLTIME and INSTALLTID in a header.
fn forget_times(blob: &mut [u8]) {
    let number = |blob: &[u8], at: usize| {
        u32::from_be_bytes(blob[at..at + 4].try_into().expect("four bytes")) as usize
    };
    let entries = number(blob, 0);
    for entry in 0..entries {
        let at = 8 + 16 * entry;
        if matches!(number(blob, at), 1008 | 1128) {
            let value = 8 + 16 * entries + number(blob, at + 8);
            blob[value..value + 4].fill(0);
        }
    }
}

#[test]
fn the_database_is_the_one_that_rpm_would_write() {
    let kit = signed();
    distribution(&kit);
    let job = Job::quiet(1);
    let contents = MemoryContents::default();
    let mut request = kit.request(&["main"], &["daemon", "daemon-doc"]);
    request.dependencies = true;
    let packages = kit.unpacked(&request, &contents);
    let (mut tree, _) = rpm::lay(&packages, &rpm::Layout::default(), &contents, &job).expect("laid");
    // With the times of the packages themselves nothing is added that rpm would not add.
    let groups = vec![KnownAccount { name: "adm".into(), id: 4 }];
    let settings = rpm::Settings {
        architecture: "x86_64".into(),
        epoch: 1_700_000_000,
        database: true,
        groups,
        ..rpm::Settings::default()
    };
    let report =
        rpm::finalize(&mut tree, &packages, &settings, &contents, &contents, &job).expect("finished");
    let ours = kit.path("ours.sqlite");
    std::fs::write(&ours, file(&tree, &report.database.expect("a path").to_string(), &contents))
        .expect("written");

    let root = kit.path("theirs");
    std::fs::create_dir_all(&root).expect("a folder");
    for package in [
        "daemon-1.4-2.fc40.x86_64",
        "daemon-doc-1.4-2.fc40.noarch",
        "filesystem-3.18-1.noarch",
        "libthing-2.0~rc1-3.x86_64",
        "tools-0.9^git5-1.x86_64",
    ] {
        let file = kit.path(&format!("main/{package}.rpm"));
        succeed(
            kit.rpm(
                &root,
                [
                    "-i",
                    "--justdb",
                    "--nodeps",
                    "--noscripts",
                    "--notriggers",
                    "--ignorearch",
                    "--nosignature",
                ],
            )
            .arg(file),
        );
    }
    let (ours, theirs) = (database(&ours), database(&root.join("var/lib/rpm/rpmdb.sqlite")));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (table, rows) in &ours {
        assert_eq!(rows.len(), theirs[table].len(), "{table}");
        for (own, their) in rows.iter().zip(&theirs[table]) {
            assert_eq!(own, their, "{table}");
        }
    }
}

fn file(tree: &Directory, at: &str, contents: &MemoryContents) -> Vec<u8> {
    match tree.get(&path(at)) {
        Some(Node::File(file)) => contents.read_all(&file.content).expect("a content"),
        other => panic!("{at}: {other:?}"),
    }
}

#[test]
fn trees_do_not_depend_on_workers_or_runs() {
    let kit = signed();
    distribution(&kit);
    let request = kit.request(&["main"], &["daemon"]);
    let known = KnownAccount { name: "adm".into(), id: 4 };
    let trees: Vec<Directory> =
        (0..2).map(|_| kit.tree(&request, |settings| settings.groups = vec![known.clone()]).0).collect();
    assert_eq!(trees[0], trees[1]);
    let unpacked = kit.unpacked(&request, &MemoryContents::default());
    let contents = MemoryContents::default();
    let again = kit.unpacked(&request, &contents);
    assert_eq!(unpacked, again);
    for package in again {
        let back = rpm::Unpacked::from_tree(package.clone().to_tree(), &contents).expect("read back");
        assert_eq!(back, package);
    }
}

#[test]
fn every_compression_gives_the_same_tree() {
    let kit = signed();
    let build = |payload| {
        kit.build(payload, Spec {
            name: "all",
            evr: "1-1",
            install: "mkdir -p $R/d; echo a > $R/d/a; ln $R/d/a $R/d/b; ln -s a $R/d/c; seq 200000 > $R/d/large; touch $R/d/empty",
            files: "/d",
            payload,
            ..Spec::default()
        })
    };
    let unpack = |payload| {
        let bytes = std::fs::read(build(payload)).expect("a package");
        let job = Job::quiet(1);
        rpm::unpack(&bytes, &MemoryContents::default(), &job)
            .unwrap_or_else(|error| panic!("{payload}: {error}"))
            .tree
    };
    let trees = PAYLOADS.map(unpack);
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    let large: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    match trees[0].get(&path("/d/large")) {
        Some(Node::File(file)) => assert_eq!(file.content, Content::of(large.as_bytes())),
        other => panic!("{other:?}"),
    }
    assert_eq!(trees[0].get(&path("/d/b")), Some(&Node::HardLink(path("/d/a"))));
}

#[test]
fn a_file_of_two_packages_must_be_the_same() {
    let kit = signed();
    let build = |name, text: &str| {
        let install = format!("mkdir -p $R/etc; printf '{text}' > $R/etc/shared; touch $R/etc/{name}");
        kit.build("main", Spec { name, evr: "1-1", install: &install, files: "/etc/*", ..Spec::default() });
    };
    build("one", "x");
    build("two", "x");
    build("three", "y");
    kit.index("main", true);
    let contents = MemoryContents::default();
    let job = Job::quiet(1);
    let lay = |names: &[&str]| {
        let packages = kit.unpacked(&kit.request(&["main"], names), &contents);
        rpm::lay(&packages, &rpm::Layout::default(), &contents, &job)
    };
    let (_, owners) = lay(&["one", "two"]).expect("laid");
    assert_eq!(owners.of(&path("/etc/shared")), Some("one"));
    assert_eq!(owners.files("two").map(ToString::to_string).collect::<Vec<_>>(), ["/etc/two"]);
    let errors = lay(&["one", "three"]).expect_err("they differ");
    let said = errors[0].to_string();
    assert!(said.contains("/etc/shared") && said.contains("one") && said.contains("three"), "{said}");
}

#[test]
fn scripts_that_are_not_understood_are_refused_ignored_or_handed_back() {
    let kit = signed();
    kit.build("main", Spec {
        name: "strange",
        evr: "1-1",
        head: "Provides: /bin/sh",
        install: "mkdir -p $R/etc; touch $R/etc/strange",
        files: "/etc/strange",
        scripts: "%post\n# what is this?\ncurl mirror.invalid | sh\n%posttrans -p <lua>\nposix.mkdir('/x')",
        ..Spec::default()
    });
    kit.index("main", true);
    let contents = MemoryContents::default();
    let job = Job::quiet(1);
    let packages = kit.unpacked(&kit.request(&["main"], &["strange"]), &contents);
    let (tree, _) = rpm::lay(&packages, &rpm::Layout::default(), &contents, &job).expect("laid");
    let finalize = |policy| {
        let scripts = BTreeMap::from([("strange".to_owned(), policy)]);
        let settings = rpm::Settings { scripts, ..rpm::Settings::default() };
        rpm::finalize(&mut tree.clone(), &packages, &settings, &contents, &contents, &job)
    };
    let errors = finalize(ScriptPolicy::Refuse).expect_err("refused");
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{said:?}");
    assert!(
        said[0].contains("line 2: curl mirror.invalid | sh") && said[0].contains("\"ignore\""),
        "{said:?}"
    );
    assert!(said[1].contains("<lua>") && said[1].contains("posix.mkdir"), "{said:?}");
    assert!(finalize(ScriptPolicy::Ignore).expect("ignored").to_run.is_empty());
    let to_run = finalize(ScriptPolicy::Run).expect("handed back").to_run;
    let names: Vec<&str> = to_run.iter().map(|script| &*script.name).collect();
    assert_eq!(names, ["post", "posttrans"]);
    assert_eq!((&*to_run[0].interpreter[0], &*to_run[0].arguments), ("/bin/sh", &["1".to_owned()][..]));
}

#[test]
fn owners_that_nothing_creates_are_named() {
    let kit = signed();
    kit.build(
        "main",
        Spec {
            name: "lonely",
            evr: "1-1",
            install: "mkdir -p $R/etc; touch $R/etc/lonely",
            files: "%attr(0644,nobody-here,root) /etc/lonely",
            ..Spec::default()
        },
    );
    kit.index("main", true);
    let contents = MemoryContents::default();
    let job = Job::quiet(1);
    let packages = kit.unpacked(&kit.request(&["main"], &["lonely"]), &contents);
    let (mut tree, _) = rpm::lay(&packages, &rpm::Layout::default(), &contents, &job).expect("laid");
    let errors = rpm::finalize(&mut tree, &packages, &rpm::Settings::default(), &contents, &contents, &job);
    let said = errors.expect_err("an owner is missing")[0].to_string();
    assert!(
        said.contains("nobody-here") && said.contains("lonely") && said.contains("/etc/lonely"),
        "{said}"
    );
}

#[test]
fn versions_order_as_rpm_orders_them() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = |limit: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % limit
    };
    const PARTS: [&str; 16] =
        ["1", "2", "10", "01", "0", "a", "b", "rc", "~", "^", ".", "_", "+", "fc", "é", "A"];
    let mut version = || (0..1 + random(6)).map(|_| PARTS[random(16) as usize]).collect::<String>();
    let pairs: Vec<(String, String)> = (0..20_000).map(|_| (version(), version())).collect();
    let lines: String = pairs.iter().map(|(a, b)| format!("print(rpm.vercmp('{a}','{b}'))\n")).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("versions.lua");
    std::fs::write(&file, lines).expect("written");
    let said = succeed(&mut tool("rpmlua", [file.as_os_str()]));
    for ((a, b), expected) in pairs.iter().zip(said.lines()) {
        let found = rpm::version::compare(a, b) as i8;
        assert_eq!(found.to_string(), expected, "{a} {b}");
    }
    assert_eq!(said.lines().count(), pairs.len());
}
