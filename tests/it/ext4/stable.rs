//! Stable places: judged like all others, and by how little a change moves.

use super::*;
use mkimage::base::BlobId;
use mkimage::disk::MemoryDevice;
use mkimage::disk::ext4::{Ext4Layout, Ext4Placement};

fn stable(limit: Option<Bytes>) -> Ext4Options {
    Ext4Options { placement: Ext4Placement::Stable, size: limit, ..options() }
}

/// Contents that nobody holds: each block of one repeats its id, and no block is zero.
struct Repeated;

impl ContentSource for Repeated {
    fn read_at(&self, content: &Content, _: u64, out: &mut [u8]) -> Result<(), ContentError> {
        let block = content.id.as_bytes().repeat(BLOCK as usize / 32);
        out.chunks_mut(BLOCK as usize).for_each(|out| out.copy_from_slice(&block[..out.len()]));
        Ok(())
    }

    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError> {
        let mut map = DataMap::default();
        (0..content.size.div_ceil(BLOCK)).for_each(|block| map.push(block));
        Ok(map)
    }
}

/// Numbers without end that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 29) % end
    }

    /// Returns a size as files of a distribution have: most small, some large.
    fn size(&mut self) -> u64 {
        match self.below(100) {
            0..50 => self.below(4096),
            50..80 => 4096 + self.below(12 << 10),
            80..96 => (16 << 10) + self.below(48 << 10),
            _ => (64 << 10) + self.below(400 << 10),
        }
    }
}

/// What a tree is made of: the size and the version of the file at each path.
type Files = BTreeMap<String, (u64, u32)>;

fn files(count: u64, dice: &mut Dice) -> Files {
    let path = |n: u64| format!("/usr/d{}/e{}/file-{n}", n % 41, n % 7);
    (0..count).map(|n| (path(n), (dice.size(), 1))).collect()
}

fn tree_of(files: &Files) -> SealedTree {
    let mut b = Builder::default();
    for (at, &(size, version)) in files {
        let id = BlobId::from(*Digest::of(format!("{at} {version}").as_bytes()).as_bytes());
        let content = Content { id, size };
        b.node(at, Node::File(tree::File { metadata: Metadata::root(0o644), content }));
    }
    b.root.seal().expect("sealed")
}

fn plan<'a>(tree: &'a SealedTree, options: &Ext4Options) -> Ext4Layout<'a> {
    ext4::plan(tree, &Repeated, options, &Job::quiet(1)).expect("planned")
}

fn bytes_of(tree: &SealedTree, options: &Ext4Options) -> Vec<u8> {
    let layout = plan(tree, options);
    let device = MemoryDevice::new(layout.size().0);
    layout.write(&device, &Repeated, None, &Job::quiet(2)).expect("written");
    device.into_bytes()
}

/// Writes all but the bytes of files, lets `e2fsck` judge, and reads the places of all files.
fn judge(tree: &SealedTree, options: &Ext4Options) -> BTreeMap<ImagePath, Vec<ext4::Ext4Extent>> {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("image");
    let layout = plan(tree, options);
    let device = Recorder::new(&path, layout.size().0);
    layout.write_metadata(&device, &Job::quiet(2)).expect("written");
    check(&path);
    let reader = Ext4Reader::open(&device).expect("opens");
    assert_eq!(reader.facts().free_blocks, layout.free_blocks());
    let listing = reader.walk(&Job::quiet(1)).expect("walks");
    let files = listing.entries.iter().enumerate();
    let files = files.filter(|(_, entry)| matches!(entry.kind, ext4::Ext4Kind::File(_)));
    files.map(|(at, entry)| (listing.path(at), reader.extents(entry).expect("extents"))).collect()
}

/// Counts the bytes of blocks that differ, and of the blocks of a verity tree above them.
fn rewritten(old: &[u8], new: &[u8]) -> u64 {
    assert_eq!(old.len(), new.len(), "the size is the same");
    let blocks = old.chunks(BLOCK as usize).zip(new.chunks(BLOCK as usize));
    let mut changed: Vec<usize> =
        blocks.enumerate().filter(|(_, (old, new))| old != new).map(|(at, _)| at).collect();
    let mut all = changed.len();
    while changed.len() > 1 || changed.first().is_some_and(|&first| first > 0) {
        changed.iter_mut().for_each(|block| *block /= 128);
        changed.dedup();
        all += changed.len();
    }
    all as u64 * BLOCK
}

/// Returns how many files one of them has and the other has not, and the bytes of their blocks: those that come are
/// written, those that go are cleared.
fn changed(old: &Files, new: &Files) -> (u64, u64) {
    let comes = new.iter().filter(|(at, file)| old.get(*at) != Some(file));
    let goes = old.iter().filter(|(at, _)| !new.contains_key(*at));
    let sizes: Vec<u64> = comes.chain(goes).map(|(_, file)| file.0.next_multiple_of(BLOCK)).collect();
    (sizes.len() as u64, sizes.iter().sum())
}

#[test]
fn everything_that_a_tree_can_hold_has_a_stable_place() {
    for (tree, contents) in [nasty(), small(), Builder::default().seal()] {
        let image = build(&tree, &contents, &stable(None));
        compare_with_our_reader(&image.path, &tree);
        compare_with_ext4_view(&image.path, &tree, &contents);
        let mount = Mount::new(&image.path, &image.path.with_file_name("mount"), "loop,ro");
        compare_with_mount(&mount.0, &tree, &contents);
    }
    let (tree, contents) = small();
    let image = build(&tree, &contents, &stable(Some(Bytes::mib(2))));
    compare_with_our_reader(&image.path, &tree);
}

