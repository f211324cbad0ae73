//! One agent's work: what is, what is to be, and the way there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{AgentError, Result};
use super::history::{Entry, History, What};
use super::kept;
use super::place::Place;
use super::policy::{Facts, Policy, Verdict};
use super::reboots::Reboots;
use super::running::{Described, Running};
use super::settings::{Settings, read_keys};
use crate::base::{CommitId, Digest, Job, clock, fs, publish, whole};
use crate::boot::slots::{Slot, SlotState, SlotTable};
use crate::disk::BlockDevice;
use crate::image::{Image, OpenImage};
use crate::remote::{Answer, Line, Remote, RemoteSettings, ask};
use crate::slots::{self, Disk, Request, SlotStatus, SlotsError, Standing, Status};
use crate::store::{RefName, Store, StoreError};
use crate::trust::{Release, Seen};

const SEEN_BYTES_MAX: u64 = 4096;
/// Where what is fetched is, until it is written.
const STORE: &str = "store";

/// Updates one machine.
pub struct Updater {
    pub policy: Policy,
    pub place: Place,
    remote: Remote,
    reference: RefName,
    job: Job,
}

/// What an agent has to say of itself and its machine.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    pub from: String,
    #[serde(rename = "ref")]
    pub reference: String,
    /// Name of this machine among others.
    pub machine: String,
    /// Both slots, and what boots next.
    pub disk: Status,
    /// The commit that waits for its first boot.
    pub waiting: Option<CommitId>,
    /// Whether the machine was rebooted for it as often as makes sense, and does not boot it.
    pub in_vain: bool,
    /// Commits that are not tried again until the ref moves.
    pub fell_back: Vec<String>,
    /// What happened last.
    pub last: Option<Entry>,
}

/// What came of a look at the site, or of an update.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    pub commit: CommitId,
    /// `up_to_date`, `waiting`, `fell_back`, `not_yet`, `available` or `staged`.
    pub state: &'static str,
    /// Seconds until the ring of this machine is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
}

/// How the disk stands.
struct Now {
    running: Slot,
    status: Status,
    /// The other slot boots next, and does not however often the machine is rebooted.
    in_vain: bool,
}

impl Now {
    fn slot(&self, slot: Slot) -> &SlotStatus {
        &self.status.slots[slot.index()]
    }

    fn boots_next(&self, slot: Slot) -> bool {
        self.status.next.as_ref().is_some_and(|next| next.slot == slot)
    }

    /// Returns the newer slot that a reboot would lead to. An older one boots next only where the loader refuses the
    /// kernel image of the running one: nobody asks for a reboot into that.
    fn slot_that_waits(&self) -> Option<&SlotStatus> {
        let (running, other) = (self.slot(self.running), self.slot(self.running.other()));
        let waits = self.boots_next(other.slot) && !self.in_vain && other.generation > running.generation;
        waits.then_some(other)
    }

    /// Returns the commit that the next boot tries for the first time.
    fn waiting(&self) -> Option<CommitId> {
        self.slot_that_waits()?.commit
    }

    /// Tells whether the other slot holds a commit that used up its tries.
    fn used_up(&self, commit: &CommitId) -> bool {
        let other = self.slot(self.running.other());
        other.state == Standing::Failed && other.commit.as_ref() == Some(commit)
    }
}

impl Updater {
    /// Takes settings and keys as they stand in the image.
    pub fn new(settings: Settings, keys: &Path, place: Place, job: Job) -> Result<Updater> {
        place.prepare()?;
        let mut known = RemoteSettings::new(settings.from.parse()?);
        known.keys = read_keys(keys)?;
        known.threshold = settings.threshold;
        known.seen = read_seen(&place.state);
        known.site = known.seen.as_ref().map(|seen| seen.site.clone());
        known.trusted()?;
        let reference = RefName::new(&settings.reference).map_err(StoreError::from)?;
        let machine = place.machine()?;
        let remote = Remote { name: None, settings: known };
        Ok(Updater { policy: Policy { settings, machine }, place, remote, reference, job })
    }

