//! The sentences of a report: conflicts, anomalies and doubts.
//!
//! Every sentence about a conflict quotes the site, the key and both operations, so that a reader
//! can find them in the files.

use std::fmt;

use crate::explain::{Installed, Reason, Seen, SeenBy, Step};
use crate::index::{FaultKind, Install};
use crate::verdict::{Anomaly, CycleClass, Doubt, TxnRef, UnexplainedRead};

impl Installed {
    const fn verb(self) -> &'static str {
        match self.how {
            Install::Write => "wrote",
            Install::Delete => "deleted",
            Install::Increment => "incremented",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            site,
            key,
            reason,
        } = self;
        if let Some(site) = site {
            write!(f, "At site {site}, {from} ")?;
        }
        // What has a key has a site, too.
        let key = key.as_ref().map(ToString::to_string).unwrap_or_default();
        match reason {
            Reason::WriteWrite { earlier, later } => {
                write!(
                    f,
                    "{} \"{key}\" (seq {}), and {to} then ",
                    earlier.verb(),
                    earlier.seq
                )?;
                write_newer(f, *later)?;
            }
            Reason::WriteRead { installed, seen } => {
                write!(
                    f,
                    "{} \"{key}\" (seq {}), and {to} ",
                    installed.verb(),
                    installed.seq
                )?;
                write_seen_of(f, *installed, seen)?;
            }
            Reason::ReadWrite { seen, installed } => {
                match &seen.by {
                    SeenBy::Read => write!(f, "read \"{key}\"")?,
                    SeenBy::Scan { found, .. } => {
                        write_scan(f, &seen.by)?;
                        let result = if *found { "returned" } else { "did not find" };
                        write!(f, " and {result} \"{key}\"")?;
                    }
                }
                match (&seen.installer, &seen.by) {
                    (Some(writer), SeenBy::Scan { found: false, .. }) => {
                        write!(f, ", which {writer} had deleted (seq {})", seen.version)?;
                    }
                    (Some(writer), _) => {
                        write!(f, " as installed by {writer} (seq {})", seen.version)?;
                    }
                    (None, SeenBy::Scan { found: false, .. }) => {}
                    (None, _) => f.write_str(" in its initial state")?,
                }
                write!(f, ", and {to} then ")?;
                write_newer(f, *installed)?;
            }
            Reason::Session {
                session,
                earlier,
                later,
            } => write!(
                f,
                "In session {session}, {from} is at position {earlier} and {to} at position {later}"
            )?,
            Reason::Realtime {
                told,
                asked,
                clock_error,
            } => write_times(f, [from, to], [*told, *asked, *clock_error])?,
        }
        write!(f, ": so {from} precedes {to}.")
    }
}

fn write_times(
    f: &mut fmt::Formatter<'_>,
    [from, to]: [&TxnRef; 2],
    [told, asked, clock_error]: [u64; 3],
) -> fmt::Result {
    let between = asked - told;
    write!(
        f,
        "The client of {from} was told at {told} ns, and {to} was asked for at {asked} ns, {between} ns later"
    )?;
    match clock_error {
        0 => Ok(()),
        _ => write!(f, ", when clocks agree to within {clock_error} ns"),
    }
}

fn write_newer(f: &mut fmt::Formatter<'_>, later: Installed) -> fmt::Result {
    match later.how {
        Install::Write => write!(f, "installed a newer version (seq {})", later.seq),
        Install::Delete | Install::Increment => {
            write!(f, "{} it (seq {})", later.verb(), later.seq)
        }
    }
}

fn write_seen_of(f: &mut fmt::Formatter<'_>, installed: Installed, seen: &Seen) -> fmt::Result {
    if matches!(seen.by, SeenBy::Scan { .. }) {
        write_scan(f, &seen.by)?;
        f.write_str(" and ")?;
    }
    let found = !matches!(seen.by, SeenBy::Scan { found: false, .. });
    match (&seen.by, installed.how) {
        _ if !found => f.write_str("did not find it"),
        (_, Install::Increment) => {
            write!(f, "saw a sum that includes it (version {})", seen.version)
        }
        (SeenBy::Read, _) => f.write_str("read that version"),
        (SeenBy::Scan { .. }, _) => f.write_str("returned that version"),
    }
}

