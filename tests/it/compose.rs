//! Parts of a plan become trees: what comes from the recipe, what from the host, what is refused, and which
//! change of either makes a step run again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mkimage::archive::{Digesting, Limits};
use mkimage::base::{Bytes, ImagePath, Job};
use mkimage::compose::{
    Accounts, ComposeError, Context, Prepared, contribute, finish, prepare, prepare_all, write_accounts,
};
use mkimage::recipe::Plan;
use mkimage::recipe::plan::*;
use mkimage::tree::dump::dump;
use mkimage::tree::{
    Content, ContentSink, ContentSource, Contribution, Directory, MemoryContents, Node, merge,
};

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

fn origin(block: &str, line: usize) -> Origin {
    Origin { block: block.into(), file: "hello.hcl".into(), line }
}

fn plan(parts: Vec<Part>) -> Plan {
    Plan {
        image: ImagePlan {
            name: "hello".into(),
            version: Some("1.2".into()),
            description: None,
            architecture: Architecture::X86_64,
            epoch: None,
            init: None,
            origin: origin("image \"hello\"", 1),
        },
        base: None,
        parts,
        users: Vec::new(),
        groups: Vec::new(),
        kernel: None,
        boot: BootPlan {
            program: LoaderProgram::SystemdBoot,
            loader: LoaderSource::None,
            tries: 3,
            command_line: Vec::new(),
            watchdog_seconds: 0,
            health: None,
            origin: None,
        },
        update: None,
        disk: DiskPlan {
            layout: 1,
            filesystem: Filesystem::Ext4,
            placement: mkimage::recipe::plan::Placement::Dense,
            slot_size: None,
            uki_size: None,
            data_size: Bytes::mib(16),
            data_path: path("/data"),
            origin: None,
        },
        variables: BTreeMap::new(),
        budget: None,
        tests: Vec::new(),
        sources: Vec::new(),
    }
}

fn source(at: &Path, target: &str) -> SourcePlan {
    SourcePlan {
        path: at.to_owned(),
        target: path(target),
        strip_components: 0,
        allow: Vec::new(),
        replace: Vec::new(),
        owner: None,
        mode: None,
    }
}

fn tree_part(source: SourcePlan) -> Part {
    Part::Tree(TreePlan { name: "files".into(), source, origin: origin("tree \"files\"", 7) })
}

fn app_part(source: SourcePlan, change: impl FnOnce(&mut AppPlan)) -> Part {
    let mut app = AppPlan {
        closure: None,
        name: "hello".into(),
        source,
        command: vec!["/hello".into()],
        user: "app".into(),
        working_directory: path("/"),
        environment: BTreeMap::new(),
        ports: Vec::new(),
        capabilities: Vec::new(),
        restart: Restart::Always,
        stop_signal: "SIGTERM".into(),
        stop_timeout_seconds: 10,
        health: None,
        configuration: None,
        log: None,
        origin: origin("app \"hello\"", 3),
    };
    change(&mut app);
    Part::App(app)
}

fn root() -> Owner {
    Owner { user: Account::Id(0), group: Account::Id(0) }
}

fn named(user: &str, group: &str) -> Owner {
    Owner { user: Account::Name(user.into()), group: Account::Name(group.into()) }
}

fn inode(at: &str, mode: u16) -> InodePlan {
    InodePlan {
        path: path(at),
        mode,
        owner: root(),
        xattrs: BTreeMap::new(),
        capabilities: Vec::new(),
        replace: false,
    }
}

fn file_part(inode: InodePlan, text: &str) -> Part {
    let content = FileContent::Inline(text.into());
    Part::File(FilePlan { origin: origin(&format!("file \"{}\"", inode.path), 9), inode, content })
}

fn directory_part(inode: InodePlan) -> Part {
    Part::Directory(DirectoryPlan { inode, origin: origin("directory", 11) })
}

fn symlink_part(inode: InodePlan, target: &str) -> Part {
    Part::Symlink(SymlinkPlan { inode, target: target.into(), origin: origin("symlink", 12) })
}

fn device_part(inode: InodePlan, kind: DeviceNode) -> Part {
    Part::Device(DevicePlan { inode, kind, origin: origin("device", 13) })
}

fn user(name: &str, uid: u32, line: usize) -> UserPlan {
    UserPlan {
        name: name.into(),
        uid,
        group: Account::Name(name.into()),
        groups: Vec::new(),
        home: "/".into(),
        shell: "/bin/sh".into(),
        comment: "A person".into(),
        origin: origin(&format!("user \"{name}\""), line),
    }
}

fn group(name: &str, gid: u32, line: usize) -> GroupPlan {
    GroupPlan { name: name.into(), gid, origin: origin(&format!("group \"{name}\""), line) }
}

/// Writes an error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn texts(errors: &[ComposeError]) -> Vec<String> {
    errors.iter().map(|error| chain(error)).collect()
}

fn accounts(plan: &Plan) -> Accounts {
    Accounts::of(plan).unwrap_or_else(|errors| panic!("{:?}", texts(&errors)))
}

