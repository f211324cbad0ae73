//! Buckets: against moto, and against servers that don't keep S3's promises.

mod hostile;

use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use hostile::{Hostile, Manners};
use mkimage::base::Job;
use mkimage::remote::{BucketSite, Created, Line, RemoteError, Replaced, TransferProblem, Transport};
use mkimage::store::Store;

use crate::store::{folder, job, name, open, publish};
use crate::tool::{self, fail_with, mkimage, root, succeed};

const BUCKET: &str = "mkimage-test";

/// moto, started once a test run. It ends when this process does.
pub fn moto() -> &'static str {
    static SERVER: OnceLock<(Child, String)> = OnceLock::new();
    let start = || {
        let mut command = tool::python();
        command.arg(root().join("tests/it/s3/play_s3.py")).arg(BUCKET);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("its address");
        (child, line.trim().to_owned())
    };
    &SERVER.get_or_init(start).1
}

fn bucket(endpoint: &str, prefix: &str) -> BucketSite {
    named(BUCKET, endpoint, prefix)
}

fn named(name: &str, endpoint: &str, prefix: &str) -> BucketSite {
    let environment = |variable: &str| {
        let value = match variable {
            "AWS_ACCESS_KEY_ID" => "key",
            "AWS_SECRET_ACCESS_KEY" => "secret",
            "AWS_ENDPOINT_URL" => endpoint,
            _ => return None,
        };
        Some(value.to_owned())
    };
    BucketSite::new(name, prefix, &environment, &Line::new(&Job::quiet(1), None)).expect("settings")
}

/// Runs Python with boto3, the client that S3's makers give out.
fn boto3(code: &str) -> String {
    let client = format!(
        "import boto3\ns3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1', \
         aws_access_key_id='key', aws_secret_access_key='secret')\n{code}",
        moto()
    );
    succeed(tool::python().arg("-c").arg(client))
}

fn create(bucket: &BucketSite, path: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
    bucket.create(path, &mut Cursor::new(bytes))
}

fn read(bucket: &BucketSite, path: &str) -> Option<(Vec<u8>, String)> {
    let found = bucket.read(path, 1 << 20).expect("read")?;
    Some((found.bytes, found.version.expect("a version")))
}

#[test]
fn a_file_is_created_once_and_replaced_by_who_knows_its_version() {
    let bucket = bucket(moto(), "files/one");
    assert_eq!(read(&bucket, "index"), None);
    assert_eq!(create(&bucket, "index", b"one").expect("created"), Created::New);
    assert_eq!(create(&bucket, "index", b"two").expect("there"), Created::There);
    let (bytes, first) = read(&bucket, "index").expect("there");
    assert_eq!(bytes, b"one");
    assert_eq!(bucket.replace("index", None, b"three").expect("answered"), Replaced::Moved);
    assert_eq!(bucket.replace("index", Some(&first), b"four").expect("answered"), Replaced::Done);
    assert_eq!(bucket.replace("index", Some(&first), b"five").expect("answered"), Replaced::Moved);
    assert_eq!(bucket.replace("new", None, b"six").expect("answered"), Replaced::Done);
    assert_eq!(bucket.replace("none", Some(&first), b"seven").expect("answered"), Replaced::Moved);
    assert_eq!(
        boto3(&format!("print(s3.get_object(Bucket='{BUCKET}', Key='files/one/index')['Body'].read())")),
        "b'four'\n"
    );
    assert!(matches!(
        bucket.read("index", 3),
        Err(RemoteError::Transfer { source: TransferProblem::Long { limit: 3 }, .. })
    ));
}

#[test]
fn files_of_a_folder_are_listed_and_removed_and_no_others() {
    let bucket = bucket(moto(), "listed/one");
    assert_eq!(bucket.list("bundles").expect("listed"), Vec::<String>::new());
    for path in
        ["index", "bundles/a.bundle", "bundles/b.bundle", "bundles/deep/c.bundle", "bundlesd/e.bundle"]
    {
        create(&bucket, path, b"bytes").expect("created");
    }
    assert_eq!(bucket.list("bundles").expect("listed"), ["a.bundle", "b.bundle"]);
    bucket.remove("bundles/a.bundle").expect("removed");
    bucket.remove("bundles/a.bundle").expect("what is not there is no error");
    assert_eq!(bucket.list("bundles").expect("listed"), ["b.bundle"]);
    assert!(read(&bucket, "index").is_some() && read(&bucket, "bundles/a.bundle").is_none());
}

