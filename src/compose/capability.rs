//! File capabilities in the form that Linux keeps on disk: `security.capability`, revision 2
//! (`linux/capability.h`, `struct vfs_cap_data`; little-endian on every machine).

use crate::base::capability::capability_number;

/// Name of the attribute.
pub(super) const XATTR: &[u8] = b"security.capability";

const REVISION_2: u32 = 0x0200_0000;
/// All permitted capabilities are effective when the program starts.
const EFFECTIVE: u32 = 1;

/// Encodes capabilities as permitted and effective, none inheritable. Fails with the first unknown name.
pub(super) fn encode(names: &[String]) -> Result<[u8; 20], &str> {
    let mut permitted = 0u64;
    for name in names {
        let number = capability_number(name).ok_or(name.as_str())?;
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