    /// Returns how things stand.
    pub fn report(&self) -> Result<Report> {
        let now = self.now()?;
        let history = self.history()?;
        let commits = history.entries().iter().filter_map(|entry| entry.commit.as_deref()?.parse().ok());
        let commits: BTreeSet<CommitId> = commits.collect();
        let fell_back = commits.iter().filter(|commit| history.fell_back(commit));
        Ok(Report {
            from: self.policy.settings.from.clone(),
            reference: self.policy.settings.reference.clone(),
            machine: self.policy.machine.clone(),
            waiting: now.waiting(),
            in_vain: now.in_vain,
            disk: now.status,
            fell_back: fell_back.map(ToString::to_string).collect(),
            last: history.entries().last().cloned(),
        })
    }

    pub fn history(&self) -> Result<History> {
        History::open(&self.place.state)
    }

    fn now(&self) -> Result<Now> {
        let disk = self.place.look()?;
        let running = self.place.running(&disk)?;
        let mut status = slots::status(disk.device(), false, &self.job)?;
        status.set_running(running);
        let other = &status.slots[running.other().index()];
        let is_next = status.next.as_ref().is_some_and(|next| next.slot == other.slot);
        let reboots = Reboots::open(&self.place.state);
        let in_vain = is_next && reboots.are_in_vain(other);
        Ok(Now { running, status, in_vain })
    }

    /// Tells whether the running slot is on trial still.
    pub fn is_on_trial(&self) -> Result<bool> {
        let disk = self.place.look()?;
        let running = self.place.running(&disk)?;
        Ok(matches!(slots::table(disk.device())?.state(running), SlotState::Trial { .. }))
    }

    /// Returns the commit that waits for its first boot.
    pub fn waiting(&self) -> Result<Option<CommitId>> {
        Ok(self.now()?.waiting())
    }

    /// Remembers that a reboot is asked for, so that none is for ever.
    pub fn note_reboot(&self) -> Result<()> {
        let now = self.now()?;
        let Some(slot) = now.slot_that_waits() else { return Ok(()) };
        Reboots::open(&self.place.state).note(slot)
    }

    /// Finds out how the last trial ended, and writes it down. Returns what there is to tell.
    pub fn reconcile(&self) -> Result<Option<Entry>> {
        let mut history = self.history()?;
        let Some(trial) = history.open_trial().cloned() else { return Ok(None) };
        let now = self.now()?;
        let Some((what, detail)) = self.ended(&trial, &now) else { return Ok(None) };
        let entry = Entry { at: clock::unix_seconds(), what, detail, ..trial };
        history.add(entry.clone())?;
        Ok(Some(entry))
    }

    /// Says how a trial ended; `None` where it goes on.
    fn ended(&self, trial: &Entry, now: &Now) -> Option<(What, String)> {
        let commit: Option<CommitId> = trial.commit.as_deref().and_then(|commit| commit.parse().ok());
        let running = now.slot(now.running);
        if commit.is_some() && running.commit == commit {
            return (running.state == Standing::Confirmed).then(|| (What::Confirmed, String::new()));
        }
        let other = now.slot(now.running.other());
        let holds = commit.is_some() && other.commit == commit;
        if holds && other.state == Standing::Confirmed {
            return Some((What::Confirmed, String::new()));
        }
        if holds && now.boots_next(other.slot) {
            let why = "it was to boot next and did not, however often the machine was rebooted";
            return now.in_vain.then(|| (What::FellBack, why.to_owned()));
        }
        if holds && other.state == Standing::Trial && other.problem.is_none() {
            // It has tries left, and yet another boots: `mkimage rollback` or `switch`, past this agent.
            return Some((What::RolledBack, String::new()));
        }
        let tried =
            holds && (other.state == Standing::Failed || other.tries_done.is_some_and(|done| done > 0));
        if !tried {
            let cut = "it was cut before the slot was whole";
            return Some((What::Failed, other.problem.clone().unwrap_or_else(|| cut.to_owned())));
        }
        let said = other.root_hash.as_deref().and_then(|hash| self.place.gave_up(hash));
        let silent = "it went down without a word: a panic, a hang or a power cut";
        Some((What::FellBack, said.unwrap_or_else(|| silent.to_owned())))
    }

    /// Asks the site where the ref leads, and says what is to be done about it.
    pub fn check(&mut self, told: Option<&str>) -> Result<Outcome> {
        let (answer, verdict) = self.ask(told)?;
        Ok(outcome(&answer, verdict))
    }

