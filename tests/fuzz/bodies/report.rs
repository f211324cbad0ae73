//! What bills of materials and reports read of an image: databases of packages, copyright files, sections of programs,
//! timelines.

use mkimage::base::{Digest, ImagePath, Job};
use mkimage::report::{Bill, Format, Page, Part, PartKind, Subject, Timeline, What, write};
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node};

pub const WORDS: &[&str] = &[
    "Package: ",
    "Status: install ok installed\n",
    "Version: 1:1.0~rc1+b2-3\n",
    "Depends: a (>= 1) | b, c\n",
    "Source: x (1.2)\n",
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
    "License: GPL-2+ or Artistic, and Expat\n",
    "Files: *\n",
    "\n\n",
    "\n .\n",
    "SQLite format 3\0",
    "Packages",
    "\x7fELF",
    ".dep-v0\0",
    "VERSION_CODENAME=",
    "</script>",
];
pub const TIMELINE_WORDS: &[&str] = &[
    "\"ph\":\"X\"",
    "\"ts\":",
    "\"dur\":",
    "\"tid\":",
    "traceEvents",
    "\"event\":\"started\"",
    "\n",
    "1e300",
    "-1",
    "[{",
];

/// Where a bill reads foreign bytes.
const PLACES: [&str; 8] = [
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/info/a.list",
    "/var/lib/dpkg/status.d/a",
    "/var/lib/dpkg/status.d/a.md5sums",
    "/usr/share/doc/a/copyright",
    "/usr/lib/os-release",
    "/var/lib/rpm/rpmdb.sqlite",
    "/app/program",
];

/// Puts the same bytes everywhere, behind a package that is there for certain, and writes all documents.
pub fn bill(bytes: &[u8]) {
    let contents = MemoryContents::default();
    let mut tree = Directory::default();
    let mut put = |path: &str, bytes: &[u8]| {
        let content = contents.put(bytes).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o755), content });
        let path = ImagePath::new(path.as_bytes()).expect("a path");
        tree.replace(&path, file).expect("directories above it");
    };
    for place in PLACES {
        put(place, bytes);
    }
    let sound = b"Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
    put("/var/lib/dpkg/status", &[&sound[..], bytes].concat());
    let name = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    let line = |_: &ImagePath| vec![name.clone(), "app \"a\" (a.hcl:1)".to_owned()];
    let part = Part {
        kind: PartKind::App,
        name: name.clone(),
        path: Some(ImagePath::new(b"/app").expect("a path")),
    };
    let mut subject = Subject::named(What::Tree(Digest::of(b"")), "fuzz", &tree, &contents);
    subject.parts = vec![part];
    subject.lines = &line;
    let bill = Bill::of(subject, true, &Job::quiet(1)).expect("foreign bytes are no error");
    assert!(bill.components.iter().any(|one| one.name == "a" && one.version.as_deref() == Some("1")));
    for format in [Format::Spdx, Format::CycloneDx] {
        let mut text = Vec::new();
        write(&bill, format, &mut text).expect("written");
        assert!(text.starts_with(b"{") && text.ends_with(b"}\n"));
    }
    let page = Page { bill: &bill, against: None, disk: None, timeline: None }.to_html();
    assert_eq!(page.matches("</script>").count(), 2, "a name ended an element of the page");
}

pub fn bill_seeds() -> Vec<Vec<u8>> {
    let copyright = format!(
        "{}\nFiles: *\nLicense: GPL-2+ with OpenSSL exception\n text\n .\n more\n\nFiles: b\nLicense: A or B, and C\n",
        WORDS[5]
    );
    let stanza = "Package: b\nStatus: install ok installed\nVersion: 2\nArchitecture: all\nSource: c (3)\n\
        Maintainer: X <x@lists.example.org>\nDepends: a (>= 1) | z, y\nProvides: y\nDescription: d\n more\n";
    let list = "/.\n/usr\n/usr/bin\n/usr/bin/a\n";
    [copyright.as_str(), stanza, list, "ID=debian\nVERSION_CODENAME=bookworm\n"]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

/// What reads as a timeline reads back from its own writing.
pub fn timeline(bytes: &[u8]) {
    if let Ok(timeline) = Timeline::parse(bytes) {
        let again = Timeline::parse(&timeline.to_trace()).expect("our own trace");
        assert_eq!(again.spans(), timeline.spans());
    }
}

pub fn timeline_seeds() -> Vec<Vec<u8>> {
    let events = "{\"event\":\"started\",\"id\":1,\"step\":\"a\",\"unit\":\"bytes\",\"at_microseconds\":1,\"thread\":0}\n\
        {\"event\":\"finished\",\"id\":1,\"step\":\"a\",\"cached\":false,\"done\":3,\"at_microseconds\":9,\"thread\":0}\n";
    let trace = "{\"traceEvents\":[{\"ph\":\"M\",\"name\":\"thread_name\",\"tid\":0,\"args\":{\"name\":\"worker 1\"}},\
        {\"ph\":\"X\",\"name\":\"a\",\"ts\":1,\"dur\":5,\"tid\":0,\"args\":{\"cached\":true}}]}";
    vec![events.as_bytes().to_vec(), trace.as_bytes().to_vec()]
}
