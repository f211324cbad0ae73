//! The account files of a tree, read and written (passwd(5), group(5), shadow(5), gshadow(5)).

use super::{Accounts, BASE, Fragment, Group, NO_SHELL, Primary, SYSUSERS, User, parse_sysusers};
use crate::base::ImagePath;
use crate::finalize::FinalizeError;
use crate::finalize::world::{World, path};
use crate::tree::Metadata;

/// Where the lines of the base come from: the first that is there.
const PASSWD: [&str; 2] = ["/etc/passwd", "/usr/share/base-passwd/passwd.master"];
const GROUP: [&str; 2] = ["/etc/group", "/usr/share/base-passwd/group.master"];
/// Where fragments lie; a name in one hides it in those behind.
const FRAGMENTS: [&str; 2] = ["/etc/sysusers.d", "/usr/lib/sysusers.d"];
/// Group that may read shadow(5); its number is fixed by base-passwd.
const SHADOW_GROUP: &str = "shadow";

/// Reads the accounts of the base.
pub(in crate::finalize) fn found(world: &mut World<'_>) -> Result<(), FinalizeError> {
    world.accounts = Accounts::new(world.settings);
    let group = first(world, &GROUP)?;
    for line in group.iter().flat_map(|(_, text)| text.lines()) {
        let fields: Vec<&str> = line.split(':').collect();
        let (Some(name), Some(gid)) = (fields.first(), fields.get(2).and_then(|gid| gid.parse().ok())) else {
            continue;
        };
        let members = fields.get(3).copied().unwrap_or_default().split(',');
        let members = members.filter(|member| !member.is_empty()).map(str::to_owned).collect();
        world.accounts.groups.push(Group { name: (*name).to_owned(), gid, members, password: "*" });
    }
    let passwd = first(world, &PASSWD)?;
    for line in passwd.iter().flat_map(|(_, text)| text.lines()) {
        world.accounts.users.extend(user(line));
    }
    if !world.accounts.users.is_empty() && world.accounts.user("root").is_none() {
        let (path, _) = passwd.expect("because users came from it");
        return Err(FinalizeError::Input { path, line: 1, problem: "no line for root".to_owned() });
    }
    Ok(())
}

/// Adds what the fragments of `sysusers.d` ask for that no script asked for before: the next boot would.
pub(in crate::finalize) fn complete(world: &mut World<'_>) -> Result<(), FinalizeError> {
    let files = files(world);
    add_fragments(world, &files)
}

/// Adds what the named fragments ask for, as `systemd-sysusers NAME…` does.
pub(in crate::finalize) fn add_named(world: &mut World<'_>, names: &[&str]) -> Result<(), FinalizeError> {
    let is_named = |file: &ImagePath| {
        let name = file.name().map(|name| name.to_string());
        names.iter().any(|known| name.as_deref() == Some(known) || file.to_string() == *known)
    };
    let files: Vec<ImagePath> = files(world).into_iter().filter(is_named).collect();
    add_fragments(world, &files)
}

fn first(world: &World<'_>, places: &[&str]) -> Result<Option<(ImagePath, String)>, FinalizeError> {
    for place in places {
        let place = path(place);
        if let Some(text) = world.read_text(&place)? {
            return Ok(Some((place, text)));
        }
    }
    Ok(None)
}

fn user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, comment, home, shell] = fields[..] else { return None };
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        comment: comment.to_owned(),
        home: home.to_owned(),
        shell: shell.to_owned(),
        shadow: BASE,
    })
}

