//! The log's folder on the real disk, in which the process dies at a named point.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coco::log::{DiskFolder, Folder, Media, OpenError};
use rustix::process::{Signal, getpid, kill_process};

use super::wire;

/// What the log is doing when it touches its folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It is being opened.
    Open,
    /// It writes what is appended.
    Append,
    /// It is being cut.
    Cut,
}

thread_local! {
    /// The writer of a log has a thread of its own.
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Append) };
}

/// Says what this thread is doing meanwhile.
pub(super) fn during<T>(phase: Phase, work: impl FnOnce() -> T) -> T {
    let before = PHASE.replace(phase);
    let result = work();
    PHASE.set(before);
    result
}

/// The names of all points, each with how often it is passed in a life that comes there, about.
pub(super) const POINTS: &[(&str, u64)] = &[
    ("append: write frames", 12),
    ("append: sync segment", 12),
    ("open: read segment", 3),
    ("open: list", 1),
    ("open: open segment", 1),
    ("append: create unfinished", 1),
    ("append: write header", 1),
    ("append: write zeros", 1),
    ("append: sync unfinished", 1),
    ("append: rename unfinished", 1),
    ("append: sync folder", 1),
    ("open: create unfinished", 1),
    ("open: write header", 1),
    ("open: write zeros", 1),
    ("open: write frames", 1),
    ("open: sync unfinished", 1),
    ("open: sync segment", 1),
    ("open: rename unfinished", 1),
    ("open: remove unfinished", 1),
    ("open: sync folder", 1),
    ("cut: remove segment", 2),
    ("cut: sync folder", 2),
];

/// Those that every life passes.
pub(super) const COMMON: usize = 5;

/// When, at the point, the process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// Before anything is done.
    Before,
    /// When half of the bytes are written; before anything else.
    Half,
    /// When it is done, and nobody knows.
    After,
}

impl Moment {
    pub(super) const ALL: [(Self, &str); 3] = [
        (Self::Before, "before"),
        (Self::Half, "half"),
        (Self::After, "after"),
    ];
}

/// Where, when and the how-manieth time: `LOG/POINT/TIME/MOMENT`, such as `1/append: sync segment/3/before`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Death {
    /// Whose log: 0 the coordinator's, then those of the sites.
    pub(super) log: usize,
    point: String,
    time: u64,
    moment: Moment,
}

impl FromStr for Death {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no LOG/POINT/TIME/MOMENT");
        let parts: Vec<&str> = text.split('/').collect();
        let [log, point, time, moment] = parts[..] else {
            return Err(wrong());
        };
        let known = POINTS.iter().any(|(name, _)| *name == point);
        let moment = Moment::ALL.iter().find(|(_, name)| *name == moment);
        match (log.parse(), time.parse(), moment) {
            (Ok(log), Ok(time), Some((moment, _))) if known => Ok(Self {
                log,
                point: point.to_owned(),
                time,
                moment: *moment,
            }),
            _ => Err(wrong()),
        }
    }
}

#[derive(Debug)]
struct Fuse {
    death: Option<Death>,
    passed: AtomicU64,
}

impl Fuse {
    /// Does the operation named so in the present phase; dies if that is the point.
    fn pass<T>(&self, name: &str, work: impl FnOnce() -> T, half: impl FnOnce()) -> T {
        let Some(death) = self.death.as_ref().filter(|death| is_at(death, name)) else {
            return work();
        };
        if self.passed.fetch_add(1, Ordering::Relaxed) + 1 != death.time {
            return work();
        }
        match death.moment {
            Moment::Before => die(death),
            Moment::Half => {
                half();
                die(death)
            }
            Moment::After => {
                let _nobody_knows = work();
                die(death)
            }
        }
    }
}

fn is_at(death: &Death, name: &str) -> bool {
    let phase = match PHASE.get() {
        Phase::Open => "open: ",
        Phase::Append => "append: ",
        Phase::Cut => "cut: ",
    };
    death.point.strip_prefix(phase) == Some(name)
}

/// SIGKILL, as from outside.
fn die(death: &Death) -> ! {
    wire::say(&wire::Line::DiesAt(death.point.clone()));
    // There is no way in which a process may not kill itself.
    let _dead = kill_process(getpid(), Signal::KILL);
    unreachable!("nothing runs after SIGKILL")
}

/// A folder on the disk with a point at which the process dies.
#[derive(Debug)]
pub(super) struct MortalFolder {
    folder: DiskFolder,
    fuse: Arc<Fuse>,
}

impl MortalFolder {
    pub(super) fn open(path: &Path, death: Option<Death>) -> Result<Self, OpenError> {
        let fuse = Fuse {
            death,
            passed: AtomicU64::new(0),
        };
        Ok(Self {
            folder: DiskFolder::open(path)?,
            fuse: Arc::new(fuse),
        })
    }

    fn media(&self, name: &str, media: Box<dyn Media>) -> Box<dyn Media> {
        Box::new(MortalFile {
            media,
            kind: kind(name),
            fuse: Arc::clone(&self.fuse),
        })
    }
}

/// A segment gets its name when it is made whole.
fn kind(name: &str) -> &'static str {
    if name.rsplit('.').next() == Some("seg") {
        "segment"
    } else {
        "unfinished"
    }
}

impl Folder for MortalFolder {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.fuse.pass("list", || self.folder.list(), || {})
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let point = format!("read {}", kind(name));
        self.fuse.pass(&point, || self.folder.read(name), || {})
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let point = format!("create {}", kind(name));
        let media = self.fuse.pass(&point, || self.folder.create(name), || {})?;
        Ok(self.media(name, media))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Media>> {
        let point = format!("open {}", kind(name));
        let media = self.fuse.pass(&point, || self.folder.open(name), || {})?;
        Ok(self.media(name, media))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let point = format!("rename {}", kind(from));
        self.fuse
            .pass(&point, || self.folder.rename(from, to), || {})
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let point = format!("remove {}", kind(name));
        self.fuse.pass(&point, || self.folder.remove(name), || {})
    }

    fn sync(&self) -> io::Result<()> {
        self.fuse.pass("sync folder", || self.folder.sync(), || {})
    }
}

#[derive(Debug)]
struct MortalFile {
    media: Box<dyn Media>,
    kind: &'static str,
    fuse: Arc<Fuse>,
}

impl Media for MortalFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let what = if bytes.iter().all(|byte| *byte == 0) {
            "write zeros"
        } else if offset == 0 {
            "write header"
        } else {
            "write frames"
        };
        let Self { media, fuse, .. } = self;
        let media = std::cell::RefCell::new(media);
        let all = || media.borrow_mut().write_at(offset, bytes);
        let half = || {
            // What comes of it nobody will ask.
            let _torn = media
                .borrow_mut()
                .write_at(offset, &bytes[..bytes.len() / 2]);
        };
        fuse.pass(what, all, half)
    }

    fn sync(&mut self) -> io::Result<()> {
        let Self { media, fuse, kind } = self;
        fuse.pass(&format!("sync {kind}"), || media.sync(), || {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_read_from_its_text() {
        let death: Death = "1/append: sync segment/3/half".parse().unwrap();
        assert_eq!((death.log, death.time, death.moment), (1, 3, Moment::Half));
        for wrong in [
            "1/append: nothing/3/half",
            "x/open: list/1/before",
            "open: list",
        ] {
            assert!(wrong.parse::<Death>().is_err(), "{wrong}");
        }
    }
}
