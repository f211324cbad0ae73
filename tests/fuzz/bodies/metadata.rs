//! What clouds say: user data, answers of services and name servers, ids, seeds on disks; and what apps write.

use std::io;
use std::time::Duration;

use mkimage::base::Endpoint;
use mkimage::boot::environment::is_name;
use mkimage::boot::user_data;

use super::super::logic::found::Found;
use super::super::logic::http::{self, Answer};
use super::super::logic::lines::{LINE_MAX_BYTES, Splitter, clean};
use super::super::logic::volume::Volume;
use super::super::logic::{dns, nocloud};

pub const WORDS: &[&str] = &[
    "#mkimage\n",
    "environment",
    "files",
    "log",
    "base64",
    "HTTP/1.1 200 OK\r\n",
    "\r\n\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked",
    "ds=nocloud;s=http://",
    "instance-id: ",
    "user-data",
    "nameserver ",
];
/// What stands in front of the first descriptor of an ISO volume.
const ISO_START: u64 = 16 * 2048;
const FILE_MAX_BYTES: usize = 4096;

pub fn text(bytes: &[u8]) {
    if let Ok(read) = user_data::parse(bytes) {
        let lines = !bytes.trim_ascii_start().starts_with(b"{");
        assert!(
            read.files.is_empty() || !lines || bytes.starts_with(b"#mkimage") || bytes.starts_with(b"\xef")
        );
        assert!(read.files.len() + read.variables.len() <= bytes.len());
        let plain = read.files.is_empty() && read.log.is_none();
        assert!(
            !lines || !plain || read.variables.iter().all(|(name, _)| is_name(name) || bytes.contains(&b'{'))
        );
    }
    let partial = http::answer(bytes, false);
    if let Answer::Whole { body, .. } = &partial {
        assert!(
            body.len() <= bytes.len() && http::answer(bytes, true) == partial,
            "more can't change what is whole"
        );
    }
    let question = dns::question(7, "logs.example");
    let behind = [&question[..], bytes].concat();
    for message in [bytes, &behind] {
        let _ = dns::answer(message, &question);
    }
    if let Some(found) = Found::decode(bytes) {
        assert_eq!(Found::decode(&found.encode()), Some(found), "what is told is what is heard");
    }
    let _ = nocloud::instance_id(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (nocloud::serial(text), dns::servers(text), dns::names("logs", text));
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint), "{text}");
        }
    }
    lines(bytes);
}

/// Whatever comes in pieces, nothing but line ends is lost, and nothing steers a terminal.
fn lines(bytes: &[u8]) {
    let (mut splitter, mut whole) = (Splitter::default(), Vec::new());
    for piece in bytes.chunks(7) {
        splitter.push(piece, Duration::ZERO, |line| whole.push(line.to_vec()));
    }
    splitter.flush(Duration::ZERO, true, |line| whole.push(line.to_vec()));
    let kept: usize = whole.iter().map(Vec::len).sum();
    assert_eq!(kept, bytes.iter().filter(|&&byte| byte != b'\n').count());
    for line in whole {
        assert!(line.len() <= LINE_MAX_BYTES);
        assert!(!clean(&line).chars().any(|character| character.is_control() && character != '\t'));
    }
}

pub fn text_seeds() -> Vec<Vec<u8>> {
    let mut answer = dns::question(7, "logs.example");
    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
    answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\x02\x02");
    let found = Found {
        source: Some("ec2".into()),
        variables: vec![("A".into(), b"1".to_vec())],
        ..Found::default()
    };
    vec![
        b"#mkimage\nGREETING=a = \"b\"\n# c\n\nB=\n".to_vec(),
        br#"{"environment": {"A": "x", "N": 4}, "files": {"k": {"base64": "AP8="}, "t": "s"}, "log": "tcp://l:1"}"#.to_vec(),
        b"#cloud-config\npackages: [vim]\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n".to_vec(),
        b"ds=nocloud;s=http://10.0.2.2:80/a/;i=i-1".to_vec(),
        b"instance-id: i-1\n".to_vec(),
        b"nameserver 10.0.2.3\nsearch lan\n".to_vec(),
        b"http://10.0.2.2:8080/a?b".to_vec(),
        b"line\r\n<3>\x1b[31m\xff\0".to_vec(),
        answer,
        found.encode(),
    ]
}

