//! Extended attributes, answered from the records alone: what a file system can hold of them differs from
//! builder to builder.

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::records::{Inode, WANTED};
use super::supervisor::{Asked, Outcome, Supervisor, is_read_only};
use super::sys::{Answer, Notification};
use super::tracee::Place;

const NAME_BYTES: usize = 256;
const VALUE_BYTES_MAX: u64 = 65536;
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

impl Supervisor {
    /// Answers `setxattr`, `getxattr`, `listxattr`, `removexattr` in their three forms.
    pub(super) fn attribute(&mut self, call: &Notification, asked: Asked, at: AtFlags) -> Outcome {
        let place = self.place(call, asked, at)?;
        let file = place.open()?;
        let seen = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, WANTED)?;
        let inode = Inode::of(&seen);
        let [_, name, value, size, _, _] = call.arguments;
        let lists = [libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr];
        if lists.contains(&call.number) {
            return self.give(call, name, value, &self.names(&inode));
        }
        let name = self.text(call, name, NAME_BYTES).map_err(|error| match error {
            Errno::NAMETOOLONG => Errno::RANGE,
            other => other,
        })?;
        let gets = [libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr];
        if gets.contains(&call.number) {
            let known = self.records.get(&inode).and_then(|record| record.xattrs.get(&name[..]));
            return self.give(call, value, size, known.ok_or(Errno::NODATA)?);
        }
        may_have(&name, u32::from(seen.stx_mode))?;
        if is_read_only(&file) {
            return Err(Errno::ROFS);
        }
        let removes = [libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr];
        if removes.contains(&call.number) {
            let record = self.records.get_mut(&inode).ok_or(Errno::NODATA)?;
            record.xattrs.remove(&name[..]).ok_or(Errno::NODATA)?;
            return Ok(Answer::Value(0));
        }
        self.set(call, &place, inode, u32::from(seen.stx_mode), name)
    }

    /// Returns the names of an inode's attributes, each with its NUL.
    fn names(&self, inode: &Inode) -> Vec<u8> {
        let record = self.records.get(inode);
        let names = record.iter().flat_map(|record| record.xattrs.keys());
        names.flat_map(|name| name.iter().copied().chain([0])).collect()
    }

    /// Sets an attribute; an access list sets the permission bits, too.
    fn set(&mut self, call: &Notification, place: &Place, inode: Inode, mode: u32, name: Vec<u8>) -> Outcome {
        let [_, _, value, size, flags, _] = call.arguments;
        if size > VALUE_BYTES_MAX {
            return Err(Errno::TOOBIG);
        }
        let bytes = self.read(call, value, size as usize)?;
        let mut minimal = false;
        if name == ACCESS || name == DEFAULT {
            let acl = Acl::parse(&bytes)?;
            if name == ACCESS {
                place.chmod(Mode::from_raw_mode(mode & 0o7000 | acl.mode))?;
                minimal = acl.minimal;
            }
        }
        self.keep(inode, name, bytes, flags, minimal)
    }

    fn keep(&mut self, inode: Inode, name: Vec<u8>, bytes: Vec<u8>, flags: u64, minimal: bool) -> Outcome {
        let known = self.records.get(&inode).is_some_and(|record| record.xattrs.contains_key(&name[..]));
        match flags as i32 {
            libc::XATTR_CREATE if known => return Err(Errno::EXIST),
            libc::XATTR_REPLACE if !known => return Err(Errno::NODATA),
            0 | libc::XATTR_CREATE | libc::XATTR_REPLACE => {}
            _ => return Err(Errno::INVAL),
        }
        self.hold(name.len() + bytes.len())?;
        let record = self.records.entry(inode).or_default();
        if minimal {
            record.xattrs.remove(&name[..]);
        } else {
            record.xattrs.insert(name.into(), bytes.into());
        }
        Ok(Answer::Value(0))
    }

    /// Gives bytes to a caller that has room for `size`; 0 asks for the length.
    fn give(&self, call: &Notification, address: u64, size: u64, bytes: &[u8]) -> Outcome {
        if size != 0 {
            if (size as usize) < bytes.len() {
                return Err(Errno::RANGE);
            }
            if !bytes.is_empty() {
                self.write(call, address, bytes)?;
            }
        }
        Ok(Answer::Value(bytes.len() as i64))
    }
}

