//! The answers to the kernel's questions.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::super::pieces::Pieces;
use super::table::{ROOT, Table};
use crate::base::Job;
use crate::tree::{ContentSource, Node};

/// How long the kernel may rely on an answer: nothing ever changes.
const VALID_FOR: Duration = Duration::from_secs(86_400);
/// Longest name, in bytes.
const NAME_BYTES_MAX: u32 = 255;
const BLOCK_BYTES: u32 = 4096;

/// A tree, and where its bytes come from.
pub(super) struct Served {
    table: Table,
    contents: Box<dyn ContentSource + Send>,
    pieces: Pieces,
    job: Job,
}

impl Served {
    pub fn new(table: Table, contents: Box<dyn ContentSource + Send>, job: Job) -> Self {
        Served { table, contents, pieces: Pieces::default(), job }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some(directory) = self.table.get(parent) else { return reply.error(Errno::ENOENT) };
        let number = directory.names.get(name.as_bytes()).copied();
        let Some((number, inode)) =
            number.and_then(|number| Some((number, self.table.get(INodeNo(number))?)))
        else {
            return reply.error(Errno::ENOENT);
        };
        reply.entry(&VALID_FOR, &inode.attributes(number), Generation(0));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.table.get(number) {
            Some(inode) => reply.attr(&VALID_FOR, &inode.attributes(number.0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.table.get(number).map(|inode| &inode.node) {
            Some(Node::Symlink(symlink)) => reply.data(&symlink.target),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(Node::File(file)) = self.table.get(number).map(|inode| &inode.node) else {
            return reply.error(Errno::EINVAL);
        };
        match self.pieces.read(&*self.contents, &file.content, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => {
                self.job.warn(error.to_string());
                reply.error(Errno::EIO);
            }
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(directory) = self.table.get(number) else { return reply.error(Errno::ENOENT) };
        let dots = [(&b"."[..], number.0), (&b".."[..], directory.parent.max(ROOT))];
        let names = directory.names.iter().map(|(name, number)| (name.as_bytes(), *number));
        let all = dots.into_iter().chain(names).zip(1..);
        for ((name, number), next) in all.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let Some(inode) = self.table.get(INodeNo(number)) else { continue };
            if reply.add(INodeNo(number), next, inode.kind(), OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let inode = self.table.get(number);
        match inode.and_then(|inode| inode.metadata().xattrs.get(name.as_bytes())) {
            Some(value) => answer(value, size, reply),
            None => reply.error(Errno::NO_XATTR),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let Some(inode) = self.table.get(number) else { return reply.error(Errno::ENOENT) };
        let names = inode.metadata().xattrs.keys();
        let list: Vec<u8> = names.flat_map(|name| name.iter().copied().chain([0])).collect();
        answer(&list, size, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = self.table.bytes.div_ceil(BLOCK_BYTES.into());
        reply.statfs(blocks, 0, 0, self.table.entries(), 0, BLOCK_BYTES, NAME_BYTES_MAX, BLOCK_BYTES);
    }
}

/// Answers with a value, or with its length where the caller has no room yet.
fn answer(value: &[u8], size: u32, reply: ReplyXattr) {
    match size {
        0 => reply.size(value.len() as u32),
        size if value.len() > size as usize => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}
