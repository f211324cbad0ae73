//! Archives that mean harm, through recipes.

use std::io::Write;

use super::Site;
use crate::tool::{fail_with, run, succeed, tool};

/// One tar entry, header and content, as an adversary writes it.
fn entry(name: &[u8], kind: u8, mode: u32, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[329..345].copy_from_slice(b"0000010\x000000000\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), b'0', 0o644, "", content)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// Composes a recipe that takes an archive in, and returns why it was refused.
fn refused(bytes: &[u8]) -> String {
    let site = Site::with_tree("hostile.tar");
    site.write("hostile.tar", bytes);
    let said = fail_with(4, &mut site.mkimage(&["compose", "tree.hcl"]));
    assert!(said.contains("tree \"t\" (tree.hcl:15)") && said.contains("hostile.tar"), "{said}");
    assert!(said.contains("because: "), "no reason: {said}");
    assert!(said.len() < 2000, "{} bytes of message", said.len());
    site.assert_tidy();
    let json = fail_with(4, &mut site.mkimage(&["--json", "compose", "tree.hcl"]));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
    assert_eq!(value["kind"], "input");
    assert!(value["causes"][0].is_string(), "{json}");
    said
}

#[test]
fn hostile_archives_are_refused_with_the_block_the_place_and_the_reason() {
    let deep = vec!["d"; 200_000].join("/") + "/f\0";
    let long = archive(&[entry(b"././@LongLink", b'L', 0o644, "", deep.as_bytes()), file("x", b"x")]);
    let link_first = [entry(b"a", b'2', 0o777, "/etc", b""), file("a/passwd", b"x")];
    let cases = [
        (archive(&[file("../../etc/passwd", b"x")]), "\"../../etc/passwd\""),
        (archive(&[file("/etc/passwd", b"x")]), "absolute"),
        (archive(&[entry(b"su", b'0', 0o4755, "", b"x")]), "allow = [\"/su\"]"),
        (archive(&[entry(b"disk", b'4', 0o600, "", b"")]), "device"),
        (archive(&[entry(b"h", b'1', 0o644, "../../etc/shadow", b"")]), "\"..\""),
        (archive(&[file("a", b"x"), file("a", b"y")]), "twice"),
        (archive(&link_first), "symlink"),
        (archive(&[file("a", &[1; 5000])])[..3000].to_vec(), "cut off"),
        (long, "4095"),
        (b"not a tar archive".to_vec(), "cut off"),
        (vec![0xff; 4096], "checksum"),
    ];
    for (bytes, expected) in cases {
        let said = refused(&bytes);
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
}

#[test]
fn what_a_recipe_allows_is_taken() {
    let site = Site::with_tree("a.tar\"\n  allow = [\"/su\"]\n  path = \"/");
    site.write("a.tar", &archive(&[entry(b"su", b'0', 0o4755, "", b"x")]));
    site.compose("tree.hcl");
    assert!(
        succeed(&mut site.mkimage(&["ls", "-l", "small", "/"]))
            .contains("- 4755     0     0          1 su\n")
    );
}

#[test]
fn a_bomb_is_read_in_bounded_memory_and_costs_no_room() {
    let site = Site::with_tree("bomb.tar.gz");
    let zeros = vec![0; 64 << 20];
    let mut head = file("zeros", b"");
    let size: u64 = 16 * zeros.len() as u64;
    head[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let packed = gzip(&zeros);
    let mut bomb = gzip(&head);
    (0..16).for_each(|_| bomb.extend_from_slice(&packed));
    bomb.extend_from_slice(&gzip(&[0; 1024]));
    site.write("bomb.tar.gz", &bomb);
    let line = "ulimit -v 600000; exec \"$@\"";
    succeed(&mut site.through("bash", &["-c", line, "bash"], &["compose", "tree.hcl"]));
    let stored = succeed(&mut tool("du", ["-s".as_ref(), site.path("store").as_os_str()]));
    let blocks: u64 = stored.split('\t').next().and_then(|text| text.parse().ok()).expect("a number");
    assert!(blocks < 1024, "{blocks} KiB for zeros");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    run(&mut tool("gzip", ["-1c".as_ref(), file.path().as_os_str()])).stdout
}

#[test]
fn conflicts_are_all_named_with_both_origins_and_what_to_do() {
    let site = Site::with_tree("first");
    for folder in ["first", "second"] {
        std::fs::create_dir(site.path(folder)).expect("a folder");
        site.write(&format!("{folder}/same"), b"same");
        site.write(&format!("{folder}/one"), folder.as_bytes());
    }
    std::fs::create_dir(site.path("second/etc")).expect("a folder");
    site.write("second/etc/motd", b"other\n");
    let text = std::fs::read_to_string(site.path("tree.hcl")).expect("the recipe");
    let two = format!("{text}\ntree \"u\" {{\n  source = \"second\"\n}}\n");
    site.write("tree.hcl", two.as_bytes());
    let said = fail_with(3, &mut site.mkimage(&["compose", "tree.hcl"]));
    assert!(
        said.contains("/one: both tree \"t\" (tree.hcl:15) and tree \"u\" (tree.hcl:19) bring it"),
        "{said}"
    );
    let motd = "/etc/motd: both file \"/etc/motd\" (tree.hcl:11) and tree \"u\" (tree.hcl:19) bring it";
    assert!(said.contains(motd) && said.contains("of 8 bytes and") && said.contains("of 6 bytes"), "{said}");
    assert!(!said.contains("/same") && said.contains("replace = [\"/its/path\"]"), "{said}");
    let better =
        format!("{text}\ntree \"u\" {{\n  source = \"second\"\n  replace = [\"/one\", \"/etc/motd\"]\n}}\n");
    site.write("tree.hcl", better.as_bytes());
    site.compose("tree.hcl");
    assert_eq!(succeed(&mut site.mkimage(&["cat", "small", "/one"])), "second");
}