/// Tells whether a file of this mode may have an attribute of this name (`xattr(7)`).
fn may_have(name: &[u8], mode: u32) -> Result<(), Errno> {
    let kind = mode & libc::S_IFMT;
    let plain = kind == libc::S_IFREG || kind == libc::S_IFDIR;
    let within = |space: &[u8]| name.strip_prefix(space).is_some_and(|rest| !rest.is_empty());
    match name {
        ACCESS if kind == libc::S_IFLNK => Err(Errno::OPNOTSUPP),
        DEFAULT if kind != libc::S_IFDIR => Err(Errno::ACCESS),
        ACCESS | DEFAULT => Ok(()),
        _ if within(b"user.") => {
            if plain {
                Ok(())
            } else {
                Err(Errno::PERM)
            }
        }
        _ if within(b"security.") || within(b"trusted.") => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// What the permission bits of a file become by an access list.
struct Acl {
    mode: u32,
    /// Whether the bits say all that the list says.
    minimal: bool,
}

impl Acl {
    /// Reads the exchange form: version 2, then tag, permissions and id of each entry
    /// (`include/uapi/linux/posix_acl_xattr.h`).
    fn parse(bytes: &[u8]) -> Result<Acl, Errno> {
        let entries = bytes.strip_prefix(&[2, 0, 0, 0]).ok_or(Errno::INVAL)?;
        let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
        let mut minimal = true;
        if entries.len() % 8 != 0 {
            return Err(Errno::INVAL);
        }
        for entry in entries.chunks_exact(8) {
            let tag = u16::from_le_bytes([entry[0], entry[1]]);
            let permissions = u32::from(u16::from_le_bytes([entry[2], entry[3]]));
            if permissions > 7 {
                return Err(Errno::INVAL);
            }
            match tag {
                0x01 => user = Some(permissions),
                0x04 => group = Some(permissions),
                0x10 => (mask, minimal) = (Some(permissions), false),
                0x20 => other = Some(permissions),
                0x02 | 0x08 => minimal = false,
                _ => return Err(Errno::INVAL),
            }
        }
        match (user, group, other) {
            (Some(user), Some(group), Some(other)) if minimal || mask.is_some() => {
                Ok(Acl { mode: user << 6 | mask.unwrap_or(group) << 3 | other, minimal })
            }
            _ => Err(Errno::INVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, permissions: u16) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &[0xff; 4]].concat()
    }

    #[test]
    fn an_access_list_sets_the_permission_bits() {
        let base = [vec![2, 0, 0, 0], entry(1, 7), entry(4, 5), entry(0x20, 0)].concat();
        let acl = Acl::parse(&base).expect("a list");
        assert_eq!((acl.mode, acl.minimal), (0o750, true));
        let named = [base.clone(), entry(8, 4)].concat();
        assert!(Acl::parse(&named).is_err(), "named entries need a mask");
        let acl = Acl::parse(&[named, entry(0x10, 4)].concat()).expect("a list");
        assert_eq!((acl.mode, acl.minimal), (0o740, false));
        for wrong in [&b""[..], &[2, 0, 0, 0], &base[..base.len() - 1], &[1, 0, 0, 0]] {
            assert!(Acl::parse(wrong).is_err());
        }
    }

    #[test]
    fn attributes_stand_where_the_manual_allows_them() {
        assert!(may_have(b"user.a", libc::S_IFREG).is_ok());
        assert_eq!(may_have(b"user.a", libc::S_IFLNK), Err(Errno::PERM));
        assert!(may_have(b"security.capability", libc::S_IFLNK).is_ok());
        assert_eq!(may_have(b"user.", libc::S_IFREG), Err(Errno::OPNOTSUPP));
        assert_eq!(may_have(b"system.other", libc::S_IFREG), Err(Errno::OPNOTSUPP));
        assert_eq!(may_have(DEFAULT, libc::S_IFREG), Err(Errno::ACCESS));
    }
}
