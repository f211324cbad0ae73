//! `file`, `directory`, `symlink`, `hard_link` and `device`: single inodes whose every property the recipe
//! states.

use super::contribute::Context;
use super::error::Problem;
use super::step::Prepared;
use super::{capability, source};
use crate::archive::InputKind;
use crate::base::path::escaped;
use crate::base::{ImagePath, Name};
use crate::recipe::plan::{
    DeviceNode, DevicePlan, DirectoryPlan, FileContent, FilePlan, HardLinkPlan, InodePlan, SymlinkPlan,
};
use crate::tree::node::SYMLINK_BYTES_MAX;
use crate::tree::{Device, DeviceKind, Directory, File, Metadata, Node, Symlink};

type Result<T> = std::result::Result<T, Vec<Problem>>;

pub(super) fn file(part: &FilePlan, prepared: &Prepared, context: &Context<'_>) -> Result<Directory> {
    let metadata = metadata(&part.inode, Holder::File, context);
    let content = match &part.content {
        FileContent::Inline(text) => {
            context.sink.put(text.as_bytes()).map_err(|error| vec![Problem::Content(error)])
        }
        FileContent::Host(path) => {
            let inputs = source::read_one(path, context.sink, prepared, context.job)?;
            match inputs.entries.first().map(|input| &input.kind) {
                Some(InputKind::File { content, .. }) => Ok(*content),
                _ => Err(vec![Problem::Changed { path: path.clone() }]),
            }
        }
    };
    let (metadata, content) = both(metadata, content)?;
    alone(&part.inode.path, Node::File(File { metadata, content }))
}

pub(super) fn directory(part: &DirectoryPlan, context: &Context<'_>) -> Result<Directory> {
    let metadata = metadata(&part.inode, Holder::Directory, context)?;
    let directory = Directory { metadata, ..Directory::default() };
    if part.inode.path.is_root() {
        return Ok(directory);
    }
    alone(&part.inode.path, Node::Directory(directory))
}

pub(super) fn symlink(part: &SymlinkPlan, context: &Context<'_>) -> Result<Directory> {
    let metadata = metadata(&part.inode, Holder::Other, context)?;
    let length = part.target.len();
    if length == 0 || length > SYMLINK_BYTES_MAX || part.target.contains('\0') {
        let problem = format!("a symlink's target has 1 to {SYMLINK_BYTES_MAX} bytes, none of them NUL");
        return Err(vec![Problem::Setting { key: "target", problem }]);
    }
    let target = part.target.as_bytes().into();
    alone(&part.inode.path, Node::Symlink(Symlink { metadata, target }))
}

/// The other path may come with any other part: whether something stands there is seen when the merged
/// tree is sealed.
pub(super) fn hard_link(part: &HardLinkPlan) -> Result<Directory> {
    if part.path == part.target {
        let problem = "a hard link to itself".to_owned();
        return Err(vec![Problem::Place { path: part.path.clone(), problem }]);
    }
    alone(&part.path, Node::HardLink(part.target.clone()))
}

pub(super) fn device(part: &DevicePlan, context: &Context<'_>) -> Result<Directory> {
    let metadata = metadata(&part.inode, Holder::Other, context)?;
    let device = |kind, major, minor| {
        if major > 0xfff || minor > 0xf_ffff {
            let problem = format!("device numbers go to 4095:1048575, this one is {major}:{minor}");
            return Err(vec![Problem::Place { path: part.inode.path.clone(), problem }]);
        }
        Ok(Node::Device(Device { metadata: metadata.clone(), kind, major, minor }))
    };
    let node = match part.kind {
        DeviceNode::Character { major, minor } => device(DeviceKind::Character, major, minor)?,
        DeviceNode::Block { major, minor } => device(DeviceKind::Block, major, minor)?,
        DeviceNode::Fifo => Node::Fifo(metadata),
    };
    alone(&part.inode.path, node)
}

/// What an inode can carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    File,
    Directory,
    Other,
}

fn metadata(plan: &InodePlan, holder: Holder, context: &Context<'_>) -> Result<Metadata> {
    let mut problems = Vec::new();
    let owner = context.accounts.owner(&plan.owner).map_err(|problem| problems.push(problem));
    let (uid, gid) = owner.unwrap_or_default();
    let mut metadata = Metadata { mode: plan.mode, uid, gid, ..Metadata::default() };
    for (name, value) in &plan.xattrs {
        if name.starts_with("user.") && holder == Holder::Other {
            let shown = escaped(name.as_bytes());
            let problem = format!("{shown:?}: only files and directories can have user.* attributes");
            problems.push(Problem::Setting { key: "xattrs", problem });
        }
        metadata.xattrs.insert(name.as_bytes().into(), value.as_slice().into());
    }
    if !plan.capabilities.is_empty() {
        match capabilities(plan, holder, &metadata) {
            Ok(value) => drop(metadata.xattrs.insert(capability::XATTR.into(), value[..].into())),
            Err(problem) => problems.push(Problem::Setting { key: "capabilities", problem }),
        }
    }
    if problems.is_empty() { Ok(metadata) } else { Err(problems) }
}

fn capabilities(
    plan: &InodePlan,
    holder: Holder,
    metadata: &Metadata,
) -> std::result::Result<[u8; 20], String> {
    if holder != Holder::File {
        return Err("only a file has capabilities".to_owned());
    }
    if metadata.xattrs.contains_key(capability::XATTR) {
        return Err("xattrs has \"security.capability\" as well; keep one of the two".to_owned());
    }
    capability::encode(&plan.capabilities)
        .map_err(|name| format!("{name:?} is no capability of Linux (they read like \"CAP_NET_RAW\")"))
}

/// Makes a tree that holds one node.
fn alone(path: &ImagePath, node: Node) -> Result<Directory> {
    let Some(parent) = path.parent() else {
        let problem = format!("the root is a directory, not a {}", node.kind());
        return Err(vec![Problem::Place { path: path.clone(), problem }]);
    };
    let name: Name = path.name().expect("because a path with a parent has a name");
    let mut tree = Directory::default();
    let holder = tree.make_directories(&parent).map_err(|error| vec![error.into()])?;
    holder.entries.insert(name, node);
    Ok(tree)
}

fn both<A, B>(left: Result<A>, right: Result<B>) -> Result<(A, B)> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(mut left), Err(right)) => {
            left.extend(right);
            Err(left)
        }
        (Err(errors), _) | (_, Err(errors)) => Err(errors),
    }
}
