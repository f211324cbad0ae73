//! Unified kernel images (UAPI.5): a systemd stub with everything that a boot needs as sections. The
//! firmware loads one file, and one signature covers it.
//!
//! Layout 1 has these sections behind the stub's own, in this order, each on a page of its own:
//! `.osrel`, `.cmdline`, `.uname`, `.mkimage` (the encoded commit that the image was made from),
//! `.origin` (what a rebuild takes, see [`super::origin`]), `.initrd`, `.linux`. The kernel is last, so that nothing lies where a kernel that is started in place
//! would unfold. Another order or alignment is a format break.

use super::error::BootError;
use super::pe::{NewSection, PeImage, SectionKind, append_sections};

const OS_RELEASE: &str = ".osrel";
const COMMAND_LINE: &str = ".cmdline";
const UNAME: &str = ".uname";
const COMMIT: &str = ".mkimage";
const ORIGIN: &str = ".origin";
const INITRD: &str = ".initrd";
const KERNEL: &str = ".linux";

/// Longest kernel command line, in bytes (x86: `COMMAND_LINE_SIZE` less the final NUL).
pub const COMMAND_LINE_BYTES_MAX: usize = 2047;

/// Keys of `.osrel` by which systemd-boot sorts before it looks at file names. With one of them a
/// redeployed older version would lose against a newer one in the other slot.
const SORTING_KEYS: [&str; 7] =
    ["ID", "IMAGE_ID", "IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID", "SORT_KEY"];

/// What a unified kernel image is made of.
#[derive(Clone, Copy, Debug)]
pub struct UkiParts<'a> {
    /// `linuxx64.efi.stub` of systemd.
    pub stub: &'a [u8],
    /// `os-release` text with `NAME` and `PRETTY_NAME` and no key that sorts: the file name alone decides
    /// which slot is newer.
    pub os_release: &'a str,
    /// The kernel's version, as `uname -r` prints it.
    pub uname: &'a str,
    pub command_line: &'a str,
    pub initrd: &'a [u8],
    /// A kernel with an EFI stub of its own (`CONFIG_EFI_STUB`).
    pub kernel: &'a [u8],
    /// The encoded commit.
    pub commit: &'a [u8],
    /// What a rebuild takes: an encoded [`super::origin::Origin`].
    pub origin: &'a [u8],
}

/// What a unified kernel image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UkiSections<'a> {
    pub os_release: &'a str,
    pub uname: &'a str,
    pub command_line: &'a str,
    pub commit: &'a [u8],
    pub origin: &'a [u8],
    pub initrd: &'a [u8],
    /// With the padding of the file behind it: fewer zeros than the stub's file alignment.
    pub kernel: &'a [u8],
}

impl UkiSections<'_> {
    /// Returns the value of a word `key=value` of the command line; the last one counts.
    pub fn argument(&self, key: &str) -> Option<&str> {
        let words = self.command_line.split_ascii_whitespace().rev();
        words.filter_map(|word| word.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

/// Builds a unified kernel image. The result follows from the parts alone; it is as long as they are,
/// and less than 10 KiB.
pub fn build(parts: &UkiParts<'_>) -> Result<Vec<u8>, BootError> {
    check_os_release(parts.os_release)?;
    check_line("command line", parts.command_line)?;
    check_line("kernel version", parts.uname)?;
    if parts.command_line.len() > COMMAND_LINE_BYTES_MAX {
        let problem =
            format!("has {} bytes, at most {COMMAND_LINE_BYTES_MAX} are possible", parts.command_line.len());
        return Err(BootError::Text { what: "command line", problem });
    }
    let (kernel, stub) = (PeImage::parse(parts.kernel)?, PeImage::parse(parts.stub)?);
    if kernel.machine != stub.machine {
        return Err(BootError::Machine { kernel: kernel.machine_name(), stub: stub.machine_name() });
    }
    let data = |name, contents| NewSection { name, contents, memory_bytes_min: 0, kind: SectionKind::Data };
    let kernel = NewSection {
        name: KERNEL,
        contents: parts.kernel,
        // Newer stubs start the kernel where it lies, if what it needs behind its file is there.
        memory_bytes_min: kernel.size_of_image,
        kind: SectionKind::Code,
    };
    append_sections(
        parts.stub,
        &[
            data(OS_RELEASE, parts.os_release.as_bytes()),
            data(COMMAND_LINE, parts.command_line.as_bytes()),
            data(UNAME, parts.uname.as_bytes()),
            data(COMMIT, parts.commit),
            data(ORIGIN, parts.origin),
            data(INITRD, parts.initrd),
            kernel,
        ],
    )
}

/// Reads what [`build`] wrote. Bytes behind the image's end, such as a signature, are no error.
pub fn read(image: &[u8]) -> Result<UkiSections<'_>, BootError> {
    let pe = PeImage::parse(image)?;
    let bytes = |name| {
        let section = pe.section(name).ok_or(BootError::NotOurs { section: name })?;
        Ok::<_, BootError>(pe.contents(section))
    };
    let text = |name, what| {
        str::from_utf8(bytes(name)?)
            .map_err(|_| BootError::Text { what, problem: "is no UTF-8 text".to_owned() })
    };
    // First what nobody else's images have.
    let commit = bytes(COMMIT)?;
    Ok(UkiSections {
        os_release: text(OS_RELEASE, "os-release")?,
        uname: text(UNAME, "kernel version")?,
        command_line: text(COMMAND_LINE, "command line")?,
        commit,
        origin: bytes(ORIGIN)?,
        initrd: bytes(INITRD)?,
        kernel: bytes(KERNEL)?,
    })
}

/// Writes the `os-release` text of an image: its name and version as people read them in the boot menu.
/// Quotes and what a shell would expand are left out of the values.
pub fn os_release(name: &str, version: Option<&str>) -> String {
    let clean = |text: &str| text.replace(|c: char| c.is_control() || "\"\\$`".contains(c), "");
    let name = clean(name);
    let pretty = match version {
        Some(version) => format!("{name} {}", clean(version)),
        None => name.clone(),
    };
    format!("NAME=\"{name}\"\nPRETTY_NAME=\"{pretty}\"\n")
}

fn check_os_release(text: &str) -> Result<(), BootError> {
    let refuse = |problem: String| Err(BootError::Text { what: "os-release", problem });
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
    if let Some(key) = keys.iter().find(|key| SORTING_KEYS.contains(&key.trim())) {
        return refuse(format!("must not have {key}: systemd-boot would sort by it, not by the file name"));
    }
    match ["NAME", "PRETTY_NAME"].iter().find(|key| !keys.contains(*key)) {
        Some(key) => refuse(format!("has no {key}: systemd-boot would not list the image")),
        None if text.contains('\0') => refuse("holds a NUL byte".into()),
        None => Ok(()),
    }
}

fn check_line(what: &'static str, text: &str) -> Result<(), BootError> {
    match text.chars().find(|character| character.is_control()) {
        Some(character) => {
            Err(BootError::Text { what, problem: format!("must not hold the character {character:?}") })
        }
        None => Ok(()),
    }
}
