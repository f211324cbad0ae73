//! The plan: what a collection will do, computed before anything is done.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::error::{Result, StoreError};
use super::super::format::{self, Access};
use super::super::index::Pack;
use super::super::lease::Seen;
use super::super::lock::{self, Lock};
use super::super::store::Store;
use super::GcRules;
use super::census::{self, Census, Count};
use super::mark::{Marking, Root};
use super::roots;
use super::trash::{self, Folder};
use crate::base::job::Unit;
use crate::base::units::{Bytes, approximate};
use crate::base::{Digest, Job, clock};

/// What a collection will do. It holds the collectors' lock, so that nobody else collects or repacks meanwhile.
#[must_use = "a plan changes nothing before it is run"]
pub struct GcPlan {
    pub(super) rules: GcRules,
    pub(super) now: SystemTime,
    /// `None` where the store may only be read: the plan can be shown, not run.
    pub(super) lock: Option<Lock>,
    /// The packs that were there; a run adds those that came since.
    pub(super) censuses: Vec<Census>,
    pub(super) fates: Vec<Fate>,
    /// Packs without index and indexes without pack, which dead writers left.
    pub(super) orphans: Vec<PathBuf>,
    /// What machines that died had open when it was removed, on NFS.
    pub(super) leftovers: Vec<PathBuf>,
    /// Reachable, and in the trash only.
    pub(super) rescued: BTreeMap<Digest, Arc<Pack>>,
    pub(super) expired: Vec<Seen>,
    pub(super) memos: Vec<PathBuf>,
    pub(super) emptied: Vec<Folder>,
    /// The living leases with roots that were marked from last, by name.
    pub(super) held: HashSet<String>,
    /// A collector died while packs went to the trash: this one ends what it began.
    pub(super) cut_short: bool,
    summary: GcSummary,
}

/// What becomes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Everything in it is dead.
    Goes,
    /// Its live members are copied into another pack, then it goes.
    Copied {
        live: u64,
    },
    /// Its live members get an index of their own, over the same bytes, then it goes.
    Thinned {
        live: u64,
    },
}

/// The numbers of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GcSummary {
    pub packs: u64,
    pub objects: u64,
    /// Objects that stay.
    pub kept: u64,
    /// Packs that stay because they are younger than the grace.
    pub young_packs: u64,
    /// Packs that go to the trash as a whole.
    pub packs_trashed: u64,
    /// Packs of which a part is dead, and which are replaced.
    pub packs_replaced: u64,
    pub objects_trashed: u64,
    /// Bytes that are free once the trash is emptied.
    pub bytes_trashed: u64,
    /// Objects that come back out of the trash because something leads to them.
    pub objects_rescued: u64,
    pub leases_expired: u64,
    pub memos_dropped: u64,
    /// Bytes of older trash that are free at once.
    pub bytes_emptied: u64,
}

/// A pack is copied rather than thinned when this part of its bytes is dead.
const COPY_FROM_DEAD_PART: u64 = 4;
/// Smaller packs are copied anyhow: together they make one.
const COPY_BELOW_BYTES: u64 = 1 << 20;

impl Store {
    /// Returns the rules that suit this store: where several machines write, clocks and caches ask for more
    /// patience.
    pub fn gc_rules(&self) -> GcRules {
        let grace_seconds = if self.is_shared() { super::GRACE_SHARED_SECONDS } else { super::DAY };
        GcRules { grace_seconds, ..GcRules::default() }
    }

