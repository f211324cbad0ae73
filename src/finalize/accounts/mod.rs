//! System accounts: who they are, and which numbers their names stand for.
//!
//! The base is `/etc/passwd` and `/etc/group` where a package brings them, else `passwd.master` and
//! `group.master` of base-passwd. Fragments of `sysusers.d` come next, then what maintainer scripts ask for.
//!
//! A number comes, in this order, from: the recipe; the base; a number that the fragment or the script states;
//! [`known::id`]; a digest of the name, 300 to 899. So it follows from the name, whatever else is installed.

mod known;
mod sysusers;
mod tables;

use super::world::World;
use super::{FinalizeError, KnownGroup, KnownUser, Settings};
use crate::base::Digest;

pub(super) use sysusers::is_name as is_account_name;
pub use sysusers::{Fragment, SysusersError, parse as parse_sysusers};
pub(super) use tables::{add_named, complete, found, write};

/// Shell of accounts that nobody logs in as.
pub(super) const NO_SHELL: &str = "/usr/sbin/nologin";
/// Group of system users without one of their own.
pub(super) const NO_GROUP: &str = "nogroup";

/// First and last number that a digest of a name may give.
const DIGEST_IDS: (u32, u32) = (300, 899);
/// Changing it gives every account that is in no table another number: a break for disks in use.
const DIGEST_CONTEXT: &str = "mkimage 2026 system account id v1";

/// One line of passwd(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
    pub shell: String,
    /// What shadow(5) says behind the name, without the date: `("*", "0:99999:7:::")`.
    pub shadow: (&'static str, &'static str),
}

/// One line of group(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
    /// The password field of gshadow(5).
    pub password: &'static str,
}

/// Users of the base: a password that fits nothing, and the ages that shadow's tools give.
pub(super) const BASE: (&str, &str) = ("*", "0:99999:7:::");
/// Users that `adduser --system` makes.
pub(super) const ADDED: (&str, &str) = ("!", ":::::");
/// Users that systemd-sysusers makes.
pub(super) const SYSUSERS: (&str, &str) = ("!*", ":::::");

/// All accounts of a tree.
#[derive(Clone, Default, Debug)]
pub(super) struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
    known_users: Vec<KnownUser>,
    known_groups: Vec<KnownGroup>,
}

impl Accounts {
    pub fn new(settings: &Settings) -> Self {
        Accounts {
            known_users: settings.users.clone(),
            known_groups: settings.groups.clone(),
            ..Accounts::default()
        }
    }

    pub fn users(&self) -> &[User] {
        &self.users
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Returns the number of a user that a script or table names by name or number.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.user(name).map(|user| user.uid).or_else(|| name.parse().ok())
    }

    /// Returns the number of a group that a script or table names by name or number.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.group(name).map(|group| group.gid).or_else(|| name.parse().ok())
    }

    /// Adds a group that is not there yet, and returns its number.
    pub fn add_group(
        &mut self,
        name: &str,
        stated: Option<u32>,
        password: &'static str,
    ) -> Result<u32, FinalizeError> {
        if let Some(group) = self.group(name) {
            return Ok(group.gid);
        }
        let known = self.known_groups.iter().find(|group| group.name == name).map(|group| group.gid);
        let known =
            known.or_else(|| self.known_users.iter().find(|user| user.name == name).map(|user| user.gid));
        let gid = known.or(stated).unwrap_or_else(|| id_of(name));
        if let Some(other) = self.groups.iter().find(|group| group.gid == gid) {
            return Err(clash("group", "gid", name, gid, &other.name));
        }
        self.groups.push(Group { name: name.to_owned(), gid, members: Vec::new(), password });
        Ok(gid)
    }

    /// Adds a user that is not there yet. Its number is `user.uid` where `stated`, else that of its name.
    pub fn add_user(&mut self, mut user: User, stated: bool) -> Result<(), FinalizeError> {
        if self.user(&user.name).is_some() {
            return Ok(());
        }
        let known = self.known_users.iter().find(|known| known.name == user.name);
        match known {
            Some(known) => user.uid = known.uid,
            None if !stated => user.uid = id_of(&user.name),
            None => {}
        }
        if let Some(other) = self.users.iter().find(|other| other.uid == user.uid) {
            return Err(clash("user", "uid", &user.name, user.uid, &other.name));
        }
        self.users.push(user);
        Ok(())
    }

    /// Makes a user a member of a group; nothing happens where there is no such group.
    pub fn add_member(&mut self, group: &str, user: &str) {
        let group = self.groups.iter_mut().find(|known| known.name == group);
        if let Some(group) = group.filter(|group| !group.members.iter().any(|member| member == user)) {
            group.members.push(user.to_owned());
        }
    }

    pub fn change_user(&mut self, name: &str, change: impl FnOnce(&mut User)) {
        if let Some(user) = self.users.iter_mut().find(|user| user.name == name) {
            change(user);
        }
    }
}

