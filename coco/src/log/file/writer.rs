//! The writer: one thread that takes whatever is queued, writes it as one batch, syncs once, and then
//! completes the whole batch, in order.
//!
//! Shared state: the queue behind one mutex. Appenders push and wait for room; the writer takes all
//! and wakes them. Invariants: (W1) completions are called outside the lock, in the order of the
//! appends; (W2) after a failure is stored, nothing is queued and nothing is written; (W3) the writer
//! itself never waits for room, so a completion may append.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::folder::{Folder, write_all_at};
use super::frame::{Header, frame_len, put_frame};
use super::recover::{Segment, create_segment};
use crate::failpoint;
use crate::log::{Done, LogError, Lsn};

/// What appenders and writer share.
pub(super) struct Shared {
    pub(super) folder: Box<dyn Folder>,
    queue: Mutex<Queue>,
    /// The writer waits here for work.
    work: Condvar,
    /// Appenders wait here for room.
    room: Condvar,
    limit_bytes: usize,
    /// The first lsn of every segment.
    pub(super) segments: Mutex<Vec<Lsn>>,
    pub(super) appended: AtomicU64,
    pub(super) syncs: AtomicU64,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// How many of the queued appends wait for durability.
    forced: usize,
    /// How many appenders wait for room.
    waiting: usize,
    closing: bool,
    failure: Option<Arc<io::Error>>,
    writer: Option<ThreadId>,
}

#[derive(Default)]
struct Batch {
    /// The payloads, one behind the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    len: usize,
    done: Option<Done>,
}

impl Shared {
    pub(super) fn new(folder: Box<dyn Folder>, limit_bytes: usize, segments: Vec<Lsn>) -> Self {
        Self {
            folder,
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            limit_bytes,
            segments: Mutex::new(segments),
            appended: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        }
    }

    /// Queues records for one batch, waiting for room if need be; refused ones are completed at once. What is to be
    /// done is done with the last of them.
    pub(super) fn push(&self, records: &[impl AsRef<[u8]>], done: Option<Done>) {
        let bytes: usize = records.iter().map(|record| record.as_ref().len()).sum();
        let mut queue = self.lock();
        loop {
            let refusal = match &queue.failure {
                Some(cause) => Some(LogError::Poisoned {
                    cause: Arc::clone(cause),
                }),
                None if queue.closing => Some(LogError::Closed),
                None => None,
            };
            if let Some(error) = refusal {
                drop(queue);
                complete(done, Err(error));
                return;
            }
            let queued = queue.batch.bytes.len();
            let fits = queued == 0 || queued + bytes <= self.limit_bytes;
            if fits || queue.writer == Some(thread::current().id()) {
                break;
            }
            queue.waiting += 1;
            self.work.notify_one();
            queue = self
                .room
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
        }
        queue.forced += usize::from(done.is_some());
        for record in records {
            let record = record.as_ref();
            queue.batch.bytes.extend_from_slice(record);
            let (len, done) = (record.len(), None);
            queue.batch.entries.push(Entry { len, done });
        }
        match (queue.batch.entries.last_mut(), done) {
            (Some(last), Some(done)) => last.done = Some(done),
            (_, None) => {}
            (None, Some(_)) => unreachable!("whoever waits, waits for a record"),
        }
        if self.is_due(&queue) {
            self.work.notify_one();
        }
    }

    /// Whether the writer should not wait for more: somebody waits for durability or for room, the queue fills
    /// up, or the log is being closed.
    fn is_due(&self, queue: &Queue) -> bool {
        let is_in_the_way = queue.waiting > 0 && !queue.batch.entries.is_empty();
        let fills = queue.batch.bytes.len() * 2 > self.limit_bytes;
        queue.forced > 0 || queue.closing || is_in_the_way || fills
    }

