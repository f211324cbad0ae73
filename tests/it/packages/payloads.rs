//! What a package holds, and what it must not.

use super::*;

pub fn unpack_bytes(bytes: &[u8]) -> Result<Unpacked, String> {
    let sink = MemoryContents::default();
    unpack::deb(bytes, unpack::Share::ONE, &sink, &Job::quiet(1)).map_err(|error| whole(&error))
}

#[test]
fn a_package_becomes_a_tree_with_its_fields_scripts_and_conffiles() {
    let mut deb = hello("1:2.0-3");
    deb.control = vec![
        file("./conffiles", 0o644, b"/etc/hello.conf\nremove-on-upgrade /etc/old.conf\n"),
        file("./postinst", 0o755, b"#!/bin/sh\n"),
        file("./md5sums", 0o644, b""),
    ];
    deb.data.extend([
        directory("./etc"),
        file("./etc/hello.conf", 0o640, b"x"),
        file("./usr/su", 0o4755, b"s"),
        link("./usr/hola", b'1', "./usr/hello"),
        link("./usr/link", b'2', "hello"),
    ]);
    let (control, data) = (deb.control_tar(), deb.data_tar());
    let plain = ar_of(&control, &data, ["", ""]);
    let mut trees = Vec::new();
    for bytes in [
        deb.bytes(),
        plain,
        ar_of(&archives::gzip(&control), &archives::zstd(&data), [".gz", ".zst"]),
        ar_of(&archives::zstd(&control), &archives::gzip(&data), [".zst", ".gz"]),
    ] {
        let contents = MemoryContents::default();
        let unpacked =
            unpack::deb(&bytes[..], unpack::Share::ONE, &contents, &Job::quiet(2)).expect("unpacked");
        assert_eq!((&*unpacked.control.name, &*unpacked.control.version), ("hello", "1:2.0-3"));
        let description = ("Description".to_owned(), "a test\n more".to_owned());
        assert_eq!(unpacked.control.fields.last(), Some(&description));
        assert_eq!(unpacked.conffiles(&contents).expect("read"), [path("/etc/hello.conf")]);
        let names: Vec<String> = unpacked.info.entries.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["conffiles", "control", "md5sums", "postinst"]);
        let script = unpacked.script("postinst", &contents).expect("read");
        assert_eq!(script.as_deref(), Some(&b"#!/bin/sh\n"[..]));
        let Some(Node::File(hello)) = unpacked.tree.get(&path("/usr/hello")) else { panic!("no file") };
        assert_eq!(contents.read_all(&hello.content).expect("its content"), b"1:2.0-3");
        assert_eq!(unpacked.tree.get(&path("/usr/hola")), Some(&Node::HardLink(path("/usr/hello"))));
        let mode =
            |at: &str| unpacked.tree.get(&path(at)).and_then(Node::metadata).map(|metadata| metadata.mode);
        assert_eq!((mode("/usr/su"), mode("/etc/hello.conf")), (Some(0o4755), Some(0o640)));
        trees.push(unpacked.tree);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "the compression does not matter");
}

fn ar_of(control: &[u8], data: &[u8], suffixes: [&str; 2]) -> Vec<u8> {
    let [control_name, data_name] =
        [format!("control.tar{}", suffixes[0]), format!("data.tar{}", suffixes[1])];
    archives::ar(&[("debian-binary", b"2.0\n"), (&control_name, control), (&data_name, data)])
}

#[test]
fn packages_of_another_form_are_refused() {
    let deb = hello("1");
    let (control, data) = (archives::xz(&deb.control_tar()), archives::xz(&deb.data_tar()));
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let c: (&str, &[u8]) = ("control.tar.xz", &control);
    let d: (&str, &[u8]) = ("data.tar.xz", &data);
    let huge = [archives::ar(&[version, c]), archives::ar_header("data.tar.xz", "9999999999"), data.clone()]
        .concat();
    let negative =
        [archives::ar(&[version, c]), archives::ar_header("data.tar.xz", "-1"), data.clone()].concat();
    for (why, bytes, expected) in [
        ("order", archives::ar(&[version, d, c]), "control.tar must be"),
        ("no version", archives::ar(&[c, d]), "debian-binary must be"),
        ("twice", archives::ar(&[version, c, c, d]), "second member"),
        (
            "two payloads",
            archives::ar(&[version, c, d, ("data.tar.gz", b"")]),
            "data.tar.gz where the end must be",
        ),
        ("more", archives::ar(&[version, c, d, ("_gpgorigin", b"x")]), "_gpgorigin where the end must be"),
        ("no payload", archives::ar(&[version, c]), "its end where data.tar must be"),
        ("nothing", archives::ar(&[]), "debian-binary must be"),
        ("future", archives::ar(&[("debian-binary", b"3.0\n"), c, d]), "3.0"),
        ("long version", archives::ar(&[("debian-binary", &[b'2'; 5000]), c, d]), "format"),
        ("suffix", archives::ar(&[version, c, ("data.tar.br", &data)]), "data.tar.br"),
        (
            "lie",
            archives::ar(&[version, c, ("data.tar.bz2", &data)]),
            "data.tar.bz2: byte 0: expected bzip2, found xz",
        ),
        ("bzip2", archives::ar(&[version, c, ("data.tar", b"BZh91AY")]), "bzip2"),
        ("huge", huge, "cut off"),
        ("negative", negative, "decimal digits"),
        ("no archive", b"\x7fELF".repeat(40), "ar archive"),
        (
            "no control file",
            ar_of(&archives::tar(&[directory("./")]), &deb.data_tar(), ["", ""]),
            "./control",
        ),
    ] {
        let message = unpack_bytes(&bytes).expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
    }
}