fn write_scan(f: &mut fmt::Formatter<'_>, by: &SeenBy) -> fmt::Result {
    let SeenBy::Scan { lo, hi, pos, .. } = by else {
        return Ok(());
    };
    write!(f, "scanned \"{lo}\" to ")?;
    match hi {
        Some(hi) => write!(f, "\"{hi}\"")?,
        None => f.write_str("the end")?,
    }
    write!(f, " at position {pos}")
}

impl fmt::Display for CycleClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::G0 => "G0, a cycle of writes",
            Self::G0Process => "G0-process, writes against the order of a session",
            Self::G0Realtime => "G0-realtime, writes against real time",
            Self::G1c => "G1c, circular information flow",
            Self::G1cProcess => "G1c-process, reads from the future of a session",
            Self::G1cRealtime => "G1c-realtime, reads from the future",
            Self::GSingle => "G-single, one read overtaken by a write",
            Self::GSingleProcess => "G-single-process, a stale read in a session",
            Self::GSingleRealtime => "G-single-realtime, a stale read",
            Self::G2Item => "G2-item, reads overtaken by writes",
            Self::G2ItemProcess => "G2-item-process, stale reads in sessions",
            Self::G2ItemRealtime => "G2-item-realtime, stale reads",
            Self::G2 => "G2, a phantom",
            Self::G2Process => "G2-process, a phantom against the order of a session",
            Self::G2Realtime => "G2-realtime, a phantom against real time",
        })
    }
}

impl fmt::Display for UnexplainedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reader,
            site,
            key,
            fault,
        } = self;
        write!(f, "At site {site}, {reader} ")?;
        match fault {
            FaultKind::NeverInstalled { version } => write!(
                f,
                "read \"{key}\" at version {version}, which no committed transaction installed: a \
                 dirty or garbage read."
            ),
            FaultKind::OwnFuture { version } => write!(
                f,
                "read \"{key}\" at version {version}, which it wrote itself only later."
            ),
            FaultKind::OutsideRange => {
                write!(
                    f,
                    "scanned a range and returned \"{key}\", which lies outside it."
                )
            }
            FaultKind::Repeated => write!(f, "scanned a range and returned \"{key}\" twice."),
            FaultKind::NotLatest {
                version,
                latest,
                pos,
            } => write!(
                f,
                "scanned at position {pos} and returned \"{key}\" at version {version}, but its \
                 latest version there is {latest}."
            ),
            FaultKind::Deleted { version, pos } => write!(
                f,
                "scanned at position {pos} and returned \"{key}\", which version {version} had \
                 deleted."
            ),
            FaultKind::NotReturned { version, pos } => write!(
                f,
                "scanned at position {pos} and did not return \"{key}\", which existed there in \
                 version {version}."
            ),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenAtomicity {
                txn,
                committed_at,
                aborted_at,
            } => write!(
                f,
                "{txn} committed at site {committed_at} and aborted at site {aborted_at}: \
                 atomicity is broken."
            ),
            Self::DecisionDisagreement { txn, first, second } => write!(
                f,
                "Site {} says that {txn} was decided at {}, site {} says at {}: the sites disagree \
                 on one decision.",
                first.0, first.1, second.0, second.1
            ),
            Self::ImpossibleRead(read) => read.fmt(f),
            Self::Cycle(cycle) => {
                let shortest = if cycle.shortest { "shortest " } else { "" };
                let first = &cycle.steps[0].from;
                write!(f, "A {shortest}cycle: {first}")?;
                cycle
                    .steps
                    .iter()
                    .try_for_each(|step| write!(f, " → {}", step.to))?;
                write!(f, " ({}).", cycle.class)
            }
            Self::OutOfOrder {
                step,
                earlier_stamp,
                later_stamp,
                serializable,
                ..
            } => {
                write!(
                    f,
                    "{step} But {} was decided at {earlier_stamp} and {} at {later_stamp}.",
                    step.from, step.to
                )?;
                let note = " The case is serializable all the same.";
                f.write_str(if *serializable { note } else { "" })
            }
            Self::PathOutOfOrder {
                steps,
                earlier_stamp,
                later_stamp,
                ..
            } => {
                steps.iter().try_for_each(|step| write!(f, "{step} "))?;
                let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
                    return Ok(());
                };
                write!(
                    f,
                    "But {} was decided at {earlier_stamp} and {} at {later_stamp}.",
                    first.from, last.to
                )
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToJudge => f.write_str("Nothing to judge: no transaction committed."),
            Self::SiteTwice { site, sources } => write!(
                f,
                "{} and {} both claim to be the history of site {site}; pass one file a site.",
                sources.0, sources.1
            ),
            Self::CutShort { source } => {
                write!(
                    f,
                    "File {source} was cut short (it has no footer); records may be missing."
                )
            }
            Self::Undecided {
                txn,
                committed_at,
                in_doubt_at,
            } => write!(
                f,
                "{txn} committed at site {committed_at} and was still in doubt when the file of \
                 site {in_doubt_at} ended; resolve it there and judge again."
            ),
            Self::UnexplainedRead {
                read,
                perhaps: Some(txn),
            } => {
                write!(f, "{read} {txn}, in doubt there, may have installed it.")
            }
            Self::UnexplainedRead {
                read,
                perhaps: None,
            } => {
                write!(
                    f,
                    "{read} The file was cut short, so the install may be missing from it."
                )
            }
            Self::NoSession { .. }
            | Self::NoRealTime { .. }
            | Self::SessionDisagreement { .. }
            | Self::TurnTwice { .. }
            | Self::SessionAgainstTime { .. }
            | Self::Unproven { .. } => write_of_clients(f, self),
            Self::NoStamp { txn, count } => write!(
                f,
                "{count} transactions carry no decision stamp, {txn} among them; record stamps to \
                 judge commitment ordering."
            ),
        }
    }
}

