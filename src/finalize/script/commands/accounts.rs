//! Commands that make accounts, and ask for them: adduser(8), useradd(8) and their kin.

use super::{Call, Work};
use crate::finalize::accounts::{ADDED, NO_GROUP, NO_SHELL, Primary, User, is_account_name};
use crate::finalize::script::shell::{Shell, Status, Value};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "adduser" => adduser,
        "useradd" => useradd,
        "addgroup" | "groupadd" => addgroup,
        "usermod" => usermod,
        "gpasswd" => gpasswd,
        "add-shell" => |shell, call| {
            if let Some(names) = shell.change(call) {
                shell.world.shells.extend(names.into_iter().map(str::to_owned));
            }
            Status::True
        },
        "getent" => getent,
        "id" => id,
        "chage" | "passwd" => |_, _| Status::True,
        "deluser" | "delgroup" | "userdel" | "groupdel" | "groupmod" => remove,
        _ => return None,
    })
}

/// Options that take a value, of all of these commands.
const WITH_VALUE: &[&str] = &[
    "--home",
    "--shell",
    "--uid",
    "--gid",
    "--gecos",
    "--comment",
    "--ingroup",
    "--conf",
    "--firstuid",
    "--lastuid",
    "--add_extra_groups",
    "--home-dir",
    "--groups",
    "--password",
    "-u",
    "-g",
    "-G",
    "-d",
    "-c",
    "-s",
    "-K",
    "-k",
    "-p",
    "--base-dir",
    "-b",
    "--skel",
    "--login",
    "-l",
];

/// The words of a call, sorted.
#[derive(Default)]
struct Words<'c> {
    flags: Vec<&'c str>,
    values: Vec<(&'c str, &'c str)>,
    operands: Vec<&'c str>,
}

impl<'c> Words<'c> {
    fn of(words: &[&'c str]) -> Self {
        let mut sorted = Words::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => sorted.values.push((name, value)),
                _ if WITH_VALUE.contains(&word) => {
                    sorted.values.push((word, words.next().unwrap_or_default()))
                }
                _ if word.starts_with("--") => sorted.flags.push(word),
                // `-rg NAME`: the last of several letters may take a value.
                _ if word.starts_with('-') => {
                    let last = word.len() - word.chars().next_back().map_or(0, char::len_utf8);
                    let alone =
                        WITH_VALUE.iter().find(|known| known.len() == 2 && known[1..] == word[last..]);
                    sorted.flags.push(&word[..last]);
                    match alone {
                        Some(name) => sorted.values.push((name, words.next().unwrap_or_default())),
                        None => sorted.flags.push(word),
                    }
                }
                _ => sorted.operands.push(word),
            }
        }
        sorted
    }

    fn has(&self, letter: char, long: &str) -> bool {
        self.flags.iter().any(|flag| *flag == long || (!flag.starts_with("--") && flag.contains(letter)))
    }

    fn value(&self, names: &[&str]) -> Option<&'c str> {
        self.values.iter().find(|(name, _)| names.contains(name)).map(|(_, value)| *value)
    }
}

impl Shell<'_, '_> {
    /// Adds a user, and its home directory where one is made.
    fn add(
        &mut self,
        call: &Call<'_>,
        words: &Words<'_>,
        user: User,
        group: Primary<'_>,
        makes_home: bool,
    ) -> Status {
        if !is_account_name(&user.name) {
            return self.unknown(call.line, "this is no name of an account");
        }
        let uid = words.value(&["--uid", "-u"]).map(str::parse);
        let Ok(uid) = uid.transpose() else {
            return self.unknown(call.line, "the user's number is not understood");
        };
        if [&user.comment, &user.home, &user.shell].iter().any(|text| text.contains([':', '\n'])) {
            return self.unknown(call.line, "a field holds what an account file has no room for");
        }
        let (name, home) = (user.name.clone(), user.home.clone());
        if let Err(error) = self.world.add_system_user(user, group, uid) {
            self.world.errors.push(error);
            return Status::True;
        }
        let home = self.path(&home).filter(|home| makes_home && !home.is_root());
        if let Some(home) = home.filter(|home| !self.world.exists(home)) {
            let result = self.world.make_directory(&home, 0o755).map(drop);
            self.done(call.line, result);
            let account = self.world.accounts.user(&name).map(|user| (user.uid, user.gid));
            if let (Some((uid, gid)), Some(metadata)) = (account, self.world.metadata_mut(&home)) {
                (metadata.uid, metadata.gid) = (uid, gid);
            }
        }
        Status::True
    }
}

