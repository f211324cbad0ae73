//! Packages over each other, in one tree.

use mkimage::packages::install::{LayError, Layout, Ownership, lay};
use mkimage::tree::{Content, Directory, File, Metadata, Node, Symlink};

use super::*;

/// A package with some nodes and fields.
struct Made {
    name: &'static str,
    version: &'static str,
    architecture: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    preinst: Option<&'static str>,
    nodes: Vec<(&'static str, Node)>,
}

fn made(name: &'static str, nodes: Vec<(&'static str, Node)>) -> Made {
    Made { name, version: "1", architecture: "amd64", fields: Vec::new(), preinst: None, nodes }
}

impl Made {
    fn field(mut self, name: &'static str, value: &'static str) -> Made {
        self.fields.push((name, value));
        self
    }

    fn preinst(mut self, script: &'static str) -> Made {
        self.preinst = Some(script);
        self
    }

    fn unpacked(&self, contents: &MemoryContents) -> Unpacked {
        let mut tree = Directory::default();
        for (at, node) in &self.nodes {
            match node {
                Node::Directory(directory) => {
                    tree.make_directories(&path(at)).expect("made").metadata = directory.metadata.clone();
                }
                node => tree.insert(&path(at), node.clone()).expect("inserted"),
            }
        }
        let mut info = Directory::default();
        if let Some(script) = self.preinst {
            let content = contents.put(script.as_bytes()).expect("put");
            let file = File { metadata: Metadata::root(0o755), content };
            info.insert(&path("/preinst"), Node::File(file)).expect("inserted");
        }
        let fields = self.fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let control = unpack::Control {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            architecture: self.architecture.to_owned(),
            fields: fields.collect(),
        };
        Unpacked { tree, info, control }
    }
}

fn file(text: &str) -> Node {
    with_mode(text, 0o644)
}

fn with_mode(text: &str, mode: u16) -> Node {
    Node::File(File { metadata: Metadata::root(mode), content: Content::of(text.as_bytes()) })
}

fn link(target: &str) -> Node {
    Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() })
}

fn folder(mode: u16) -> Node {
    Node::Directory(Directory { metadata: Metadata::root(mode), ..Directory::default() })
}

fn hard(target: &str) -> Node {
    Node::HardLink(path(target))
}

const MERGED: Layout<'static> =
    Layout { usr_merge: true, drop: &[], keep: &[], architecture: "amd64", ignored_scripts: &[] };

/// Lays packages in every order of two: the result is one.
fn laid_with(packages: &[Made], layout: &Layout<'_>) -> Result<(Directory, Ownership), Vec<LayError>> {
    let contents = MemoryContents::default();
    let mut unpacked: Vec<Unpacked> = packages.iter().map(|made| made.unpacked(&contents)).collect();
    let first = lay(&unpacked, layout, &contents, &Job::quiet(1));
    unpacked.reverse();
    let second = lay(&unpacked, layout, &contents, &Job::quiet(3));
    match (&first, &second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second, "the order does not matter");
            first.0.clone().seal().expect("sealed");
        }
        (Err(first), Err(second)) => assert_eq!(text(first), text(second), "the order does not matter"),
        _ => panic!("the order decides: {first:?} {second:?}"),
    }
    first
}

fn laid(packages: &[Made]) -> (Directory, Ownership) {
    laid_with(packages, &MERGED).unwrap_or_else(|errors| panic!("{}", text(&errors)))
}

fn refused(packages: &[Made]) -> String {
    text(&laid_with(packages, &MERGED).expect_err("refused"))
}

fn text(errors: &[LayError]) -> String {
    errors.iter().map(|error| whole(error)).collect::<Vec<_>>().join("\n")
}

fn at<'t>(tree: &'t Directory, text: &str) -> Option<&'t Node> {
    tree.get(&path(text))
}