/// Doubts about sessions and real time.
fn write_of_clients(f: &mut fmt::Formatter<'_>, doubt: &Doubt) -> fmt::Result {
    match doubt {
        Doubt::NoSession { txn, count } => write!(
            f,
            "{count} transactions are in no session, {txn} among them; record `p:<session>@<position>` to judge \
                 the order of sessions."
        ),
        Doubt::NoRealTime { txn, count } => write!(
            f,
            "{count} transactions carry no real time, {txn} among them; record `t:<from>..<to>` to judge real time."
        ),
        Doubt::SessionDisagreement { txn, first, second } => write!(
            f,
            "Site {} says that {txn} is at position {} of session {}, site {} says at position {} of session {}; \
                 record one place for it.",
            first.0,
            first.1.position,
            first.1.session,
            second.0,
            second.1.position,
            second.1.session
        ),
        Doubt::TurnTwice { turn, txns } => write!(
            f,
            "{} and {} both claim position {} of session {}; number the transactions of a session.",
            txns[0], txns[1], turn.position, turn.session
        ),
        Doubt::SessionAgainstTime {
            session,
            earlier,
            later,
        } => write!(
            f,
            "{later} comes after {earlier} in session {session}, and was over before {earlier} was asked for: \
                 positions or times are recorded wrongly, and neither was used."
        ),
        Doubt::Unproven { fault, .. } => write!(
            f,
            "A cycle was found, and is none: {fault}. This is a fault of the checker; please report it with the files."
        ),
        Doubt::NothingToJudge
        | Doubt::SiteTwice { .. }
        | Doubt::CutShort { .. }
        | Doubt::Undecided { .. }
        | Doubt::UnexplainedRead { .. }
        | Doubt::NoStamp { .. } => Ok(()),
    }
}
