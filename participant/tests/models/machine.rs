//! The steps that a case is made of, and which of them are possible when.
//!
//! Four clients, each with one transaction at a time. What an engine makes of it (waits, aborts, votes) is its own
//! business: steps of a transaction that is gone do nothing.

use participant::engine::EngineKind;
use participant::{Key, KeyRange, Operation, Value};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

pub(crate) const CLIENTS: usize = 4;
const KEYS: u8 = 4;

/// One step of a case.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Begin {
        client: usize,
        local: bool,
        dependent: bool,
    },
    Operate {
        client: usize,
        operation: Operation,
    },
    /// The vote of a global transaction, the commit of a local one.
    Ask {
        client: usize,
    },
    Decide {
        client: usize,
        commit: bool,
    },
    /// The client is gone before it has asked.
    Leave {
        client: usize,
    },
    /// The log is synced.
    Sync,
    /// The machine stops; of what the log has not synced, so many records are there all the same.
    Restart {
        survivors: usize,
    },
}

/// How far a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Client {
    Idle,
    Working,
    Asked,
}

/// What is broken around the engine, to see whether the model notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    None,
    /// The storage keeps deleted rows.
    DeletesIgnored,
    /// A restart does not find the last record of the log.
    LastRecordLost,
    /// A restart has forgotten what the transactions in doubt have read.
    ReadsForgotten,
    /// A restart finds the increments of local commits doubled.
    IncrementsDoubled,
}

/// What is under the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disk {
    Memory,
    Fjall,
}

/// Which engine, on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) kind: EngineKind,
    pub(crate) disk: Disk,
    pub(crate) lie: Lie,
}

/// The reference state of a case.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) setup: Setup,
    clients: [Client; CLIENTS],
}

/// The cases of an engine, by its place in [`EngineKind::ALL`], on Fjall or in memory.
#[derive(Debug)]
pub(crate) struct Cases<const KIND: usize, const FJALL: bool, const LIE: usize>;

const LIES: [Lie; 5] = [
    Lie::None,
    Lie::DeletesIgnored,
    Lie::LastRecordLost,
    Lie::ReadsForgotten,
    Lie::IncrementsDoubled,
];

pub(crate) fn key(number: u8) -> Key {
    Key::from([b'a' + number].as_slice())
}

pub(crate) fn number(value: i64) -> Value {
    Value::from(value.to_le_bytes().as_slice())
}

fn operation() -> impl Strategy<Value = Operation> {
    let some = || (0..KEYS).prop_map(key);
    prop_oneof![
        4 => some().prop_map(Operation::Get),
        4 => (some(), 0..100_i64).prop_map(|(key, value)| Operation::Put(key, number(value))),
        1 => some().prop_map(Operation::Delete),
        2 => (some(), 1..10_i64).prop_map(|(key, by)| Operation::Increment(key, by)),
        1 => (0..KEYS, 1..=KEYS).prop_map(|(low, span)| Operation::Scan(KeyRange {
            low: key(low),
            high: Some(key(low + span)),
        })),
    ]
}

impl<const KIND: usize, const FJALL: bool, const LIE: usize> ReferenceStateMachine
    for Cases<KIND, FJALL, LIE>
{
    type State = Clients;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Clients> {
        let setup = Setup {
            kind: EngineKind::ALL[KIND],
            disk: if FJALL { Disk::Fjall } else { Disk::Memory },
            lie: LIES[LIE],
        };
        let clients = [Client::Idle; CLIENTS];
        Just(Clients { setup, clients }).boxed()
    }

    fn transitions(state: &Clients) -> BoxedStrategy<Step> {
        let all = |wanted: Client| -> Vec<usize> {
            let clients = state.clients.iter().enumerate();
            let fitting = clients.filter(|(_, is)| **is == wanted);
            fitting.map(|(client, _)| client).collect()
        };
        let mut steps: Vec<(u32, BoxedStrategy<Step>)> = vec![
            (2, Just(Step::Sync).boxed()),
            (
                1,
                (0..3_usize)
                    .prop_map(|survivors| Step::Restart { survivors })
                    .boxed(),
            ),
        ];
        let mut add = |weight, clients: Vec<usize>, step: BoxedStrategy<Step>| {
            if !clients.is_empty() {
                steps.push((weight, step));
            }
        };
        let one = |clients: &Vec<usize>| prop::sample::select(clients.clone());
        let (idle, working, asked) = (all(Client::Idle), all(Client::Working), all(Client::Asked));
        if !idle.is_empty() {
            let begin = (one(&idle), prop::bool::weighted(0.3), any::<bool>());
            let begin = begin.prop_map(|(client, local, dependent)| Step::Begin {
                client,
                local,
                dependent,
            });
            add(8, idle, begin.boxed());
        }
        if !working.is_empty() {
            let operate = (one(&working), operation());
            let operate =
                operate.prop_map(|(client, operation)| Step::Operate { client, operation });
            let ask = one(&working).prop_map(|client| Step::Ask { client });
            let leave = one(&working).prop_map(|client| Step::Leave { client });
            add(16, working.clone(), operate.boxed());
            add(6, working.clone(), ask.boxed());
            add(1, working, leave.boxed());
        }
        if !asked.is_empty() {
            let decide = (one(&asked), prop::bool::weighted(0.85));
            let decide = decide.prop_map(|(client, commit)| Step::Decide { client, commit });
            add(8, asked, decide.boxed());
        }
        prop::strategy::Union::new_weighted(steps).boxed()
    }

    fn apply(mut state: Clients, step: &Step) -> Clients {
        match step {
            Step::Begin { client, .. } => state.clients[*client] = Client::Working,
            Step::Ask { client } => state.clients[*client] = Client::Asked,
            Step::Decide { client, .. } | Step::Leave { client } => {
                state.clients[*client] = Client::Idle;
            }
            Step::Restart { .. } => state.clients = [Client::Idle; CLIENTS],
            Step::Operate { .. } | Step::Sync => {}
        }
        state
    }

    fn preconditions(state: &Clients, step: &Step) -> bool {
        match step {
            Step::Begin { client, .. } => state.clients[*client] == Client::Idle,
            Step::Operate { client, .. } | Step::Ask { client } | Step::Leave { client } => {
                state.clients[*client] == Client::Working
            }
            Step::Decide { client, .. } => state.clients[*client] == Client::Asked,
            Step::Sync | Step::Restart { .. } => true,
        }
    }
}