/// Reads the bytes as a FAT volume, and as an ISO volume from its first descriptor on.
pub fn volume(bytes: &[u8]) {
    for start in [0, ISO_START] {
        let read = |at: u64, buffer: &mut [u8]| -> io::Result<()> {
            let from = at.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            let source = from.and_then(|from| bytes.get(from..)?.get(..buffer.len()));
            buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        let Some(volume) = Volume::open(&read) else { continue };
        assert!(volume.label().len() <= 3 * 32);
        for path in ["user-data", "openstack/latest/user_data", ""] {
            if let Ok(Some(file)) = volume.file(&read, path, FILE_MAX_BYTES) {
                assert!(file.len() <= FILE_MAX_BYTES);
            }
        }
    }
}

pub fn volume_seeds() -> Vec<Vec<u8>> {
    vec![fat(), iso()]
}

/// FAT12 of 16 sectors with one file of a long name.
fn fat() -> Vec<u8> {
    let mut bytes = vec![0; 16 * 512];
    bytes[11..13].copy_from_slice(&512u16.to_le_bytes());
    (bytes[13], bytes[14], bytes[16], bytes[17], bytes[19], bytes[22]) = (1, 1, 1, 16, 16, 1);
    bytes[43..54].copy_from_slice(b"CIDATA     ");
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    // Cluster 2 leads to cluster 3, which is the last one.
    bytes[512..518].copy_from_slice(&[0xf8, 0xff, 0xff, 0x03, 0xf0, 0xff]);
    let root = 1024;
    let units: Vec<u16> = "user-data".encode_utf16().chain([0, 0xffff, 0xffff, 0xffff]).collect();
    bytes[root] = 0x41;
    bytes[root + 11] = 0x0f;
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
    for (place, unit) in places.zip(units) {
        bytes[root + place..root + place + 2].copy_from_slice(&unit.to_le_bytes());
    }
    bytes[root + 32..root + 43].copy_from_slice(b"USER-D~1   ");
    bytes[root + 32 + 26] = 2;
    bytes[root + 32 + 28..root + 32 + 30].copy_from_slice(&600u16.to_le_bytes());
    bytes[1536..1536 + 600].fill(b'x');
    bytes
}

/// Descriptors, one directory with names of Rock Ridge, one file.
fn iso() -> Vec<u8> {
    let record = |sector: u32, size: u32, flags: u8, name: &[u8], more: &[u8]| {
        let mut record = vec![0; 33];
        record[2..6].copy_from_slice(&sector.to_le_bytes());
        record[10..14].copy_from_slice(&size.to_le_bytes());
        (record[25], record[32]) = (flags, name.len() as u8);
        record.extend_from_slice(name);
        if name.len().is_multiple_of(2) {
            record.push(0);
        }
        record.extend_from_slice(more);
        record[0] = record.len() as u8;
        record
    };
    let mut bytes = vec![0; 4 * 2048];
    for (sector, kind) in [(0, 1), (2048, 255)] {
        bytes[sector] = kind;
        bytes[sector + 1..sector + 6].copy_from_slice(b"CD001");
    }
    bytes[40..72].fill(b' ');
    bytes[40..46].copy_from_slice(b"cidata");
    let root = record(18, 2048, 2, &[0], &[]);
    bytes[156..156 + root.len()].copy_from_slice(&root);
    let entries =
        [root, record(18, 2048, 2, &[1], &[]), record(19, 5, 0, b"USER_DAT.;1", b"NM\x0e\x01\0user-data")]
            .concat();
    bytes[4096..4096 + entries.len()].copy_from_slice(&entries);
    bytes[6144..6149].copy_from_slice(b"A=1\n\n");
    bytes
}
