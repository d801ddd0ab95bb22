//! Classical problems of distributed computing (Complete CALM, appendix F, table 1; appendix D).

use std::collections::BTreeSet;

use super::super::authority::Ordered;
use super::super::history::{Cut, EventId, History};
use super::super::specification::{Ack, Specification};
use super::super::universe::{Action, Program, Universe};
use super::Row;
use super::answers::{Answered, Answers, alike, answer_in, choices, included, linearized, say};
use super::registers::Linearizable;

pub(super) fn rows() -> Vec<Row> {
    const TABLE: &str = "Complete CALM, appendix F, table 1";
    const AUTHORITY: &str = "Complete CALM, section 4.1, theorem 4, and appendix D";
    const ORDERED: &str = "The first process orders all requests; a client is told its result when the log has come to it. Outcomes are \
        evaluations of prefixes of the log, refined by those of longer ones (remark 4: an interface of its own).";
    vec![
        Row::new("global-snapshot", "global snapshots", TABLE)
            .remark("Outcomes are downward closed cuts: any of them may be taken for the snapshot. A cut stays one in every future: the lemma of \
                accumulating outcomes.")
            .monotone(GlobalSnapshot, true),
        Row::new("atomic-snapshot", "an atomic snapshot object", TABLE)
            .remark("Outcomes are the vectors that scans return, in an order in which all scans and updates can be linearized.")
            .monotone(AtomicSnapshot, false)
            .counted(AtomicSnapshot, 8),
        Row::new("k-set-agreement", "2-set agreement of three processes", TABLE)
            .remark("Each decides some value that somebody proposed, all together at most two.")
            .monotone(Agreement::Values(2), false)
            .counted(Agreement::Values(2), 8),
        Row::new("strong-renaming", "strong renaming", TABLE)
            .remark("Each takes a name that nobody else has, from as many as there are participants.")
            .monotone(Agreement::Names, false)
            .counted(Agreement::Names, 8),
        Row::new("consensus-authority", "consensus on who is the authority", TABLE)
            .remark("Outcomes are sequences of authorities; who asks is told its place in the sequence.")
            .monotone(Succession, false)
            .counted(Succession, 8),
        Row::new("ordered-register", "a linearizable register under an ordering authority", AUTHORITY)
            .remark(ORDERED)
            .monotone(Ordered::new(Linearizable), true),
        Row::new("ordered-renaming", "strong renaming under an ordering authority", AUTHORITY)
            .remark(ORDERED)
            .monotone(Ordered::within(Agreement::Names, 12), true),
        Row::new("ordered-k-set-agreement", "2-set agreement of three processes under an ordering authority", AUTHORITY)
            .remark(ORDERED)
            .monotone(Ordered::within(Agreement::Values(2), 10), true),
    ]
}

/// Cuts through a computation.
struct GlobalSnapshot;

/// A step of a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Step;

impl Specification for GlobalSnapshot {
    type Op = Step;
    type Value = Ack;
    type Outcome = Cut;

    fn universe(&self) -> Universe<Self> {
        let steps = |done: &[_]| {
            let did = done
                .iter()
                .filter(|event| matches!(event, super::super::history::Event::Internal(Step)));
            if did.count() < 2 {
                vec![Action::Internal(Step)]
            } else {
                Vec::new()
            }
        };
        alike(8, &NAMES, &Program::new(steps), 1, Step::clone, Ack::clone)
    }

    fn outcomes(&self, history: &History<Step, Ack>) -> Vec<Cut> {
        history.cuts()
    }

    fn refines(&self, earlier: &Cut, later: &Cut) -> bool {
        earlier
            .iter()
            .zip(later)
            .all(|(earlier, later)| earlier <= later)
    }

    fn answer(&self, _: &Cut, _: &History<Step, Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }

    fn say_op(&self, _: &Step) -> String {
        "step".to_owned()
    }

    fn say_outcome(&self, outcome: &Cut, _: &History<Step, Ack>) -> String {
        let events = NAMES
            .iter()
            .zip(outcome)
            .map(|(name, events)| format!("{events} of {name}"));
        events.collect::<Vec<_>>().join(", ")
    }
}

const NAMES: [&str; 3] = ["p", "q", "r"];

/// An array with a place for each process; a scan returns all of it at once.
struct AtomicSnapshot;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Access {
    /// One more at the place of who asks.
    Update,
    Scan,
}

/// How often each process had updated its place; nothing for who updates.
type Vector = Vec<u8>;

impl Specification for AtomicSnapshot {
    type Op = Access;
    type Value = Vector;
    type Outcome = Answered<Vector>;

    fn universe(&self) -> Universe<Self> {
        let program = Program::menu(&[Access::Update, Access::Scan], 2, 2);
        // Answers are vectors by process, so processes cannot trade places without them.
        let universe = Universe::new(10);
        let universe = universe.process("p", program.clone().and_send(&[1], 1));
        universe.process("q", program.and_send(&[0], 1)).symmetric(
            &[1, 0],
            Access::clone,
            |vector: &Vector| vector.iter().rev().copied().collect(),
        )
    }

    fn outcomes(&self, history: &History<Access, Vector>) -> Vec<Answered<Vector>> {
        let start = vec![0; history.processes()];
        let apply = |array: &mut Vector, id: EventId, access: &Access| match access {
            Access::Update => {
                array[usize::from(id.process)] += 1;
                Vector::new()
            }
            Access::Scan => array.clone(),
        };
        let mut outcomes = linearized(history, &start, apply);
        for outcome in &mut outcomes {
            outcome.retain(|(_, vector)| !vector.is_empty());
        }
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }

