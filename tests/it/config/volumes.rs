//! Seeds as other people's tools make them, and as nobody should.

use std::io;
use std::path::{Path, PathBuf};

use crate::init::logic::volume::Volume;
use crate::tool::{succeed, tool};

const USER_DATA: &str = "#mkimage\nGREETING=from a seed\n";
const META_DATA: &str = "instance-id: i-7\nlocal-hostname: seed\n";

fn read(bytes: &[u8]) -> impl Fn(u64, &mut [u8]) -> io::Result<()> {
    |at, buffer| {
        let from = usize::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let source = bytes.get(from..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn seed_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("user-data"), USER_DATA).expect("written");
    std::fs::write(folder.path().join("meta-data"), META_DATA).expect("written");
    let deep = folder.path().join("openstack/latest");
    std::fs::create_dir_all(&deep).expect("made");
    std::fs::write(deep.join("user_data"), USER_DATA).expect("written");
    std::fs::write(deep.join("meta_data.json"), vec![b' '; 5000]).expect("written");
    std::fs::write(deep.join("empty"), "").expect("written");
    folder
}

fn judge(bytes: &[u8], label: &str, what: &str) {
    let volume = Volume::open(&read(bytes)).unwrap_or_else(|| panic!("{what} is no volume"));
    assert!(volume.label().eq_ignore_ascii_case(label), "{what}: {:?}", volume.label());
    let file = |path: &str| {
        volume.file(&read(bytes), path, 1 << 20).unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    assert_eq!(file("user-data").as_deref(), Some(USER_DATA.as_bytes()), "{what}");
    assert_eq!(file("meta-data").as_deref(), Some(META_DATA.as_bytes()), "{what}");
    assert_eq!(file("openstack/latest/user_data").as_deref(), Some(USER_DATA.as_bytes()), "{what}");
    assert_eq!(file("openstack/latest/meta_data.json"), Some(vec![b' '; 5000]), "{what}");
    assert_eq!(file("openstack/latest/empty"), Some(Vec::new()), "{what}");
    for missing in ["vendor-data", "openstack/user_data", "user-data/x", "", "/", "..", "openstack"] {
        assert_eq!(file(missing), None, "{what}: {missing}");
    }
    assert!(
        volume.file(&read(bytes), "openstack/latest/meta_data.json", 4999).is_err(),
        "{what}: a limit holds"
    );
}

fn fat(folder: &Path, bits: &str, kibibytes: u32) -> PathBuf {
    let image = folder.join(format!("fat{bits}.img"));
    succeed(tool("mkfs.vfat", ["-C", "-F", bits, "-n", "CIDATA"]).arg(&image).arg(kibibytes.to_string()));
    for (what, paths) in [("mmd", &["openstack", "openstack/latest"][..]), ("mcopy", &[])] {
        let mut command = tool(what, ["-i"]);
        command.arg(&image);
        match what {
            "mmd" => command.args(paths.iter().map(|path| format!("::{path}"))),
            _ => command.args(["user-data", "meta-data"].map(|name| folder.join(name))).arg("::"),
        };
        succeed(&mut command);
    }
    for name in ["user_data", "meta_data.json", "empty"] {
        let path = format!("openstack/latest/{name}");
        let mut command = tool("mcopy", ["-i"]);
        succeed(command.arg(&image).arg(folder.join(&path)).arg(format!("::{path}")));
    }
    image
}

#[test]
fn fat_of_every_width_is_read() {
    let folder = seed_folder();
    for (bits, kibibytes) in [("12", 2048), ("16", 16 << 10), ("32", 40 << 10)] {
        let bytes = std::fs::read(fat(folder.path(), bits, kibibytes)).expect("an image");
        judge(&bytes, "cidata", &format!("FAT{bits}"));
    }
}

fn iso(folder: &Path, options: &[&str]) -> Vec<u8> {
    let out = tempfile::NamedTempFile::new().expect("a file");
    let mut command = tool("genisoimage", ["-quiet", "-V", "config-2", "-o"]);
    succeed(command.arg(out.path()).args(options).arg(folder));
    std::fs::read(out.path()).expect("an image")
}

#[test]
fn iso_is_read_with_the_names_of_joliet_of_rock_ridge_and_without() {
    let folder = seed_folder();
    for options in [
        &["-joliet", "-rock"][..],
        &["-joliet"],
        &["-rock"],
        &["-iso-level", "4", "-allow-lowercase", "-allow-multidot"],
    ] {
        judge(&iso(folder.path(), options), "config-2", &format!("{options:?}"));
    }
}

#[test]
fn large_directories_are_read_across_sectors_and_clusters() {
    let folder = seed_folder();
    for number in 0..400 {
        std::fs::write(folder.path().join(format!("a-file-with-a-long-name-{number}")), "x")
            .expect("written");
    }
    let bytes = iso(folder.path(), &["-rock"]);
    judge(&bytes, "config-2", "400 files");
    let volume = Volume::open(&read(&bytes)).expect("a volume");
    let last = volume.file(&read(&bytes), "a-file-with-a-long-name-399", 1).expect("read");
    assert_eq!(last.as_deref(), Some(&b"x"[..]));
}

/// Damages a volume in one place after the other and reads it: that must end, in an error or not.
fn damage(bytes: &[u8], places: impl Iterator<Item = usize>) {
    let mut bytes = bytes.to_vec();
    for at in places {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let before = std::mem::replace(&mut bytes[at], value);
            if let Some(volume) = Volume::open(&read(&bytes)) {
                for path in ["user-data", "openstack/latest/meta_data.json"] {
                    let found = volume.file(&read(&bytes), path, 64 << 10);
                    assert!(found.ok().flatten().is_none_or(|it| it.len() <= 64 << 10));
                }
            }
            bytes[at] = before;
        }
    }
}

#[test]
fn damaged_volumes_end_in_errors_and_never_in_loops() {
    let folder = seed_folder();
    let fat = std::fs::read(fat(folder.path(), "12", 2048)).expect("an image");
    // Boot sector, FAT, root directory; then the first clusters.
    damage(&fat, (0..512).chain((512..9 * 512).step_by(7)).chain((13 * 512..40 * 512).step_by(5)));
    let iso = iso(folder.path(), &["-joliet", "-rock"]);
    let sectors = 16 * 2048..iso.len().min(40 * 2048);
    damage(&iso, sectors.clone().step_by(11).chain((0..200).map(|at| 16 * 2048 + at)));
    for cut in [0, 1, 511, 512, 4096, 16 * 2048, 17 * 2048, 20 * 2048 + 5] {
        let _ = Volume::open(&read(&iso[..cut])).map(|it| it.file(&read(&iso[..cut]), "user-data", 1 << 20));
        let _ = Volume::open(&read(&fat[..cut])).map(|it| it.file(&read(&fat[..cut]), "user-data", 1 << 20));
    }
}

#[test]
fn a_chain_that_loops_ends() {
    let folder = seed_folder();
    let mut bytes = std::fs::read(fat(folder.path(), "12", 2048)).expect("an image");
    let sectors = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (reserved, length) = (sectors(14), sectors(22));
    // Every cluster of both tables leads to cluster 2: 0x002, packed.
    for byte in 0..2 * length * 512 {
        bytes[reserved * 512 + byte] = [0x02, 0x20, 0x00][byte % 3];
    }
    let volume = Volume::open(&read(&bytes)).expect("a volume");
    let _ = volume.file(&read(&bytes), "openstack/latest/meta_data.json", 1 << 20);
    let _ = volume.file(&read(&bytes), "user-data", 1 << 20);
}