fn make_with(
    part: &Part,
    plan: &Plan,
    sink: &dyn ContentSink,
) -> Result<(Prepared, Contribution), Vec<String>> {
    let (accounts, limits, job) = (accounts(plan), Limits::default(), Job::quiet(2));
    let prepared = prepare(part, &accounts, &limits, &job).map_err(|errors| texts(&errors))?;
    let context = Context { sink, accounts: &accounts, limits: &limits, job: &job };
    let made = contribute(part, &prepared, &context).map_err(|errors| texts(&errors))?;
    Ok((prepared, made.expect("not packages")))
}

fn make(part: &Part) -> Result<(Prepared, Contribution), Vec<String>> {
    make_with(part, &plan(Vec::new()), &Digesting)
}

fn made(part: &Part) -> String {
    dump(&make(part).unwrap_or_else(|errors| panic!("{errors:?}")).1.tree)
}

fn refused(part: &Part) -> String {
    make(part).map(|(_, made)| dump(&made.tree)).expect_err("refused").join("\n")
}

fn id(text: &str) -> String {
    Content::of(text.as_bytes()).id.to_string()
}

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Host(tempfile::tempdir().expect("a folder"));
        host.write("program", b"\x7fELF", 0o700);
        host.write("notes", b"text", 0o600);
        host.write("site/index.html", b"<p>", 0o640);
        host.write("site/cgi/run", b"#!", 0o755);
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let at = self.at(name);
        std::fs::create_dir_all(at.parent().expect("a parent")).expect("made");
        std::fs::write(&at, bytes).expect("written");
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode)).expect("set");
        at
    }

    /// Writes an archive of (path, kind, mode, content).
    fn archive(&self, name: &str, entries: &[(&str, u8, u32, &[u8])]) -> PathBuf {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, mode, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_path(path).expect("a short path");
            header.set_entry_type(tar::EntryType::new(*kind));
            header.set_mode(*mode);
            header.set_uid(7);
            header.set_gid(8);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).expect("appended");
        }
        self.write(name, &builder.into_inner().expect("finished"), 0o644)
    }
}

#[test]
fn a_file_takes_its_mode_from_the_recipe_or_the_executable_bit() {
    let host = Host::new();
    let app = |at: &str, mode| app_part(SourcePlan { mode, ..source(&host.at(at), "/opt/hello") }, |_| ());
    let line = |mode: &str, text: &str| {
        let (length, id) = (text.len(), id(text));
        format!("/ d 0755 0:0\n/opt d 0755 0:0\n/opt/hello f {mode} 0:0 {length} {id}\n")
    };
    assert_eq!(made(&app("program", None)), line("0755", "\x7fELF"));
    assert_eq!(made(&app("notes", None)), line("0644", "text"));
    assert_eq!(made(&app("notes", Some(0o4711))), line("4711", "text"));
}

#[test]
fn a_directory_is_laid_at_its_target_with_the_owner_that_is_asked_for() {
    let host = Host::new();
    let mut plan = plan(Vec::new());
    plan.users.push(user("web", 33, 20));
    let owner = Some(Owner { user: Account::Name("web".into()), group: Account::Id(5) });
    let part = tree_part(SourcePlan { owner, ..source(&host.at("site"), "/srv/www") });
    let (prepared, made) = make_with(&part, &plan, &Digesting).expect("made");
    assert_eq!(
        dump(&made.tree),
        format!(
            "/ d 0755 0:0\n/srv d 0755 0:0\n/srv/www d 0755 33:5\n/srv/www/cgi d 0755 33:5\n\
             /srv/www/cgi/run f 0755 33:5 2 {}\n/srv/www/index.html f 0644 33:5 3 {}\n",
            id("#!"),
            id("<p>")
        )
    );
    let inputs = prepared.inputs.expect("inputs");
    let files: Vec<_> = inputs.files().collect();
    assert_eq!(files, [host.at("site/cgi/run"), host.at("site/index.html")]);
    assert_eq!(made.origin, "tree \"files\" (hello.hcl:7)");
    let whole = tree_part(source(&host.at("site"), "/"));
    assert!(self::made(&whole).contains("\n/cgi/run f 0755 0:0 2 "));
}

#[test]
fn an_archive_keeps_its_owners_and_modes_unless_the_recipe_says_otherwise() {
    let host = Host::new();
    let entries: [(&str, u8, u32, &[u8]); 3] =
        [("app-1/", b'5', 0o750, b""), ("app-1/bin/su", b'0', 0o4755, b"s"), ("app-1/x", b'0', 0o600, b"x")];
    let at = host.archive("app.tar", &entries);
    // Without a telling name it is known by its first bytes.
    let unnamed = host.archive("release", &entries);
    for at in [&at, &unnamed] {
        let allowed =
            SourcePlan { strip_components: 1, allow: vec![path("/opt/bin/su")], ..source(at, "/opt") };
        assert_eq!(
            made(&tree_part(allowed)),
            format!(
                "/ d 0755 0:0\n/opt d 0750 7:8\n/opt/bin d 0755 0:0\n/opt/bin/su f 4755 7:8 1 {}\n\
                 /opt/x f 0600 7:8 1 {}\n",
                id("s"),
                id("x")
            )
        );
    }
    let text = refused(&tree_part(SourcePlan { strip_components: 1, ..source(&at, "/opt") }));
    assert!(text.starts_with("tree \"files\" (hello.hcl:7): cannot take "), "{text}");
    assert!(text.contains("/opt/bin/su has a setuid bit"), "{text}");
    assert!(text.contains("allow = [\"/opt/bin/su\"]"), "{text}");
    let owner = Some(root());
    let owned = SourcePlan { owner, allow: vec![path("/app-1/bin/su")], ..source(&at, "/") };
    assert!(!made(&tree_part(owned)).contains("7:8"));
}

