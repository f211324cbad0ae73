//! `user` and `group`: the account files of the image, with those that a tree brought.

use std::collections::BTreeMap;

use super::accounts::{Accounts, NO_SHELL, Primary, User};
use super::error::{ComposeError, Problem};
use super::lookup::real_path;
use super::passwd::Table;
use crate::base::ImagePath;
use crate::recipe::plan::{GroupPlan, Origin};
use crate::tree::merge::Origins;
use crate::tree::{ContentSink, ContentSource, Directory, File, Metadata, Node};

/// The numbers of one user, as PID 1 wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, ascending, without the primary one.
    pub groups: Vec<u32>,
}

/// The numbers of all users of a recipe, and of root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identities(BTreeMap<String, Identity>);

impl Identities {
    /// Returns the numbers of a user; `None` for one that the recipe does not have.
    pub fn of(&self, user: &str) -> Option<&Identity> {
        self.0.get(user)
    }
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const SHADOW: &str = "/etc/shadow";
const GSHADOW: &str = "/etc/gshadow";

/// The largest account file that is read, in bytes.
const TABLE_BYTES_MAX: u64 = 4 << 20;

/// Writes `/etc/passwd`, `group`, `shadow` and `gshadow` into the merged tree. Lines that parts brought
/// stay; those of the recipe are added, or replace the line of their name. An id or a name that means
/// something else in the tree already is an error that names both places. Passwords are locked. Where
/// the recipe has no accounts, nothing changes.
///
/// `contents` must know the contents of the tree.
pub fn write_accounts(
    tree: &mut Directory,
    origins: &Origins,
    accounts: &Accounts,
    contents: &dyn ContentSource,
    sink: &dyn ContentSink,
) -> Result<Identities, Vec<ComposeError>> {
    let root = Identity { uid: 0, gid: 0, groups: Vec::new() };
    let mut identities = BTreeMap::from([("root".to_owned(), root)]);
    if accounts.users.is_empty() && accounts.groups.is_empty() {
        return Ok(Identities(identities));
    }
    let origin = accounts.first_origin();
    let one = |problem: Problem| vec![problem.at(&origin)];
    let mut files = AccountFiles::read(tree, origins, contents).map_err(one)?;
    let mut errors = Vec::new();
    for group in &accounts.groups {
        files.add_group(group).unwrap_or_else(|problem| errors.push(problem.at(&group.origin)));
    }
    for user in &accounts.users {
        match files.add_user(user) {
            Ok(identity) => drop(identities.insert(user.plan.name.clone(), identity)),
            Err(problems) => errors.extend(problems.into_iter().map(|problem| problem.at(&user.plan.origin))),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    files.write(tree, sink).map_err(one)?;
    Ok(Identities(identities))
}

impl Accounts {
    /// Returns a block to name where a fault is not that of one account.
    fn first_origin(&self) -> Origin {
        let users = self.users.iter().map(|user| &user.plan.origin);
        let mut all = users.chain(self.groups.iter().map(|group| &group.origin));
        all.next().expect("because there is an account").clone()
    }
}

struct AccountFiles {
    passwd: AccountFile,
    group: AccountFile,
    shadow: AccountFile,
    gshadow: AccountFile,
}

struct AccountFile {
    path: ImagePath,
    table: Table,
    metadata: Metadata,
    /// Who brought it, for messages.
    place: String,
}

impl AccountFiles {
    fn read(tree: &mut Directory, origins: &Origins, contents: &dyn ContentSource) -> Result<Self, Problem> {
        let mut read = |path: &str, fresh: &str, mode| {
            let path = ImagePath::new(path.as_bytes()).expect("because these are paths");
            AccountFile::read(tree, origins, contents, path, fresh, mode)
        };
        let passwd = format!("root:x:0:0:root:/:{NO_SHELL}\nnobody:x:65534:65534:nobody:/:{NO_SHELL}\n");
        Ok(AccountFiles {
            passwd: read(PASSWD, &passwd, 0o644)?,
            group: read(GROUP, "root:x:0:\nnogroup:x:65534:\n", 0o644)?,
            shadow: read(SHADOW, "root:!*:::::::\nnobody:!*:::::::\n", 0o600)?,
            gshadow: read(GSHADOW, "root:!::\nnogroup:!::\n", 0o600)?,
        })
    }

    fn add_group(&mut self, group: &GroupPlan) -> Result<(), Problem> {
        self.group.check("group", &group.name, group.gid)?;
        let GroupPlan { name, gid, .. } = group;
        let members = self.group.table.field(name, 3).unwrap_or_default();
        let line = format!("{name}:x:{gid}:{members}");
        self.group.table.put(name, line);
        if !self.gshadow.table.has(name) {
            self.gshadow.table.put(name, format!("{name}:!::"));
        }
        Ok(())
    }

    fn add_user(&mut self, user: &User) -> Result<Identity, Vec<Problem>> {
        let plan = &user.plan;
        let mut problems = Vec::new();
        let mut keep = |problem: Problem| problems.push(problem);
        self.passwd.check("user", &plan.name, plan.uid).unwrap_or_else(&mut keep);
        let gid = match &user.primary {
            Primary::Id(id) => *id,
            Primary::InTree(name) => self.group_id(name).map_err(&mut keep).unwrap_or_default(),
        };
        let mut groups = Vec::new();
        for name in &plan.groups {
            groups.extend(self.group_id(name).map_err(&mut keep));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        for name in &plan.groups {
            self.group.table.add_member(name, &plan.name);
            self.gshadow.table.add_member(name, &plan.name);
        }
        let (name, uid) = (&plan.name, plan.uid);
        let line = format!("{name}:x:{uid}:{gid}:{}:{}:{}", plan.comment, plan.home, plan.shell);
        self.passwd.table.put(name, line);
        if !self.shadow.table.has(name) {
            self.shadow.table.put(name, format!("{name}:!*:::::::"));
        }
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|id| *id != gid);
        Ok(Identity { uid, gid, groups })
    }

    fn group_id(&self, name: &str) -> Result<u32, Problem> {
        self.group.table.id(name).ok_or_else(|| {
            let known = self.group.table.names().map(|name| format!("{name:?}")).collect();
            Problem::UnknownAccount { what: "group", name: name.to_owned(), known }
        })
    }

    fn write(self, tree: &mut Directory, sink: &dyn ContentSink) -> Result<(), Problem> {
        for file in [self.passwd, self.group, self.shadow, self.gshadow] {
            let content = sink.put(file.table.text().as_bytes())?;
            tree.replace(&file.path, Node::File(File { metadata: file.metadata, content }))?;
        }
        Ok(())
    }
}

impl AccountFile {
    fn read(
        tree: &mut Directory,
        origins: &Origins,
        contents: &dyn ContentSource,
        named: ImagePath,
        fresh: &str,
        mode: u16,
    ) -> Result<Self, Problem> {
        let path = real_path(tree, &named)?;
        let wrong = |problem: String| Problem::Place { path: path.clone(), problem };
        let file = match tree.get(&path) {
            None => {
                let (table, metadata) = (Table::parse(fresh), Metadata::root(mode));
                return Ok(AccountFile { path, table, metadata, place: format!("a new {named}") });
            }
            Some(Node::File(file)) => file,
            Some(other) => {
                return Err(wrong(format!("is a {}; accounts need a file of their own there", other.kind())));
            }
        };
        if file.content.size > TABLE_BYTES_MAX {
            let size = file.content.size;
            return Err(wrong(format!(
                "has {size} bytes; account files of at most {TABLE_BYTES_MAX} are read"
            )));
        }
        let bytes = contents.read_all(&file.content)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
        let brought = origins.of(&path).map_or_else(String::new, |origin| format!(" of {origin}"));
        let place = format!("{named}{brought}");
        Ok(AccountFile {
            table: Table::parse(&text),
            metadata: file.metadata.clone(),
            place,
            path: path.clone(),
        })
    }

    /// Fails when the tree has the name with another id, or the id under another name.
    fn check(&self, what: &'static str, name: &str, id: u32) -> Result<(), Problem> {
        let clash = |other: String| Problem::AccountClash { what, name: name.to_owned(), id, other };
        match (self.table.id(name), self.table.name_of(id)) {
            (Some(there), _) if there != id => {
                Err(clash(format!("{} gives that name id {there}", self.place)))
            }
            (None, Some(other)) => Err(clash(format!("{} gives that id to {other:?}", self.place))),
            _ => Ok(()),
        }
    }
}
