//! Archives: what other people's tools write is read as they read it; what could be read in two ways,
//! or costs more than it may, is refused with the place.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mkimage::archive::{
    ArchiveError, Digesting, InputKind, Limits, Options, allow_all, allow_list, is_archive, read_archive,
    read_host_file, scan,
};
use mkimage::base::{ImagePath, Job};
use mkimage::tree::dump::dump;
use mkimage::tree::{Content, ContentSource, Directory, MemoryContents, Node};
use proptest::prelude::*;

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Runs a tool with input; fails with what to install where it is missing.
fn run(package: &str, command: &mut Command, input: &[u8]) -> Vec<u8> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; apt-get install {package}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // Small enough for the pipe, or read by the tool before it writes much.
    stdin.write_all(&input).expect("the tool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("the tool ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read_with(bytes: &[u8], options: &Options<'_>) -> Result<(Directory, MemoryContents), ArchiveError> {
    let contents = MemoryContents::default();
    let tree = read_archive(bytes, options, &contents, &Job::quiet(2))?;
    Ok((tree, contents))
}

fn read(bytes: &[u8]) -> Result<Directory, ArchiveError> {
    read_with(bytes, &Options { policy: &allow_all, ..Options::default() }).map(|(tree, _)| tree)
}

fn refusal(bytes: &[u8]) -> String {
    refusal_with(bytes, &Options { policy: &allow_all, ..Options::default() })
}

fn refusal_with(bytes: &[u8], options: &Options<'_>) -> String {
    match read_with(bytes, options) {
        Ok((tree, _)) => panic!("was read:\n{}", dump(&tree)),
        Err(error) => {
            let source = std::error::Error::source(&error);
            format!("{error}{}", source.map(|source| format!(": {source}")).unwrap_or_default())
        }
    }
}

/// One header block by hand. Fields that a test wants otherwise, it overwrites.
#[derive(Clone)]
struct Block([u8; 512]);

impl Block {
    fn new(kind: u8, name: &str, size: u64) -> Self {
        let mut block = Block([0; 512]);
        block.field(0, name.as_bytes());
        block.field(100, b"0000644\0").field(108, b"0000000\0").field(116, b"0000000\0");
        block.field(124, format!("{size:011o}\0").as_bytes()).field(136, b"00000000000\0");
        block.0[156] = kind;
        block.field(257, b"ustar\x0000").field(329, b"0000000\0").field(337, b"0000000\0");
        block
    }

    fn field(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn link(mut self, target: &str) -> Self {
        self.field(157, target.as_bytes());
        self
    }

    fn mode(mut self, mode: u32) -> Self {
        self.field(100, format!("{mode:07o}\0").as_bytes());
        self
    }

    /// Sums up and adds the content, padded.
    fn with(mut self, content: &[u8]) -> Vec<u8> {
        self.field(148, b"        ");
        let sum: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        self.field(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    Block::new(b'0', name, content.len() as u64).with(content)
}

fn empty(kind: u8, name: &str) -> Block {
    Block::new(kind, name, 0)
}

/// A pax header with records as they come.
fn pax(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let length = (body..).find(|length| *length == body + length.to_string().len()).expect("a length");
        content.extend_from_slice(format!("{length} {key}=").as_bytes());
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    Block::new(kind, "pax", content.len() as u64).with(&content)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

/// A directory with something of everything that needs no privilege.
fn fixture() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let deep = root.join("deep").join("d".repeat(70)).join("e".repeat(70));
    std::fs::create_dir_all(&deep).expect("made");
    std::fs::create_dir(root.join("empty")).expect("made");
    let files: [(PathBuf, Vec<u8>, u32); 8] = [
        (root.join("small"), b"hello\n".to_vec(), 0o644),
        (root.join("program"), vec![0x7f; 5000], 0o755),
        (root.join("nothing"), Vec::new(), 0o600),
        (root.join("setuid"), b"s".to_vec(), 0o4755),
        (root.join("block"), vec![1; 512], 0o640),
        (root.join("große Datei \u{1f600}"), vec![2; 70_000], 0o644),
        (deep.join("f".repeat(60)), b"long".to_vec(), 0o644),
        (root.join("large"), (0..9_000_000u32).map(|n| (n >> 7) as u8).collect(), 0o644),
    ];
    for (path, content, mode) in files {
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    }
    std::os::unix::fs::symlink("small", root.join("link")).expect("linked");
    std::os::unix::fs::symlink("/no/where", root.join("dangling")).expect("linked");
    std::fs::hard_link(root.join("small"), root.join("zz-hard")).expect("linked");
    folder
}

/// The limits of v7 leave out what it has no room for.
fn shallow_fixture() -> tempfile::TempDir {
    let folder = fixture();
    std::fs::remove_dir_all(folder.path().join("deep")).expect("removed");
    folder
}

fn gnu_tar(folder: &Path, format: &str) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--owner=:1234", "--group=:2345", "-c", "-f", "-"]);
    command.arg(format!("--format={format}")).arg("-C").arg(folder).arg(".");
    run("tar", &mut command, b"")
}

/// What Python's reader sees in an archive: a line an entry, sorted.
fn python_listing(bytes: &[u8]) -> Vec<String> {
    const SCRIPT: &str = r#"
import sys, tarfile, io, hashlib
with tarfile.open(fileobj=io.BytesIO(open(sys.argv[1], "rb").read())) as tar:
    for m in tar:
        name = "/" + m.name.removeprefix("./").removeprefix(".")
        kind = "f" if m.isreg() else "d" if m.isdir() else "l" if m.issym() else "h" if m.islnk() else \
            "c" if m.ischr() else "b" if m.isblk() else "p" if m.isfifo() else "?"
        rest = ""
        if kind == "f":
            rest = f" {m.size} " + hashlib.sha256(tar.extractfile(m).read()).hexdigest()
        if kind == "l":
            rest = " " + m.linkname
        if kind == "h":
            rest = " /" + m.linkname.removeprefix("./")
        if kind in "bc":
            rest = f" {m.devmajor}:{m.devminor}"
        owner = "" if kind == "h" else f" {m.mode if kind != 'l' else 0o777:04o} {m.uid}:{m.gid}"
        sys.stdout.buffer.write(f"{name} {kind}{owner}{rest}\n".encode("utf-8", "surrogateescape"))
"#;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(file.path()).env("PYTHONIOENCODING", "utf-8");
    let text = String::from_utf8(run("python3", &mut command, b"")).expect("text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The same lines from our tree.
fn our_listing(tree: &Directory, contents: &MemoryContents) -> Vec<String> {
    use sha2::Digest;
    let root = Node::Directory(Directory { metadata: tree.metadata.clone(), ..Directory::default() });
    let line = |path: &ImagePath, node: &Node| {
        let (kind, rest) = match node {
            Node::File(file) => {
                let bytes = contents.read_all(&file.content).expect("stored");
                let digest = mkimage::base::id::hex(&sha2::Sha256::digest(&bytes));
                ('f', format!(" {} {digest}", file.content.size))
            }
            Node::Directory(_) => ('d', String::new()),
            Node::Symlink(link) => ('l', format!(" {}", String::from_utf8_lossy(&link.target))),
            Node::HardLink(target) => ('h', format!(" {target}")),
            Node::Device(device) => ('c', format!(" {}:{}", device.major, device.minor)),
            Node::Fifo(_) => ('p', String::new()),
            Node::Socket(_) => ('s', String::new()),
        };
        let owner = node.metadata().map_or(String::new(), |metadata| {
            let mode = if kind == 'l' { 0o777 } else { metadata.mode };
            format!(" {mode:04o} {}:{}", metadata.uid, metadata.gid)
        });
        format!("{path} {kind}{owner}{rest}")
    };
    let mut lines = vec![line(&ImagePath::root(), &root)];
    lines.extend(tree.paths().map(|(path, node)| line(&path, node)));
    lines.sort();
    lines
}

#[test]
fn every_format_of_gnu_tar_is_read_as_python_reads_it() {
    let folder = fixture();
    let shallow = shallow_fixture();
    for format in ["v7", "ustar", "oldgnu", "gnu", "pax"] {
        let bytes = gnu_tar(if format == "v7" { shallow.path() } else { folder.path() }, format);
        let options = Options { policy: &allow_all, ..Options::default() };
        let (tree, contents) =
            read_with(&bytes, &options).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(our_listing(&tree, &contents), python_listing(&bytes), "{format}");
        assert!(tree.seal().is_ok(), "{format}");
    }
}

#[test]
fn every_format_of_python_is_read_as_python_reads_it() {
    const SCRIPT: &str = r#"
import sys, tarfile, io
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w", format=int(sys.argv[1])) as tar:
    def add(name, kind, data=b"", **more):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mtime = kind, len(data), 1700000000
        for key, value in more.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(data))
    big = 2_000_000_000 if sys.argv[1] != "0" else 2_000_000
    add("dir", tarfile.DIRTYPE, mode=0o1777)
    add("dir/file", tarfile.REGTYPE, b"x" * 777, uid=big, gid=5)
    add("dir/" + "n" * 98 if sys.argv[1] == "0" else "dir/" + "n" * 180 + "/" + "m" * 150, tarfile.REGTYPE, b"y")
    add("link", tarfile.SYMTYPE, linkname="t" * (100 if sys.argv[1] == "0" else 300))
    add("hard", tarfile.LNKTYPE, linkname="dir/file")
    add("null", tarfile.CHRTYPE, devmajor=1, devminor=3)
    add("fifo", tarfile.FIFOTYPE)
    add("contiguous", tarfile.CONTTYPE, b"z")
sys.stdout.buffer.write(out.getvalue())
"#;
    for format in ["0", "1", "2"] {
        let bytes = run("python3", Command::new("python3").args(["-c", SCRIPT, format]), b"");
        let options = Options { policy: &allow_all, ..Options::default() };
        let (tree, contents) =
            read_with(&bytes, &options).unwrap_or_else(|error| panic!("{format}: {error}"));
        let mut ours = our_listing(&tree, &contents);
        // Nothing describes the root and the directory of the long name: python lists neither.
        let implied =
            |line: &String| line.starts_with("/ d") || line.contains("/nnn") && line.contains(" d ");
        ours.retain(|line| !implied(line));
        assert_eq!(ours, python_listing(&bytes), "{format}");
    }
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let bytes = gnu_tar(fixture().path(), "pax");
    let read = |workers| {
        let options = Options { policy: &allow_all, parallel: workers != 8, ..Options::default() };
        let tree = read_archive(&bytes[..], &options, &Digesting, &Job::quiet(workers)).expect("read");
        dump(&tree)
    };
    assert_eq!(read(1), read(2));
    assert_eq!(read(1), read(8));
}

#[test]
fn archives_can_be_read_side_by_side_in_one_pool() {
    let bytes = gnu_tar(fixture().path(), "gnu");
    let job = Job::quiet(2);
    let trees = job.workers.map(vec![&bytes; 8], |bytes| {
        let options = Options { policy: &allow_all, ..Options::default() };
        dump(&read_archive(&bytes[..], &options, &Digesting, &job).expect("read"))
    });
    assert!(trees.iter().all(|tree| *tree == trees[0]));
}

fn compressed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let pack = |package, program: &str, arguments: &[&str]| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        run(package, Command::new(program).args(arguments).arg("-c").arg(file.path()), b"")
    };
    vec![
        ("gzip", pack("gzip", "gzip", &["-9"])),
        ("xz", pack("xz-utils", "xz", &["-1"])),
        ("xz in blocks", pack("xz-utils", "xz", &["-0", "-T2", "--block-size=100000"])),
        ("zstd", pack("zstd", "zstd", &["-q"])),
        ("zstd with a long window", pack("zstd", "zstd", &["-q", "--long=27"])),
    ]
}

#[test]
fn compressed_archives_are_read_whole_and_concatenated_and_cut_ones_are_refused() {
    let plain = archive(&[file("a", &(0..200_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())]);
    let expected = read(&plain).expect("read");
    for (name, bytes) in compressed(&plain) {
        assert!(is_archive(&bytes[..], &Limits::default()), "{name}");
        assert_eq!(read(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}")), expected, "{name}");
        for cut in [7, 20, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
            assert!(read(&bytes[..cut]).is_err(), "{name} cut to {cut} of {}", bytes.len());
        }
        assert!(read(&[&bytes[..], b"garbage"].concat()).is_err(), "{name} with garbage behind");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        assert!(read(&flipped).is_err(), "{name} with a flipped bit");
    }
    for ((name, first), (_, second)) in
        compressed(&plain[..100_000]).into_iter().zip(compressed(&plain[100_000..]))
    {
        let both = [first, second].concat();
        assert_eq!(read(&both).unwrap_or_else(|error| panic!("{name}: {error}")), expected, "{name} twice");
    }
}

#[test]
fn windows_and_dictionaries_are_bounded() {
    let plain = archive(&[file("a", &vec![7; 3_000_000])]);
    let limits = Limits { zstd_window_log: 20, xz_dictionary_bytes: 100 << 10, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let mut refused = 0;
    for (name, bytes) in compressed(&plain) {
        let expected = match name {
            "xz" => "xz: needs a dictionary of more than 102400 bytes",
            "zstd" => "too much memory",
            _ => continue,
        };
        let text = refusal_with(&bytes, &options);
        assert!(text.contains(expected), "{name}: {text}");
        refused += 1;
    }
    assert_eq!(refused, 2);
}

#[test]
fn other_compressions_and_archives_are_named() {
    for (bytes, name) in [(&b"BZh91AY"[..], "bzip2"), (b"PK\x03\x04....", "zip"), (b"070701000", "cpio")] {
        assert!(refusal(bytes).contains(name), "{}", refusal(bytes));
        assert!(!is_archive(bytes, &Limits::default()));
    }
    assert!(!is_archive(&b"\x7fELF and so on"[..], &Limits::default()));
    assert!(!is_archive(&[0; 1024][..], &Limits::default()));
    assert!(is_archive(&archive(&[file("a", b"x")])[..], &Limits::default()));
}

#[test]
fn paths_that_leave_the_tree_or_come_twice_are_refused() {
    let directory = |name: &str| empty(b'5', name).with(b"");
    let link = |name: &str, target: &str| empty(b'2', name).link(target).with(b"");
    let hard = |name: &str, target: &str| empty(b'1', name).link(target).with(b"");
    let long = |kind: u8, name: &[u8]| Block::new(kind, "././@LongLink", name.len() as u64).with(name);
    for (entries, expected) in [
        (vec![file("/etc/passwd", b"")], "an absolute path"),
        (vec![file("../x", b"")], "\".\" or \"..\""),
        (vec![file("a/../../x", b"")], "\".\" or \"..\""),
        (vec![file("a/./x", b"")], "\".\" or \"..\""),
        (vec![file("a//x", b"")], "empty component"),
        (vec![file("", b"")], "empty component"),
        (vec![file("x/", b"")], "ends with \"/\" and is no directory"),
        (vec![file(".", b"")], "the root is a directory"),
        (vec![file("x", b"1"), file("x", b"1")], "comes twice, first as a file"),
        (vec![file("x", b"1"), file("./x", b"2")], "comes twice, first as a file"),
        (vec![directory("x"), directory("x/")], "this directory comes twice"),
        (vec![directory("./"), directory(".")], "this directory comes twice"),
        (vec![file("x", b""), directory("x")], "comes twice, first as a file"),
        (vec![directory("x"), file("x", b"")], "comes twice, first as a directory"),
        (vec![file("x/y", b""), file("x", b"")], "comes twice, first as a directory"),
        // CVE-2026-33056: a symlink, then a directory of the same name; and writing through it.
        (vec![link("x", "/etc"), directory("x")], "comes twice, first as a symlink"),
        (vec![link("x", "/etc"), file("x/passwd", b"")], "leads through /x, which is a symlink"),
        (vec![file("x", b""), file("x/y", b"")], "leads through /x, which is a file"),
        (vec![hard("x", "y"), file("y", b"")], "has not brought so far"),
        (vec![hard("x", "x")], "has not brought so far"),
        (vec![hard("x", "/etc/passwd")], "an absolute path"),
        (vec![hard("x", "../passwd")], "\".\" or \"..\""),
        (vec![directory("d"), hard("x", "d")], "a hard link to the directory /d"),
        (vec![link("l", "/etc"), hard("x", "l/passwd")], "has not brought so far"),
        (vec![link("l", "")], "a link without a target"),
        (vec![pax(b'x', &[("path", b"../up")]), file("x", b"")], "\".\" or \"..\""),
        (vec![pax(b'x', &[("path", b"a\0b")]), file("x", b"")], "a NUL byte"),
        (vec![long(b'L', b"a\0b\0"), file("x", b"")], "a NUL byte"),
        (vec![long(b'L', b"\0"), file("x", b"")], "an empty long name"),
        (vec![long(b'L', b"../up\0"), file("x", b"")], "\".\" or \"..\""),
    ] {
        let text = refusal(&archive(&entries));
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
}

#[test]
fn an_error_names_entry_and_offset() {
    let text = refusal(&archive(&[file("first", &[1; 600]), file("dir/../x", b"")]));
    assert!(text.starts_with("\"dir/../x\" at byte 1536: "), "{text}");
}

#[test]
fn sizes_on_which_readers_would_differ_are_refused() {
    // CVE-2025-62518: the extended header's size skips the inner archive, the other's doesn't.
    let smuggled = archive(&[file("inner", b"evil")]);
    let disagree = archive(&[
        pax(b'x', &[("size", smuggled.len().to_string().as_bytes())]),
        Block::new(b'0', "outer", 0).with(b""),
        smuggled,
    ]);
    assert!(
        refusal(&disagree).contains("the header says 0 bytes, its extended header 2048"),
        "{}",
        refusal(&disagree)
    );
    let agree = archive(&[pax(b'x', &[("size", b"5")]), file("x", b"12345")]);
    assert!(read(&agree).is_ok());
    // A size that ustar has no room for: its field says nothing, or its largest number.
    for stated in [0, 0o77_777_777_777] {
        let mut huge = pax(b'x', &[("size", b"9000000000")]);
        huge.extend(Block::new(b'0', "x", stated).with(b"only this"));
        assert!(refusal(&huge).contains("cut off (the content of an entry)"), "{}", refusal(&huge));
    }
    for (block, expected) in [
        (Block::new(b'5', "d", 512), "512 bytes of content on an entry that has none"),
        (Block::new(b'2', "l", 512).link("t"), "512 bytes of content on an entry that has none"),
        (Block::new(b'1', "h", 512).link("t"), "512 bytes of content on an entry that has none"),
    ] {
        let text = refusal(&archive(&[block.with(&[0; 512])]));
        assert!(text.contains(expected), "{text}");
    }
    let mut negative = Block::new(b'0', "x", 0);
    negative.field(124, &[0xff; 12]);
    assert!(refusal(&archive(&[negative.with(b"")])).contains("is negative"));
    let mut overflow = Block::new(b'0', "x", 0);
    overflow.field(124, &[0xbf, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
    assert!(refusal(&archive(&[overflow.with(b"")])).contains("is too large"));
    let mut vast = Block::new(b'0', "x", 0);
    vast.field(124, &[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    assert!(refusal(&archive(&[vast.with(b"")])).contains("the limit is 68719"), "a vast size");
}

#[test]
fn headers_that_are_not_quite_headers_are_refused() {
    let broken = |change: &dyn Fn(&mut Block)| {
        let mut block = Block::new(b'0', "x", 0);
        change(&mut block);
        refusal(&archive(&[block.with(b"")]))
    };
    for (text, expected) in [
        (
            broken(&|block| {
                block.field(257, b"ustar\x0099");
            }),
            "unknown dialect",
        ),
        (
            broken(&|block| {
                block.field(508, b"tar\0");
            }),
            "star's own dialect",
        ),
        (broken(&|block| block.0[156] = b'S'), "a sparse file"),
        (broken(&|block| block.0[156] = b'M'), "multi-volume"),
        (broken(&|block| block.0[156] = b'Q'), "unknown type \"Q\""),
        (
            broken(&|block| {
                block.field(100, b"4000644\0");
            }),
            "bits that are no permissions",
        ),
        (
            broken(&|block| {
                block.field(100, b"        ");
            }),
            "is blank",
        ),
        (
            broken(&|block| {
                block.field(108, &[0x80, 0, 0, 0, 255, 255, 255, 255]);
            }),
            "user id 4294967295",
        ),
        (
            broken(&|block| {
                block.field(116, &[0x80, 0, 0, 1, 0, 0, 0, 0]);
            }),
            "group id 4294967296",
        ),
    ] {
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
    let mut sum = file("x", b"");
    sum[0] ^= 1;
    assert!(refusal(&archive(&[sum])).contains("sum up to"));
}

#[test]
fn a_mode_may_repeat_the_file_type_but_no_other() {
    let typed =
        archive(&[empty(b'0', "x").mode(0o100644).with(b""), empty(b'5', "d").mode(0o40755).with(b"")]);
    assert!(dump(&read(&typed).expect("read")).contains("/x f 0644"));
    let wrong = archive(&[empty(b'0', "x").mode(0o40755).with(b"")]);
    assert!(refusal(&wrong).contains("bits that are no permissions"));
}

#[test]
fn the_end_must_be_an_end() {
    let whole = archive(&[file("x", b"12345")]);
    assert!(read(&whole).is_ok());
    assert!(read(&[&whole[..], &[0; 9000]].concat()).is_ok());
    for (bytes, expected) in [
        (whole[..100].to_vec(), "cut off (a header"),
        (whole[..514].to_vec(), "cut off (the content of an entry)"),
        (whole[..1024].to_vec(), "cut off (a header, or the two zero blocks of the end)"),
        (whole[..1536].to_vec(), "cut off (the second zero block of the end)"),
        ([&whole[..], b"x"].concat(), "bytes behind the archive's end"),
        ([&whole[..], &whole[..]].concat(), "bytes behind the archive's end"),
        ([&whole[..1536], &whole[..]].concat(), "a zero block between entries"),
        (archive(&[pax(b'x', &[("comment", b"c")])]), "an extended header without its entry"),
        (Vec::new(), "cut off"),
    ] {
        let text = refusal(&bytes);
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
}

#[test]
fn extended_headers_are_understood_or_refused() {
    let x = || file("x", b"");
    for (entries, expected) in [
        (vec![pax(b'x', &[("GNU.sparse.major", b"1")]), x()], "sparse"),
        (vec![pax(b'x', &[("SCHILY.acl.access", b"user::rw-")]), x()], "--no-acls"),
        (vec![pax(b'x', &[("VENDOR.thing", b"1")]), x()], "nobody knows whether it matters"),
        (vec![pax(b'g', &[("path", b"y")]), x()], "a global header must not set \"path\""),
        (vec![pax(b'x', &[("mtime", b"1")]), pax(b'x', &[("mtime", b"1")]), x()], "a second extended header"),
        (
            vec![pax(b'x', &[("mtime", b"1")]), Block::new(b'L', "l", 2).with(b"y\0"), x()],
            "a second extended header",
        ),
        (vec![pax(b'x', &[("path", b"a"), ("path", b"b")]), x()], "twice"),
    ] {
        let text = refusal(&archive(&entries));
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
    let fine = archive(&[
        pax(b'g', &[("comment", b"a commit")]),
        pax(b'x', &[("path", b"./y"), ("uid", b"3000000"), ("SCHILY.xattr.user.k", b"v\0")]),
        x(),
    ]);
    let id = Content::of(b"").id;
    assert_eq!(
        dump(&read(&fine).expect("read")),
        format!("/ d 0755 0:0\n/y f 0644 3000000:0 0 {id} user.k=7600\n")
    );
}

#[test]
fn sparse_archives_of_gnu_tar_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = std::fs::File::create(folder.path().join("sparse")).expect("made");
    file.set_len(10 << 20).expect("sparse");
    for format in ["gnu", "pax"] {
        let mut command = Command::new("tar");
        command.args(["--sparse", "-c", "-f", "-"]).arg(format!("--format={format}"));
        let bytes = run("tar", command.arg("-C").arg(folder.path()).arg("sparse"), b"");
        assert!(refusal(&bytes).contains("sparse"), "{format}: {}", refusal(&bytes));
    }
}

#[test]
fn specials_come_in_only_where_they_are_named_and_all_refusals_come_at_once() {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let bytes = archive(&[
        empty(b'5', "bin").mode(0o2775).with(b""),
        empty(b'0', "bin/su").mode(0o4755).with(b""),
        empty(b'0', "bin/wall").mode(0o2755).with(b""),
        empty(b'3', "dev/null").with(b""),
        pax(b'x', &[("SCHILY.xattr.security.capability", capability)]),
        file("bin/ping", b""),
        pax(b'x', &[("SCHILY.xattr.trusted.overlay.opaque", b"y")]),
        empty(b'5', "opaque").with(b""),
    ]);
    let text = refusal_with(&bytes, &Options { prefix: path("/opt"), ..Options::default() });
    for line in [
        "/opt/bin/su has a setuid bit (header at byte 512)",
        "/opt/bin/wall has a setgid bit",
        "/opt/dev/null has a device node",
        "/opt/bin/ping has a file capability",
        "/opt/opaque has a trusted.* attribute",
        "allow = [\"/opt/bin/su\", \"/opt/bin/wall\", \"/opt/dev/null\", \"/opt/bin/ping\", \"/opt/opaque\"]",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    let some = [path("/bin/su"), path("/bin/ping"), path("/dev/null"), path("/bin/wall")];
    let policy = allow_list(&some);
    let result = read_with(&bytes, &Options { policy: &policy, ..Options::default() });
    let Err(ArchiveError::Forbidden { violations, count: 1 }) = result else { panic!("one is not named") };
    assert_eq!(violations[0].path, path("/opaque"));
}

#[test]
fn components_are_stripped_from_paths_and_hard_links_but_not_from_symlinks() {
    let bytes = archive(&[
        empty(b'5', "./").with(b""),
        empty(b'5', "app-1.0/").mode(0o750).with(b""),
        file("app-1.0/bin/app", b"a"),
        empty(b'1', "app-1.0/other").link("app-1.0/bin/app").with(b""),
        empty(b'2', "app-1.0/sym").link("app-1.0/bin/app").with(b""),
    ]);
    let options =
        Options { prefix: path("/opt/app"), strip_components: 1, owner: Some((7, 8)), ..Options::default() };
    let (tree, _) = read_with(&bytes, &options).expect("read");
    let id = Content::of(b"a").id;
    assert_eq!(
        dump(&tree),
        format!(
            "/ d 0755 0:0\n/opt d 0755 0:0\n/opt/app d 0750 7:8\n/opt/app/bin d 0755 7:8\n\
             /opt/app/bin/app f 0644 7:8 1 {id}\n/opt/app/other h = /opt/app/bin/app\n\
             /opt/app/sym l 0644 7:8 -> app-1.0/bin/app\n"
        )
    );
    let text =
        refusal_with(&archive(&[file("a/b", b"")]), &Options { strip_components: 2, ..Options::default() });
    assert!(text.contains("strip_components = 2 leaves nothing of this path"), "{text}");
}

#[test]
fn limits_hold() {
    let tight = |limits: Limits, bytes: &[u8]| refusal_with(bytes, &Options { limits, ..Options::default() });
    let base = Limits::default();
    let three = archive(&[file("a", b""), file("b", b""), file("c", b"")]);
    let deep = archive(&[file("a/b/c/d", b"")]);
    let long = archive(&[file("abcdefgh", b"")]);
    let link = archive(&[empty(b'2', "l").link("abcdefgh").with(b"")]);
    let record = archive(&[pax(b'x', &[("comment", &[b'c'; 100])]), file("a", b"")]);
    let attribute = archive(&[pax(b'x', &[("SCHILY.xattr.user.a", &[b'c'; 100])]), file("a", b"")]);
    let zeros = [archive(&[]), vec![0; 100_000]].concat();
    for (limits, bytes, expected) in [
        (Limits { entries: 2, ..base.clone() }, &three, "more than 2 entries"),
        (Limits { entries: 3, ..base.clone() }, &deep, "more than 3 entries"),
        (Limits { depth: 3, ..base.clone() }, &deep, "components of a path: 4, and the limit is 3"),
        (Limits { path_bytes: 7, ..base.clone() }, &long, "bytes of a path: 8"),
        (Limits { component_bytes: 7, ..base.clone() }, &long, "bytes of a component of a path: 8"),
        (Limits { link_bytes: 7, ..base.clone() }, &link, "bytes of a link's target: 8"),
        (Limits { extended_header_bytes: 99, ..base.clone() }, &record, "bytes of an extended header: 113"),
        (Limits { xattr_bytes: 99, ..base.clone() }, &attribute, "has 100 bytes, and the limit is 99"),
        (Limits { inode_xattr_bytes: 99, ..base.clone() }, &attribute, "of 106 bytes in all"),
        (Limits { metadata_bytes: 99, ..base.clone() }, &attribute, "more than 99 bytes in all"),
        (Limits { bytes: 50_000, ..base.clone() }, &zeros, "and the limit is 50000"),
        (Limits { bytes: 2_000, ..base.clone() }, &three, "and the limit is 2000"),
    ] {
        let text = tight(limits, bytes);
        assert!(text.contains(expected), "{expected:?} in {text:?}");
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.write_all(&Block::new(b'0', "bomb", 3 << 30).with(b"")).expect("written");
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).expect("written");
    }
    let bomb = encoder.finish().expect("packed");
    let limits = Limits { bytes: 16 << 20, ..Limits::default() };
    let text = refusal_with(&bomb, &Options { limits, ..Options::default() });
    assert!(text.contains("bytes of content that its header announces: 3221225472"), "{text}");
    assert!(refusal(&bomb).contains("cut off"), "{}", refusal(&bomb));
}

#[test]
fn a_failing_sink_and_a_stopped_job_end_the_reading() {
    struct Full;
    impl mkimage::tree::ContentSink for Full {
        fn put(&self, _: &[u8]) -> Result<Content, mkimage::tree::ContentError> {
            Err(mkimage::tree::ContentError::Input(std::io::ErrorKind::StorageFull.into()))
        }
        fn put_reader(&self, _: &mut dyn Read) -> Result<Content, mkimage::tree::ContentError> {
            Err(mkimage::tree::ContentError::Input(std::io::ErrorKind::StorageFull.into()))
        }
    }
    for content in [vec![1; 10], vec![1; 9 << 20]] {
        let bytes = archive(&[file("x", &content)]);
        let result = read_archive(&bytes[..], &Options::default(), &Full, &Job::quiet(2));
        assert!(matches!(result, Err(ArchiveError::Content(_))), "{result:?}");
    }
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let workers = mkimage::base::parallel::Workers::new(1);
    let job = Job::new(workers, std::sync::Arc::new(mkimage::base::job::Silent), stop);
    let bytes = archive(&[file("x", b"")]);
    let result = read_archive(&bytes[..], &Options::default(), &Digesting, &job);
    assert!(matches!(result, Err(ArchiveError::Cancelled(_))), "{result:?}");
}

/// Archives with every kind of header: seeds for what mutation makes of them.
fn seeds() -> Vec<Vec<u8>> {
    let name = [b'n'; 150];
    vec![
        archive(&[
            empty(b'5', "d").with(b""),
            file("d/f", b"content"),
            empty(b'1', "h").link("d/f").with(b""),
            empty(b'2', "s").link("t").with(b""),
            empty(b'3', "c").with(b""),
        ]),
        archive(&[
            pax(b'g', &[("comment", b"c")]),
            pax(b'x', &[("path", &name), ("size", b"7"), ("SCHILY.xattr.user.a", b"v")]),
            file("x", b"content"),
            pax(b'x', &[("linkpath", &name), ("uid", b"5"), ("LIBARCHIVE.xattr.user.a", b"dg")]),
            empty(b'2', "s").with(b""),
        ]),
        archive(&[
            Block::new(b'L', "././@LongLink", 150).with(&name),
            Block::new(b'K', "././@LongLink", 150).with(&name),
            empty(b'2', "x").with(b""),
            empty(0, "dir/").with(b""),
        ]),
    ]
}

/// Corrects the checksums of blocks that look like headers, so that mutations get past them.
fn resum(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let header = Block(block.try_into().expect("512 bytes")).with(b"");
            block.copy_from_slice(&header);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_archives_never_panic_and_what_is_read_can_be_sealed(
        seed in 0usize..3,
        changes in prop::collection::vec((0usize..6000, any::<u8>()), 1..6),
        cut in prop::option::of(0usize..6000),
        sums in any::<bool>(),
    ) {
        let mut bytes = seeds().swap_remove(seed);
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        if sums {
            resum(&mut bytes);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        if let Ok(tree) = JOB.with(|job| read_archive(&bytes[..], &Options::default(), &Digesting, job)) {
            prop_assert!(tree.seal().is_ok());
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), magic in 0usize..4) {
        let magic: &[u8] = [&b""[..], b"\x1f\x8b\x08\0", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"][magic];
        let bytes = [magic, &bytes].concat();
        let _ = JOB.with(|job| read_archive(&bytes[..], &Options::default(), &Digesting, job));
        let mut ar = match mkimage::archive::Ar::new(&bytes[..], &Limits::default()) {
            Ok(ar) => ar,
            Err(_) => return Ok(()),
        };
        while let Ok(Some(_)) = ar.next_member() {}
    }
}

thread_local! {
    static JOB: Job = Job::quiet(1);
}

#[test]
fn a_file_may_be_any_length_around_a_block() {
    for length in [0, 1, 511, 512, 513, 1023, 1024] {
        let content = vec![9; length];
        let (tree, contents) =
            read_with(&archive(&[file("x", &content), file("y", b"y")]), &Options::default()).expect("read");
        let Some(Node::File(file)) = tree.get(&path("/x")) else { panic!("a file") };
        assert_eq!(contents.read_all(&file.content).expect("stored"), content);
    }
}

#[test]
fn debian_packages_are_read_member_by_member() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("p");
    std::fs::create_dir_all(root.join("DEBIAN")).expect("made");
    std::fs::create_dir_all(root.join("usr/bin")).expect("made");
    let control =
        "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@mirror.invalid>\nDescription: d\n";
    std::fs::write(root.join("DEBIAN/control"), control).expect("written");
    std::fs::write(root.join("usr/bin/p"), "hello").expect("written");
    for compression in ["xz", "gzip", "zstd", "none"] {
        let deb = folder.path().join(format!("{compression}.deb"));
        let mut command = Command::new("dpkg-deb");
        command.args(["--root-owner-group", "-b", &format!("-Z{compression}")]).arg(&root).arg(&deb);
        run("dpkg", &mut command, b"");
        let bytes = std::fs::read(&deb).expect("read");
        let mut ar = mkimage::archive::Ar::new(&bytes[..], &Limits::default()).expect("an archive");
        let mut trees = BTreeMap::new();
        while let Some(member) = ar.next_member().expect("a member") {
            if member.name.contains(".tar") {
                let tree =
                    read_archive(&mut ar, &Options::default(), &Digesting, &Job::quiet(2)).expect("a tree");
                trees.insert(member.name.split('.').next().expect("a name").to_owned(), tree);
            }
        }
        assert_eq!(trees.len(), 2, "{compression}");
        assert!(trees["control"].get(&path("/control")).is_some());
        let Some(Node::File(file)) = trees["data"].get(&path("/usr/bin/p")) else { panic!("a file") };
        assert_eq!(file.content, Content::of(b"hello"));
    }
}

/// Fills a folder in an order of names, under odd modes and times.
fn host_tree(names: &[&str], group_bits: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in names {
        let at = folder.path().join(name);
        std::fs::create_dir_all(at.parent().expect("a parent")).expect("made");
        std::fs::write(&at, name.as_bytes()).expect("written");
        let owner_bits = if name.ends_with("run") { 0o700 } else { 0o600 };
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(owner_bits | group_bits)).expect("set");
    }
    std::os::unix::fs::symlink("../elsewhere", folder.path().join("link")).expect("linked");
    folder
}

#[test]
fn the_host_gives_contents_links_and_the_owners_executable_bit_and_nothing_else() {
    let one = host_tree(&["b", "a/run", "a/b/c"], 0o077);
    let two = host_tree(&["a/b/c", "b", "a/run"], 0);
    let time = std::fs::File::options().write(true).open(two.path().join("b")).expect("opened");
    time.set_modified(std::time::UNIX_EPOCH).expect("set");
    std::fs::set_permissions(two.path().join("a"), std::fs::Permissions::from_mode(0o2700)).expect("set");
    let _ = std::os::unix::fs::chown(two.path().join("b"), Some(1234), Some(1234));
    std::fs::remove_file(two.path().join("b")).expect("removed");
    std::fs::write(two.path().join("outside"), "b").expect("written");
    std::fs::hard_link(two.path().join("outside"), two.path().join("b")).expect("linked");
    std::fs::remove_file(two.path().join("outside")).expect("removed");
    let read = |folder: &Path, workers| {
        scan(folder, &Limits::default(), &Digesting, &Job::quiet(workers)).expect("read")
    };
    let (tree, inputs) = read(one.path(), 1);
    let (same, same_inputs) = read(two.path(), 8);
    assert_eq!(dump(&tree), dump(&same));
    assert_eq!(inputs.digest(), same_inputs.digest());
    assert_eq!(inputs.files().count(), 3);
    assert_eq!(inputs.bytes(), 11);
    let id = |text: &str| Content::of(text.as_bytes()).id;
    assert_eq!(
        dump(&tree),
        format!(
            "/ d 0755 0:0\n/a d 0755 0:0\n/a/b d 0755 0:0\n/a/b/c f 0644 0:0 5 {}\n\
             /a/run f 0755 0:0 5 {}\n/b f 0644 0:0 1 {}\n/link l 0777 0:0 -> ../elsewhere\n",
            id("a/b/c"),
            id("a/run"),
            id("b")
        )
    );
}

#[test]
fn every_change_of_the_host_that_counts_changes_the_digest() {
    let base = host_tree(&["a", "b"], 0);
    let digest = |folder: &Path| {
        scan(folder, &Limits::default(), &Digesting, &Job::quiet(1)).expect("read").1.digest()
    };
    let before = digest(base.path());
    let changed = |change: &dyn Fn(&Path)| {
        let folder = host_tree(&["a", "b"], 0);
        assert_eq!(digest(folder.path()), before);
        change(folder.path());
        assert_ne!(digest(folder.path()), before);
    };
    changed(&|root| std::fs::write(root.join("a"), "x").expect("written"));
    changed(&|root| std::fs::set_permissions(root.join("a"), PermissionsExt::from_mode(0o700)).expect("set"));
    changed(&|root| std::fs::create_dir(root.join("c")).expect("made"));
    changed(&|root| std::fs::remove_file(root.join("b")).expect("removed"));
    changed(&|root| {
        std::fs::remove_file(root.join("link")).expect("removed");
        std::os::unix::fs::symlink("other", root.join("link")).expect("linked");
    });
    changed(&|root| {
        std::fs::remove_file(root.join("b")).expect("removed");
        std::os::unix::fs::symlink("b", root.join("b")).expect("linked");
    });
}

#[test]
fn sockets_and_fifos_of_the_host_are_refused_by_name_all_at_once() {
    let folder = host_tree(&["a"], 0);
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("bound");
    run("coreutils", Command::new("mkfifo").arg(folder.path().join("fifo")), b"");
    let errors = scan(folder.path(), &Limits::default(), &Digesting, &Job::quiet(1)).expect_err("refused");
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2);
    assert!(
        texts[0].ends_with(
            "/fifo is a fifo; only files, directories and symlinks of the host can go into an image"
        )
    );
    assert!(texts[1].contains("/socket is a socket;"));
    let error = read_host_file(&folder.path().join("fifo"), &Digesting, &Job::quiet(1)).expect_err("refused");
    assert!(error.to_string().contains("is a fifo"));
    let error = read_host_file(&folder.path().join("none"), &Digesting, &Job::quiet(1)).expect_err("missing");
    assert!(error.to_string().starts_with("cannot look at "), "{error}");
    let error = scan(&folder.path().join("none"), &Limits::default(), &Digesting, &Job::quiet(1));
    assert!(error.expect_err("missing")[0].to_string().contains("/none"));
}

#[test]
fn a_host_directory_is_bounded_too() {
    let folder = host_tree(&["a", "b", "c"], 0);
    let limits = Limits { entries: 3, ..Limits::default() };
    let errors = scan(folder.path(), &limits, &Digesting, &Job::quiet(1)).expect_err("too many");
    assert!(
        std::error::Error::source(&errors[0]).expect("a source").to_string().contains("more than 3 entries")
    );
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_noticed() {
    struct Writing(PathBuf);
    impl mkimage::tree::ContentSink for Writing {
        fn put(&self, bytes: &[u8]) -> Result<Content, mkimage::tree::ContentError> {
            let mut file = std::fs::File::options().append(true).open(&self.0).expect("opened");
            file.write_all(b"more").expect("written");
            Ok(Content::of(bytes))
        }
        fn put_reader(&self, _: &mut dyn Read) -> Result<Content, mkimage::tree::ContentError> {
            unreachable!("the file is small")
        }
    }
    let folder = host_tree(&["a"], 0);
    let file = folder.path().join("a");
    let error = read_host_file(&file, &Writing(file.clone()), &Job::quiet(1)).expect_err("changed");
    assert!(error.to_string().ends_with("changed while it was read: it had 1 bytes, then 5"), "{error}");
}

#[test]
fn a_named_symlink_is_followed_to_its_file_or_directory() {
    let folder = host_tree(&["a/b"], 0);
    std::os::unix::fs::symlink("a", folder.path().join("to-directory")).expect("linked");
    std::os::unix::fs::symlink("a/b", folder.path().join("to-file")).expect("linked");
    let (tree, _) = scan(&folder.path().join("to-directory"), &Limits::default(), &Digesting, &Job::quiet(1))
        .expect("read");
    assert!(tree.get(&path("/b")).is_some());
    let inputs = read_host_file(&folder.path().join("to-file"), &Digesting, &Job::quiet(1)).expect("read");
    let kind = InputKind::File { content: Content::of(b"a/b"), executable: false };
    assert_eq!(inputs.entries[0].kind, kind);
    assert_eq!(inputs.files().collect::<Vec<_>>(), [folder.path().join("to-file")]);
}