/// Adds what the fragments ask for: groups first, then users, then members, as systemd-sysusers does.
fn add_fragments(world: &mut World<'_>, files: &[ImagePath]) -> Result<(), FinalizeError> {
    let mut fragments = Vec::new();
    for file in files {
        let text = world.read_text(file)?.unwrap_or_default();
        match parse_sysusers(&text) {
            Ok(read) => fragments.extend(read),
            Err(error) => world.errors.push(FinalizeError::Input {
                path: file.clone(),
                line: error.line,
                problem: error.problem,
            }),
        }
    }
    fragments.sort_by_key(|fragment| match fragment {
        Fragment::Group { .. } => 0,
        Fragment::User { .. } => 1,
        Fragment::Member { .. } => 2,
    });
    if world.accounts.users.is_empty() && !fragments.is_empty() {
        add_root(world);
    }
    for fragment in fragments {
        if let Err(error) = add_fragment(world, fragment) {
            world.errors.push(error);
        }
    }
    Ok(())
}

/// Returns the fragments' files, by name whatever folder they are in.
fn files(world: &World<'_>) -> Vec<ImagePath> {
    let mut files = std::collections::BTreeMap::new();
    for folder in FRAGMENTS.map(path) {
        for name in world.names(&folder) {
            if name.as_bytes().ends_with(b".conf") {
                files.entry(name.clone()).or_insert_with(|| folder.join(&name));
            }
        }
    }
    files.into_values().collect()
}

/// Makes the two accounts that every system has, where no package brings a base.
fn add_root(world: &mut World<'_>) {
    for (name, id, home) in [("root", 0, "/root"), ("nobody", 65534, "/nonexistent")] {
        let group = if id == 0 { "root" } else { super::NO_GROUP };
        world.accounts.groups.push(Group { name: group.into(), gid: id, members: Vec::new(), password: "*" });
        world.accounts.users.push(User {
            name: name.into(),
            uid: id,
            gid: id,
            comment: name.into(),
            home: home.into(),
            shell: if id == 0 { "/bin/sh" } else { NO_SHELL }.into(),
            shadow: BASE,
        });
    }
}

fn add_fragment(world: &mut World<'_>, fragment: Fragment) -> Result<(), FinalizeError> {
    match fragment {
        Fragment::Group { name, id } => world.accounts.add_group(&name, id, "!*").map(drop),
        Fragment::User { name, id, group, comment, home, shell } => {
            let user = User { name, uid: 0, gid: 0, comment, home, shell, shadow: SYSUSERS };
            let group = match group.as_deref() {
                None => Primary::Own(None),
                Some(text) => text.parse().map_or(Primary::Named(text), Primary::Id),
            };
            world.add_system_user(user, group, id)
        }
        Fragment::Member { user, group } => {
            world.accounts.add_group(&group, None, "!*")?;
            world.accounts.add_member(&group, &user);
            Ok(())
        }
    }
}

/// Writes the account files: `passwd`, `group`, `shadow`, `gshadow`, and empty `subuid` and `subgid` where
/// login would make them. Days count from the epoch of the image.
pub(in crate::finalize) fn write(world: &mut World<'_>) -> Result<(), FinalizeError> {
    if world.accounts.users.is_empty() {
        return Ok(());
    }
    let day = world.settings.epoch / 86400;
    let accounts = std::mem::take(&mut world.accounts);
    let mut files = [String::new(), String::new(), String::new(), String::new()];
    for user in &accounts.users {
        let User { name, uid, gid, comment, home, shell, shadow: (password, ages) } = user;
        files[0] += &format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}\n");
        files[2] += &format!("{name}:{password}:{day}:{ages}\n");
    }
    for Group { name, gid, members, password } in &accounts.groups {
        let members = members.join(",");
        files[1] += &format!("{name}:x:{gid}:{members}\n");
        files[3] += &format!("{name}:{password}::{members}\n");
    }
    let gid = accounts.group(SHADOW_GROUP).map(|group| group.gid);
    let secret = match gid {
        Some(gid) => Metadata { gid, ..Metadata::root(0o640) },
        None => Metadata::root(0o600),
    };
    world.accounts = accounts;
    let names = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];
    for (index, (name, text)) in names.into_iter().zip(files).enumerate() {
        let metadata = if index < 2 { Metadata::root(0o644) } else { secret.clone() };
        world.write_with(&path(name), text.as_bytes(), metadata)?;
    }
    Ok(())
}