#[test]
fn a_large_file_goes_in_parts_and_its_ranges_come_back() {
    let bucket = bucket(moto(), "large");
    let bytes: Vec<u8> = (0..40 << 20).map(|at: u32| (at ^ at >> 8 ^ at >> 17) as u8).collect();
    assert_eq!(create(&bucket, "bundles/a.bundle", &bytes).expect("created"), Created::New);
    assert_eq!(create(&bucket, "bundles/a.bundle", &bytes).expect("there"), Created::There);
    let judged = boto3(&format!(
        "import hashlib\nb = s3.get_object(Bucket='{BUCKET}', Key='large/bundles/a.bundle')['Body'].read()\n\
         print(len(b), hashlib.sha256(b).hexdigest())"
    ));
    use sha2::Digest;
    assert_eq!(judged.trim(), format!("{} {:x}", bytes.len(), sha2::Sha256::digest(&bytes)));

    let ranges = [0..10, 20..30, 30..30, 1 << 20..12 << 20, (40 << 20) - 1..40 << 20];
    let mut found = vec![Vec::new(); ranges.len()];
    let mut sink = |at: usize, piece: &[u8]| {
        found[at].extend_from_slice(piece);
        Ok(())
    };
    bucket.read_ranges("bundles/a.bundle", &ranges, &mut sink).expect("read");
    for (range, found) in ranges.iter().zip(&found) {
        assert!(*found == bytes[range.start as usize..range.end as usize], "{range:?}");
    }
    let past = (40 << 20) - 1..(40 << 20) + 1;
    assert!(bucket.read_ranges("bundles/a.bundle", &[past], &mut |_, _| Ok(())).is_err(), "past its end");
    assert!(bucket.read_ranges("bundles/none", &[0..1], &mut |_, _| Ok(())).is_err(), "not there");
}

#[test]
fn a_server_that_keeps_writers_apart_is_proven_to_and_nothing_stays_behind() {
    bucket(moto(), "proof").prove_conditional_writes().expect("moto keeps writers apart");
    assert_eq!(
        boto3(&format!("print(s3.list_objects_v2(Bucket='{BUCKET}', Prefix='proof').get('KeyCount'))")),
        "0\n"
    );
    let server = Hostile::start(Manners::Sound);
    bucket(&server.address, "x").prove_conditional_writes().expect("it keeps writers apart");
    assert!(server.files().is_empty());
}

#[test]
fn a_server_that_does_not_is_refused_by_name_of_the_reason() {
    let cases = [
        (Manners::IgnoresConditions, "ignores If-None-Match"),
        (Manners::IgnoresIfMatch, "ignores If-Match"),
        (Manners::LooksFirst, "writers that created one file at once were told that they did"),
        (Manners::LooksFirstAtMatches, "replacements of one file were acknowledged and lost"),
        (Manners::NamesNoVersions, "gives its versions no names"),
    ];
    for (manners, reason) in cases {
        let server = Hostile::start(manners);
        let error = bucket(&server.address, "x").prove_conditional_writes().expect_err(reason);
        assert!(matches!(error, RemoteError::Unconditional { .. }), "{manners:?}: {error:?}");
        assert!(error.to_string().contains(reason), "{manners:?}: {error}");
        assert!(server.files().is_empty(), "{manners:?}: nothing stays behind");
    }
}

#[test]
fn a_write_whose_answer_was_lost_is_looked_for() {
    let server = Hostile::start(Manners::LosesAnswers(1));
    let at = bucket(&server.address, "x");
    assert_eq!(at.replace("index", None, b"one").expect("answered"), Replaced::Done);
    assert_eq!(read(&at, "index").expect("there").0, b"one");
    let server = Hostile::start(Manners::LosesAnswers(2));
    let at = bucket(&server.address, "x");
    assert!(create(&at, "index", b"one").is_ok());
    assert_eq!(server.files().into_values().collect::<Vec<_>>(), [b"one"]);
}

#[test]
fn a_conflict_is_tried_again() {
    let server = Hostile::start(Manners::Busy(2));
    let at = bucket(&server.address, "x");
    assert_eq!(create(&at, "file", b"one").expect("created"), Created::New);
    let server = Hostile::start(Manners::Busy(2));
    let at = bucket(&server.address, "x");
    assert_eq!(at.replace("index", None, b"one").expect("answered"), Replaced::Done);
    let server = Hostile::start(Manners::Busy(u32::MAX));
    let error = bucket(&server.address, "x").replace("index", None, b"one").expect_err("always busy");
    assert!(matches!(error, RemoteError::Transfer { source: TransferProblem::Status { status: 409 }, .. }));
}

#[test]
fn a_line_that_is_cut_in_a_body_is_taken_up_where_it_broke() {
    let server = Hostile::start(Manners::CutsBodies(2));
    let at = bucket(&server.address, "x");
    let bytes: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    create(&at, "file", &bytes).expect("created");
    let mut found = Vec::new();
    let mut sink = |_: usize, piece: &[u8]| {
        found.extend_from_slice(piece);
        Ok(())
    };
    at.read_ranges("file", &[10..299_990], &mut sink).expect("read");
    assert!(found == bytes[10..299_990]);
}