    fn ask(&mut self, told: Option<&str>) -> Result<(Answer, Verdict)> {
        let line = Line::new(&self.job, None).trusting(self.policy.settings.certificates.clone());
        let answer = ask(&self.remote, &self.reference, &line)?;
        self.remember(answer.seen())?;
        let mut history = self.history()?;
        let (found, now) = (answer.commit(), clock::unix_seconds());
        let disk = self.now()?;
        let running = disk.slot(disk.running).commit;
        if history.first_seen(&found).is_none() && running != Some(found) {
            history.add(Entry::new(now, What::Found, Some(found)))?;
        }
        let first_seen = history.first_seen(&found).unwrap_or(now);
        // The disk knows it, too, where the history was lost.
        let fell_back = history.fell_back(&found) || disk.used_up(&found);
        let facts = Facts { found, running, waiting: disk.waiting(), fell_back, first_seen, now, told };
        Ok((answer, self.policy.judge(&facts)))
    }

    /// Remembers an index that was accepted, so that no older one is.
    fn remember(&mut self, seen: &Seen) -> Result<()> {
        if self.remote.settings.seen.as_ref() == Some(seen) {
            return Ok(());
        }
        publish::publish_bytes(&self.place.state.join("seen"), format!("{seen}\n").as_bytes())?;
        self.remote.settings.note_seen(seen);
        Ok(())
    }

    /// Brings the machine to where the ref leads, if it is to go there: afterwards the other slot is on trial.
    pub fn upgrade(&mut self, told: Option<&str>) -> Result<Outcome> {
        let _alone = self.place.alone()?;
        if told.is_some() {
            self.try_again()?;
        }
        let (answer, verdict) = match self.ask(told) {
            Ok(asked) => asked,
            Err(error) => {
                self.note_failure(None, &error)?;
                return Err(error);
            }
        };
        if verdict != Verdict::Take {
            self.clear()?;
            return Ok(outcome(&answer, verdict));
        }
        let taken = self.take(&answer);
        if let Err(error) = &taken {
            if error.is_full() {
                self.clear()?;
            }
            self.note_failure(Some(answer.commit()), error)?;
        }
        taken
    }

    /// Forgets that a trial is not started, so that it is tried once more. What was confirmed once is written anew.
    fn try_again(&self) -> Result<()> {
        let now = self.now()?;
        match now.in_vain && now.slot(now.running.other()).state == Standing::Trial {
            true => Reboots::open(&self.place.state).forget(),
            false => Ok(()),
        }
    }

    fn note_failure(&self, commit: Option<CommitId>, error: &AgentError) -> Result<()> {
        let mut history = self.history()?;
        let mut entry = Entry::new(clock::unix_seconds(), What::Failed, commit);
        entry.detail = whole(error);
        if history.is_repeated(&entry) { Ok(()) } else { history.add(entry) }
    }

    /// Returns the slot that runs, which must be confirmed, and the state of both.
    fn basis(&self, disk: &Disk) -> Result<(Slot, SlotTable)> {
        let running = self.place.running(disk)?;
        let table = slots::table(disk.device())?;
        match table.state(running) {
            SlotState::Trial { .. } => Err(AgentError::OnTrial { slot: running.to_string() }),
            _ => Ok((running, table)),
        }
    }

    /// Fetches, writes, puts on trial. Others may change the disk until it is written, and what they did counts: a slot
    /// that somebody went back to meanwhile is not written over.
    fn take(&self, answer: &Answer) -> Result<Outcome> {
        let (running, before) = self.basis(&self.place.look()?)?;
        let uki = OpenImage::open(self.place.look()?.device())?.uki(running)?;
        if before.digest(running).is_some_and(|digest| digest != Digest::of(&uki)) {
            return Err(SlotsError::Damaged { slot: running, source: Box::new(SlotsError::Kernel) }.into());
        }
        let (lender, described) = self.lender(running, uki)?;
        let store = Store::open(self.store())?.borrowing(Arc::new(lender));
        let transaction = store.begin(&self.job);
        described.put(&transaction, &self.job)?;
        answer.fetch(&store, &transaction, &self.remote)?;

        let commit = answer.commit();
        let image = Image::of(&transaction, commit, &self.job)?;
        self.check_release(answer, &image)?;
        kept::write(&self.place.state, &transaction, &[described.id(), commit])?;
        let disk = self.place.change()?;
        if self.basis(&disk)? != (running, before) {
            return Err(AgentError::Turned);
        }
        let mut entry = Entry::new(clock::unix_seconds(), What::Writing, Some(commit));
        entry.version = image.commit().version.clone();
        entry.slot = Some(running.other().to_string());
        entry.pulled_bytes = Some(answer.traffic().received_bytes);
        self.history()?.add(entry.clone())?;
        let request = Request { running: Some(running), other_name: false };
        let staged = request.stage(disk.device(), &image, &self.job)?;
        entry.what = What::Staged;
        entry.written_bytes = Some(staged.root.written_bytes + staged.esp.written_bytes);
        self.history()?.add(entry.clone())?;
        drop(image);
        drop(transaction);
        drop(store);
        self.clear()?;
        Ok(Outcome {
            commit,
            state: "staged",
            due_in_seconds: None,
            version: entry.version,
            slot: entry.slot,
            pulled_bytes: entry.pulled_bytes,
            written_bytes: entry.written_bytes,
        })
    }