/// `adduser --system NAME`, `adduser USER GROUP`.
fn adduser(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let words = Words::of(&words);
    match words.operands[..] {
        [user, group] if !words.has('\0', "--system") => {
            if shell.world.accounts.user(user).is_none() || shell.world.accounts.group(group).is_none() {
                return Status::False;
            }
            shell.world.accounts.add_member(group, user);
            Status::True
        }
        [name] if words.has('\0', "--system") => {
            if let Some(there) = shell.world.accounts.user(name) {
                // adduser says that it exists and succeeds, unless it is no system user.
                return Status::of(there.uid < 1000);
            }
            let group = match words.value(&["--ingroup", "--gid"]) {
                Some(group) => group.parse().map_or(Primary::Named(group), Primary::Id),
                None if words.has('\0', "--group") => Primary::Own(None),
                None => Primary::Named(NO_GROUP),
            };
            let home = words.value(&["--home"]).unwrap_or("/nonexistent");
            let makes_home = home != "/nonexistent" && !words.has('\0', "--no-create-home");
            let user = User {
                name: name.to_owned(),
                uid: 0,
                gid: 0,
                comment: words.value(&["--gecos", "--comment"]).unwrap_or_default().to_owned(),
                home: home.to_owned(),
                shell: words.value(&["--shell"]).unwrap_or(NO_SHELL).to_owned(),
                shadow: ADDED,
            };
            shell.add(call, &words, user, group, makes_home)
        }
        [name] if words.has('\0', "--group") => add_group(shell, call, &words, name),
        _ => shell.unknown(call.line, "only system users, and members of groups, are added"),
    }
}

/// `useradd -r NAME`.
fn useradd(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let words = Words::of(&words);
    let [name] = words.operands[..] else { return shell.unknown(call.line, "useradd names one user") };
    if shell.world.accounts.user(name).is_some() {
        return Status::False;
    }
    let is_system = words.has('r', "--system") || words.value(&["-u", "--uid"]).is_some();
    if !is_system {
        return shell.unknown(call.line, "only system users are added");
    }
    let group = match words.value(&["-g", "--gid"]) {
        Some(group) => group.parse().map_or(Primary::Named(group), Primary::Id),
        None if words.has('N', "--no-user-group") => Primary::Named("users"),
        None => Primary::Own(None),
    };
    let home = words.value(&["-d", "--home-dir", "--home"]).map_or(format!("/home/{name}"), str::to_owned);
    let user = User {
        name: name.to_owned(),
        uid: 0,
        gid: 0,
        comment: words.value(&["-c", "--comment"]).unwrap_or_default().to_owned(),
        home,
        shell: words.value(&["-s", "--shell"]).unwrap_or("/bin/sh").to_owned(),
        shadow: ADDED,
    };
    let status = shell.add(call, &words, user, group, words.has('m', "--create-home"));
    for group in
        words.value(&["-G", "--groups"]).unwrap_or_default().split(',').filter(|name| !name.is_empty())
    {
        shell.world.accounts.add_member(group, name);
    }
    status
}

fn addgroup(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let words = Words::of(&words);
    let [name] = words.operands[..] else { return shell.unknown(call.line, "one group is named") };
    let stated = words.value(&["--gid", "-g"]);
    if shell.world.accounts.group(name).is_some() {
        let fails = call.name == "groupadd" && !words.has('f', "--force");
        return Status::of(!fails);
    }
    if !words.has('r', "--system") && stated.is_none() && call.name == "addgroup" {
        return shell.unknown(call.line, "only system groups are added");
    }
    add_group(shell, call, &words, name)
}