    /// Whether somebody waits for the durability of what is queued.
    #[cfg(feature = "manual-log")]
    pub(super) fn has_due(&self) -> bool {
        self.is_due(&self.lock())
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn failure(&self) -> Option<Arc<io::Error>> {
        self.lock().failure.clone()
    }

    pub(super) fn is_writer(&self) -> bool {
        self.lock().writer == Some(thread::current().id())
    }

    /// The next batch; `None` when the log is closed and all is written.
    fn take(&self) -> Option<Batch> {
        let mut queue = self.lock();
        while !self.is_due(&queue) {
            queue = self
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.forced = 0;
        let batch = std::mem::take(&mut queue.batch);
        self.room.notify_all();
        (!batch.entries.is_empty()).then_some(batch)
    }

    /// Stores the failure and completes with it what was being written and all that is queued (W2).
    fn fail(&self, written: Vec<Entry>, error: io::Error) {
        let mut queue = self.lock();
        let cause = Arc::clone(queue.failure.get_or_insert_with(|| Arc::new(error)));
        let queued = std::mem::take(&mut queue.batch).entries;
        self.room.notify_all();
        drop(queue);
        for entry in written.into_iter().chain(queued) {
            complete(
                entry.done,
                Err(LogError::Poisoned {
                    cause: Arc::clone(&cause),
                }),
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complete(done: Option<Done>, result: Result<Lsn, LogError>) {
    if let Some(done) = done {
        done(result);
    }
}

/// A completion that panics takes the writer with it: the log must not go on as if it were there.
struct FailOnPanic {
    shared: Arc<Shared>,
}

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.fail(
                Vec::new(),
                io::Error::other("a completion of the log panicked"),
            );
        }
    }
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) current: Segment,
    pub(super) next: Lsn,
    pub(super) segment_bytes: u64,
    /// Frames that are not yet handed to the file.
    pub(super) buffer: Vec<u8>,
    /// Gives each segment its salt.
    pub(super) new_salt: Box<dyn FnMut() -> u32 + Send>,
}

impl Writer {
    /// Runs until the log is closed or fails.
    pub(super) fn run(mut self) {
        let _guard = FailOnPanic {
            shared: Arc::clone(&self.shared),
        };
        self.shared.lock().writer = Some(thread::current().id());
        while self.turn() {}
    }

    /// Waits for a batch, writes and completes it; says whether to go on.
    pub(super) fn turn(&mut self) -> bool {
        let Some(mut batch) = self.shared.take() else {
            return false;
        };
        let first = self.next;
        let written = catch_unwind(AssertUnwindSafe(|| {
            self.write(&batch)?;
            failpoint::io("log: complete")
        }));
        let written = written.unwrap_or_else(|panic| {
            // Nobody may wait for ever for a writer that has ended (L1).
            let error = io::Error::other("the log's writer panicked");
            self.shared.fail(std::mem::take(&mut batch.entries), error);
            resume_unwind(panic)
        });
        if let Err(error) = written {
            self.shared.fail(batch.entries, error);
            return false;
        }
        let count = batch.entries.len() as u64;
        self.shared.appended.fetch_add(count, Ordering::Relaxed);
        // A completion that panics must not rob the others of theirs: they are durable.
        let mut panicked = None;
        for (entry, lsn) in batch.entries.into_iter().zip(first.0..) {
            let told = catch_unwind(AssertUnwindSafe(|| complete(entry.done, Ok(Lsn(lsn)))));
            panicked = panicked.or_else(|| told.err());
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
        true
    }

    /// Writes and syncs one batch; it goes on in a new segment where the present one is full.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        failpoint::io("log: before write")?;
        let mut batch_first = self.next;
        let mut payloads = batch.bytes.as_slice();
        for entry in &batch.entries {
            let (payload, rest) = payloads.split_at(entry.len);
            payloads = rest;
            let end = self.current.end + (self.buffer.len() + frame_len(entry.len)) as u64;
            if end > self.current.header.segment_bytes {
                self.flush()?;
                self.next_segment()?;
                batch_first = self.next;
            }
            let salt = self.current.header.salt;
            put_frame(&mut self.buffer, salt, self.next, batch_first, payload);
            self.next = Lsn(self.next.0 + 1);
        }
        self.flush()
    }

    /// Hands the buffer to the file and makes it durable.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        failpoint::io("log: write")?;
        write_all_at(&mut *self.current.media, self.current.end, &self.buffer)?;
        failpoint::io("log: before sync")?;
        self.current.media.sync()?;
        failpoint::io("log: synced")?;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        self.current.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Starts the next segment. All before it is durable: its being there proves that (F2).
    fn next_segment(&mut self) -> io::Result<()> {
        assert!(self.buffer.is_empty(), "F2: a new segment follows a sync");
        let header = Header {
            owner: self.current.header.owner.clone(),
            first: self.next,
            segment_bytes: self.segment_bytes,
            salt: (self.new_salt)(),
        };
        self.current = create_segment(&*self.shared.folder, header)?;
        let mut segments = self
            .shared
            .segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        segments.push(self.next);
        Ok(())
    }
}