/// Returns the number of a system account that nobody states: a function of its name.
pub(super) fn id_of(name: &str) -> u32 {
    known::id(name).unwrap_or_else(|| {
        let digest = Digest::derive(DIGEST_CONTEXT, name.as_bytes());
        let number = u64::from_le_bytes(digest.0[..8].try_into().expect("because a digest has 32 bytes"));
        let (first, last) = DIGEST_IDS;
        first + (number % u64::from(last - first + 1)) as u32
    })
}

fn clash(what: &'static str, key: &'static str, name: &str, id: u32, other: &str) -> FinalizeError {
    let other = format!("{what} {other:?} has it");
    FinalizeError::Account { what, key, name: name.to_owned(), id, other }
}

impl World<'_> {
    /// Adds a system user as `adduser --system` and systemd-sysusers do: with a group of its own unless one
    /// is named.
    pub fn add_system_user(
        &mut self,
        user: User,
        group: Primary<'_>,
        uid: Option<u32>,
    ) -> Result<(), FinalizeError> {
        if self.accounts.user(&user.name).is_some() {
            return Ok(());
        }
        let password = if user.shadow == SYSUSERS { "!*" } else { "!" };
        let gid = match group {
            Primary::Own(gid) => self.accounts.add_group(&user.name, gid.or(uid), password)?,
            Primary::Named(name) => match self.accounts.gid(name) {
                Some(gid) => gid,
                None => self.accounts.add_group(name, None, password)?,
            },
            Primary::Id(gid) => gid,
        };
        let known = self.settings.users.iter().find(|known| known.name == user.name);
        let gid = known.map_or(gid, |known| known.gid);
        self.accounts.add_user(User { gid, uid: uid.unwrap_or_default(), ..user }, uid.is_some())
    }
}

/// The primary group of a user to be added.
#[derive(Clone, Copy, Debug)]
pub(super) enum Primary<'a> {
    /// One of the user's name, with a number where one is stated.
    Own(Option<u32>),
    Named(&'a str),
    Id(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        let text = String::new;
        User {
            name: name.to_owned(),
            uid: 0,
            gid: 0,
            comment: text(),
            home: text(),
            shell: text(),
            shadow: ADDED,
        }
    }

    #[test]
    fn a_number_is_a_function_of_the_name() {
        assert_eq!(id_of("messagebus"), known::id("messagebus").expect("known"));
        let ids: Vec<u32> = ["mydaemon", "yourdaemon"].map(id_of).to_vec();
        assert!(ids.iter().all(|id| (300..900).contains(id)), "{ids:?}");
        // Pinned: another number here is a break for disks in use.
        assert_eq!(ids, [412, 575]);
        let add = |names: &[&str]| {
            let mut accounts = Accounts::default();
            for name in names {
                accounts.add_user(user(name), false).expect("added");
            }
            accounts.uid("mydaemon")
        };
        assert_eq!(add(&["mydaemon", "sshd"]), add(&["zz", "sshd", "mydaemon"]));
    }

    #[test]
    fn a_clash_names_both_and_the_recipe_wins() {
        let mut accounts = Accounts::default();
        let fixed = |name: &str| User { uid: id_of("mydaemon"), ..user(name) };
        accounts.add_user(fixed("other"), true).expect("added");
        let error = accounts.add_user(user("mydaemon"), false).expect_err("clash").to_string();
        assert!(error.contains("other") && error.contains("mydaemon") && error.contains("uid"), "{error}");
        let known = KnownUser { name: "mydaemon".to_owned(), uid: 950, gid: 951 };
        let settings = Settings { users: vec![known], ..Settings::default() };
        let mut accounts = Accounts::new(&settings);
        accounts.add_user(fixed("other"), true).expect("added");
        accounts.add_user(user("mydaemon"), false).expect("added");
        assert_eq!(accounts.uid("mydaemon"), Some(950));
        assert_eq!(accounts.add_group("mydaemon", None, "!").expect("added"), 951);
    }
}