fn add_group(shell: &mut Shell<'_, '_>, call: &Call<'_>, words: &Words<'_>, name: &str) -> Status {
    let Ok(gid) = words.value(&["--gid", "-g"]).map(str::parse).transpose() else {
        return shell.unknown(call.line, "the group's number is not understood");
    };
    if !is_account_name(name) {
        return shell.unknown(call.line, "this is no name of an account");
    }
    if let Err(error) = shell.world.accounts.add_group(name, gid, "!") {
        shell.world.errors.push(error);
    }
    Status::True
}

/// `usermod -aG GROUP USER`, and what is in the fields of passwd(5).
fn usermod(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    let words = Words::of(&words);
    let [name] = words.operands[..] else { return shell.unknown(call.line, "usermod names one user") };
    if shell.world.accounts.user(name).is_none() {
        return Status::False;
    }
    let known = ["-G", "--groups", "-d", "--home", "-s", "--shell", "-c", "--comment"];
    if let Some((option, _)) = words.values.iter().find(|(option, _)| !known.contains(option)) {
        return shell.unknown(call.line, format!("{option} is not followed"));
    }
    let text = |names: &[&str]| {
        let text = words.value(names).filter(|text| !text.contains([':', '\n']));
        text.map(str::to_owned)
    };
    let (home, program, comment) =
        (text(&["-d", "--home"]), text(&["-s", "--shell"]), text(&["-c", "--comment"]));
    shell.world.accounts.change_user(name, |user| {
        user.home = home.unwrap_or_else(|| user.home.clone());
        user.shell = program.unwrap_or_else(|| user.shell.clone());
        user.comment = comment.unwrap_or_else(|| user.comment.clone());
    });
    for group in
        words.value(&["-G", "--groups"]).unwrap_or_default().split(',').filter(|name| !name.is_empty())
    {
        shell.world.accounts.add_member(group, name);
    }
    Status::True
}

/// `gpasswd -a USER GROUP`.
fn gpasswd(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = shell.change(call) else { return Status::Maybe };
    match words[..] {
        ["-a" | "--add", user, group] => {
            shell.world.accounts.add_member(group, user);
            Status::True
        }
        _ => shell.unknown(call.line, "only gpasswd -a is followed"),
    }
}

fn getent(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let (Some(table), Some(key)) = (call.get(0), call.get(1)) else {
        shell.print(&Value::Unknown);
        return Status::Maybe;
    };
    let accounts = &shell.world.accounts;
    let number = key.parse().ok();
    let line = match table {
        "passwd" => {
            accounts.users().iter().find(|user| user.name == key || Some(user.uid) == number).map(|user| {
                let User { name, uid, gid, comment, home, shell, .. } = user;
                format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}\n")
            })
        }
        "group" => accounts
            .groups()
            .iter()
            .find(|group| group.name == key || Some(group.gid) == number)
            .map(|group| format!("{}:x:{}:{}\n", group.name, group.gid, group.members.join(","))),
        _ => {
            shell.print(&Value::Unknown);
            return Status::Maybe;
        }
    };
    match line {
        Some(line) => {
            shell.print(&Value::Known(line));
            Status::True
        }
        None => Status::False,
    }
}

/// `id -u NAME`, `id -g NAME`, `id NAME`; without a name: root.
fn id(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let Some(words) = call.known() else {
        shell.print(&Value::Unknown);
        return Status::Maybe;
    };
    let name = words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or("root");
    let Some(user) = shell.world.accounts.user(name) else { return Status::False };
    let printed = match words[..] {
        ["-u", ..] => Value::Known(format!("{}\n", user.uid)),
        ["-g", ..] => Value::Known(format!("{}\n", user.gid)),
        _ => Value::Unknown,
    };
    shell.print(&printed);
    Status::True
}

/// Taking an account away that is not there does nothing.
fn remove(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let names: Vec<&str> =
        call.arguments.iter().filter_map(Value::known).filter(|word| !word.starts_with('-')).collect();
    let accounts = &shell.world.accounts;
    let is_there = names.iter().any(|name| accounts.user(name).is_some() || accounts.group(name).is_some());
    if is_there { shell.unknown(call.line, "an account that is there is taken away") } else { Status::False }
}
