//! RPM's formats: packages, the metadata of repositories, dependencies, scriptlets.

use mkimage::archive::Digesting;
use mkimage::packages::rpm::relation::{self, Rich, overlap};
use mkimage::packages::rpm::version::{self, Evr};
use mkimage::packages::rpm::{self, Metadata, Script, Universe, Wanted};

use super::JOB;

pub const WORDS: &[&str] = &[
    "<package type=\"rpm\">",
    "</package>",
    "<rpm:requires>",
    "<rpm:entry name=\"",
    "flags=\"GE\"",
    "epoch=\"",
    "<!DOCTYPE",
    "<!--",
    "-->",
    "<?xml",
    "&lt;",
    "&#x41;",
    "/>",
    " and ",
    " or ",
    " if ",
    " else ",
    " unless ",
    " with ",
    " without ",
    ">= 1",
    "(",
    ")",
    "~",
    "^",
    ":",
    "-1",
    "if [ $1 -eq 1 ]; then\n",
    "fi\n",
    "elif ",
    " || :",
    " && ",
    "<<EOF\n",
    "\nEOF\n",
    "systemctl preset ",
    "useradd -r ",
    "exit 0\n",
    "07070X00000001",
    "070701",
    "TRAILER!!!",
];

/// Unpacks a package into nowhere. What comes out can be sealed.
pub fn package(bytes: &[u8]) {
    if let Ok(unpacked) = rpm::unpack(bytes, &Digesting, &JOB) {
        unpacked.tree.seal().expect("what was unpacked can be sealed");
    }
}

/// Reads bytes as each kind of metadata.
pub fn repodata(bytes: &[u8]) {
    let _ = Metadata::parse(bytes);
    let mut universe = Universe::default();
    let wanted = Wanted { source: 0, architecture: "x86_64" };
    let _ = rpm::read_primary(bytes, &wanted, &mut universe);
    for id in universe.ids() {
        let shown = universe.shown(id);
        assert!(!shown.contains(char::is_whitespace), "a package's name is a word of a lock: {shown:?}");
    }
    let paths = ["/etc/x".to_owned()].into();
    let _ = rpm::read_files(bytes, 0, &paths, &mut universe);
}

/// Reads a dependency. Versions order the same both ways, and ranges overlap the same both ways.
pub fn dependency(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(Rich::Plain(plain)) = relation::parse(&text) {
        let again = relation::parse(&plain.to_string());
        assert!(again.is_ok(), "{plain} is read back");
    }
    let (a, b) = text.split_at(text.char_indices().nth(text.chars().count() / 2).map_or(0, |at| at.0));
    assert_eq!(version::compare(a, b), version::compare(b, a).reverse());
    assert!(version::compare(a, a).is_eq());
    let (first, second) = (Evr::parse(a), Evr::parse(b));
    assert_eq!(first.compare(&second), second.compare(&first).reverse());
    let (low, high) = (relation::Sense(3), relation::Sense(4));
    assert_eq!(overlap((low, &first), (high, &second)), overlap((high, &second), (low, &first)));
}

/// Reads a scriptlet.
pub fn scriptlet(bytes: &[u8]) {
    let script = Script {
        package: "p".to_owned(),
        name: "post".to_owned(),
        interpreter: vec!["/bin/sh".to_owned()],
        body: bytes.to_vec(),
        arguments: vec!["1".to_owned()],
    };
    let _ = rpm::classify(&script, &|path| path.len().is_multiple_of(2));
}

/// Writes a header: tags, types, counts and values.
fn header(region: u32, tags: &[(u32, u32, u32, Vec<u8>)]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, value) in tags {
        let alignment = match kind {
            3 => 2,
            4 => 4,
            _ => 1,
        };
        data.resize(data.len().next_multiple_of(alignment), 0);
        for number in [*tag, *kind, data.len() as u32, *count] {
            index.extend(number.to_be_bytes());
        }
        data.extend_from_slice(value);
    }
    let entries = tags.len() as u32 + 1;
    let first = [region, 7, data.len() as u32, 16];
    for number in [region, 7, 0u32.wrapping_sub(entries * 16), 16] {
        data.extend(number.to_be_bytes());
    }
    let start = [0x8ead_e801, 0, entries, data.len() as u32];
    let numbers = start.iter().chain(&first).flat_map(|number| number.to_be_bytes());
    numbers.chain(index).chain(data).collect()
}

