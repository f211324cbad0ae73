//! Users and groups of a recipe, and which numbers their names stand for.

use super::error::{ComposeError, Problem};
use crate::recipe::plan::{Account, GroupPlan, Origin, Owner, Part, Plan, UserPlan};

/// Name of the user that an app runs as where its block names none.
pub const APP_USER: &str = "app";
/// Id of that user and of its group.
pub const APP_ID: u32 = 1000;

/// Shell of users that nobody logs in as.
pub(super) const NO_SHELL: &str = "/usr/sbin/nologin";

/// Holds the users and groups that a recipe brings, free of clashes among themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Accounts {
    pub(super) users: Vec<User>,
    pub(super) groups: Vec<GroupPlan>,
}

/// A user whose primary group is known, or will be when the tree's own groups are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct User {
    pub(super) plan: UserPlan,
    pub(super) primary: Primary,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Primary {
    Id(u32),
    /// A group that only the tree may have.
    InTree(String),
}

impl Accounts {
    /// Collects what a plan says of accounts: its users and groups, the app's user where the recipe has
    /// none of that name, and each user's own group. Two names for an id and two ids for a name are
    /// errors that name both places.
    pub fn of(plan: &Plan) -> Result<Self, Vec<ComposeError>> {
        let mut plans = plan.users.clone();
        let mut errors = Vec::new();
        for part in &plan.parts {
            let Part::App(app) = part else { continue };
            match app.user.as_str() {
                "root" => {}
                name if plans.iter().any(|user| user.name == name) => {}
                APP_USER => plans.push(app_user(&app.origin)),
                name => {
                    let known = plans.iter().map(|user| format!("{:?}", user.name));
                    let known = known.chain([format!("{APP_USER:?}"), "\"root\"".to_owned()]).collect();
                    let problem = Problem::UnknownAccount { what: "user", name: name.to_owned(), known };
                    errors.push(problem.at(&app.origin));
                }
            }
        }
        let mut groups = plan.groups.clone();
        let users = plans.into_iter().map(|plan| with_primary(plan, &mut groups)).collect();
        let accounts = Accounts { users, groups };
        accounts.check(&mut errors);
        if errors.is_empty() { Ok(accounts) } else { Err(errors) }
    }

    /// Returns user and group id of an owner. Names are those of the recipe, and `root`.
    pub fn owner(&self, owner: &Owner) -> Result<(u32, u32), Problem> {
        let users = self.users.iter().map(|user| (user.plan.name.as_str(), user.plan.uid));
        let groups = self.groups.iter().map(|group| (group.name.as_str(), group.gid));
        let uid = number("user", &owner.user, &users.collect::<Vec<_>>())?;
        Ok((uid, number("group", &owner.group, &groups.collect::<Vec<_>>())?))
    }

    fn check(&self, errors: &mut Vec<ComposeError>) {
        let users = self.users.iter().map(|user| (&user.plan.name, user.plan.uid, &user.plan.origin));
        clashes("user", &users.collect::<Vec<_>>(), errors);
        let groups = self.groups.iter().map(|group| (&group.name, group.gid, &group.origin));
        clashes("group", &groups.collect::<Vec<_>>(), errors);
        for user in &self.users {
            check_fields(&user.plan, errors);
        }
    }
}

fn number(what: &'static str, account: &Account, known: &[(&str, u32)]) -> Result<u32, Problem> {
    let name = match account {
        Account::Id(id) => return Ok(*id),
        Account::Name(name) if name == "root" => return Ok(0),
        Account::Name(name) => name,
    };
    let found = known.iter().find(|(known, _)| known == name);
    found.map(|(_, id)| *id).ok_or_else(|| {
        let known = known.iter().map(|(name, _)| format!("{name:?}"));
        let known = known.chain(["\"root\"".to_owned()]).collect();
        Problem::UnknownAccount { what, name: name.clone(), known }
    })
}

fn app_user(origin: &Origin) -> UserPlan {
    UserPlan {
        name: APP_USER.to_owned(),
        uid: APP_ID,
        group: Account::Name(APP_USER.to_owned()),
        groups: Vec::new(),
        home: "/".to_owned(),
        shell: NO_SHELL.to_owned(),
        comment: String::new(),
        origin: origin.clone(),
    }
}

/// Finds a user's primary group; makes the group of the same name and id where the recipe has none.
fn with_primary(plan: UserPlan, groups: &mut Vec<GroupPlan>) -> User {
    let same = |groups: &mut Vec<GroupPlan>| {
        groups.push(GroupPlan { name: plan.name.clone(), gid: plan.uid, origin: plan.origin.clone() });
        Primary::Id(plan.uid)
    };
    let primary = match &plan.group {
        Account::Name(name) => match groups.iter().find(|group| group.name == *name) {
            Some(group) => Primary::Id(group.gid),
            None if name == "root" => Primary::Id(0),
            None if *name == plan.name => same(groups),
            None => Primary::InTree(name.clone()),
        },
        Account::Id(id) if groups.iter().any(|group| group.gid == *id) => Primary::Id(*id),
        Account::Id(id) if *id == plan.uid && *id != 0 => same(groups),
        Account::Id(id) => Primary::Id(*id),
    };
    User { plan, primary }
}

fn clashes(what: &'static str, accounts: &[(&String, u32, &Origin)], errors: &mut Vec<ComposeError>) {
    for (index, (name, id, origin)) in accounts.iter().enumerate() {
        let mut problem = |other: String| {
            let name = name.to_string();
            errors.push(Problem::AccountClash { what, name, id: *id, other }.at(origin));
        };
        if (*id == 0) != (name.as_str() == "root") {
            problem("id 0 and the name \"root\" belong together".to_owned());
        }
        if *id == u32::MAX {
            problem("ids go to 4294967294".to_owned());
        }
        if !is_name(name) {
            problem("names are [a-z_][a-z0-9_-]*, at most 32 characters".to_owned());
        }
        for (first, first_id, first_origin) in &accounts[..index] {
            if first == name {
                problem(format!("{first_origin} gives that name id {first_id}"));
            } else if first_id == id {
                problem(format!("{first_origin} gives that id to {first:?}"));
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let (Some(first), true) = (name.bytes().next(), name.len() <= 32) else { return false };
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (first.is_ascii_lowercase() || first == b'_') && name.bytes().all(rest)
}

/// Refuses what would break a line of passwd(5).
fn check_fields(user: &UserPlan, errors: &mut Vec<ComposeError>) {
    for (key, value) in [("home", &user.home), ("shell", &user.shell), ("comment", &user.comment)] {
        if value.contains([':', '\n', '\0']) {
            let problem = format!("{value:?} has a colon, newline or NUL, which /etc/passwd has no room for");
            errors.push(Problem::Setting { key, problem }.at(&user.origin));
        }
    }
}
