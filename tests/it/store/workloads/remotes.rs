//! Workloads with a far end: a store in another folder, or a site.

use std::error::Error;
use std::path::Path;

use mkimage::base::CommitId;
use mkimage::remote::{
    DirectorySite, Far, Line, Publishing, Pushed, Remote, RemoteSettings, Rules, Want, Wants, pull_from,
    push_to,
};
use mkimage::store::Store;
use mkimage::trust::SecretKey;

use super::{Done, Place, build, closure, job};
use crate::store::name;

const LIFETIME_SECONDS: u64 = 365 * 24 * 3600;

fn line() -> Line {
    Line::new(&job(), None)
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32], "crash").expect("a key")
}

/// The far end as one knows it who saw nothing of it yet.
fn remote(place: &Place, folder: &str, kind: &str) -> Remote {
    let address = format!("{kind}{}", place.path(folder).display());
    let mut settings = RemoteSettings::new(address.parse().expect("an address"));
    settings.keys.push(key().public().clone());
    Remote { name: None, settings }
}

fn push(store: &Store, far: &Far, remote: &mut Remote, commit: CommitId) -> Done {
    let key = key();
    let publishing = Publishing { signers: &[&key], site: None, lifetime_seconds: LIFETIME_SECONDS };
    let pushed = [Pushed { name: name("main"), commit, source: None }];
    let rules = Rules { force: true, ..Rules::default() };
    push_to(store, far, remote, &pushed, &rules, Some(&publishing), &line())?;
    Ok(())
}

fn pull(store: &Store, far: &Far, remote: &mut Remote) -> Done {
    let wants = Wants::These(vec![Want::Ref(name("main"))]);
    let rules = Rules { force: true, ..Rules::default() };
    pull_from(store, far, remote, &wants, &rules, &line())?;
    Ok(())
}

pub fn a_store_and_a_far_one(place: &Place) {
    build(&place.store("store"), 1, &["main"]).expect("built");
    build(&place.store("far"), 1, &["main"]).expect("built");
}

/// Two pushes into a store that has an older version.
pub fn push_to_a_store(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    let far = Far::Store(Box::new(place.store("far")));
    let mut remote = remote(place, "far", "");
    for version in [2, 3] {
        let commit = build(&store, version, &["main"])?;
        push(&store, &far, &mut remote, commit)?;
        acknowledge();
    }
    Ok(())
}

pub fn a_far_store(place: &Place) {
    build(&place.store("far"), 1, &["main"]).expect("built");
}

/// A pull into a new store, and one of the next version.
pub fn pull_from_a_store(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let (store, far) = (place.store("store"), place.store("far"));
    for version in [1, 2] {
        build(&far, version, &["main"])?;
        let far = Far::Store(Box::new(place.store("far")));
        pull(&store, &far, &mut remote(place, "far", ""))?;
        acknowledge();
    }
    Ok(())
}

fn site(place: &Place) -> Far {
    Far::Site(Box::new(DirectorySite::with_media(place.path("site"), place.media(), line())))
}

pub fn one_version(place: &Place) {
    build(&place.store("store"), 1, &["main"]).expect("built");
}

/// Two pushes to a new site.
pub fn publish(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    for version in [1, 2] {
        let commit = build(&store, version, &["main"])?;
        push(&store, &site(place), &mut remote(place, "site", "dir:"), commit)?;
        acknowledge();
    }
    Ok(())
}

pub fn a_site(place: &Place) {
    let far = place.store("far");
    let commit = build(&far, 1, &["main"]).expect("built");
    std::fs::create_dir(place.path("site")).expect("a folder");
    push(&far, &site(place), &mut remote(place, "site", "dir:"), commit).expect("pushed");
}

/// A pull from a site into a new store, and a build on it.
pub fn pull_from_a_site(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    pull(&store, &site(place), &mut remote(place, "site", "dir:"))?;
    acknowledge();
    build(&store, 2, &["main"])?;
    acknowledge();
    Ok(())
}

/// Returns where `main` of a site leads, after a pull of all that it leads to; `None` where there is no site.
pub fn read_site(base: &Path) -> Result<Option<CommitId>, String> {
    let place = Place::plain(base);
    if !place.path("site").join("index").exists() {
        return Ok(None);
    }
    let scratch = crate::store::folder();
    let store = crate::store::open(scratch.path());
    let shown =
        |error: Box<dyn Error>| format!("the site: {error}: {:?}", error.source().map(ToString::to_string));
    pull(&store, &site(&place), &mut remote(&place, "site", "dir:")).map_err(shown)?;
    let commit = store.read_ref(&name("main")).map_err(|error| error.to_string())?.ok_or("no main")?.commit;
    closure(&store, &commit)?;
    Ok(Some(commit))
}