fn cpio(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"070701".to_vec();
    let fields = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Packages without digests, so that mutations get further than them: with names, and with numbers in the payload.
pub fn package_seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| [text.as_bytes(), b"\0"].concat();
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let modes = [0o040_755u16, 0o100_644, 0o100_644].iter().flat_map(|mode| mode.to_be_bytes()).collect();
    let tags = [
        (1000, 6, 1, text("p")),
        (1001, 6, 1, text("1")),
        (1002, 6, 1, text("1")),
        (1022, 6, 1, text("noarch")),
        (1024, 6, 1, text("ldconfig")),
        (1028, 4, 3, numbers(&[0, 5, 5])),
        (1030, 3, 3, modes),
        (1035, 8, 3, b"\0\0\0".to_vec()),
        (1036, 8, 3, b"\0\0\0".to_vec()),
        (1037, 4, 3, numbers(&[0, 0, 0])),
        (1039, 8, 3, text("root\0root\0root")),
        (1040, 8, 3, text("root\0root\0root")),
        (1096, 4, 3, numbers(&[1, 2, 2])),
        (1116, 4, 3, numbers(&[0, 1, 1])),
        (1117, 8, 3, text("d\0a\0b")),
        (1118, 8, 2, text("/\0/d/")),
        (1125, 6, 1, text("none")),
        (5010, 8, 3, text("\0cap_net_raw=ep\0cap_net_raw=ep")),
    ];
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0];
    lead.resize(78, 0);
    lead.extend([0, 5]);
    lead.resize(96, 0);
    let front = [lead, header(62, &[]), header(63, &tags)].concat();
    let named =
        [cpio("./d", b""), cpio("./d/a", b""), cpio("./d/b", b"hello"), cpio("TRAILER!!!", b"")].concat();
    let numbered = [
        &b"07070X00000000\0\x0007070X00000001\0\x0007070X00000002\0\0hello\0\0\0"[..],
        &cpio("TRAILER!!!", b""),
    ];
    vec![[&front[..], &named].concat(), [&front[..], &numbered.concat()].concat()]
}

pub fn repodata_seeds() -> Vec<Vec<u8>> {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let repomd = format!(
        "<?xml version=\"1.0\"?>\n<repomd xmlns=\"r\"><revision>1</revision><data type=\"primary\"><checksum \
         type=\"sha256\">{digest}</checksum><location href=\"repodata/p.xml\"/><size>3</size></data></repomd>\n"
    );
    let primary = format!(
        "<metadata packages=\"1\"><!-- one --><package type=\"rpm\"><name>p</name><arch>noarch</arch><version epoch=\"0\" \
         ver=\"1\" rel=\"1\"/><checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum><size package=\"3\"/><location \
         href=\"p.rpm\"/><format><rpm:provides><rpm:entry name=\"p\" flags=\"EQ\" epoch=\"0\" ver=\"1\" rel=\"1\"/></rpm:provides>\
         <rpm:requires><rpm:entry name=\"(a if b &gt;= 1)\"/></rpm:requires><file type=\"dir\">/etc/p</file></format>\
         </package></metadata>"
    );
    let files = format!(
        "<filelists><package pkgid=\"{digest}\" name=\"p\"><version epoch=\"0\" ver=\"1\"/><file>/etc/x</file></package></filelists>"
    );
    [repomd, primary, files].map(String::into_bytes).to_vec()
}

pub fn dependency_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "libfoo.so.1(GLIBC_2.4)(64bit) >= 1:2.0~rc1^git5-3",
        "((a or b >= 1) if (c with d) else (e unless f))",
        "1.0~rc1^git5-3.fc40 1.0-3",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn scriptlet_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "if [ $1 -eq 1 ] && [ -x \"/usr/lib/x\" ]; then\n  systemctl --no-reload preset a.service &>/dev/null || :\nelse\n:\nfi\n",
        "systemd-sysusers --replace=/usr/lib/sysusers.d/a.conf - <<SYSTEMD_INLINE_EOF >/dev/null 2>&1 || :\nu a - \"b c\" /d -\n\
         SYSTEMD_INLINE_EOF\n",
        // Blanks of every kind part words; once they made words without end.
        "true\u{a0}true\u{b}true\u{2028}fi\n",
        "getent group a >/dev/null || groupadd -f -g 5 -r a\nuseradd -r -u 5 -g a -d / -s /sbin/nologin -c \"x\" a\nexit 0\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