    /// Makes the running slot lend what it holds, as far as it can be read.
    fn lender(&self, running: Slot, uki: Vec<u8>) -> Result<(Running, Described)> {
        let root = self.place.verified_root(running, &uki).inspect_err(|error| {
            let why = whole(error);
            self.job.warn(format!("the running slot is damaged, and what it lacks is fetched: {why}"));
        });
        let root = root.ok().map(|root| Box::new(root) as Box<dyn BlockDevice + Send>);
        Running::read(root, uki, kept::read(&self.place.state), &self.job)
    }

    /// Holds what would be written against the release of the commit, where it has one: before anything is written,
    /// while the other slot is whole still.
    fn check_release(&self, answer: &Answer, image: &Image<'_>) -> Result<()> {
        let commit = answer.commit();
        let Some(bytes) = answer.release()? else {
            self.job.note("the site has no release of this commit: its root hash is not known beforehand");
            return Ok(());
        };
        let Some(trusted) = self.remote.settings.trusted()? else { return Ok(()) };
        let release = Release::accept(&bytes, &trusted, &commit);
        let release = release.map_err(|source| AgentError::Release { commit, source })?;
        let content = image.slot_content(&image.place_root(&self.job)?, &self.job)?;
        let differs = |what, found, expected| match found == expected {
            true => Ok(()),
            false => Err(AgentError::OtherRelease { commit, what, found, expected }),
        };
        differs("the root hash", Digest(content.verity.root_hash), Digest(release.root_hash))?;
        differs("the kernel image", Digest::of(&content.uki), release.uki)
    }

    /// Goes back to the slot before, or stays where something waits for its first boot. What is left so is not tried
    /// again until the ref moves: where that can't be written down the machine goes back all the same.
    pub fn rollback(&self) -> Result<slots::Turned> {
        let disk = self.place.change()?;
        let running = self.place.running(&disk)?;
        let now = self.now()?;
        let turned = slots::rollback(disk.device(), Some(running), &self.job)?;
        let left = now.slot(turned.slot.other()).clone();
        let mut entry = Entry::new(clock::unix_seconds(), What::RolledBack, left.commit);
        (entry.version, entry.slot) = (left.version, Some(left.slot.to_string()));
        if let Err(error) = self.history().and_then(|mut history| history.add(entry)) {
            let why = whole(&error);
            self.job.warn(format!("what is left may be taken again, since that was not written down: {why}"));
        }
        Ok(turned)
    }

    fn store(&self) -> PathBuf {
        self.place.state.join(STORE)
    }

    /// Gives the room back that a fetch took.
    fn clear(&self) -> Result<()> {
        Ok(fs::remove_tree(&self.store())?)
    }
}

fn outcome(answer: &Answer, verdict: Verdict) -> Outcome {
    let (state, due_in_seconds) = match verdict {
        Verdict::UpToDate => ("up_to_date", None),
        Verdict::Waiting => ("waiting", None),
        Verdict::FellBack => ("fell_back", None),
        Verdict::NotYet(seconds) => ("not_yet", Some(seconds)),
        Verdict::Take => ("available", None),
    };
    Outcome {
        commit: answer.commit(),
        state,
        due_in_seconds,
        version: None,
        slot: None,
        pulled_bytes: None,
        written_bytes: None,
    }
}

/// Reads what was seen of the site. A torn line is like none: the next index that is accepted stands for itself.
fn read_seen(state: &Path) -> Option<Seen> {
    let bytes = fs::read_at_most(&state.join("seen"), SEEN_BYTES_MAX).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok()
}