#[test]
fn the_merged_usr_has_links_and_nothing_replaces_them() {
    let packages = [
        made(
            "old",
            vec![("/bin/a", file("a")), ("/lib/x86/b.so", file("b")), ("/lib64/ld", link("/lib/x86/b.so"))],
        ),
        made("new", vec![("/usr/bin/c", file("c")), ("/usr/lib/x86/d.so", file("d"))]),
        made(
            "base-files",
            vec![("/bin", link("usr/bin")), ("/lib", link("/usr/lib/")), ("/usr", folder(0o755))],
        ),
        made("hard", vec![("/sbin/e", file("e")), ("/sbin/f", hard("/sbin/e"))]),
    ];
    let (tree, owners) = laid(&packages);
    for name in ["bin", "sbin", "lib64"] {
        assert_eq!(at(&tree, &format!("/{name}")), Some(&link(&format!("usr/{name}"))), "{name}");
    }
    assert_eq!(at(&tree, "/lib"), Some(&link("/usr/lib/")), "as the package has it");
    assert!(at(&tree, "/lib32").is_none(), "nothing is behind it");
    for there in
        ["/usr/bin/a", "/usr/bin/c", "/usr/lib/x86/b.so", "/usr/lib/x86/d.so", "/usr/lib64/ld", "/usr/sbin/e"]
    {
        assert!(at(&tree, there).is_some(), "{there}");
    }
    assert_eq!(at(&tree, "/usr/sbin/f"), Some(&hard("/usr/sbin/e")));
    assert_eq!(owners.of(&path("/usr/bin/a")), Some("old"));
    assert_eq!(owners.of(&path("/bin/a")), Some("old"), "asked through the link");
    assert_eq!(owners.all_of(&path("/usr/lib/x86")), ["new", "old"]);
    assert_eq!(owners.of(&path("/nothing")), None);
    let files: Vec<String> = owners.files("new").map(ToString::to_string).collect();
    assert_eq!(
        files,
        ["/", "/usr", "/usr/bin", "/usr/bin/c", "/usr/lib", "/usr/lib/x86", "/usr/lib/x86/d.so"]
    );
    assert!(
        refused(&[made("aa", vec![("/bin", link("elsewhere"))])])
            .contains("/bin is the link into the merged /usr, and package aa brings")
    );
}

#[test]
fn without_the_merge_things_stay_where_they_are() {
    let layout = Layout { usr_merge: false, ..MERGED };
    let packages = [made("aa", vec![("/bin/a", file("a"))]), made("bb", vec![("/usr/bin/a", file("b"))])];
    let (tree, _) = laid_with(&packages, &layout).expect("laid");
    assert!(at(&tree, "/bin/a").is_some() && at(&tree, "/usr/bin/a").is_some());
    let said = refused(&packages);
    assert!(
        said.starts_with("/usr/bin/a: packages aa and bb both bring it, they differ (content "),
        "{said}"
    );
}

#[test]
fn equal_nodes_are_one_and_others_are_a_conflict_that_names_both() {
    let same = |architecture| Made { architecture, ..made("lib", vec![("/usr/share/doc/lib/c", file("c"))]) };
    let (_, owners) =
        laid(&[same("amd64"), same("i386"), made("other", vec![("/usr/share/doc/lib/c", file("c"))])]);
    assert_eq!(owners.all_of(&path("/usr/share/doc/lib/c")), ["lib", "lib:i386", "other"]);
    for (first, second, difference) in [
        (file("1"), file("2"), "content"),
        (with_mode("1", 0o644), with_mode("1", 0o755), "modes 0644 and 0755"),
        (link("x"), link("y"), "targets \"x\" and \"y\""),
        (file("1"), link("y"), "a file and a symlink"),
    ] {
        let said = refused(&[made("aa", vec![("/etc/x", first)]), made("bb", vec![("/etc/x", second)])]);
        assert!(said.starts_with("/etc/x: packages aa and bb both bring it"), "{said}");
        assert!(said.contains(difference) && said.contains("exclude"), "{said}");
    }
    let said = refused(&[made("aa", vec![("/lib/x", file("1")), ("/usr/lib/x", file("2"))])]);
    assert!(said.starts_with("/usr/lib/x: package aa brings it twice"), "{said}");
    let said = refused(&[made("aa", vec![("/x/y", file("1"))]), made("bb", vec![("/x", file("2"))])]);
    assert_eq!(said, "/x: package bb brings a file, package aa a directory");
    let said = refused(&[made("aa", vec![]), Made { version: "2", ..made("aa", vec![]) }]);
    assert!(said.starts_with("package aa comes twice, in versions "), "{said}");
}

