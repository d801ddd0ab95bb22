//! One log in one folder through many lives, and what must be true of it.
//!
//! The model is a list: what was appended, in order, and how much of it was acknowledged. After each
//! life the log is opened again and must be a beginning of that list (but for what was cut), no
//! shorter than what was acknowledged or already read back.

use std::sync::{Arc, Mutex};

use super::super::sim_folder::{Fault, Random, SimFolder, Tear};
use super::super::*;
use super::damage;
use super::sabotage::{Bug, Sabotaged};

/// Room for about thirty small records, so that segments roll all the time.
const SEGMENT: u64 = MIN_SEGMENT_BYTES;

const KINDS: [io::ErrorKind; 5] = [
    io::ErrorKind::Other,
    io::ErrorKind::StorageFull,
    io::ErrorKind::WriteZero,
    io::ErrorKind::Interrupted,
    io::ErrorKind::PermissionDenied,
];

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) power_losses: u64,
    pub(super) power_losses_in_an_operation: u64,
    pub(super) power_losses_while_opening: u64,
    pub(super) kills: u64,
    pub(super) failures: u64,
    pub(super) opened: u64,
    pub(super) not_opened: u64,
    pub(super) acknowledged: u64,
    pub(super) records_that_were_cut: u64,
    pub(super) records_kept_unacknowledged: u64,
    pub(super) segments: u64,
    pub(super) cuts: u64,
    pub(super) damaged: u64,
    pub(super) damage_refused: u64,
    pub(super) damage_in_the_last_batch: u64,
}

impl Counts {
    /// A run in which one of these hardly happens shows less than it claims.
    pub(super) fn assert_nothing_is_rare(&self) {
        let least = self.power_losses / 500;
        for (what, count) in [
            ("while opening", self.power_losses_while_opening),
            ("in an operation", self.power_losses_in_an_operation),
            ("kills", self.kills),
            ("failures", self.failures),
            ("opened", self.opened),
            ("not opened", self.not_opened),
            ("acknowledged", self.acknowledged),
            ("cut records", self.records_that_were_cut),
            ("kept", self.records_kept_unacknowledged),
            ("segments", self.segments),
            ("cuts", self.cuts),
            ("damage refused", self.damage_refused),
            ("damage in the last batch", self.damage_in_the_last_batch),
        ] {
            assert!(count > least, "{what}: {count} of {least}");
        }
    }
}

pub(super) fn owner() -> Owner {
    Owner::participant("bank")
}

pub(super) fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        queue_bytes: 1 << 20,
    }
}

type Heard = Arc<Mutex<Vec<Result<Lsn, LogError>>>>;

/// A log whose writer is turned by hand.
struct Running {
    log: FileLog,
    writer: Writer,
    heard: Heard,
    failed: bool,
}

