//! Lengths that carry their unit.

use std::fmt;

/// Bytes of a 512-byte sector: the logical sector of GPT, FAT and the one-sector commit.
pub const SECTOR_BYTES: u64 = 512;
/// Bytes of a 4096-byte block: the block of ext4, dm-verity and hole maps.
pub const BLOCK_BYTES: u64 = 4096;

/// Counts bytes. Prints exactly, with a binary unit where the number allows one without a fraction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
pub struct Bytes(pub u64);

/// Counts 512-byte sectors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
pub struct Sectors(pub u64);

/// Counts 4096-byte blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
pub struct Blocks(pub u64);

impl Bytes {
    pub const fn kib(count: u64) -> Self {
        Bytes(count << 10)
    }

    pub const fn mib(count: u64) -> Self {
        Bytes(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        Bytes(count << 30)
    }

    /// Returns the least multiple of `unit` that is not below this. Saturates at the largest multiple.
    pub const fn round_up(self, unit: Bytes) -> Self {
        match self.0.checked_next_multiple_of(unit.0) {
            Some(bytes) => Bytes(bytes),
            None => Bytes(u64::MAX / unit.0 * unit.0),
        }
    }

    /// Returns how many whole sectors hold this many bytes.
    pub const fn sectors(self) -> Sectors {
        Sectors(self.0.div_ceil(SECTOR_BYTES))
    }

    /// Returns how many whole blocks hold this many bytes.
    pub const fn blocks(self) -> Blocks {
        Blocks(self.0.div_ceil(BLOCK_BYTES))
    }

    /// Reads "4096", "512B", "64KiB", "64MiB", "2GiB", "1TiB" (and K, M, G, T as short forms of the
    /// binary units). `None` for anything else, decimal units and fractions too.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = text[..digits].parse().ok()?;
        let shift = match text[digits..].trim_start_matches(' ') {
            "" | "B" => 0,
            "K" | "KiB" => 10,
            "M" | "MiB" => 20,
            "G" | "GiB" => 30,
            "T" | "TiB" => 40,
            _ => return None,
        };
        count.checked_mul(1 << shift).map(Bytes)
    }
}

impl Sectors {
    /// Returns the length in bytes. Saturates.
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(SECTOR_BYTES))
    }
}

impl Blocks {
    /// Returns the length in bytes. Saturates.
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(BLOCK_BYTES))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// Reads a length of time: a whole number and `s`, `m`, `h` or `d`, as in "10m"; at most a year. In seconds.
pub fn parse_duration(text: &str) -> Option<u32> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let seconds = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let count: u32 = text[..digits].parse().ok()?;
    count.checked_mul(seconds).filter(|seconds| *seconds <= 366 * 86_400)
}

/// Prints a length for people: two or three figures and a binary unit, such as "14.2 MiB".
pub fn approximate(bytes: Bytes) -> String {
    for (shift, unit) in [(40u32, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes.0 >= 1 << shift {
            return format!("{:.1} {unit}", bytes.0 as f64 / (1u64 << shift) as f64);
        }
    }
    format!("{} B", bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_exactly_or_not_at_all() {
        assert_eq!(Bytes::parse("64MiB"), Some(Bytes::mib(64)));
        assert_eq!(Bytes::parse("64 MiB"), Some(Bytes::mib(64)));
        assert_eq!(Bytes::parse("2G"), Some(Bytes::gib(2)));
        assert_eq!(Bytes::parse("0"), Some(Bytes(0)));
        for wrong in ["", "MiB", "1.5GiB", "64MB", "-1", "99999999999TiB", "1 2", "64mib"] {
            assert_eq!(Bytes::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lengths_print_exactly() {
        assert_eq!(Bytes::mib(64).to_string(), "64 MiB");
        assert_eq!(Bytes(1025).to_string(), "1025 B");
        assert_eq!(Bytes(0).to_string(), "0 B");
    }

    #[test]
    fn rounding_goes_up_and_saturates() {
        assert_eq!(Bytes(1).round_up(Bytes::mib(1)), Bytes::mib(1));
        assert_eq!(Bytes(4097).blocks(), Blocks(2));
        assert!(Bytes(u64::MAX).round_up(Bytes::mib(1)).0.is_multiple_of(1 << 20));
    }
}