#[test]
fn one_that_replaces_wins_whatever_the_order() {
    let pair = |one: &'static str, other: &'static str| {
        [
            made("aa", vec![("/x", file("a")), ("/a", file("a"))]).field("Replaces", one),
            made("bb", vec![("/x", file("b"))]).field("Replaces", other),
        ]
    };
    let (tree, owners) = laid(&pair("bb (<< 2)", ""));
    assert_eq!(at(&tree, "/x"), Some(&file("a")));
    assert_eq!(owners.all_of(&path("/x")), ["aa"]);
    let taken = &owners.taken()[0];
    assert_eq!((taken.path.to_string().as_str(), &*taken.from, &*taken.by), ("/x", "bb", "aa"));
    let (tree, owners) = laid(&pair("", "foo, aa"));
    assert_eq!((at(&tree, "/x"), owners.of(&path("/x"))), (Some(&file("b")), Some("bb")));
    assert_eq!(owners.files("aa").map(ToString::to_string).collect::<Vec<_>>(), ["/", "/a"]);
    assert!(refused(&pair("bb (<< 1)", "")).contains("/x"), "another version");
    assert!(refused(&pair("bb", "aa")).contains("/x"), "each replaces the other");
    let three = [
        made("aa", vec![("/x", file("1"))]),
        made("bb", vec![("/x", file("1"))]),
        made("cc", vec![("/x", file("2"))]).field("Replaces", "aa"),
    ];
    assert!(refused(&three).contains("packages aa and cc"), "one of two owners is replaced");
}

#[test]
fn diversions_move_the_files_of_others() {
    let script = "#!/bin/sh\nset -e\nif [ \"$1\" = install ]; then\n  dpkg-divert --package mine --add --rename \\\n\
        --divert /usr/bin/tool.real /bin/tool\nfi\n";
    let packages = [
        made("mine", vec![("/usr/bin/tool", file("mine"))]).preinst(script),
        made("other", vec![("/bin/tool", file("other")), ("/bin/also", hard("/bin/tool"))]),
    ];
    let (tree, owners) = laid(&packages);
    assert_eq!(at(&tree, "/usr/bin/tool"), Some(&file("mine")));
    assert_eq!(at(&tree, "/usr/bin/tool.real"), Some(&file("other")));
    assert_eq!(at(&tree, "/usr/bin/also"), Some(&hard("/usr/bin/tool.real")));
    assert_eq!(owners.of(&path("/usr/bin/tool.real")), Some("other"));
    let diversion = &owners.diversions()[0];
    assert_eq!((diversion.from.to_string(), diversion.by()), ("/usr/bin/tool".to_owned(), "mine"));

    let unclear = "#!/bin/sh\nfor f in a b; do\n  dpkg-divert --add --divert /usr/$f.real /usr/$f\ndone\n";
    let packages = [made("loop", vec![]).preinst(unclear)];
    let said = refused(&packages);
    assert!(
        said.contains("package loop: its preinst diverts files")
            && said.contains("line 3: dpkg-divert --add"),
        "{said}"
    );
    assert!(said.contains("scripts = { \"loop\" = \"ignore\" }"), "{said}");
    let ignored = ["loop".to_owned()];
    assert!(laid_with(&packages, &Layout { ignored_scripts: &ignored, ..MERGED }).is_ok());
    let twice = ["dpkg-divert --add /x", "dpkg-divert --divert /y --add /x"];
    let said = refused(&[made("aa", vec![]).preinst(twice[0]), made("bb", vec![]).preinst(twice[1])]);
    assert_eq!(said, "/x: both aa and bb divert it");
}