#[test]
fn no_bucket_and_no_access_are_said() {
    let error = create(&named("no-such-bucket", moto(), "x"), "file", b"x").expect_err("no bucket");
    assert!(error.to_string().contains("no such bucket"), "{error}");
    let error = named("no-such-bucket", moto(), "x").read("index", 100).expect_err("no bucket");
    assert!(error.to_string().contains("no such bucket"), "{error}");
    let server = Hostile::start(Manners::Denies);
    let error = bucket(&server.address, "x").read("index", 100).expect_err("denied");
    assert!(
        matches!(error, RemoteError::Transfer { source: TransferProblem::Denied { status: 403 }, .. }),
        "{error:?}"
    );
    let server = Hostile::start(Manners::Says(400));
    let error = bucket(&server.address, "x").replace("index", None, b"x").expect_err("refused");
    assert!(format!("{error:?}").contains("<Code>Odd</Code>"), "{error:?}");
    let error = bucket("http://127.0.0.1:1", "x").read("index", 100).expect_err("nobody listens");
    assert!(
        matches!(error, RemoteError::Transfer { source: TransferProblem::Connection(_), .. }),
        "{error:?}"
    );
}

/// Prepares a call of mkimage with a store, for a server.
fn call(endpoint: &str, store: &Path, arguments: &[&str]) -> Command {
    let mut command = mkimage(arguments);
    command.env("MKIMAGE_STORE", store).env("AWS_ENDPOINT_URL", endpoint);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

/// Makes a key; returns its file and that of its public half.
fn key(folder: &Path) -> (String, String) {
    let path = folder.join("key").to_str().expect("text").to_owned();
    succeed(&mut mkimage(["key", "generate", &path]));
    let public = format!("{path}.pub");
    (path, public)
}

fn led_to(store: &Store, at: &str) -> mkimage::base::CommitId {
    store.read_ref(&name(at)).expect("read").expect("a ref").commit
}

#[test]
fn commits_go_through_a_bucket_from_store_to_store() {
    let (here, there, keys) = (folder(), folder(), folder());
    let (secret, public) = key(keys.path());
    let site = format!("s3://{BUCKET}/end/to-end");
    let first = publish(&open(here.path()), "hello", 1);
    let (push, pull) = (["push", &site, "hello", "--key", &secret], ["pull", "origin", "hello"]);
    succeed(&mut call(moto(), here.path(), &push));
    succeed(&mut call(moto(), there.path(), &["remote", "add", "origin", &site, "--key", &public]));
    succeed(&mut call(moto(), there.path(), &pull));
    let store = open(there.path());
    assert_eq!(led_to(&store, "hello"), first);
    assert_eq!(store.check(&job()).expect("checked").faults, []);

    let old = boto3(&format!(
        "import base64; print(base64.b64encode(s3.get_object(Bucket='{BUCKET}', Key='end/to-end/index')['Body'].read()).decode())"
    ));
    let second = publish(&open(here.path()), "hello", 2);
    succeed(&mut call(moto(), here.path(), &push));
    succeed(&mut call(moto(), there.path(), &pull));
    assert_eq!(led_to(&store, "hello"), second);

    // Someone with the bucket's credentials, and without the key, shows what was true once.
    boto3(&format!(
        "import base64; s3.put_object(Bucket='{BUCKET}', Key='end/to-end/index', Body=base64.b64decode('{}'))",
        old.trim()
    ));
    let said = fail_with(4, &mut call(moto(), there.path(), &pull));
    assert!(said.contains("went back to version 1, after version 2 was seen"), "{said}");
    assert_eq!(led_to(&store, "hello"), second);
}

#[test]
fn publishers_that_meet_all_get_through() {
    let keys = folder();
    let (secret, public) = key(keys.path());
    let site = format!("s3://{BUCKET}/meeting");
    let stores: Vec<_> = (0..4).map(|_| folder()).collect();
    let names: Vec<String> = (0..4).map(|at| format!("team-{at}")).collect();
    let commits: Vec<_> = stores
        .iter()
        .zip(1..)
        .zip(&names)
        .map(|((store, at), name)| publish(&open(store.path()), name, at))
        .collect();
    let push = |store: &tempfile::TempDir, name: &String| {
        let mut command =
            call(moto(), store.path(), &["push", &site, name, "--site", "meeting", "--key", &secret]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mkimage")
    };
    let running: Vec<Child> = stores.iter().zip(&names).map(|(store, name)| push(store, name)).collect();
    for child in running {
        let output = child.wait_with_output().expect("an end");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let there = folder();
    succeed(&mut call(moto(), there.path(), &["remote", "add", "origin", &site, "--key", &public]));
    let all: Vec<&str> = ["pull", "origin"].into_iter().chain(names.iter().map(String::as_str)).collect();
    succeed(&mut call(moto(), there.path(), &all));
    let store = open(there.path());
    let found: Vec<_> = names.iter().map(|name| led_to(&store, name)).collect();
    assert_eq!(found, commits);
}

#[test]
fn nothing_is_published_where_writers_are_not_kept_apart() {
    let (here, keys) = (folder(), folder());
    let (secret, _) = key(keys.path());
    publish(&open(here.path()), "hello", 1);
    let server = Hostile::start(Manners::LooksFirst);
    let site = format!("s3://{BUCKET}/x");
    let said =
        fail_with(1, &mut call(&server.address, here.path(), &["push", &site, "hello", "--key", &secret]));
    assert!(
        said.contains("does not keep two writers apart") && said.contains("looks first and writes later"),
        "{said}"
    );
    assert!(server.files().is_empty(), "{:?}", server.files().keys());
}
