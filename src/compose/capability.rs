//! File capabilities in the form that Linux keeps on disk: `security.capability`, revision 2
//! (`linux/capability.h`, `struct vfs_cap_data`; little-endian on every machine).

/// Name of the attribute.
pub(super) const XATTR: &[u8] = b"security.capability";

const REVISION_2: u32 = 0x0200_0000;
/// All permitted capabilities are effective when the program starts.
const EFFECTIVE: u32 = 1;

/// By number (`linux/capability.h`, Linux 5.9 to 6.12).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Encodes capabilities as permitted and effective, none inheritable. Fails with the first unknown name.
pub(super) fn encode(names: &[String]) -> Result<[u8; 20], &str> {
    let mut permitted = 0u64;
    for name in names {
        let number = NAMES.iter().position(|known| known == name).ok_or(name.as_str())?;
        permitted |= 1 << number;
    }
    let mut value = [0; 20];
    value[..4].copy_from_slice(&(REVISION_2 | EFFECTIVE).to_le_bytes());
    value[4..8].copy_from_slice(&(permitted as u32).to_le_bytes());
    value[12..16].copy_from_slice(&((permitted >> 32) as u32).to_le_bytes());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_setcap_writes() {
        // `setcap cap_net_raw,cap_net_bind_service+ep`, then `getfattr -n security.capability -e hex`.
        let names = ["CAP_NET_RAW".to_owned(), "CAP_NET_BIND_SERVICE".to_owned()];
        let value = encode(&names).expect("known");
        assert_eq!(crate::base::id::hex(&value), "0100000200240000000000000000000000000000");
        // `setcap cap_checkpoint_restore+ep`
        let value = encode(&["CAP_CHECKPOINT_RESTORE".to_owned()]).expect("known");
        assert_eq!(crate::base::id::hex(&value), "0100000200000000000000000001000000000000");
        assert_eq!(encode(&["cap_net_raw".to_owned()]), Err("cap_net_raw"));
    }
}