    fn refines(&self, earlier: &Answered<Vector>, later: &Answered<Vector>) -> bool {
        later.starts_with(earlier)
    }

    fn answer(
        &self,
        outcome: &Answered<Vector>,
        history: &History<Access, Vector>,
        asked: EventId,
    ) -> Option<Vector> {
        match history.op(asked)? {
            Access::Update => Some(Vector::new()),
            Access::Scan => answer_in(outcome, asked),
        }
    }

    fn say_op(&self, op: &Access) -> String {
        match op {
            Access::Update => "update".to_owned(),
            Access::Scan => "scan".to_owned(),
        }
    }

    fn say_value(&self, value: &Vector) -> String {
        if value.is_empty() {
            "ok".to_owned()
        } else {
            format!("{value:?}")
        }
    }

    fn say_outcome(&self, outcome: &Answered<Vector>, history: &History<Access, Vector>) -> String {
        format!(
            "\u{27e8}{}\u{27e9}",
            say(
                self,
                history,
                outcome.iter().map(|(id, vector)| (id, vector))
            )
        )
    }
}

/// Each process asks once for something that depends on what all others get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreement {
    /// Each proposes a value and gets one that was proposed, all together at most so many.
    Values(usize),
    /// Each gets a name of its own, from 1 to the number of participants.
    Names,
}

/// A value that is proposed; what is proposed does not matter to who wants a name.
type Proposal = &'static str;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Share {
    Value(Proposal),
    Name(usize),
}

impl Specification for Agreement {
    type Op = Proposal;
    type Value = Share;
    type Outcome = Answers<Share>;

    fn universe(&self) -> Universe<Self> {
        let proposals: &[Proposal] = match self {
            Self::Values(_) => &["cat", "cow", "dog"],
            Self::Names => &["name"],
        };
        alike(
            10,
            &NAMES,
            &Program::menu(proposals, 1, 1),
            2,
            next_proposal,
            next_share,
        )
    }

    fn outcomes(&self, history: &History<Proposal, Share>) -> Vec<Answers<Share>> {
        let participants = history.invocations().count();
        let mut outcomes = choices(history, |_, _| match self {
            Self::Values(_) => {
                let proposed: BTreeSet<Proposal> =
                    history.invocations().map(|(_, value)| *value).collect();
                proposed.into_iter().map(Share::Value).collect()
            }
            Self::Names => (1..=participants).map(Share::Name).collect(),
        });
        let most = |distinct: usize| match self {
            Self::Values(most) => distinct <= *most,
            Self::Names => distinct == participants,
        };
        outcomes.retain(|shares| most(shares.values().collect::<BTreeSet<_>>().len()));
        outcomes
    }

    fn refines(&self, earlier: &Answers<Share>, later: &Answers<Share>) -> bool {
        included(earlier, later)
    }

    fn answer(
        &self,
        outcome: &Answers<Share>,
        _: &History<Proposal, Share>,
        asked: EventId,
    ) -> Option<Share> {
        outcome.get(&asked).copied()
    }

    fn say_op(&self, op: &Proposal) -> String {
        match self {
            Self::Values(_) => format!("propose({op})"),
            Self::Names => "take a name".to_owned(),
        }
    }

    fn say_value(&self, value: &Share) -> String {
        match value {
            Share::Value(value) => (*value).to_owned(),
            Share::Name(name) => name.to_string(),
        }
    }

    fn say_outcome(&self, outcome: &Answers<Share>, history: &History<Proposal, Share>) -> String {
        format!("{{{}}}", say(self, history, outcome))
    }
}

fn next_proposal(proposal: &Proposal) -> Proposal {
    match *proposal {
        "cat" => "cow",
        "cow" => "dog",
        "dog" => "cat",
        other => other,
    }
}

fn next_share(share: &Share) -> Share {
    match share {
        Share::Value(value) => Share::Value(next_proposal(value)),
        Share::Name(name) => Share::Name(*name),
    }
}

/// Who is the authority, and who is after it.
struct Succession;

/// Claims authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Claim;

impl Specification for Succession {
    type Op = Claim;
    type Value = usize;
    type Outcome = Answered<usize>;

    fn universe(&self) -> Universe<Self> {
        alike(
            10,
            &NAMES,
            &Program::menu(&[Claim], 1, 1),
            2,
            Claim::clone,
            usize::clone,
        )
    }

    fn outcomes(&self, history: &History<Claim, usize>) -> Vec<Answered<usize>> {
        linearized(history, &0, |authorities, _, _| {
            *authorities += 1;
            *authorities
        })
    }

    fn refines(&self, earlier: &Answered<usize>, later: &Answered<usize>) -> bool {
        later.starts_with(earlier)
    }

    fn answer(
        &self,
        outcome: &Answered<usize>,
        _: &History<Claim, usize>,
        asked: EventId,
    ) -> Option<usize> {
        answer_in(outcome, asked)
    }

    fn say_op(&self, _: &Claim) -> String {
        "claim authority".to_owned()
    }

    fn say_value(&self, value: &usize) -> String {
        format!("authority {value}")
    }

    fn say_outcome(&self, outcome: &Answered<usize>, history: &History<Claim, usize>) -> String {
        format!(
            "\u{27e8}{}\u{27e9}",
            say(self, history, outcome.iter().map(|(id, place)| (id, place)))
        )
    }
}