    /// Computes what a collection would do, without changing anything but its own lock and the time of that.
    /// Fails with [`StoreError::GcDoubt`] where something can't be read or is unknown, and with
    /// [`StoreError::Collecting`] where another process collects or repacks.
    ///
    /// Costs reading all indexes and every reachable tree once; some 50 bytes of memory an object.
    pub fn plan_gc(&self, rules: &GcRules, job: &Job) -> Result<GcPlan> {
        let lock = match format::access(&self.layout)? {
            Access::Absent => return Ok(GcPlan::nothing(*rules)),
            Access::ReadOnly(found) => {
                return Err(StoreError::Foreign { path: self.layout.root.clone(), found });
            }
            Access::Full(_) => self.lock_for_gc()?,
        };
        let now = self.server_time(lock.is_some())?;
        let step = job.step("look for garbage", None, Unit::Items);
        // Roots before packs: what a root leads to was in a pack before the root was there.
        let found = self.gc_roots(self.cutoff(rules, now)?, now, rules.parents)?;
        let packs = self.packs.all()?;
        let orphans = self.orphans(&packs, now, rules)?;
        let census = Census::take(packs.to_vec(), job)?;
        let (memo_roots, memos) = self.memo_roots(now, Duration::from_secs(rules.memo_seconds))?;
        let young = self.young(&census, now, rules)?;
        let censuses = vec![census];
        let rescued = self.mark_all(&censuses, &found.roots, &memo_roots, &young, job)?;
        let (expired, living): (Vec<Seen>, Vec<Seen>) =
            found.leases.into_iter().partition(|lease| lease.expired);
        let after = Duration::from_secs(rules.trash_seconds);
        let folders = self.trash_folders(now)?;
        let emptied: Vec<Folder> = trash::emptiable(folders, after, &living).collect();
        drop(step);
        let mut plan = GcPlan {
            rules: *rules,
            now,
            lock,
            censuses,
            fates: Vec::new(),
            orphans,
            leftovers: self.leftovers(now, rules),
            rescued,
            expired,
            memos,
            emptied,
            held: HashSet::new(),
            cut_short: self.is_cut_short()?,
            summary: GcSummary::default(),
        };
        plan.decide(&young, job)?;
        Ok(plan)
    }

    fn mark_all(
        &self,
        censuses: &[Census],
        roots: &[Root],
        memos: &[Root],
        young: &[bool],
        job: &Job,
    ) -> Result<BTreeMap<Digest, Arc<Pack>>> {
        let marking = Marking::new(self, censuses, job);
        marking.mark(roots)?;
        marking.mark(memos)?;
        marking.keep(0, young, "a young pack")?;
        Ok(marking.rescued())
    }

    /// Takes the collectors' lock; `None` where nothing may be written.
    pub(super) fn lock_for_gc(&self) -> Result<Option<Lock>> {
        match self.try_lock_gc() {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(self.collecting()),
            Err(error) if error.is_read_only() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock of collectors and repackers, if nobody holds it.
    pub(in super::super) fn try_lock_gc(&self) -> Result<Option<Lock>> {
        self.prepare()?;
        let lock = Lock::attempt(&self.media, &self.layout.gc_lock(), self.is_shared())?;
        if lock.is_some() {
            self.keep_reserve();
        }
        if lock.is_some() && self.is_shared() {
            lock::clear_claims(&self.media, &self.layout.gc_lock())?;
        }
        Ok(lock)
    }

    /// Says that another process collects or repacks, and which one where that is known.
    pub(in super::super) fn collecting(&self) -> StoreError {
        let holder = if self.is_shared() { lock::holder_of(&self.layout.gc_lock()) } else { None };
        StoreError::Collecting { path: self.layout.root.clone(), holder }
    }

    /// Returns the time of the file server, which is that of a file just touched. Where nothing may be
    /// written, nothing is decided by it either, and our own clock will do.
    pub(super) fn server_time(&self, touch: bool) -> Result<SystemTime> {
        if !touch {
            return Ok(UNIX_EPOCH + Duration::from_secs(clock::unix_seconds()));
        }
        let path = self.layout.gc_lock();
        self.media.touch(&path)?;
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
        Ok(modified.map_err(crate::base::FileError::at("look at", &path))?)
    }

    /// Returns after which time moves of refs count, in seconds since 1970. A collection that went by a later time
    /// may have taken what older moves led to.
    pub(super) fn cutoff(&self, rules: &GcRules, now: SystemTime) -> Result<u64> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let floor = match self.generation() {
            Err(StoreError::DamagedRef { path, problem }) => {
                return Err(StoreError::doubt(path.display(), problem));
            }
            generation => generation?.floor,
        };
        Ok(now.saturating_sub(rules.reflog_seconds).max(floor))
    }

    /// Tells of each pack whether it is younger than the grace.
    fn young(&self, census: &Census, now: SystemTime, rules: &GcRules) -> Result<Vec<bool>> {
        let grace = Duration::from_secs(rules.grace_seconds);
        let ages = census.packs.iter().map(|pack| roots::age(pack.paths().1, now));
        ages.map(|age| Ok(age? < grace)).collect()
    }

    /// Lists what NFS clients keep of packs that went while they were read, if they do so for longer than the grace:
    /// a client that died does for ever. Whoever still reads there finds the objects elsewhere.
    fn leftovers(&self, now: SystemTime, rules: &GcRules) -> Vec<PathBuf> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let names = crate::base::fs::list(&self.layout.packs()).unwrap_or_default();
        let paths =
            names.iter().filter(|name| format::is_noise(name)).map(|name| self.layout.packs().join(name));
        let is_old = |path: &PathBuf| {
            // Since it has this name.
            let since = path.symlink_metadata().map_or(u64::MAX, |metadata| metadata.ctime().cast_unsigned());
            now.saturating_sub(rules.grace_seconds) >= since
        };
        paths.filter(is_old).collect()
    }

