//! The kinds of work, how their histories are made, and what was aimed at.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use checker::anomaly::{self, Options};
use checker::formats::{self, Format, ReadOptions};
use checker::models::Model;
use checker::observed::Observed;
use checker::search::{self, Budget};
use checker::{Case, Level, SiteHistory, Verdict, weak};
use clap::ValueEnum;

use crate::concurrent::{Discipline, Lines, Workload};
use crate::distribution::Distribution;
use crate::measure::Measured;
use crate::planted::Violation;
use crate::store::{Kind, Plan, Plant, Random};

/// What is read and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Lists in EDN, serializable.
    ListAppend,
    /// Registers in EDN, serializable.
    RwRegister,
    /// Registers in EDN with one write skew, not serializable.
    WriteSkew,
    /// Registers in the text form, transactional causal consistency.
    Causal,
    /// The versions that one site recorded, serializable.
    OwnFormat,
    /// The same, by the graph.
    OwnGraph,
    /// Registers of a store with two-phase locking, half of them blind writes by rank of key: strong session
    /// serializable.
    Locks,
    /// Registers of a store with snapshots, some long and in the past: strong session snapshot isolation.
    Snapshots,
    /// The same, and one cycle of sixteen anti-dependencies: not serializable.
    LongCycle,
    /// Registers of a store with two-phase locking, without sessions and in no order: serializable.
    NoSessions,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    pub(crate) txns: u32,
    pub(crate) aim: Aim,
    /// The best figures of another tool for such a history, wherever they were measured.
    pub(crate) peer: &'static str,
}

/// What was aimed at: reading and judging together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) seconds: f64,
    pub(crate) megabytes: Option<u32>,
}

/// How many operations a transaction has.
const OPS: u32 = 8;

/// The table. Peers with "here" were measured on the machine of `docs/performance.md`, two cores, November 2026; what
/// others published, on theirs.
pub(crate) const LINES: [Line; 13] = [
    Line {
        name: "list-append, serializable, 100k",
        work: Work::ListAppend,
        txns: 100_000,
        aim: Aim::new(1.0, Some(200)),
        peer: "Elle, here: 8.6 s load + 23.0 s check, 2.5 GB",
    },
    Line {
        name: "list-append, serializable, 1M",
        work: Work::ListAppend,
        txns: 1_000_000,
        aim: Aim::new(10.0, Some(2000)),
        peer: "Elle, here: does not fit",
    },
    Line {
        name: "rw-register, serializable, 100k",
        work: Work::RwRegister,
        txns: 100_000,
        aim: Aim::new(3.0, Some(400)),
        peer: "Elle, here: 8.0 s + 28.1 s, 4.1 GB; Vbox, here, given times, blind writes: 5.7 to 12.7 s, 522 MB",
    },
    Line {
        name: "rw-register, one write skew, 10k",
        work: Work::WriteSkew,
        txns: 10_000,
        aim: Aim::new(0.5, None),
        peer: "Elle, here: 2.7 s + 12.7 s; VeriStrong, here: 5.0 s of CPU; dbcop: no result",
    },
    Line {
        name: "causal, 100k",
        work: Work::Causal,
        txns: 100_000,
        aim: Aim::new(1.5, None),
        peer: "AWDIT, here: 3.2 s, 259 MB; Plume, here: 38 s",
    },
    Line {
        name: "own format, 10M operations",
        work: Work::OwnFormat,
        txns: 10_000_000 / OPS,
        aim: Aim::new(2.0, Some(300)),
        peer: "timestamped histories, published: 1M transactions in 17 s, 13 GB",
    },
    Line {
        name: "the same, by the graph",
        work: Work::OwnGraph,
        txns: 10_000_000 / OPS,
        aim: Aim::new(30.0, Some(2000)),
        peer: "",
    },
    Line {
        name: "locks, zipf, serializable, 100k",
        work: Work::Locks,
        txns: 100_000,
        aim: Aim::new(10.0, Some(1000)),
        peer: "VeriStrong, published: 100k in < 5 h, < 64 GB; Vbox, here, given times: 5.7 s, 522 MB",
    },
    Line {
        name: "snapshots, hotspot, SI, 10k",
        work: Work::Snapshots,
        txns: 10_000,
        aim: Aim::new(2.0, Some(1000)),
        peer: "PolySI, here, another such: 33 s of CPU, 2.2 GB; VeriStrong: > 98 s",
    },
    Line {
        name: "snapshots, hotspot, SI, 100k",
        work: Work::Snapshots,
        txns: 100_000,
        aim: Aim::new(10.0, Some(1000)),
        peer: "PolySI, published: 1M in < 4 h, < 40 GB",
    },
    Line {
        name: "snapshots, one G2 of 16, 10k",
        work: Work::LongCycle,
        txns: 10_000,
        aim: Aim::new(2.0, Some(1000)),
        peer: "none measured",
    },
    Line {
        name: "snapshots, one G2 of 16, 100k",
        work: Work::LongCycle,
        txns: 100_000,
        aim: Aim::new(10.0, Some(1000)),
        peer: "none measured",
    },
    Line {
        name: "locks, no sessions, 10k",
        work: Work::NoSessions,
        txns: 10_000,
        aim: Aim::new(2.0, Some(1000)),
        peer: "none measured",
    },
];