/// A change here is a change of the format: images of the same commit get other bytes, and move.
#[test]
fn stable_places_are_pinned() {
    let (tree, contents) = small();
    let image = build(&tree, &contents, &stable(None));
    assert_eq!(image.digest.to_string(), "fd080af73a450b8d8d87148dd196b2512111c95d8c60d670baad47ff00c14ff7");
}

#[test]
fn whatever_fits_densely_fits_with_stable_places_asked_for() {
    let mut dice = Dice(7);
    for count in [1, 40, 400] {
        let tree = tree_of(&files(count, &mut dice));
        let dense = plan(&tree, &options()).size().0;
        let roomy = plan(&tree, &stable(None)).size().0;
        assert!(roomy <= (dense * 2).max(8 << 20) + (64 << 10), "{roomy} for {dense}");
        for limit in [dense, dense + 8 * BLOCK, dense + dense / 50, dense + dense / 10, roomy] {
            let places = judge(&tree, &stable(Some(Bytes(limit))));
            assert_eq!(places.len() as u64, count);
        }
        let refused = plan_error(&tree, &Repeated, &stable(Some(Bytes(dense - 1))));
        assert!(matches!(refused, Ext4Error::DoesNotFit { .. }), "{refused}");
        assert_eq!(plan(&tree, &stable(Some(Bytes(dense)))).free_blocks().0, 0, "densely");
    }
}

#[test]
fn a_file_of_several_groups_stands_in_few_pieces() {
    let sizes: [(&str, u64); 4] =
        [("/large", 400 << 20), ("/middle", 5 << 20), ("/small", 5000), ("/d/e/f", 1)];
    let files: Files = sizes.iter().map(|&(at, size)| (at.to_owned(), (size, 1))).collect();
    let places = judge(&tree_of(&files), &stable(None));
    assert!(places[&path("/large")].len() <= 50 && places[&path("/middle")].len() == 1);
    // A tenth of the pieces of 8 MiB are whole in what has hardly any room to spare.
    let tight = judge(&tree_of(&files), &stable(Some(Bytes::mib(408))));
    assert!(tight[&path("/large")].len() <= 100, "{}", tight[&path("/large")].len());
}

#[test]
fn many_inodes_and_deep_directories_have_room() {
    let mut b = Builder::default();
    b.directory(&"/d".repeat(500));
    for n in 0..50_000 {
        b.node(&format!("/flat/{n}"), Node::Fifo(Metadata::root(0o600)));
    }
    b.file("/x", b"x");
    b.link("/y", "/x");
    let (tree, contents) = b.seal();
    let image = build(&tree, &contents, &stable(None));
    compare_with_our_reader(&image.path, &tree);
}

#[test]
fn the_places_of_random_trees_hold_when_a_file_comes_or_goes() {
    let mut dice = Dice(2);
    for count in [60, 300, 900] {
        let all = files(count, &mut dice);
        let mut fewer = all.clone();
        let gone = fewer.keys().nth(dice.below(count) as usize).expect("a file").clone();
        fewer.remove(&gone);
        let places = judge(&tree_of(&all), &stable(None));
        let before = judge(&tree_of(&fewer), &stable(None));
        let stays = before.iter().filter(|(path, extents)| places[*path] == **extents).count();
        assert!(stays * 100 >= before.len() * 97, "{stays} of {} stay", before.len());
    }
}

#[test]
fn an_update_writes_little_more_than_what_changed() {
    let mut dice = Dice(1);
    let old = files(COUNT, &mut dice);
    let bytes = |files: &Files, options: &Ext4Options| bytes_of(&tree_of(files), options);
    let before = bytes(&old, &stable(None));
    let paths: Vec<String> = old.keys().cloned().collect();
    let mut any = || paths[dice.below(paths.len() as u64) as usize].clone();
    let mut cases = Vec::new();

    let mut new = old.clone();
    new.insert(any(), (3000, 2));
    cases.push(("one file of another size", 13, new));
    let (mut new, grown) = (old.clone(), any());
    new.insert(grown.clone(), (old[&grown].0 + 3 * BLOCK, 2));
    cases.push(("a file grown by three blocks", 13, new));
    let mut new = old.clone();
    new.remove(&any());
    new.insert("/usr/new".to_owned(), (70_000, 1));
    // What comes pushes aside half as much as it has in the mean, now and then two or three times as much.
    cases.push(("one comes, one goes", 40, new));
    let mut new = old.clone();
    for _ in 0..COUNT / 100 {
        let at = any();
        let size = old[&at].0 * 11 / 10 + 100;
        new.insert(at, (size, 2));
    }
    cases.push(("one of a hundred grew by a tenth", 13, new));

    for (case, tenths, new) in cases {
        // Superblocks, bitmaps and the verity tree's upper levels; of each file the inode, its directory, the tree.
        let (files, changed) = changed(&old, &new);
        let metadata = 16 * BLOCK + 4 * BLOCK * files;
        let written = rewritten(&before, &bytes(&new, &stable(None)));
        let most = changed * tenths / 10 + metadata;
        assert!(written <= most, "{case}: {changed} bytes changed, {written} written, {most} would be fine");
    }
}

const COUNT: u64 = 1500;
