//! The initrd: PID 1, what it is to run, and the modules that it loads. The kernel unpacks it as its
//! first root.

use std::io::Write;

use super::cpio::CpioWriter;
use super::error::BootError;
use super::modules::Module;
use super::service::{MODULES_PATH, SERVICE_PATH, Service};
use crate::base::{ImagePath, Job};
use crate::tree::DeviceKind;

/// Level of compression. Another one, or another release of zstd, may change the bytes of an image: the
/// golden digests of layout 1 watch over it.
const ZSTD_LEVEL: i32 = 19;
/// Window of 8 MiB: what the kernel sets aside to unpack. (It would take windows of up to 128 MiB.)
const ZSTD_WINDOW_LOG: u32 = 23;

/// Where PID 1 mounts what it needs first. It makes further directories itself.
const DIRECTORIES: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// What an initrd is made of.
#[derive(Clone, Copy)]
pub struct InitrdParts<'a> {
    /// The static binary `mkimage-init`.
    pub init: &'a [u8],
    pub service: &'a Service,
    /// In load order.
    pub modules: &'a [Module],
    /// Seconds since 1970.
    pub epoch: u64,
}

/// An initrd, and how large it is before compression, in bytes.
pub struct Initrd {
    pub bytes: Vec<u8>,
    pub unpacked_bytes: u64,
}

/// Builds the initrd: a cpio archive in one zstd frame. The same parts make the same bytes.
pub fn build(parts: &InitrdParts<'_>, job: &Job) -> Result<Initrd, BootError> {
    let archive = archive(parts)?;
    job.check()?;
    let bytes = compress(&archive).map_err(BootError::Compress)?;
    Ok(Initrd { bytes, unpacked_bytes: archive.len() as u64 })
}

/// Writes the archive. The kernel wants `/init`, and `/dev/console` for its standard streams; modules
/// are named `modules/NN-NAME.ko`, so that their names sort in load order.
fn archive(parts: &InitrdParts<'_>) -> Result<Vec<u8>, BootError> {
    let mut cpio = CpioWriter::new(parts.epoch);
    for name in DIRECTORIES {
        cpio.directory(&path(name), 0o755)?;
    }
    cpio.device(&path("dev/console"), 0o600, DeviceKind::Character, 5, 1)?;
    cpio.device(&path("dev/kmsg"), 0o600, DeviceKind::Character, 1, 11)?;
    cpio.device(&path("dev/null"), 0o666, DeviceKind::Character, 1, 3)?;
    cpio.file(&path("init"), 0o755, parts.init)?;
    let service = serde_json::to_vec_pretty(parts.service)
        .expect("because a service holds text and numbers, which JSON can always hold");
    cpio.file(&path(SERVICE_PATH), 0o644, &service)?;
    cpio.directory(&path(MODULES_PATH), 0o755)?;
    let digits = parts.modules.len().saturating_sub(1).to_string().len().max(2);
    for (index, module) in parts.modules.iter().enumerate() {
        let name = format!("{MODULES_PATH}/{index:0digits$}-{}.ko", module.name);
        cpio.file(&path(&name), 0o644, &module.bytes)?;
    }
    Ok(cpio.finish())
}

/// Compresses in one thread: with more, the bytes would depend on how the work was cut.
fn compress(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.window_log(ZSTD_WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(archive.len() as u64))?;
    encoder.write_all(archive)?;
    encoder.finish()
}

fn path(name: &str) -> ImagePath {
    let mut absolute = String::from("/");
    absolute.push_str(name.trim_start_matches('/'));
    ImagePath::new(absolute.as_bytes()).expect("because these paths are ours, and module names file names")
}