pub(super) struct World {
    random: Random,
    folder: SimFolder,
    bug: Option<Bug>,
    /// Everything that may be in the log: the record at place n has lsn n + 1.
    appended: Vec<Vec<u8>>,
    /// So many of them must be there.
    durable: usize,
    /// So many of the first need not be there any more.
    cut: usize,
    /// Tells records apart, also those with the same lsn.
    serial: u64,
    /// Dead before the log was open.
    opening: bool,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        Self {
            random: Random::new(seed),
            folder: SimFolder::default(),
            bug,
            appended: Vec::new(),
            durable: 0,
            cut: 0,
            serial: 0,
            opening: false,
        }
    }

    /// Runs so many lives.
    ///
    /// # Errors
    ///
    /// What was violated.
    pub(super) fn run(mut self, lives: usize, counts: &mut Counts) -> Result<(), String> {
        for life in 0..lives {
            self.life(counts)
                .map_err(|violation| format!("life {life}: {violation}"))?;
        }
        self.folder.mend();
        self.open(counts)?
            .ok_or("the log does not open after all faults")?;
        Ok(())
    }

    fn life(&mut self, counts: &mut Counts) -> Result<(), String> {
        self.plan();
        self.opening = true;
        if let Some(mut running) = self.open(counts)? {
            self.opening = false;
            counts.opened += 1;
            for _ in 0..self.random.below(12) {
                self.act(&mut running, counts)?;
            }
            if self.random.once_in(4) {
                self.close(&mut running);
            }
        } else {
            counts.not_opened += 1;
        }
        self.end(counts)
    }

    /// Chooses what goes wrong in the life to come.
    fn plan(&mut self) {
        self.folder.mend();
        let random = &mut self.random;
        let mut faults = Vec::new();
        let within = [6, 40, 120][random.below(3)];
        if !random.once_in(4) {
            faults.push((random.below(within), Fault::Death));
        }
        if random.once_in(4) {
            let kind = KINDS[random.below(KINDS.len())];
            faults.push((random.below(within), Fault::Once(kind)));
        }
        let seed = random.next();
        self.folder.plan(faults, seed);
        if self.random.once_in(8) {
            self.folder.write_at_most(1 + self.random.below(600));
        }
        if self.random.once_in(24) {
            self.folder.leave_room(self.random.below(9_000));
        }
    }

    /// Opens the log and compares; `None` if what was planned kept it from opening.
    fn open(&mut self, counts: &mut Counts) -> Result<Option<Running>, String> {
        let folder: Box<dyn Folder> = match self.bug {
            None => Box::new(self.folder.clone()),
            Some(bug) => Box::new(Sabotaged::new(self.folder.clone(), bug)),
        };
        match FileLog::assemble(folder, &owner(), &options()) {
            Ok((log, writer, found)) => {
                let first = log.shared.segments.lock().unwrap()[0];
                let first = usize::try_from(first.0 - 1).unwrap();
                self.compare(first, &found, counts)?;
                Ok(Some(Running {
                    log,
                    writer,
                    heard: Heard::default(),
                    failed: false,
                }))
            }
            Err(
                error @ (OpenError::Corrupt { .. }
                | OpenError::Gap { .. }
                | OpenError::NotALog { .. }
                | OpenError::NewerVersion { .. }
                | OpenError::NotOurs { .. }),
            ) => Err(format!("a crash was taken for damage: {error}")),
            Err(_) if self.folder.faulted() => Ok(None),
            Err(error) => Err(format!("the log does not open: {error}")),
        }
    }

    /// Checks what was found against the list, and goes on from what was found.
    fn compare(
        &mut self,
        first: usize,
        found: &[Vec<u8>],
        counts: &mut Counts,
    ) -> Result<(), String> {
        let end = first + found.len();
        if first > self.cut {
            return Err(format!(
                "records {}..={first} are gone and were never cut",
                self.cut + 1
            ));
        }
        if end < self.durable {
            return Err(format!(
                "{end} records, and {} were acknowledged",
                self.durable
            ));
        }
        if self.appended.get(first..end) != Some(found) {
            return Err(format!(
                "records from {} on are not those that were appended",
                first + 1
            ));
        }
        counts.records_that_were_cut += (self.appended.len() - end) as u64;
        counts.records_kept_unacknowledged += (end - self.durable) as u64;
        // What was read back is relied upon from now on: it must never go away again.
        self.appended.truncate(end);
        self.durable = end;
        Ok(())
    }

    fn act(&mut self, running: &mut Running, counts: &mut Counts) -> Result<(), String> {
        match self.random.below(12) {
            0 => self.cut(running, counts),
            1 => too_large(running),
            _ => self.batch(running, counts),
        }
    }

    fn cut(&mut self, running: &Running, counts: &mut Counts) -> Result<(), String> {
        let keep = self.random.below(100);
        let before = (self.durable + 1).saturating_sub(keep);
        self.cut = self.cut.max(before.saturating_sub(1));
        counts.cuts += 1;
        match running.log.cut_before(Lsn(before as u64)) {
            Err(error) if !self.folder.faulted() => Err(format!("cutting failed: {error}")),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Appends some records, forced and not, and lets the writer write them.
    fn batch(&mut self, running: &mut Running, counts: &mut Counts) -> Result<(), String> {
        let operations = self.folder.operations();
        let mut forced = Vec::new();
        // Now and then one that is spread over sectors and segments.
        let most = if self.random.once_in(4) { 40 } else { 4 };
        for _ in 0..=self.random.below(most) {
            let record = self.record();
            if self.random.once_in(3) {
                running.log.append_lazy(&record);
            } else {
                let heard = Arc::clone(&running.heard);
                running.log.append(
                    &record,
                    Box::new(move |result| heard.lock().unwrap().push(result)),
                );
                forced.push(self.appended.len() as u64 + 1);
            }
            // A failed log takes nothing more; what it refuses has no place in the list.
            if !running.failed {
                self.appended.push(record);
            }
        }
        if forced.is_empty() {
            return Ok(());
        }
        if !running.failed {
            running.failed = !running.writer.turn();
        } else if self.folder.operations() != operations {
            return Err("a poisoned log touched the disk".to_owned());
        }
        let heard = std::mem::take(&mut *running.heard.lock().unwrap());
        self.check_answers(running, &forced, &heard, counts)
    }

    fn check_answers(
        &mut self,
        running: &Running,
        forced: &[u64],
        heard: &[Result<Lsn, LogError>],
        counts: &mut Counts,
    ) -> Result<(), String> {
        if heard.len() != forced.len() {
            return Err(format!(
                "{} answers to {} appends",
                heard.len(),
                forced.len()
            ));
        }
        for (lsn, answer) in forced.iter().zip(heard) {
            match answer {
                Ok(told) if running.failed => return Err(format!("{told} after a failure")),
                Ok(told) if told.0 == *lsn => {
                    self.durable = usize::try_from(*lsn).unwrap();
                    counts.acknowledged += 1;
                }
                Ok(told) => return Err(format!("{told} instead of #{lsn}")),
                Err(LogError::Poisoned { .. }) if running.failed && self.folder.faulted() => {}
                Err(error) => return Err(format!("#{lsn} failed: {error}")),
            }
        }
        if running.failed != running.log.failure().is_some() {
            return Err("the log does not say that it failed".to_owned());
        }
        Ok(())
    }

    fn record(&mut self) -> Vec<u8> {
        self.serial += 1;
        let mut record = format!("{} ", self.serial).into_bytes();
        let length = match self.random.below(16) {
            0 => 0,
            1 => 200 + self.random.below(300),
            // Just what a segment holds, or nearly.
            2 => 1024 - 24 - self.random.below(18),
            // Of one size, so that the remains of a torn batch lie where later frames will.
            3..9 => 16,
            _ => record.len() + self.random.below(24),
        };
        record.resize(length, b'.');
        record
    }

    fn close(&mut self, running: &mut Running) {
        running.log.shared.close();
        while !running.failed && running.writer.turn() {}
        if running.log.failure().is_none() {
            self.durable = self.appended.len();
        }
    }

    /// The process is killed, or the power fails.
    fn end(&mut self, counts: &mut Counts) -> Result<(), String> {
        let dead = self.folder.is_dead();
        counts.failures += u64::from(self.folder.faulted() && !dead);
        if !dead && self.random.once_in(3) {
            counts.kills += 1;
            return Ok(());
        }
        counts.power_losses += 1;
        counts.power_losses_in_an_operation += u64::from(dead);
        counts.power_losses_while_opening += u64::from(dead && self.opening);
        let tear = Tear {
            sector: [8, 64, 512, 512, 4096][self.random.below(5)],
            garbage: self.random.once_in(4),
        };
        self.folder = self.folder.after_crash(tear, &mut self.random);
        counts.segments += self.folder.files().len() as u64;
        if self.random.once_in(8) {
            damage::check(&self.folder, self.bug, &mut self.random, counts)?;
        }
        Ok(())
    }
}

fn too_large(running: &Running) -> Result<(), String> {
    let record = vec![1; running.log.max_record() + 1];
    let heard = Arc::clone(&running.heard);
    running.log.append(
        &record,
        Box::new(move |result| heard.lock().unwrap().push(result)),
    );
    let answers = std::mem::take(&mut *running.heard.lock().unwrap());
    match &answers[..] {
        [Err(LogError::TooLarge { .. })] => Ok(()),
        other => Err(format!("a record that is too large: {other:?}")),
    }
}
