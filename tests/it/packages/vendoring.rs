//! A folder of packages for builders without a network.

use super::*;

/// A lock of three packages, its requests, and an archive that serves them.
fn locked() -> (Archive, Lock, [Request; 1]) {
    let packages = [hello("1"), package("other", "1", Vec::new()), package("third", "1", Vec::new())];
    let archive = Archive::new(packages.to_vec());
    let requests = [request(&["hello", "other", "third"])];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    (archive, lock, requests)
}

fn vendored(
    settings: Settings,
    lock: &Lock,
    requests: &[Request],
    folder: &Path,
) -> Result<vendor::Vendored, PackagesError> {
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    vendor::write(lock, requests, &fetcher, folder, &Job::quiet(2))
}

/// Fetches into an empty cache without a network.
fn fetched_offline(settings: Settings, lock: &Lock, requests: &[Request]) -> Result<usize, String> {
    let cache = MemoryCache::default();
    let settings = Settings { offline: true, ..settings };
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    let wanted = lock.select(requests).expect("fits");
    fetcher.fetch(&wanted, &Job::quiet(2)).map(|done| done.packages).map_err(|error| whole(&error))
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for name in mkimage::base::fs::list(&next).expect("listed") {
            let path = next.join(name);
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).expect("inside").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_vendored_builds_without_a_network_as_a_folder_and_as_a_mirror() {
    let (archive, lock, requests) = locked();
    let folder = archive.folder.path().join("vendored");
    let first = vendored(archive.settings(), &lock, &requests, &folder).expect("vendored");
    assert_eq!((first.packages, first.written), (3, 3));
    assert_eq!(
        files(&folder),
        ["pool/main/hello_1_amd64.deb", "pool/main/other_1_amd64.deb", "pool/main/third_1_amd64.deb"]
    );
    std::fs::remove_dir_all(archive.root()).expect("no archive any more");
    let nowhere = Settings::bare("/nowhere".into(), "/nowhere".into(), NOW);
    let again = vendored(nowhere.clone(), &lock, &requests, &folder).expect("nothing to do");
    assert_eq!((again.packages, again.written, again.bytes), (3, 0, 0));
    let as_folder = Settings { vendor: Some(folder.clone()), ..nowhere.clone() };
    assert_eq!(fetched_offline(as_folder, &lock, &requests), Ok(3));
    assert_eq!(fetched_offline(at(&format!("file:{}", folder.display())), &lock, &requests), Ok(3));
    assert!(fetched_offline(nowhere, &lock, &requests).expect_err("nothing").contains("--vendor /path"));
}

#[test]
fn what_is_in_the_folder_is_checked_and_nothing_of_others_is_touched() {
    let (archive, lock, requests) = locked();
    let folder = archive.folder.path().join("vendored");
    let others = folder.join("pool/main/hello_1_amd64.deb");
    write(&others, b"another archive's");
    write(&folder.join("notes"), b"mine");
    let done = vendored(archive.settings(), &lock, &requests, &folder).expect("vendored");
    assert_eq!((done.packages, done.written), (3, 3));
    assert_eq!(std::fs::read(&others).expect("read"), b"another archive's");
    let by_hash = format!("by-hash/SHA256/{}.deb", Sha256::of(&hello("1").bytes()));
    assert!(files(&folder).contains(&by_hash) && files(&folder).contains(&"notes".to_owned()));
    let settings = Settings { vendor: Some(folder.clone()), ..at("file:/nowhere") };
    assert_eq!(fetched_offline(settings.clone(), &lock, &requests), Ok(3));
    assert_eq!(fetched_offline(at(&format!("file:{}", folder.display())), &lock, &requests), Ok(3));

    write(&folder.join(&by_hash), b"damaged");
    let message = fetched_offline(Settings { mirrors: Vec::new(), ..settings }, &lock, &requests);
    assert!(message.expect_err("damaged").contains("hello_1_amd64.deb"), "it says which");
    let mended = vendored(archive.settings(), &lock, &requests, &folder).expect("mended");
    assert_eq!(mended.written, 1);
}

#[test]
fn a_folder_that_can_not_be_filled_holds_whole_packages_only() {
    let (archive, lock, requests) = locked();
    let folder = archive.folder.path().join("vendored");
    std::fs::remove_file(archive.root().join(archive.packages[1].filename())).expect("removed");
    let message = whole(&vendored(archive.settings(), &lock, &requests, &folder).expect_err("one is gone"));
    assert!(message.contains("other 1 is locked"), "{message}");
    assert!(!folder.exists() || files(&folder).iter().all(|file| file.ends_with(".deb")));
}

#[test]
fn local_files_are_vendored_too() {
    let archive = Archive::new(vec![hello("9")]);
    let file = archive.folder.path().join("recipe/hello.deb");
    write(&file, &hello("1").bytes());
    let mut asked = request(&["hello"]);
    asked.rules.local = vec![file.clone()];
    let requests = [asked];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    let folder = archive.folder.path().join("vendored");
    assert_eq!(vendored(archive.settings(), &lock, &requests, &folder).expect("vendored").written, 1);
    std::fs::remove_file(&file).expect("removed");
    let settings = Settings { vendor: Some(folder), ..at("file:/nowhere") };
    assert_eq!(fetched_offline(settings, &lock, &requests), Ok(1));
}
