//! Small Debian packages and archives, written byte by byte, so that they can be wrong.

use std::io::Write;

/// One entry of a tar archive.
#[derive(Clone)]
pub struct Entry {
    pub path: String,
    pub kind: u8,
    pub mode: u32,
    pub link: String,
    pub content: Vec<u8>,
}

pub fn file(path: &str, mode: u32, content: &[u8]) -> Entry {
    Entry { path: path.into(), kind: b'0', mode, link: String::new(), content: content.into() }
}

pub fn directory(path: &str) -> Entry {
    Entry { path: path.into(), kind: b'5', mode: 0o755, link: String::new(), content: Vec::new() }
}

pub fn link(path: &str, kind: u8, target: &str) -> Entry {
    Entry { path: path.into(), kind, mode: 0o777, link: target.into(), content: Vec::new() }
}

/// Writes a ustar archive.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = [0u8; 512];
        header[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        header[100..108].copy_from_slice(format!("{:07o}\0", entry.mode).as_bytes());
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", entry.content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].fill(b' ');
        header[156] = entry.kind;
        header[157..157 + entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        if matches!(entry.kind, b'3' | b'4') {
            header[329..337].copy_from_slice(b"0000001\0");
            header[337..345].copy_from_slice(b"0000003\0");
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("compressed")
}

/// Writes an `ar` archive.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend(ar_header(name, &content.len().to_string()));
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

pub fn ar_header(name: &str, size: &str) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes()
}

/// What a test package is made of.
#[derive(Clone)]
pub struct Deb {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub depends: String,
    pub control: Vec<Entry>,
    pub data: Vec<Entry>,
}

pub fn package(name: &str, version: &str, data: Vec<Entry>) -> Deb {
    Deb {
        name: name.into(),
        version: version.into(),
        architecture: "amd64".into(),
        depends: String::new(),
        control: Vec::new(),
        data,
    }
}

impl Deb {
    pub fn control_text(&self) -> String {
        let Deb { name, version, architecture, .. } = self;
        let depends =
            if self.depends.is_empty() { String::new() } else { format!("Depends: {}\n", self.depends) };
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{depends}Description: a test\n more\n"
        )
    }

    pub fn control_tar(&self) -> Vec<u8> {
        let mut entries = vec![directory("./"), file("./control", 0o644, self.control_text().as_bytes())];
        entries.extend(self.control.clone());
        tar(&entries)
    }

    pub fn data_tar(&self) -> Vec<u8> {
        tar(&[vec![directory("./")], self.data.clone()].concat())
    }

    /// Writes the package as dpkg-deb does.
    pub fn bytes(&self) -> Vec<u8> {
        let (control, data) = (xz(&self.control_tar()), xz(&self.data_tar()));
        ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &control), ("data.tar.xz", &data)])
    }

    pub fn filename(&self) -> String {
        format!("pool/main/{}_{}_{}.deb", self.name, self.version, self.architecture)
    }

    /// Writes the package's paragraph of an index.
    pub fn paragraph(&self) -> String {
        let bytes = self.bytes();
        let sha256 = mkimage::packages::Sha256::of(&bytes);
        let (filename, size) = (self.filename(), bytes.len());
        format!("{}Filename: {filename}\nSize: {size}\nSHA256: {sha256}\n", self.control_text())
    }
}

/// Writes a whole archive into a folder: pool, index and an unsigned Release text.
pub fn index(packages: &[Deb]) -> String {
    packages.iter().map(Deb::paragraph).collect::<Vec<_>>().join("\n")
}

/// Writes the Release text of a suite whose only index is this.
pub fn release(suite: &str, dates: &str, index: &str) -> String {
    let packed = xz(index.as_bytes());
    let of = |bytes: &[u8]| format!("{} {}", mkimage::packages::Sha256::of(bytes), bytes.len());
    format!(
        "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {suite}\n{dates}Acquire-By-Hash: yes\n\
         Architectures: amd64\nComponents: main\nSHA256:\n {} main/binary-amd64/Packages\n {} \
         main/binary-amd64/Packages.xz\n",
        of(index.as_bytes()),
        of(&packed)
    )
}