#[test]
fn sources_that_are_not_what_they_should_be_are_refused_with_the_block() {
    let host = Host::new();
    let archive = host.archive("a.tar", &[("x", b'0', 0o644, b"x")]);
    let broken = host.write("b.tar.gz", b"no archive at all", 0o644);
    let mut cut = std::fs::read(&archive).expect("read");
    cut.truncate(700);
    let cut = host.write("c.tar", &cut, 0o644);
    for (source, expected) in [
        (source(&host.at("none"), "/x"), "none: cannot look at "),
        (source(Path::new("/dev/null"), "/x"), "/dev/null is a device; only files"),
        (source(&broken, "/x"), "cut off (a header"),
        (source(&cut, "/x"), "\"x\" at byte 700: the archive ends here, cut off"),
        (source(&host.at("notes"), "/"), "path: "),
        (
            SourcePlan { strip_components: 1, ..source(&host.at("site"), "/x") },
            "strip_components: only the paths of",
        ),
        (
            SourcePlan { strip_components: 1, ..source(&host.at("notes"), "/x") },
            "strip_components: only the paths of",
        ),
        (
            SourcePlan { mode: Some(0o644), ..source(&host.at("site"), "/x") },
            "mode: only a source that is one file",
        ),
        (SourcePlan { mode: Some(0o644), ..source(&archive, "/x") }, "mode: only a source that is one file"),
        (
            SourcePlan { owner: Some(named("nobody", "root")), ..source(&host.at("site"), "/x") },
            "there is no user \"nobody\"; the recipe has \"root\"",
        ),
    ] {
        let text = refused(&tree_part(source));
        assert!(text.starts_with("tree \"files\" (hello.hcl:7): "), "{text}");
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
    let two = SourcePlan { strip_components: 1, mode: Some(0o644), ..source(&host.at("site"), "/x") };
    assert_eq!(refused(&tree_part(two)).lines().count(), 2);
}

#[test]
fn what_changes_between_digest_and_use_is_noticed() {
    let job = Job::quiet(2);
    let limits = Limits::default();
    let plan = plan(Vec::new());
    let accounts = accounts(&plan);
    let host = Host::new();
    let archive = host.archive("a.tar", &[("x", b'0', 0o644, b"x")]);
    let file = Part::File(FilePlan {
        inode: inode("/x", 0o644),
        content: FileContent::Host(host.at("notes")),
        origin: origin("file", 1),
    });
    let parts = [
        tree_part(source(&host.at("site"), "/site")),
        tree_part(source(&host.at("program"), "/program")),
        tree_part(source(&archive, "/x")),
        file,
    ];
    let prepared = prepare_all(&parts, &accounts, &limits, &job).expect("prepared");
    host.write("site/index.html", b"<b>", 0o644);
    host.write("program", b"\x7fELG", 0o700);
    host.write("notes", b"next", 0o700);
    host.archive("a.tar", &[("x", b'0', 0o644, b"y")]);
    let context = Context { sink: &Digesting, accounts: &accounts, limits: &limits, job: &job };
    for (part, prepared) in parts.iter().zip(&prepared) {
        let errors = contribute(part, prepared, &context).expect_err("changed");
        assert!(
            errors[0].to_string().contains(" changed between being looked at and being used"),
            "{}",
            errors[0]
        );
    }
}

#[test]
fn a_key_covers_what_the_tree_depends_on_and_nothing_else() {
    let host = Host::new();
    let other = Host::new();
    let base = source(&host.at("site"), "/srv");
    let key = |part: &Part| {
        let plan = plan(Vec::new());
        let prepared = prepare(part, &accounts(&plan), &Limits::default(), &Job::quiet(2));
        prepared.unwrap_or_else(|errors| panic!("{:?}", texts(&errors))).key.expect("a key")
    };
    let first = key(&tree_part(base.clone()));
    for same in [
        tree_part(SourcePlan { path: other.at("site"), ..base.clone() }),
        tree_part(SourcePlan { replace: vec![path("/srv/x")], ..base.clone() }),
        app_part(base.clone(), |app| app.command = vec!["/other".into()]),
        Part::Tree(TreePlan { name: "t".into(), source: base.clone(), origin: origin("elsewhere", 99) }),
    ] {
        assert_eq!(key(&same), first);
    }
    let file = source(&host.at("notes"), "/srv");
    let archive = source(&host.archive("a.tar", &[("x", b'0', 0o644, b"x")]), "/srv");
    let keys = [
        first,
        key(&tree_part(SourcePlan { target: path("/srw"), ..base.clone() })),
        key(&tree_part(SourcePlan { allow: vec![path("/srv/x")], ..base.clone() })),
        key(&tree_part(SourcePlan { owner: Some(root()), ..base.clone() })),
        key(&tree_part(file.clone())),
        key(&tree_part(SourcePlan { mode: Some(0o644), ..file.clone() })),
        key(&tree_part(SourcePlan { mode: Some(0o600), ..file })),
        key(&tree_part(archive.clone())),
        key(&tree_part(SourcePlan { strip_components: 1, ..archive })),
        {
            host.write("site/new", b"", 0o644);
            key(&tree_part(base))
        },
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{index}");
    }
}

#[test]
fn an_owners_name_counts_by_its_number() {
    let host = Host::new();
    let part = tree_part(SourcePlan { owner: Some(named("web", "web")), ..source(&host.at("site"), "/srv") });
    let key = |uid| {
        let mut plan = plan(Vec::new());
        plan.users.push(user("web", uid, 20));
        make_with(&part, &plan, &Digesting).expect("made").0.key
    };
    assert_eq!(key(33), key(33));
    assert_ne!(key(33), key(34));
}

#[test]
fn single_inodes_are_what_the_recipe_states() {
    let capabilities = vec!["CAP_NET_RAW".to_owned(), "CAP_NET_BIND_SERVICE".to_owned()];
    let xattrs = BTreeMap::from([("user.k".to_owned(), b"v\0".to_vec())]);
    let ping = InodePlan { capabilities, xattrs, ..inode("/bin/ping", 0o755) };
    assert_eq!(
        made(&file_part(ping, "hello\n")),
        format!(
            "/ d 0755 0:0\n/bin d 0755 0:0\n/bin/ping f 0755 0:0 6 {} \
             security.capability=0100000200240000000000000000000000000000 user.k=7600\n",
            id("hello\n")
        )
    );
    assert_eq!(
        made(&directory_part(inode("/var/tmp", 0o1777))),
        "/ d 0755 0:0\n/var d 0755 0:0\n/var/tmp d 1777 0:0\n"
    );
    assert_eq!(made(&directory_part(inode("/", 0o700))), "/ d 0700 0:0\n");
    assert_eq!(
        made(&symlink_part(inode("/bin", 0o777), "usr/bin")),
        "/ d 0755 0:0\n/bin l 0777 0:0 -> usr/bin\n"
    );
    let null = DeviceNode::Character { major: 1, minor: 3 };
    assert_eq!(made(&device_part(inode("/null", 0o666), null)), "/ d 0755 0:0\n/null c 0666 0:0 1:3\n");
    let disk = DeviceNode::Block { major: 4095, minor: 1_048_575 };
    assert!(made(&device_part(inode("/disk", 0o660), disk)).ends_with("/disk b 0660 0:0 4095:1048575\n"));
    assert!(made(&device_part(inode("/pipe", 0o660), DeviceNode::Fifo)).ends_with("/pipe p 0660 0:0\n"));
    let link = HardLinkPlan {
        path: path("/b"),
        target: path("/a"),
        replace: true,
        origin: origin("hard_link \"/b\"", 5),
    };
    let (_, made) = make(&Part::HardLink(link)).expect("made");
    assert_eq!(dump(&made.tree), "/ d 0755 0:0\n/b h = /a\n");
    assert_eq!(made.replaces, [path("/b")]);
    let (_, made) = make(&directory_part(InodePlan { replace: true, ..inode("/d", 0o700) })).expect("made");
    assert_eq!((made.replaces, made.explicit), (vec![path("/d")], vec![path("/d")]));
}

#[test]
fn a_copied_file_takes_nothing_but_content_from_the_host() {
    let host = Host::new();
    let part = Part::File(FilePlan {
        inode: inode("/x", 0o600),
        content: FileContent::Host(host.at("program")),
        origin: origin("file", 1),
    });
    assert_eq!(made(&part), format!("/ d 0755 0:0\n/x f 0600 0:0 4 {}\n", id("\x7fELF")));
    let missing = Part::File(FilePlan {
        inode: inode("/x", 0o600),
        content: FileContent::Host(host.at("site")),
        origin: origin("file \"/x\"", 4),
    });
    let text = refused(&missing);
    assert!(text.contains("file \"/x\" (hello.hcl:4): cannot take "), "{text}");
    assert!(text.contains("/site is a directory"), "{text}");
}

#[test]
fn single_inodes_that_cannot_be_are_refused() {
    let capable = |names: &[&str]| InodePlan {
        capabilities: names.iter().map(|name| (*name).to_owned()).collect(),
        ..inode("/x", 0o755)
    };
    let attributed = |name: &str| InodePlan {
        xattrs: BTreeMap::from([(name.to_owned(), Vec::new())]),
        ..capable(&["CAP_CHOWN"])
    };
    let plain_attribute = InodePlan { capabilities: Vec::new(), ..attributed("user.k") };
    for (part, expected) in [
        (file_part(inode("/", 0o644), ""), "/: the root is a directory, not a file"),
        (file_part(capable(&["cap_chown"]), ""), "capabilities: \"cap_chown\" is no capability of Linux"),
        (file_part(attributed("security.capability"), ""), "keep one of the two"),
        (directory_part(capable(&["CAP_CHOWN"])), "capabilities: only a file has capabilities"),
        (symlink_part(capable(&["CAP_CHOWN"]), "t"), "capabilities: only a file has capabilities"),
        (
            symlink_part(plain_attribute, "t"),
            "\"user.k\": only files and directories can have user.* attributes",
        ),
        (symlink_part(inode("/x", 0o777), ""), "target: a symlink's target has 1 to 4095 bytes"),
        (
            symlink_part(inode("/x", 0o777), &"t".repeat(4096)),
            "target: a symlink's target has 1 to 4095 bytes",
        ),
        (symlink_part(inode("/x", 0o777), "a\0b"), "none of them NUL"),
        (
            device_part(inode("/x", 0o600), DeviceNode::Character { major: 4096, minor: 0 }),
            "/x: device numbers go to 4095:1048575, this one is 4096:0",
        ),
        (
            file_part(InodePlan { owner: named("web", "root"), ..inode("/x", 0o600) }, ""),
            "there is no user \"web\"; the recipe has \"root\"",
        ),
        (
            file_part(InodePlan { owner: named("root", "web"), ..inode("/x", 0o600) }, ""),
            "there is no group \"web\"; the recipe has \"root\"",
        ),
        (
            Part::HardLink(HardLinkPlan {
                path: path("/x"),
                target: path("/x"),
                replace: false,
                origin: origin("hard_link \"/x\"", 5),
            }),
            "hard_link \"/x\" (hello.hcl:5): /x: a hard link to itself",
        ),
    ] {
        let text = refused(&part);
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
}

#[test]
fn a_conflict_of_two_parts_names_both_and_replacing_is_asked_for() {
    let one = make(&file_part(inode("/etc/motd", 0o644), "a")).expect("made").1;
    let two = make(&file_part(inode("/etc/motd", 0o600), "a")).expect("made").1;
    let errors = merge(vec![one.clone(), two]).expect_err("a conflict");
    assert_eq!(
        errors[0].to_string(),
        "/etc/motd: both file \"/etc/motd\" (hello.hcl:9) and file \"/etc/motd\" (hello.hcl:9) bring it, \
         and they differ (modes 0644 and 0600)"
    );
    let replacing = InodePlan { replace: true, ..inode("/etc/motd", 0o600) };
    let two = make(&file_part(replacing, "b")).expect("made").1;
    assert!(dump(&merge(vec![one, two]).expect("merged").0).contains("/etc/motd f 0600"));
}

#[test]
fn packages_are_left_to_who_can_fetch_them() {
    let packages = Part::Packages(PackagesPlan {
        distribution: "debian".into(),
        archives: Vec::new(),
        names: Vec::new(),
        dependencies: true,
        essential: true,
        recommends: false,
        exclude: Vec::new(),
        pins: BTreeMap::new(),
        holds: Vec::new(),
        files: Vec::new(),
        foreign_architectures: Vec::new(),
        keep: Vec::new(),
        drop: Vec::new(),
        scripts: BTreeMap::new(),
        database: PackageDatabase::Full,
        allow: Vec::new(),
        replace: Vec::new(),
        origin: origin("packages \"debian\"", 2),
    });
    let (plan, limits, job) = (plan(Vec::new()), Limits::default(), Job::quiet(1));
    let accounts = accounts(&plan);
    let context = Context { sink: &Digesting, accounts: &accounts, limits: &limits, job: &job };
    assert_eq!(prepare(&packages, &accounts, &limits, &job).expect("nothing to do"), Prepared::default());
    assert!(contribute(&packages, &Prepared::default(), &context).expect("nothing to do").is_none());
}

#[test]
fn all_parts_are_prepared_and_all_errors_kept_in_order() {
    let host = Host::new();
    let parts =
        ["none", "site", "nothing"].map(|name| tree_part(source(&host.at(name), &format!("/{name}"))));
    let plan = plan(Vec::new());
    let errors = prepare_all(&parts, &accounts(&plan), &Limits::default(), &Job::quiet(2)).expect_err("two");
    let texts = texts(&errors);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("/none") && texts[1].contains("/nothing"), "{texts:?}");
}

#[test]
fn accounts_that_clash_are_refused_with_both_places() {
    let errors = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan(Vec::new());
        change(&mut plan);
        texts(&Accounts::of(&plan).expect_err("refused")).join("\n")
    };
    let app =
        |user: &'static str| app_part(source(Path::new("/x"), "/hello"), move |app| app.user = user.into());
    let with = |plan: &mut Plan, changed: UserPlan| plan.users.push(changed);
    for (text, expected) in [
        (
            errors(&|plan| plan.users.extend([user("a", 10, 1), user("a", 11, 2)])),
            "user \"a\" (hello.hcl:2): user \"a\" has id 11, but user \"a\" (hello.hcl:1) gives that name id 10",
        ),
        (
            errors(&|plan| plan.users.extend([user("a", 10, 1), user("b", 10, 2)])),
            "user \"b\" has id 10, but user \"a\" (hello.hcl:1) gives that id to \"a\"",
        ),
        (
            errors(&|plan| plan.groups.extend([group("a", 10, 1), group("b", 10, 2)])),
            "group \"b\" has id 10, but group \"a\" (hello.hcl:1) gives that id to \"a\"",
        ),
        (
            errors(&|plan| {
                plan.users.push(user("web", 1000, 1));
                plan.parts.push(app("app"));
            }),
            "app \"hello\" (hello.hcl:3): user \"app\" has id 1000, but user \"web\" (hello.hcl:1) gives that id",
        ),
        (
            errors(&|plan| plan.parts.push(app("wbe"))),
            "app \"hello\" (hello.hcl:3): there is no user \"wbe\"; the recipe has \"app\", \"root\"",
        ),
        (errors(&|plan| with(plan, user("a", 0, 1))), "id 0 and the name \"root\" belong together"),
        (errors(&|plan| with(plan, user("root", 5, 1))), "id 0 and the name \"root\" belong together"),
        (errors(&|plan| with(plan, user("a", u32::MAX, 1))), "ids go to 4294967294"),
        (errors(&|plan| with(plan, user("A b", 5, 1))), "names are [a-z_][a-z0-9_-]*"),
        (
            errors(&|plan| with(plan, UserPlan { home: "/a:b".into(), ..user("a", 5, 1) })),
            "home: \"/a:b\" has a colon",
        ),
        (
            errors(&|plan| with(plan, UserPlan { comment: "a\nroot::0".into(), ..user("a", 5, 1) })),
            "comment: ",
        ),
    ] {
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
}

/// Merges files into a tree, then writes accounts; returns tree and contents.
fn with_accounts(
    plan: &Plan,
    files: &[(&str, u16, &str)],
) -> Result<(Directory, MemoryContents, mkimage::compose::Identities), Vec<String>> {
    let contents = MemoryContents::default();
    let parts: Vec<Part> = files.iter().map(|(at, mode, text)| file_part(inode(at, *mode), text)).collect();
    let made = parts.iter().map(|part| make_with(part, plan, &contents).expect("made").1).collect();
    let (mut tree, origins) = merge(made).expect("merged");
    let identities = write_accounts(&mut tree, &origins, &accounts(plan), &contents, &contents);
    let identities = identities.map_err(|errors| texts(&errors))?;
    Ok((tree, contents, identities))
}

fn text_of(tree: &Directory, contents: &MemoryContents, at: &str) -> String {
    let Some(Node::File(file)) = tree.get(&path(at)) else { panic!("no file at {at}") };
    String::from_utf8(contents.read_all(&file.content).expect("stored")).expect("text")
}

#[test]
fn a_new_image_gets_root_nobody_and_the_apps_user() {
    let plan = plan(vec![app_part(source(Path::new("/x"), "/hello"), |_| ())]);
    let (tree, contents, identities) = with_accounts(&plan, &[]).expect("written");
    assert_eq!(
        text_of(&tree, &contents, "/etc/passwd"),
        "root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n\
         app:x:1000:1000::/:/usr/sbin/nologin\n"
    );
    assert_eq!(text_of(&tree, &contents, "/etc/group"), "root:x:0:\nnogroup:x:65534:\napp:x:1000:\n");
    assert_eq!(text_of(&tree, &contents, "/etc/shadow"), "root:!*:::::::\nnobody:!*:::::::\napp:!*:::::::\n");
    assert_eq!(text_of(&tree, &contents, "/etc/gshadow"), "root:!::\nnogroup:!::\napp:!::\n");
    assert!(dump(&tree).contains("/etc/shadow f 0600 0:0 "));
    let app = identities.of("app").expect("the app's user");
    assert_eq!((app.uid, app.gid, app.groups.len()), (1000, 1000, 0));
    assert_eq!(identities.of("root").expect("root").uid, 0);
    assert!(identities.of("nobody").is_none());
}

const DEBIAN_PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n";
const DEBIAN_GROUP: &str = "root:x:0:\nwww-data:x:33:\nvideo:x:44:camera\n";
const DEBIAN_SHADOW: &str = "root:$y$secret:19000:0:99999:7:::\n";

#[test]
fn accounts_of_a_tree_stay_and_those_of_the_recipe_join_them() {
    let mut plan = plan(Vec::new());
    plan.users.push(UserPlan {
        group: Account::Name("www-data".into()),
        groups: vec!["video".into(), "extra".into(), "www-data".into()],
        ..user("web", 1001, 20)
    });
    plan.users.push(UserPlan { group: Account::Id(33), home: "/srv".into(), ..user("www-data", 33, 21) });
    plan.groups.push(group("extra", 300, 22));
    plan.groups.push(group("video", 44, 23));
    let files = [
        ("/etc/passwd", 0o644, DEBIAN_PASSWD),
        ("/etc/group", 0o644, DEBIAN_GROUP),
        ("/etc/shadow", 0o640, DEBIAN_SHADOW),
    ];
    let (tree, contents, identities) = with_accounts(&plan, &files).expect("written");
    assert_eq!(
        text_of(&tree, &contents, "/etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:A person:/srv:/bin/sh\n\
         web:x:1001:33:A person:/:/bin/sh\n"
    );
    assert_eq!(
        text_of(&tree, &contents, "/etc/group"),
        "root:x:0:\nwww-data:x:33:web\nvideo:x:44:camera,web\nextra:x:300:web\n"
    );
    assert_eq!(
        text_of(&tree, &contents, "/etc/shadow"),
        "root:$y$secret:19000:0:99999:7:::\nweb:!*:::::::\nwww-data:!*:::::::\n"
    );
    assert!(dump(&tree).contains("/etc/shadow f 0640 0:0 "));
    let web = identities.of("web").expect("the user");
    assert_eq!((web.uid, web.gid, &web.groups[..]), (1001, 33, &[44, 300][..]));
}

#[test]
fn accounts_that_clash_with_those_of_a_tree_are_refused_with_both_places() {
    let files = [("/etc/passwd", 0o644, DEBIAN_PASSWD), ("/etc/group", 0o644, DEBIAN_GROUP)];
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan(Vec::new());
        change(&mut plan);
        with_accounts(&plan, &files).map(|_| ()).expect_err("refused").join("\n")
    };
    for (text, expected) in [
        (
            refused(&|plan| plan.users.push(user("web", 33, 20))),
            "user \"web\" (hello.hcl:20): user \"web\" has id 33, but /etc/passwd of file \"/etc/passwd\" \
             (hello.hcl:9) gives that id to \"www-data\"",
        ),
        (
            refused(&|plan| plan.users.push(user("www-data", 34, 20))),
            "/etc/passwd of file \"/etc/passwd\" (hello.hcl:9) gives that name id 33",
        ),
        (
            refused(&|plan| plan.groups.push(group("cinema", 44, 20))),
            "group \"cinema\" has id 44, but /etc/group of file \"/etc/group\" (hello.hcl:9) gives that id to \"video\"",
        ),
        (
            refused(&|plan| {
                plan.users.push(UserPlan { groups: vec!["vidoe".into()], ..user("a", 5, 20) });
            }),
            "user \"a\" (hello.hcl:20): there is no group \"vidoe\"; the recipe has \"root\", \"www-data\", \"video\", \"a\"",
        ),
        (
            refused(&|plan| {
                plan.users.push(UserPlan { group: Account::Name("none".into()), ..user("a", 5, 20) })
            }),
            "there is no group \"none\"",
        ),
    ] {
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
}

#[test]
fn account_files_that_cannot_be_read_are_refused_and_a_linked_etc_is_followed() {
    let mut plan = plan(Vec::new());
    plan.users.push(user("a", 5, 20));
    let contents = MemoryContents::default();
    let run = |parts: &[Part]| {
        let made = parts.iter().map(|part| make_with(part, &plan, &contents).expect("made").1).collect();
        let (mut tree, origins) = merge(made).expect("merged");
        write_accounts(&mut tree, &origins, &accounts(&plan), &contents, &contents)
            .map(|_| tree)
            .map_err(|errors| texts(&errors).join("\n"))
    };
    let linked = run(&[symlink_part(inode("/etc/passwd", 0o777), "/usr/passwd")]);
    assert!(linked.expect_err("refused").contains("/etc/passwd: is a symlink; accounts need a file"));
    let blocked = run(&[file_part(inode("/etc", 0o644), "")]);
    assert!(blocked.expect_err("refused").contains("/etc: a file is in the way"));
    let long = run(&[file_part(inode("/etc/passwd", 0o644), &"x".repeat((4 << 20) + 1))]);
    assert!(long.expect_err("refused").contains("/etc/passwd: has 4194305 bytes"));
    let latin = contents.put(b"root:x:0:0:r\xf6\xf6t:/:/bin/sh\n").expect("put");
    let mut tree = Directory::default();
    let node = mkimage::tree::File { metadata: mkimage::tree::Metadata::root(0o644), content: latin };
    tree.insert(&path("/etc/passwd"), Node::File(node)).expect("inserted");
    let errors = write_accounts(&mut tree, &Default::default(), &accounts(&plan), &contents, &contents);
    assert!(texts(&errors.expect_err("refused"))[0].contains("/etc/passwd: is not UTF-8"));
    let followed =
        run(&[directory_part(inode("/usr/etc", 0o755)), symlink_part(inode("/etc", 0o777), "usr/etc")]);
    assert!(followed.expect("written").get(&path("/usr/etc/passwd")).is_some());
}

#[test]
fn a_recipe_without_accounts_changes_no_account_file() {
    let (tree, contents, _) =
        with_accounts(&plan(Vec::new()), &[("/etc/passwd", 0o644, DEBIAN_PASSWD)]).expect("nothing to do");
    assert_eq!(text_of(&tree, &contents, "/etc/passwd"), DEBIAN_PASSWD);
    assert!(tree.get(&path("/etc/group")).is_none());
}

fn finished(plan: &Plan, parts: &[Part]) -> Result<(Directory, MemoryContents), Vec<String>> {
    let contents = MemoryContents::default();
    let made = parts.iter().map(|part| make_with(part, plan, &contents).expect("made").1).collect();
    let (mut tree, _) = merge(made).expect("merged");
    finish(&mut tree, plan, &contents).map_err(|errors| texts(&errors))?;
    Ok((tree, contents))
}

#[test]
fn an_empty_image_gets_the_places_that_every_image_has_and_no_more() {
    let (tree, contents) = finished(&plan(Vec::new()), &[]).expect("finished");
    let lines: Vec<_> =
        dump(&tree).lines().map(|line| line.split(" f ").next().expect("a part").to_owned()).collect();
    assert_eq!(
        lines,
        [
            "/ d 0755 0:0",
            "/data d 0755 0:0",
            "/dev d 0755 0:0",
            "/etc d 0755 0:0",
            "/etc/hostname",
            "/etc/os-release",
            "/etc/resolv.conf l 0777 0:0 -> ../run/resolv.conf",
            "/proc d 0555 0:0",
            "/run d 0755 0:0",
            "/sys d 0555 0:0",
            "/tmp d 1777 0:0",
        ]
    );
    assert_eq!(text_of(&tree, &contents, "/etc/hostname"), "hello\n");
    assert_eq!(
        text_of(&tree, &contents, "/etc/os-release"),
        "ID=hello\nNAME=\"hello\"\nVERSION_ID=\"1.2\"\nPRETTY_NAME=\"hello 1.2\"\n"
    );
}

#[test]
fn what_a_shell_would_read_in_os_release_is_escaped() {
    let mut plan = plan(Vec::new());
    plan.image.version = Some("1\"$(reboot)`\\\n".into());
    let (tree, contents) = finished(&plan, &[]).expect("finished");
    assert!(
        text_of(&tree, &contents, "/etc/os-release").contains("VERSION_ID=\"1\\\"\\$(reboot)\\`\\\\\"\n")
    );
}

#[test]
fn what_parts_brought_stays() {
    let parts = [
        directory_part(inode("/tmp", 0o700)),
        file_part(inode("/etc/resolv.conf", 0o644), "nameserver 192.0.2.1\n"),
        file_part(inode("/etc/hostname", 0o644), "other\n"),
        file_part(inode("/usr/lib/os-release", 0o644), "ID=other\n"),
        directory_part(inode("/var/data", 0o750)),
        symlink_part(inode("/data", 0o777), "var/data"),
    ];
    let (tree, contents) = finished(&plan(Vec::new()), &parts).expect("finished");
    let text = dump(&tree);
    assert!(text.contains("/tmp d 0700") && text.contains("/etc/resolv.conf f "), "{text}");
    assert!(
        text.contains("/var/data d 0750") && text.contains("/data l ") && !text.contains("/etc/os-release")
    );
    assert_eq!(text_of(&tree, &contents, "/etc/hostname"), "other\n");
}

#[test]
fn an_image_with_its_own_init_names_itself() {
    let mut plan = plan(Vec::new());
    plan.image.init = Some(path("/sbin/init"));
    let parts = [
        file_part(inode("/usr/lib/systemd/systemd", 0o755), "init"),
        symlink_part(inode("/usr/sbin/init", 0o777), "../lib/systemd/systemd"),
        symlink_part(inode("/sbin", 0o777), "usr/sbin"),
    ];
    let (tree, _) = finished(&plan, &parts).expect("finished");
    assert!(tree.get(&path("/etc/hostname")).is_none() && tree.get(&path("/etc/os-release")).is_none());
    assert!(tree.get(&path("/etc/resolv.conf")).is_some());
    let errors = finished(&plan, &parts[..2]).map(|_| ()).expect_err("no /sbin");
    assert_eq!(errors, ["image \"hello\" (hello.hcl:1): init: nothing stands at /sbin/init"]);
}

#[test]
fn places_that_are_taken_and_programs_that_are_not_there_are_all_reported() {
    let app = |change: fn(&mut AppPlan)| app_part(source(Path::new("/x"), "/hello"), change);
    let run = |part: Part, parts: &[Part]| {
        finished(&plan(vec![part]), parts).map(|_| ()).expect_err("refused").join("\n")
    };
    let hello = || file_part(inode("/hello", 0o755), "x");
    let link = |target| symlink_part(inode("/hello", 0o777), target);
    for (text, expected) in [
        (run(app(|_| ()), &[]), "app \"hello\" (hello.hcl:3): command: nothing stands at /hello"),
        (run(app(|_| ()), &[link("/hello")]), "command: nothing stands at /hello"),
        (run(app(|_| ()), &[link("gone")]), "command: nothing stands at /hello"),
        (
            run(app(|_| ()), &[file_part(inode("/hello", 0o644), "x")]),
            "command: /hello is not executable (its mode is 0644); mode = \"0755\" makes it so",
        ),
        (
            run(app(|_| ()), &[directory_part(inode("/hello", 0o755))]),
            "command: /hello is a directory, not a program",
        ),
        (
            run(app(|app| app.command = vec!["hello".into()]), &[hello()]),
            "command: a path inside the image must start",
        ),
        (
            run(app(|app| app.working_directory = path("/srv")), &[hello()]),
            "working_directory: nothing stands at /srv",
        ),
        (
            run(app(|app| app.working_directory = path("/hello")), &[hello()]),
            "working_directory: /hello is a file",
        ),
        (
            run(app(|_| ()), &[hello(), file_part(inode("/proc", 0o644), "")]),
            "image \"hello\" (hello.hcl:1): /proc: a file is in the way, where every image needs a directory",
        ),
        (
            run(app(|_| ()), &[hello(), symlink_part(inode("/tmp", 0o777), "var/tmp")]),
            "/tmp: a symlink that leads to no directory is in the way",
        ),
        (run(app(|_| ()), &[hello(), file_part(inode("/data", 0o644), "")]), "/data: a file is in the way"),
    ] {
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
    let both = run(app(|app| app.working_directory = path("/srv")), &[file_part(inode("/sys", 0o644), "")]);
    assert_eq!(both.lines().count(), 3, "{both}");
    let later = app(|app| app.working_directory = path("/data/hello"));
    assert!(finished(&plan(vec![later]), &[hello()]).is_ok());
}

#[test]
fn stopping_is_told_apart_from_failing() {
    let host = Host::new();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let workers = mkimage::base::parallel::Workers::new(1);
    let job = Job::new(workers, std::sync::Arc::new(mkimage::base::job::Silent), stop);
    let plan = plan(Vec::new());
    let part = tree_part(source(&host.at("site"), "/srv"));
    let errors = prepare(&part, &accounts(&plan), &Limits::default(), &job).expect_err("stopped");
    assert!(errors.iter().all(ComposeError::is_cancelled));
}