    /// Lists halves of packs, older than the grace.
    fn orphans(&self, packs: &[Arc<Pack>], now: SystemTime, rules: &GcRules) -> Result<Vec<PathBuf>> {
        let mut orphans = Vec::new();
        let whole: HashSet<Digest> = packs.iter().map(|pack| pack.name).collect();
        let names = match crate::base::fs::list(&self.layout.packs()) {
            Err(error) if error.is_missing() => return Ok(orphans),
            names => names?,
        };
        for name in names.into_iter().filter(|name| !format::is_noise(name)) {
            let path = self.layout.packs().join(&name);
            let id = name.to_str().and_then(|name| name.strip_suffix(".idx").or(name.strip_suffix(".pack")));
            let Some(id) = id.and_then(|id| id.parse::<Digest>().ok()) else {
                return Err(StoreError::doubt(path.display(), "it is no pack"));
            };
            if !whole.contains(&id) && roots::age(&path, now)?.as_secs() >= rules.grace_seconds {
                orphans.push(path);
            }
        }
        Ok(orphans)
    }
}

impl GcPlan {
    fn nothing(rules: GcRules) -> Self {
        GcPlan {
            rules,
            now: UNIX_EPOCH,
            lock: None,
            censuses: Vec::new(),
            fates: Vec::new(),
            orphans: Vec::new(),
            leftovers: Vec::new(),
            rescued: BTreeMap::new(),
            expired: Vec::new(),
            memos: Vec::new(),
            emptied: Vec::new(),
            held: HashSet::new(),
            cut_short: false,
            summary: GcSummary::default(),
        }
    }

    /// Decides what becomes of each pack.
    fn decide(&mut self, young: &[bool], job: &Job) -> Result<()> {
        let census = &self.censuses[0];
        let counts = census.counts();
        let dead = dead_bytes(census, &counts, job)?;
        let mut summary = GcSummary { packs: counts.len() as u64, ..GcSummary::default() };
        for (number, count) in counts.iter().enumerate() {
            let pack = &census.packs[number];
            let bytes = pack.bytes().map_err(|problem| census::doubt(pack, problem))?;
            let fate = fate(*count, dead[number], bytes);
            summary.objects += count.members;
            summary.kept += count.live;
            summary.young_packs += u64::from(young[number]);
            match fate {
                Fate::Stays => {}
                Fate::Goes => {
                    summary.packs_trashed += 1;
                    summary.bytes_trashed += bytes;
                }
                Fate::Copied { live } => {
                    summary.packs_replaced += 1;
                    summary.bytes_trashed += if live == 0 { bytes } else { dead[number] };
                }
                Fate::Thinned { .. } => summary.packs_replaced += 1,
            }
            self.fates.push(fate);
        }
        summary.objects_trashed = summary.objects - summary.kept;
        summary.objects_rescued = self.rescued.len() as u64;
        summary.leases_expired = self.expired.len() as u64;
        summary.memos_dropped = self.memos.len() as u64;
        summary.bytes_emptied = self.emptied.iter().map(|folder| folder.bytes).sum();
        self.summary = summary;
        Ok(())
    }

