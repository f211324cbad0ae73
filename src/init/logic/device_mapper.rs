//! Requests to the device mapper: `struct dm_ioctl` with what follows it, and the line of a verity target
//! (Linux `include/uapi/linux/dm-ioctl.h`; `Documentation/admin-guide/device-mapper/verity.rst`).

use mkimage::boot::command_line::{VERITY_BLOCK_BYTES, VerityRoot};

const HEADER_BYTES: usize = 312;
const TARGET_BYTES: usize = 40;
const READ_ONLY: u32 = 1 << 0;
const SECTORS_A_BLOCK: u64 = VERITY_BLOCK_BYTES as u64 / 512;

/// Writes a request about the device `name` that carries nothing else: create it, or let it run.
pub fn request(name: &str) -> Vec<u8> {
    header(name, HEADER_BYTES, 0, 0)
}

/// Writes the request that loads a verity table over the slot `device` (`MAJOR:MINOR`).
///
/// A block that does not match its hash panics the kernel, which reboots: that counts a try of a slot on trial. A
/// confirmed slot is not counted, and boots again.
pub fn load_verity(name: &str, device: &str, root: &VerityRoot) -> Vec<u8> {
    let line = verity_line(device, root);
    let target_bytes = (TARGET_BYTES + line.len() + 1).next_multiple_of(8);
    let mut bytes = header(name, HEADER_BYTES + target_bytes, 1, READ_ONLY);
    bytes.extend_from_slice(&0u64.to_ne_bytes());
    bytes.extend_from_slice(&(root.data_blocks * SECTORS_A_BLOCK).to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&(target_bytes as u32).to_ne_bytes());
    bytes.extend_from_slice(b"verity\0\0\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(line.as_bytes());
    bytes.resize(HEADER_BYTES + target_bytes, 0);
    bytes
}

/// Returns the device number that the kernel filled in, as (major, minor).
pub fn device_number(answer: &[u8]) -> Option<(u32, u32)> {
    let number = u64::from_ne_bytes(answer.get(40..48)?.try_into().ok()?);
    let major = (number >> 8 & 0xfff) as u32;
    let minor = (number & 0xff | number >> 12 & 0xfff00) as u32;
    Some((major, minor))
}

fn header(name: &str, data_bytes: usize, targets: u32, flags: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data_bytes);
    for word in [4, 0, 0, data_bytes as u32, HEADER_BYTES as u32, targets, 0, flags] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.resize(48, 0);
    bytes.extend_from_slice(&name.as_bytes()[..name.len().min(127)]);
    bytes.resize(HEADER_BYTES, 0);
    bytes
}

fn verity_line(device: &str, root: &VerityRoot) -> String {
    format!(
        "1 {device} {device} {VERITY_BLOCK_BYTES} {VERITY_BLOCK_BYTES} {} {} sha256 {} {} 1 panic_on_corruption",
        root.data_blocks,
        root.hash_start_block,
        root.root_hash_hex(),
        root.salt_hex()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> VerityRoot {
        VerityRoot { root_hash: [0xab; 32], salt: vec![0x5a], data_blocks: 100, hash_start_block: 101 }
    }

    #[test]
    fn a_table_covers_the_data_blocks_and_names_tree_root_and_salt() {
        let bytes = load_verity("root", "254:2", &root());
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(bytes[12..16], (bytes.len() as u32).to_ne_bytes(), "data_size is the whole request");
        assert_eq!(bytes[16..20], 312u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 1u32.to_ne_bytes(), "one target");
        assert_eq!(bytes[28..32], READ_ONLY.to_ne_bytes());
        assert_eq!(&bytes[48..53], b"root\0");
        assert_eq!(bytes[312 + 8..312 + 16], 800u64.to_ne_bytes(), "length in sectors");
        assert_eq!(&bytes[312 + 24..312 + 31], b"verity\0");
        let line =
            format!("1 254:2 254:2 4096 4096 100 101 sha256 {} 5a 1 panic_on_corruption\0", "ab".repeat(32));
        assert!(bytes[352..].starts_with(line.as_bytes()));
    }

    #[test]
    fn a_plain_request_is_a_header_and_names_never_overflow() {
        assert_eq!(request("root").len(), HEADER_BYTES);
        assert_eq!(request(&"x".repeat(500)).len(), HEADER_BYTES);
        assert_eq!(request(&"x".repeat(500))[48 + 127], 0);
    }

    #[test]
    fn device_numbers_are_split_as_the_kernel_packs_them() {
        let mut answer = request("root");
        answer[40..48].copy_from_slice(&(253u64 << 8 | 7).to_ne_bytes());
        assert_eq!(device_number(&answer), Some((253, 7)));
        answer[40..48].copy_from_slice(&(1u64 << 20 | 253 << 8 | 1).to_ne_bytes());
        assert_eq!(device_number(&answer), Some((253, 257)));
        assert_eq!(device_number(&[0; 12]), None);
    }
}
