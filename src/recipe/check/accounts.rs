//! `user` and `group`, and who may be named.

use std::collections::BTreeMap;

use super::super::diagnostics::{Code, Problem};
use super::super::hint::suggest;
use super::super::plan::{Account, GroupPlan, Origin, UserPlan};
use super::super::source::Span;
use super::fields::{Fields, Typed};
use super::{Context, app, one};
use crate::base::path::escaped;

/// The user that comes along with an app that names none.
const APP_USER: &str = "app";
/// Its id.
const APP_USER_ID: u32 = 1000;
const SHELL: &str = "/usr/sbin/nologin";

pub(super) fn users(checked: &[Fields<'_>], context: &Context<'_>) -> Vec<Option<UserPlan>> {
    checked.iter().filter(|fields| fields.row.name == "user").map(|fields| user(fields, context)).collect()
}

fn user(fields: &Fields<'_>, context: &Context<'_>) -> Option<UserPlan> {
    for key in ["home", "shell"] {
        if let Some(path) =
            fields.path(key).filter(|path| path.as_bytes().iter().any(|b| *b == b':' || b.is_ascii_control()))
        {
            let message = format!("`{key}`: {path} has a colon or a line end, which /etc/passwd can't hold");
            let problem = Problem::new(Code::BadValue, fields.span_or_header(key), message);
            context.report(problem.hint("choose another path"));
        }
    }
    fields.sound().then_some(())?;
    let name = fields.label_text()?;
    let path = |key: &str, default: &str| {
        fields.path(key).map_or(default.to_owned(), |path| escaped(path.as_bytes()))
    };
    Some(UserPlan {
        uid: fields.count("uid")?,
        group: fields.account("group").unwrap_or(Account::Name(name.clone())),
        groups: fields.texts("groups"),
        home: path("home", "/"),
        shell: path("shell", SHELL),
        comment: fields.text("comment").unwrap_or_default(),
        origin: context.origin(fields),
        name,
    })
}

pub(super) fn groups(checked: &[Fields<'_>], context: &Context<'_>) -> Vec<Option<GroupPlan>> {
    let group = |fields: &Fields<'_>| {
        fields.sound().then_some(())?;
        let (name, gid) = (fields.label_text()?, fields.count("gid")?);
        Some(GroupPlan { name, gid, origin: context.origin(fields) })
    };
    checked.iter().filter(|fields| fields.row.name == "group").map(group).collect()
}

/// Adds the user that an app brings along, where the recipe does not have it.
pub(super) fn app_user(checked: &[Fields<'_>], users: &mut Vec<Option<UserPlan>>, context: &Context<'_>) {
    let Some(fields) = one(checked, "app") else { return };
    if app::user(fields) != APP_USER || names(checked, "user").contains_key(APP_USER) {
        return;
    }
    let data = one(checked, "disk").and_then(|disk| disk.path("data_path"));
    let data = data.map_or("/data".to_owned(), |path| escaped(path.as_bytes()));
    let origin: Origin = context.origin(fields);
    users.push(Some(UserPlan {
        name: APP_USER.to_owned(),
        uid: APP_USER_ID,
        group: Account::Name(APP_USER.to_owned()),
        groups: Vec::new(),
        home: format!("{data}/{}", fields.label_text().unwrap_or_default()),
        shell: SHELL.to_owned(),
        comment: String::new(),
        origin,
    }));
}

/// Returns the names that blocks of a kind declare, and where.
fn names(checked: &[Fields<'_>], kind: &str) -> BTreeMap<String, Span> {
    let named = checked.iter().filter(|fields| fields.row.name == kind);
    named.filter_map(|fields| Some((fields.label_text()?, fields.block.header))).collect()
}

/// An id that a block claims.
struct Claim {
    name: String,
    id: i64,
    span: Span,
    /// A group that a user brings: two of them clash where their users do, which is said there.
    along: bool,
}

/// Reports names and ids that two users or two groups have, and misuse of root's.
pub(super) fn ids(checked: &[Fields<'_>], context: &Context<'_>) {
    let claims = |kind: &str, key: &str| -> Vec<Claim> {
        let of_kind = checked.iter().filter(|fields| fields.row.name == kind);
        of_kind
            .filter_map(|fields| {
                let (name, id) = (fields.label_text()?, fields.number(key)?);
                Some(Claim { name, id, span: fields.block.header, along: false })
            })
            .collect()
    };
    let mut users = claims("user", "uid");
    let mut groups = claims("group", "gid");
    if let Some(fields) = one(checked, "app")
        && app::user(fields) == APP_USER
        && !names(checked, "user").contains_key(APP_USER)
    {
        let (name, id) = (APP_USER.to_owned(), i64::from(APP_USER_ID));
        users.push(Claim { name, id, span: fields.block.header, along: false });
    }
    let own_group = |user: &&Claim| {
        let block =
            checked.iter().find(|fields| fields.block.header == user.span && fields.row.name == "user");
        let own = block.is_none_or(|fields| match fields.account("group") {
            Some(Account::Name(group)) => group == user.name,
            Some(Account::Id(_)) => false,
            None => true,
        });
        own && !groups.iter().any(|group| group.name == user.name)
    };
    let along: Vec<Claim> = users
        .iter()
        .filter(own_group)
        .map(|user| Claim { name: user.name.clone(), id: user.id, span: user.span, along: true })
        .collect();
    groups.extend(along);
    unique("user", &users, context);
    unique("group", &groups, context);
}

fn unique(kind: &str, claims: &[Claim], context: &Context<'_>) {
    for (index, claim) in claims.iter().enumerate() {
        if (claim.id == 0) != (claim.name == "root") && !claim.along {
            let message = format!("the {kind} `{}` has id {}", claim.name, claim.id);
            let problem = Problem::new(Code::BadValue, claim.span, message);
            context.report(problem.hint("id 0 is root's, and root's alone"));
        }
        let before = || claims[..index].iter().filter(|first| !(first.along && claim.along));
        if let Some(first) = before().find(|first| first.name == claim.name) {
            let message = format!("the {kind} `{}` is declared twice", claim.name);
            let problem = Problem::new(Code::DuplicateId, claim.span, message);
            context.report(problem.also(first.span, "first here").hint("remove one of them"));
        } else if let Some(first) = before().find(|first| first.id == claim.id) {
            let message =
                format!("the {kind}s `{}` and `{}` have the same id {}", first.name, claim.name, claim.id);
            let problem =
                Problem::new(Code::DuplicateId, claim.span, message).also(first.span, "the other one");
            let hint = match kind {
                "group" => "give one of them another id (a user brings a group of its name and id along)",
                _ => "give one of them another id (`app` comes along with id 1000 where `app` names no user)",
            };
            context.report(problem.hint(hint));
        }
    }
}

/// Reports users and groups that are named but not declared.
pub(super) fn references(checked: &[Fields<'_>], context: &Context<'_>) {
    let mut users: Vec<String> = names(checked, "user").into_keys().collect();
    users.push("root".to_owned());
    if one(checked, "app").is_some_and(|fields| app::user(fields) == APP_USER) {
        users.push(APP_USER.to_owned());
    }
    let mut groups: Vec<String> = names(checked, "group").into_keys().collect();
    groups.extend(users.iter().filter(|user| has_own_group(user, checked)).cloned());
    for fields in checked {
        for (key, known, kind) in [("owner", &users, "user"), ("group", &groups, "group")] {
            if let Some(Account::Name(name)) = fields.account(key) {
                known_account(&name, known, kind, fields.span_or_header(key), context);
            }
        }
        if fields.row.name == "app" {
            known_account(&app::user(fields), &users, "user", fields.span_or_header("user"), context);
        }
        if fields.row.name == "user" {
            for (typed, span) in fields.list("groups") {
                if let Typed::Text(name) = typed {
                    known_account(name, &groups, "group", *span, context);
                }
            }
        }
    }
}

/// Tells whether a group of the user's own name comes along.
fn has_own_group(user: &str, checked: &[Fields<'_>]) -> bool {
    let block = checked
        .iter()
        .find(|fields| fields.row.name == "user" && fields.label_text().is_some_and(|name| name == user));
    block.is_none_or(|fields| match fields.account("group") {
        Some(Account::Name(group)) => group == user,
        Some(Account::Id(_)) => false,
        None => true,
    })
}

fn known_account(name: &str, known: &[String], kind: &str, span: Span, context: &Context<'_>) {
    if known.iter().any(|other| other == name) {
        return;
    }
    let key = if kind == "user" { "uid" } else { "gid" };
    let candidates: Vec<&str> = known.iter().map(String::as_str).collect();
    let declare = format!("declare it: `{kind} \"{name}\" {{ {key} = … }}`, or give a number");
    let hint = match super::super::hint::closest(name, candidates.iter().copied()) {
        Some(_) => suggest(name, &candidates),
        None => declare,
    };
    context.report(Problem::new(Code::UnknownAccount, span, format!("no {kind} `{name}`")).hint(hint));
}