impl Aim {
    const fn new(seconds: f64, megabytes: Option<u32>) -> Self {
        Self { seconds, megabytes }
    }

    pub(crate) fn is_met(&self, measured: &Measured) -> bool {
        let fits = |most| measured.peak_megabytes() <= f64::from(most);
        measured.wall() <= self.seconds && self.megabytes.is_none_or(fits)
    }

    pub(crate) fn says(&self, measured: &Measured) -> &'static str {
        if self.is_met(measured) {
            "holds"
        } else {
            "missed"
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "≤ {} s", self.seconds)?;
        match self.megabytes {
            Some(most) => write!(f, ", {most} MB"),
            None => Ok(()),
        }
    }
}

/// A history that has been read.
pub(crate) enum Loaded {
    Observed(Box<Observed>),
    Site(Box<[SiteHistory; 1]>),
    /// It is read while it is judged.
    File(PathBuf),
}

impl Work {
    pub(crate) const ALL: [Self; 10] = [
        Self::ListAppend,
        Self::RwRegister,
        Self::WriteSkew,
        Self::Causal,
        Self::OwnFormat,
        Self::OwnGraph,
        Self::Locks,
        Self::Snapshots,
        Self::LongCycle,
        Self::NoSessions,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ListAppend => "list-append",
            Self::RwRegister => "rw-register",
            Self::WriteSkew => "write-skew",
            Self::Causal => "causal",
            Self::OwnFormat => "own-format",
            Self::OwnGraph => "own-graph",
            Self::Locks => "locks",
            Self::Snapshots => "snapshots",
            Self::LongCycle => "long-cycle",
            Self::NoSessions => "no-sessions",
        }
    }

    /// The verdict, which is known by construction.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::WriteSkew | Self::LongCycle => "invalid",
            Self::ListAppend
            | Self::RwRegister
            | Self::Causal
            | Self::OwnFormat
            | Self::OwnGraph
            | Self::Locks
            | Self::Snapshots
            | Self::NoSessions => "valid",
        }
    }

    /// Makes a history of so many transactions.
    pub(crate) fn generate(self, txns: u32, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let mut out = BufWriter::new(File::create(path)?);
        if let Some(workload) = self.workload(txns) {
            // The text form has a session for everybody.
            let format = if self == Self::NoSessions {
                Format::Native
            } else {
                Format::Text
            };
            formats::write(&workload.run()?, format, &mut out)?;
            return Ok(out.flush()?);
        }
        let kind = match self {
            Self::ListAppend => Kind::ListAppend,
            Self::RwRegister
            | Self::WriteSkew
            | Self::Causal
            | Self::Locks
            | Self::Snapshots
            | Self::LongCycle
            | Self::NoSessions => Kind::RwRegister,
            Self::OwnFormat | Self::OwnGraph => {
                write_site(txns, &mut out)?;
                return Ok(out.flush()?);
            }
        };
        let plan = Plan {
            kind,
            txns,
            sessions: 20,
            ops: OPS,
            keys: None,
            plant: if self == Self::WriteSkew {
                Plant::WriteSkew
            } else {
                Plant::None
            },
            timed: self != Self::Causal,
            seed: 1,
        };
        let format = if self == Self::Causal {
            Format::Text
        } else {
            Format::ElleEdn
        };
        formats::write(&plan.run()?, format, &mut out)?;
        Ok(out.flush()?)
    }

    /// What runs beside each other, if it does.
    fn workload(self, txns: u32) -> Option<Workload> {
        let (discipline, distribution) = match self {
            Self::Locks => (Discipline::TwoPhaseLocking, Distribution::Zipf),
            Self::Snapshots | Self::LongCycle => (Discipline::Snapshot, Distribution::Hotspot),
            Self::NoSessions => (Discipline::TwoPhaseLocking, Distribution::Uniform),
            Self::ListAppend
            | Self::RwRegister
            | Self::WriteSkew
            | Self::Causal
            | Self::OwnFormat
            | Self::OwnGraph => return None,
        };
        let snapshots = discipline == Discipline::Snapshot;
        Some(Workload {
            discipline,
            txns,
            sessions: 24,
            ops: OPS,
            keys: txns / 2,
            distribution,
            reads: 50,
            modify: 0,
            long: if snapshots { 20 } else { 0 },
            stale: if snapshots { 50 } else { 0 },
            violation: if self == Self::LongCycle {
                Violation::LongCycle
            } else {
                Violation::None
            },
            lines: if self == Self::NoSessions {
                Lines::Anyhow
            } else {
                Lines::Sessions
            },
            timed: false,
            seed: 1,
        })
    }

    pub(crate) fn load(self, path: &Path) -> Result<Loaded, Box<dyn std::error::Error>> {
        Ok(match self {
            Self::OwnFormat => Loaded::File(path.to_owned()),
            Self::OwnGraph => {
                let reader = BufReader::with_capacity(1 << 16, File::open(path)?);
                Loaded::Site(Box::new([checker::parse::read_history(reader, "history")?]))
            }
            Self::ListAppend
            | Self::RwRegister
            | Self::WriteSkew
            | Self::Causal
            | Self::Locks
            | Self::Snapshots
            | Self::LongCycle
            | Self::NoSessions => {
                Loaded::Observed(Box::new(formats::read_path(path, &ReadOptions::default())?))
            }
        })
    }

    /// Judges, and says the verdict in one word.
    pub(crate) fn judge(self, loaded: &Loaded) -> &'static str {
        let history = match loaded {
            Loaded::Site(sites) => {
                let case = Case::new(sites.as_slice());
                return match case.judge(Level::Serializability).verdict {
                    Verdict::Valid { .. } => "valid",
                    Verdict::Invalid { .. } => "invalid",
                    Verdict::Unknown { .. } => "unknown",
                };
            }
            Loaded::File(path) => {
                let options = checker::replay::Options::default();
                let replayed = checker::replay::replay_files(&[path], &options);
                return replayed.map_or("unknown", |_| "valid");
            }
            Loaded::Observed(history) => history,
        };
        match self {
            Self::ListAppend => {
                let options = Options::new([Model::Serializable]);
                anomaly::judge(history, &options).verdict.name()
            }
            Self::Causal => match weak::judge(history, weak::Level::Causal) {
                weak::Verdict::Valid(_) => "valid",
                weak::Verdict::Invalid(_) => "invalid",
                weak::Verdict::Unknown(_) => "unknown",
            },
            Self::RwRegister
            | Self::WriteSkew
            | Self::OwnFormat
            | Self::OwnGraph
            | Self::Locks
            | Self::Snapshots
            | Self::LongCycle
            | Self::NoSessions => {
                let level = match self {
                    Self::Locks => search::Level::SESSION_SERIALIZABLE,
                    Self::Snapshots => search::Level::SESSION_SNAPSHOT,
                    Self::ListAppend
                    | Self::RwRegister
                    | Self::WriteSkew
                    | Self::Causal
                    | Self::OwnFormat
                    | Self::OwnGraph
                    | Self::LongCycle
                    | Self::NoSessions => search::Level::SERIALIZABLE,
                };
                match search::judge(history, level, &Budget::default()) {
                    search::Verdict::Valid(_) => "valid",
                    search::Verdict::Invalid(_) => "invalid",
                    search::Verdict::Unknown(_) => "unknown",
                }
            }
        }
    }
}

/// Writes what a site records of transactions that run one at a time.
fn write_site(txns: u32, out: &mut dyn Write) -> io::Result<()> {
    let keys = (txns / 2).max(OPS);
    let mut versions = vec![0_u32; keys as usize];
    let mut random = Random(1);
    let mut seq = 0;
    writeln!(out, "co-history 1 A")?;
    for txn in 1..=txns {
        let mut ops = String::new();
        let mut used: Vec<u32> = Vec::new();
        let mut written: Vec<u32> = Vec::new();
        while used.len() < OPS as usize {
            let key = random.below(keys);
            if used.contains(&key) {
                continue;
            }
            used.push(key);
            if random.below(2) == 0 {
                ops.push_str(&format!(" r:{key}@{}", versions[key as usize]));
            } else {
                ops.push_str(&format!(" w:{key}"));
                written.push(key);
            }
        }
        if written.is_empty() {
            writeln!(out, "c L{txn} {txn} -{ops}")?;
        } else {
            seq += 1;
            writeln!(out, "c L{txn} {txn} {seq}{ops}")?;
        }
        for key in written {
            versions[key as usize] = seq;
        }
    }
    writeln!(out, "end {txns}")
}
