//! What the loader of each machine has built in: its directories and the words that paths may hold.

use super::image::Class;
use crate::base::ImagePath;

/// A kind of processor: `e_machine` of the ELF header, with the class, because one machine has two ABIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Machine {
    /// Number of the System V ABI: 62 is x86-64, 183 is AArch64.
    pub number: u16,
    pub class: Class,
}

/// One row a machine: number, class, directory of Debian's multiarch, what `$PLATFORM` stands for.
const TABLE: &[(u16, Class, &str, &str)] = &[
    (elf::abi::EM_X86_64, Class::Bits64, "x86_64-linux-gnu", "x86_64"),
    (elf::abi::EM_X86_64, Class::Bits32, "x86_64-linux-gnux32", "x86_64"),
    (elf::abi::EM_386, Class::Bits32, "i386-linux-gnu", "i686"),
    (elf::abi::EM_AARCH64, Class::Bits64, "aarch64-linux-gnu", "aarch64"),
    (elf::abi::EM_ARM, Class::Bits32, "arm-linux-gnueabihf", "v7l"),
    (elf::abi::EM_RISCV, Class::Bits64, "riscv64-linux-gnu", "riscv64"),
    (elf::abi::EM_PPC64, Class::Bits64, "powerpc64le-linux-gnu", "power8"),
    (elf::abi::EM_S390, Class::Bits64, "s390x-linux-gnu", "z13"),
    (elf::abi::EM_LOONGARCH, Class::Bits64, "loongarch64-linux-gnu", "loongarch64"),
];

impl Machine {
    fn row(self) -> Option<(&'static str, &'static str)> {
        let row = TABLE.iter().find(|row| row.0 == self.number && row.1 == self.class)?;
        Some((row.2, row.3))
    }

    /// Returns the directories that a loader of this machine searches last, on any distribution: Debian's
    /// multiarch ones first, then those of 64-bit systems elsewhere, then the plain ones.
    pub fn trusted_directories(self) -> Vec<ImagePath> {
        let mut below: Vec<String> = Vec::new();
        below.extend(self.row().map(|row| format!("lib/{}", row.0)));
        below.push(if self.class == Class::Bits64 { "lib64".into() } else { "lib32".into() });
        below.push("lib".into());
        let paths = below.iter().flat_map(|name| [format!("/{name}"), format!("/usr/{name}")]);
        paths.filter_map(|path| ImagePath::new(path.as_bytes()).ok()).collect()
    }

    /// Returns what `$LIB` may stand for, the likeliest first.
    pub(super) fn library_words(self) -> Vec<Vec<u8>> {
        let multiarch = self.row().map(|row| format!("lib/{}", row.0).into_bytes());
        multiarch.into_iter().chain([b"lib64".to_vec(), b"lib".to_vec()]).collect()
    }

    /// Returns what `$PLATFORM` stands for; none on a machine that is not in the table.
    pub(super) fn platform_word(self) -> Option<&'static [u8]> {
        self.row().map(|row| row.1.as_bytes())
    }
}