#[test]
fn hostile_payloads_and_control_files_are_refused() {
    let with = |entries: Vec<Entry>| Deb { data: entries, ..hello("1") }.bytes();
    let device = Entry { kind: b'3', ..file("./dev/mem", 0o600, b"") };
    for (why, bytes, expected) in [
        ("escape", with(vec![file("../etc/passwd", 0o644, b"x")]), ".."),
        ("absolute", with(vec![file("/etc/passwd", 0o644, b"x")]), "/etc/passwd"),
        ("device", with(vec![directory("./dev"), device]), "device"),
        ("twice", with(vec![file("./a", 0o644, b"x"), file("./a", 0o644, b"y")]), "./a"),
        ("through a link", with(vec![link("./a", b'2', "/etc"), file("./a/b", 0o644, b"x")]), "./a/b"),
        ("hard link outside", with(vec![link("./a", b'1', "/etc/shadow")]), "absolute"),
    ] {
        let message = unpack_bytes(&bytes).expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
    }
    let control = |text: &str| {
        let tar = archives::tar(&[file("./control", 0o644, text.as_bytes())]);
        unpack_bytes(&ar_of(&tar, &hello("1").data_tar(), ["", ""])).expect_err(text)
    };
    assert!(control("Package: ../x\nVersion: 1\nArchitecture: all\n").contains("Package"));
    assert!(control("Package: hello\nVersion: 1 2\nArchitecture: all\n").contains("Version"));
    assert!(control("Package: hello\nPackage: hello\n").contains("twice"));
    assert!(control("Package: hello\n\nPackage: other\n").contains("second"));
    assert!(control("").contains("nothing"));
}

#[test]
fn a_torn_package_is_an_error_wherever_it_is_torn() {
    let bytes = hello("1").bytes();
    for length in 0..bytes.len() {
        assert!(unpack_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    for at in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        let _ = unpack_bytes(&flipped);
    }
}

#[test]
fn a_package_that_is_not_the_locked_one_is_refused() {
    let archive = Archive::new(vec![hello("1")]);
    let lock = archive.lock(&["hello"]).expect("locked");
    let locked = lock.packages().next().expect("a package");
    let sink = MemoryContents::default();
    let unpack =
        |deb: Deb| unpack::locked_deb(&deb.bytes()[..], locked, unpack::Share::ONE, &sink, &Job::quiet(1));
    assert!(unpack(hello("1")).is_ok());
    let message = whole(&unpack(hello("2")).expect_err("another version"));
    assert_eq!(message, "hello 1: this is hello 2 amd64, not hello 1 amd64");
}

#[test]
fn what_dpkg_builds_is_read_as_dpkg_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    write(&at("p/DEBIAN/control"), b"Package: built\nVersion: 1:2-3\nArchitecture: all\nMaintainer: T <t@mirror.invalid>\nDescription: a\n b\n .\n c\n");
    write(&at("p/DEBIAN/conffiles"), b"/etc/built.conf\n");
    write(&at("p/etc/built.conf"), b"setting\n");
    write(&at("p/usr/share/built/data"), &vec![7; 100_000]);
    for compression in ["xz", "gzip", "zstd", "none"] {
        let deb = at(&format!("{compression}.deb"));
        let dpkg = |arguments: &[&std::ffi::OsStr]| {
            let output = std::process::Command::new("dpkg-deb").args(arguments).output();
            let output = output
                .unwrap_or_else(|error| panic!("dpkg-deb does not start ({error}): install package dpkg"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let kind = format!("-Z{compression}");
        dpkg(&["--root-owner-group".as_ref(), kind.as_ref(), "-b".as_ref(), at("p").as_ref(), deb.as_ref()]);
        let contents = MemoryContents::default();
        let bytes = std::fs::read(&deb).expect("read");
        let unpacked =
            unpack::deb(&bytes[..], unpack::Share::ONE, &contents, &Job::quiet(1)).expect("unpacked");
        let fields: String =
            unpacked.control.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        assert_eq!(fields, dpkg(&["--field".as_ref(), deb.as_ref()]));
        let listed = dpkg(&["--contents".as_ref(), deb.as_ref()]);
        let mut listed: Vec<&str> = listed.lines().filter_map(|line| line.split(" ./").nth(1)).collect();
        listed.sort();
        let mut found: Vec<String> = unpacked
            .tree
            .paths()
            .map(|(path, node)| {
                format!("{path}{}", if matches!(node, Node::Directory(_)) { "/" } else { "" })
            })
            .map(|path| path[1..].to_owned())
            .collect();
        found.sort();
        assert_eq!(found, listed.into_iter().filter(|path| !path.is_empty()).collect::<Vec<_>>());
        assert_eq!(unpacked.conffiles(&contents).expect("read"), [path("/etc/built.conf")]);
    }
}
