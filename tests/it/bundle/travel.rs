//! Bundles from one store to another.

use super::*;
use crate::store::{folder, noise, open};

/// A little of everything: text, noise, an empty file, the same file twice, a file larger than a frame.
fn files() -> Files {
    let mut files = Files::new();
    for number in 0..40u64 {
        files.insert(format!("/usr/share/doc/{number}/copyright"), prose(number, 3000));
        files.insert(format!("/usr/lib/{}/lib{number}.so.1.2", number % 5), noise(number, 20_000));
    }
    files.insert("/etc/empty".to_owned(), Vec::new());
    files.insert("/etc/twice".to_owned(), prose(1, 3000));
    files.insert("/var/large".to_owned(), [prose(7, 5 << 20), noise(8, 4 << 20), prose(7, 1000)].concat());
    files
}

fn changed(mut files: Files) -> Files {
    let text = files.get_mut("/usr/share/doc/3/copyright").expect("a file");
    text.splice(1000..1010, *b"and something else");
    let program = files.get_mut("/usr/lib/2/lib7.so.1.2").expect("a file");
    program[500] ^= 1;
    program.splice(9000..9000, noise(99, 100));
    let renamed = files.remove("/usr/lib/3/lib8.so.1.2").expect("a file");
    files.insert("/usr/lib/3/lib8.so.1.3".to_owned(), [&renamed[..], b"end"].concat());
    files.insert("/usr/share/doc/new".to_owned(), prose(1234, 2000));
    files.remove("/etc/twice");
    files
}

#[test]
fn a_commit_travels_into_an_empty_store() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let files = files();
    let id = commit(&from, &files, &[]);
    let (bundle, bytes) = bundle(&from, &[id], &[]);
    let table = table(&bundle, &bytes);
    assert_eq!(table.file_bytes(), bundle.size());
    let (received, fetched) = receive(&to, &table, &bytes, false).expect("received");
    assert_eq!(received.commits, [id]);
    assert_eq!(received.objects, bundle.objects());
    assert!(fetched < bundle.size());
    check(&to, id, &files);
}

#[test]
fn an_update_is_small_and_leads_to_the_same_commit() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let old = files();
    let new = changed(old.clone());
    let first = commit(&from, &old, &[]);
    let second = commit(&from, &new, &[first]);
    let (whole, bytes) = bundle(&from, &[first], &[]);
    receive(&to, &table(&whole, &bytes), &bytes, false).expect("received");
    let (update, bytes) = bundle(&from, &[second], &[first]);
    let (received, fetched) = receive(&to, &table(&update, &bytes), &bytes, false).expect("received");
    assert_eq!(received.commits, [second]);
    assert!(fetched < 2500, "{fetched} bytes for 100 new ones and a text of 2000");
    check(&to, second, &new);
}

#[test]
fn an_update_travels_plain_to_who_lacks_the_base_of_a_delta() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let old = files();
    let new = changed(old.clone());
    let first = commit(&from, &old, &[]);
    let second = commit(&from, &new, &[first]);
    let (update, bytes) = bundle(&from, &[second], &[first]);
    // Nothing that the update leaves out is there: it ends in an error, and nothing moved.
    let error = receive(&to, &table(&update, &bytes), &bytes, false).expect_err("refused");
    assert!(error.to_string().contains("neither in it nor in the store"), "{error}");
    // Another commit that holds the same files: the closure of the base is not there, and not needed.
    let mut other = old.clone();
    other.insert("/etc/other".to_owned(), prose(77, 500));
    for gone in ["/usr/share/doc/3/copyright", "/usr/lib/2/lib7.so.1.2"] {
        other.remove(gone);
    }
    let other = commit(&from, &other, &[]);
    let (whole, all) = bundle(&from, &[other, second], &[]);
    receive(&to, &table(&whole, &all), &all, false).expect("received");
    let (_, fetched) = receive(&to, &table(&update, &bytes), &bytes, true).expect("received");
    assert_eq!(fetched, 0, "all of it is there");
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let old = files();
    let first = commit(&to, &old, &[]);
    let new = changed(old.clone());
    let second = commit(&from, &new, &[first]);
    let (whole, bytes) = bundle(&from, &[second], &[]);
    let (_, fetched) = receive(&to, &table(&whole, &bytes), &bytes, true).expect("received");
    assert!(fetched < whole.size() / 3, "{fetched} of {}", whole.size());
    check(&to, second, &new);
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    let (from, other) = (folder(), folder());
    let (from, other) = (open(from.path()), open(other.path()));
    let old = files();
    let new = changed(old.clone());
    let mut seen = Vec::new();
    for (store, workers) in [(&from, 1), (&other, 4)] {
        let first = commit(store, &old, &[]);
        let second = commit(store, &new, &[first]);
        for (commits, bases) in
            [(vec![first], vec![]), (vec![second], vec![first]), (vec![first, second], vec![])]
        {
            let job = mkimage::base::Job::quiet(workers);
            let contents = Contents::gather(store, &commits, &bases, &job).expect("gathered");
            let scratch = tempfile::tempfile().expect("a file");
            let mut bundle = bundle::write(store, &contents, scratch, &job).expect("written");
            let mut bytes = Vec::new();
            bundle.read_to_end(&mut bytes).expect("read");
            seen.push((bundle.id(), bytes));
        }
    }
    let half = seen.split_off(3);
    assert!(seen == half);
}

#[test]
fn ranges_come_in_any_order_and_twice() {
    let (from, to) = (folder(), folder());
    let (from, to) = (open(from.path()), open(to.path()));
    let files = files();
    let id = commit(&from, &files, &[]);
    let (bundle, bytes) = bundle(&from, &[id], &[]);
    let table = table(&bundle, &bytes);
    let transaction = to.begin(&job());
    let plan = table.plan(&transaction, None, &job()).expect("planned");
    receive_backwards_and_twice(&table, plan, &bytes, &transaction);
    transaction.commit(&[update("main", id)], "test").expect("committed");
    check(&to, id, &files);
}

#[test]
fn nothing_new_makes_a_bundle_of_nothing() {
    let from = folder();
    let from = open(from.path());
    let id = commit(&from, &files(), &[]);
    let contents = Contents::gather(&from, &[id], &[id], &job()).expect("gathered");
    assert!(contents.is_empty());
}

#[test]
fn one_object_can_be_had_alone() {
    let from = folder();
    let from = open(from.path());
    let id = commit(&from, &files(), &[]);
    let (bundle, bytes) = bundle(&from, &[id], &[]);
    let table = table(&bundle, &bytes);
    let range = table.ids_range();
    let names = table.read_ids(&bytes[range.start as usize..range.end as usize]).expect("read");
    for name in names.iter().rev().step_by(7) {
        let single = table.single(&names, &name.id).expect("it is there");
        let parts =
            single.ranges().iter().map(|range| bytes[range.start as usize..range.end as usize].to_vec());
        let object = single.decode(&parts.collect::<Vec<_>>()).expect("decoded");
        assert_eq!(object.len() as u64, name.size);
    }
}
