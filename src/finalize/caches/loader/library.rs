//! Which files count as libraries, and of which ABI, for the `ldconfig` of one machine and release.

use crate::elf::{Class, Image, Kind};

/// A library of glibc's.
const LIBC6: u32 = 3;
/// A library that names no C library.
const ANY_LIBC: u32 = 1;
/// The ABIs of libraries, in the second byte of an entry's flags.
const X86_64: u32 = 0x0300;
const X32: u32 = 0x0800;
const ARM_HARD_FLOAT: u32 = 0x0900;
const AARCH64: u32 = 0x0a00;
const ARM_SOFT_FLOAT: u32 = 0x0b00;

/// Flags of 32-bit ARM headers: version 5 of the ABI, and how numbers are passed.
const ARM_ABI_MASK: u32 = 0xff00_0000;
const ARM_ABI_5: u32 = 0x0500_0000;
const ARM_FLOAT_HARD: u32 = 0x400;
const ARM_FLOAT_SOFT: u32 = 0x200;

/// Bits of the old subdirectories of x86, which glibc before 2.37 knows: a name, and its bit.
const OLD_SUBDIRECTORIES: &[(&str, u32)] = &[
    ("sse2", 0),
    ("x86_64", 1),
    ("avx512_1", 2),
    ("i586", 48),
    ("i686", 49),
    ("haswell", 50),
    ("xeon_phi", 51),
    ("tls", 63),
];

/// What an `ldconfig` does.
pub(super) struct Rules {
    machine: u16,
    /// Whether glibc is older than 2.37: it knows of other C libraries and of subdirectories by processor.
    old: bool,
    /// The directories that it always adds, in its order.
    pub system_directories: Vec<String>,
}

impl Rules {
    /// Returns the rules of a program by its header and by what it signs with; `None` for machines whose
    /// rules are not known here.
    pub fn of(program: &Image, generator: &[u8]) -> Option<Rules> {
        let machine = program.machine.number;
        let triplet = match (machine, program.machine.class) {
            (elf::abi::EM_X86_64, Class::Bits64) => "x86_64-linux-gnu",
            (elf::abi::EM_386, Class::Bits32) => "i386-linux-gnu",
            (elf::abi::EM_AARCH64, Class::Bits64) => "aarch64-linux-gnu",
            (elf::abi::EM_ARM, Class::Bits32) => "arm-linux-gnueabihf",
            _ => return None,
        };
        let generator = String::from_utf8_lossy(generator);
        let multiarch = generator.contains("(Debian ") || generator.contains("(Ubuntu ");
        let wide = program.machine.class == Class::Bits64;
        let directories: Vec<String> = match multiarch {
            true => {
                let roots = [format!("lib/{triplet}"), "lib".to_owned()];
                roots.iter().flat_map(|root| [format!("/{root}"), format!("/usr/{root}")]).collect()
            }
            false if wide => ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].map(str::to_owned).to_vec(),
            false => ["/lib", "/usr/lib"].map(str::to_owned).to_vec(),
        };
        let old = release(&generator).is_some_and(|release| release < (2, 37));
        Some(Rules { machine, old, system_directories: directories })
    }

    /// Returns the flags of a library; `None` where `ldconfig` passes it over.
    pub fn flags(&self, image: &Image) -> Option<u32> {
        if image.kind != Kind::Shared || !image.dynamic || image.big_endian {
            return None;
        }
        let x86 = matches!(self.machine, elf::abi::EM_X86_64 | elf::abi::EM_386);
        match (image.machine.number, image.machine.class) {
            (elf::abi::EM_X86_64, Class::Bits64) if x86 => Some(X86_64 | LIBC6),
            (elf::abi::EM_X86_64, Class::Bits32) if x86 => Some(X32 | LIBC6),
            (elf::abi::EM_386, Class::Bits32) if x86 => Some(self.c_library(image)),
            (elf::abi::EM_AARCH64, Class::Bits64) if !x86 => Some(AARCH64 | LIBC6),
            (elf::abi::EM_ARM, Class::Bits32) if !x86 => Some(self.arm(image)),
            _ => None,
        }
    }

    fn arm(&self, image: &Image) -> u32 {
        match image.flags {
            flags if flags & ARM_ABI_MASK != ARM_ABI_5 => self.c_library(image),
            flags if flags & ARM_FLOAT_HARD != 0 => ARM_HARD_FLOAT | LIBC6,
            flags if flags & ARM_FLOAT_SOFT != 0 => ARM_SOFT_FLOAT | LIBC6,
            _ => self.c_library(image),
        }
    }

    /// Tells the C library by what a file needs, as glibc did while there were several.
    fn c_library(&self, image: &Image) -> u32 {
        let names_libc = |name: &Vec<u8>| matches!(&name[..], b"libc.so.6" | b"libm.so.6");
        let loader = |name: &Vec<u8>| matches!(&name[..], b"/lib/ld-linux.so.2" | b"/lib/ld-linux.so.3");
        let known = image.needed.iter().any(names_libc) || image.interpreter.as_ref().is_some_and(loader);
        if known || !self.old { LIBC6 } else { ANY_LIBC }
    }

    /// Returns the bit of a subdirectory that holds libraries for some processors.
    pub fn old_subdirectory(&self, name: &[u8]) -> Option<u64> {
        let x86 = matches!(self.machine, elf::abi::EM_X86_64 | elf::abi::EM_386);
        if !self.old || !x86 && name != b"tls" {
            return None;
        }
        let row = OLD_SUBDIRECTORIES.iter().find(|row| row.0.as_bytes() == name)?;
        Some(1 << row.1)
    }
}

/// Reads the release at the end of what `ldconfig` signs with: `… release version 2.36`.
fn release(generator: &str) -> Option<(u32, u32)> {
    let (_, release) = generator.rsplit_once(' ')?;
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Tells whether a file's name is one of a library or loader.
pub(super) fn is_library_name(name: &[u8]) -> bool {
    let has_so = name.windows(3).any(|window| window == b".so");
    let prelinked = name.ends_with(b".#prelink#")
        || name.len() >= 17 && name[name.len() - 17..].starts_with(b".#prelink#.");
    let library = (name.starts_with(b"lib") || name.starts_with(b"ld-")) && has_so;
    (library || name.starts_with(b"ld.so.") || name.starts_with(b"ld64.so.")) && !prelinked
}