    /// Returns the numbers of the plan.
    pub fn summary(&self) -> GcSummary {
        self.summary
    }

    /// Tells whether running it would change nothing.
    pub fn is_empty(&self) -> bool {
        let GcSummary { objects_trashed, objects_rescued, leases_expired, memos_dropped, .. } = self.summary;
        let changes = [objects_trashed, objects_rescued, leases_expired, memos_dropped];
        changes.iter().all(|change| *change == 0)
            && self.emptied.is_empty()
            && self.orphans.is_empty()
            && !self.cut_short
    }

    /// Says what will be done, a line each.
    pub fn describe(&self) -> Vec<String> {
        let GcSummary { packs, objects, kept, young_packs, packs_trashed, packs_replaced, .. } = self.summary;
        let summary = &self.summary;
        let (objects, packs) = (counted(objects, "object"), counted(packs, "pack"));
        let mut lines = vec![format!("{objects} in {packs}, {kept} of them stay")];
        let mut add = |count: u64, text: String| lines.extend((count > 0).then_some(text));
        let young = match young_packs {
            1 => "1 pack is younger than the grace and stays as it is".to_owned(),
            packs => format!("{packs} packs are younger than the grace and stay as they are"),
        };
        add(young_packs, young);
        let size = approximate(Bytes(summary.bytes_trashed));
        let gone = summary.objects_trashed;
        let parts = [(packs_trashed, "goes", "go"), (packs_replaced, "is replaced", "are replaced")];
        let parts = parts.into_iter().filter(|(number, ..)| *number > 0);
        let parts = parts.map(|(number, one, more)| {
            format!("; {} {}", counted(number, "pack"), if number == 1 { one } else { more })
        });
        let packs: String = parts.collect();
        add(gone, format!("to the trash: {}, {size}{packs}", counted(gone, "object")));
        let orphans = self.orphans.len() as u64;
        add(orphans, format!("half packs that go to the trash: {orphans}"));
        let left = self.leftovers.len() as u64;
        add(
            left,
            format!("machines that died left {} of packs that went: to be removed", counted(left, "file")),
        );
        let rescued = counted(summary.objects_rescued, "object");
        add(summary.objects_rescued, format!("back from the trash: {rescued}"));
        add(u64::from(self.cut_short), "a collection that was cut short is brought to its end".to_owned());
        for lease in &self.expired {
            add(1, format!("the lease {} of {} has expired", lease.name, lease.holder()));
        }
        add(
            summary.memos_dropped,
            format!("forgotten: {} of steps", counted(summary.memos_dropped, "result")),
        );
        for Folder { number, packs, bytes, .. } in &self.emptied {
            let size = approximate(Bytes(*bytes));
            add(1, format!("trash {number} is emptied: {}, {size}", counted(*packs, "pack")));
        }
        lines
    }
}

/// Prints a number of things: "1 pack", "3 packs".
fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn fate(count: Count, dead_bytes: u64, bytes: u64) -> Fate {
    let Count { members, live } = count;
    if live == members {
        Fate::Stays
    } else if live == 0 {
        Fate::Goes
    } else if dead_bytes * COPY_FROM_DEAD_PART >= bytes || bytes < COPY_BELOW_BYTES {
        Fate::Copied { live }
    } else {
        Fate::Thinned { live }
    }
}

/// Sums the stored bytes of the dead members of packs that hold live ones too.
fn dead_bytes(census: &Census, counts: &[Count], job: &Job) -> Result<Vec<u64>> {
    let sums: Vec<_> = counts.iter().map(|_| std::sync::atomic::AtomicU64::new(0)).collect();
    census.visit(job, |member, is_marked| {
        let Count { members, live } = counts[member.pack as usize];
        if !is_marked && live > 0 && live < members {
            let record = census.record(member);
            let record = record.map_err(|problem| census::doubt(census.pack(member), problem))?;
            sums[member.pack as usize].fetch_add(record.stored_bytes(), std::sync::atomic::Ordering::Relaxed);
        }
        Ok(None::<()>)
    })?;
    Ok(sums.into_iter().map(std::sync::atomic::AtomicU64::into_inner).collect())
}