#[test]
fn a_link_to_a_directory_stands_in_for_it() {
    let packages = [
        made(
            "links",
            vec![
                ("/usr/share/doc/a", link("b")),
                ("/var/run", link("/run")),
                ("/opt/x", link("../var/run/y")),
            ],
        ),
        made("doc", vec![("/usr/share/doc/a/copyright", file("c"))]),
        made("target", vec![("/usr/share/doc/b/changelog", file("l")), ("/run/y", folder(0o755))]),
        made("runs", vec![("/var/run/z/pid", file("p")), ("/opt/x/w", file("w"))]),
    ];
    let (tree, owners) = laid(&packages);
    assert_eq!(at(&tree, "/usr/share/doc/a"), Some(&link("b")));
    for (there, owner) in
        [("/usr/share/doc/b/copyright", "doc"), ("/run/z/pid", "runs"), ("/run/y/w", "runs")]
    {
        assert!(at(&tree, there).is_some(), "{there}");
        assert_eq!(owners.of(&path(there)), Some(owner));
    }
    let nowhere = [made("aa", vec![("/d", link("gone"))]), made("bb", vec![("/d/x", file("x"))])];
    let said = refused(&nowhere);
    assert!(
        said.starts_with("/d: package aa brings a symlink to \"gone\", another one a directory"),
        "{said}"
    );
    let circle = [made("aa", vec![("/d", link("d/e"))]), made("bb", vec![("/d/e/x", file("x"))])];
    assert!(refused(&circle).starts_with("/d: package aa brings a symlink"));
}

#[test]
fn directories_unite_and_the_first_package_describes_them() {
    let packages = [
        made("aa", vec![("/var/mail", folder(0o755)), ("/srv/x", folder(0o700))]),
        made("base-files", vec![("/var/mail", folder(0o2775))]),
        made("zz", vec![("/srv/x", folder(0o711))]),
    ];
    let (tree, _) = laid(&packages);
    let mode = |text: &str| tree.directory(&path(text)).map(|found| found.metadata.mode);
    assert_eq!((mode("/var/mail"), mode("/srv/x")), (Some(0o2775), Some(0o700)));
}

#[test]
fn globs_drop_keep_wins_and_links_find_their_nodes_again() {
    let packages = [made(
        "aa",
        vec![
            ("/usr/share/doc/aa/copyright", file("c")),
            ("/usr/share/doc/aa/examples/x", file("x")),
            ("/usr/share/man/man1/a.1", file("m")),
            ("/usr/share/man/man1/b.1", hard("/usr/share/man/man1/a.1")),
            ("/usr/share/kept/b.1", hard("/usr/share/man/man1/a.1")),
            ("/usr/share/kept/c.1", hard("/usr/share/man/man1/a.1")),
            ("/lib/modules/6/m.ko", file("m")),
            ("/bin/su", with_mode("su", 0o4755)),
        ],
    )];
    let [drop, keep]: [Vec<String>; 2] = [
        ["/usr/share/doc/**", "/usr/share/man", "/lib/modules/**"].map(str::to_owned).to_vec(),
        ["/usr/share/doc/*/copyright"].map(str::to_owned).to_vec(),
    ];
    let layout = Layout { drop: &drop, keep: &keep, ..MERGED };
    let (tree, owners) = laid_with(&packages, &layout).expect("laid");
    assert!(at(&tree, "/usr/share/doc/aa/copyright").is_some());
    for gone in ["/usr/share/doc/aa/examples", "/usr/share/man", "/usr/lib/modules/6"] {
        assert!(at(&tree, gone).is_none(), "{gone}");
    }
    assert_eq!(at(&tree, "/usr/share/kept/b.1"), Some(&file("m")));
    assert_eq!(at(&tree, "/usr/share/kept/c.1"), Some(&hard("/usr/share/kept/b.1")));
    assert_eq!(at(&tree, "/usr/bin/su"), Some(&with_mode("su", 0o4755)));
    let dropped: Vec<String> = owners.dropped().map(|(path, by)| format!("{path} {by}")).collect();
    assert!(dropped.contains(&"/usr/share/man/man1/a.1 aa".to_owned()), "{dropped:?}");
    assert_eq!(owners.of(&path("/usr/share/man/man1/a.1")), None);
    let wrong = ["usr/share".to_owned()];
    let said = text(&laid_with(&packages, &Layout { drop: &wrong, ..MERGED }).expect_err("no glob"));
    assert!(said.contains("drop: \"usr/share\" is no glob of paths: it must start with \"/\""), "{said}");
}

#[test]
fn a_hard_link_whose_node_another_package_takes_over_holds_it() {
    let packages = [
        made("aa", vec![("/x", file("old")), ("/y", hard("/x"))]),
        made("bb", vec![("/x", file("new"))]).field("Replaces", "aa"),
    ];
    let (tree, _) = laid(&packages);
    assert_eq!((at(&tree, "/x"), at(&tree, "/y")), (Some(&file("new")), Some(&file("old"))));
}
