//! A text that several people edit (Complete CALM, section 5).

use super::super::history::{Event, EventId, History};
use super::super::specification::{Ack, Specification};
use super::super::universe::{Program, Universe};
use super::Row;

pub(super) fn rows() -> Vec<Row> {
    let editor = Editor { mutex: false };
    vec![
        Row::new("collaborative-text", "collaborative text with two keyboards at one node", "Complete CALM, section 5")
            .remark("A document is what each node typed, in the order in which the editor of that node took the keystrokes in; what \
                other nodes typed is merged beside it, as a CRDT does. The editor of the first node has a keyboard of its own, and a second \
                keyboard is connected to it: what both type at once comes to the editor in either order. The literal definition of \
                distributed-monotone counts a keystroke at the same node as a future that a partition allows, so it is broken by two keystrokes \
                of one node, against the sentence that introduces this example. What appendix B uses is the knowledge of a whole node \
                and what happens elsewhere; that holds.")
            .monotone(editor, false)
            .distributed(editor, Some(true))
            .available(editor, Some(true)),
        Row::new("collaborative-text-with-mutex", "collaborative text whose keyboards take turns", "Complete CALM, section 5")
            .remark("The local mutex admits only histories in which no two keystrokes of one node are concurrent.")
            .proper(Editor { mutex: true }, editor, true),
    ]
}

/// A document at two nodes, with two keyboards at the first.
#[derive(Debug, Clone, Copy)]
struct Editor {
    /// Whether keyboards of one node take turns.
    mutex: bool,
}

/// What both nodes typed.
#[derive(Debug, Clone, PartialEq)]
struct Document([String; 2]);

/// The editor of the first node, with a keyboard; its second keyboard; and the editor of the second node.
const PROCESSES: [&str; 3] = ["editor", "keyboard", "remote"];
const NODES: [usize; 3] = [0, 0, 1];
/// A keystroke: a letter.
type Key = char;

impl Editor {
    fn concurrent(history: &History<Key, Ack>) -> bool {
        let keys: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
        let node = |id: EventId| NODES[usize::from(id.process)];
        keys.iter().any(|one| {
            keys.iter()
                .any(|other| node(*one) == node(*other) && history.concurrent(*one, *other))
        })
    }

    /// What was typed at the first node: in the order in which it came to the editor, and then what has not come to it yet.
    fn typed(history: &History<Key, Ack>) -> Vec<EventId> {
        let mut order: Vec<EventId> = Vec::new();
        let mut take = |id: EventId| {
            if !order.contains(&id) {
                order.push(id);
            }
        };
        let second = || {
            history
                .invocations()
                .map(|(id, _)| id)
                .filter(|id| id.process == 1)
        };
        for (place, event) in history.process(0).iter().enumerate() {
            let at = EventId::new(0, place);
            match event {
                Event::Invoke(_) => take(at),
                Event::Receive { .. } => second()
                    .filter(|id| history.precedes(*id, at))
                    .for_each(&mut take),
                Event::Respond { .. } | Event::Internal(_) | Event::Send { .. } => {}
            }
        }
        second().for_each(take);
        order
    }
}

impl Specification for Editor {
    type Op = Key;
    type Value = Ack;
    type Outcome = Document;

    fn universe(&self) -> Universe<Self> {
        let others: [&[usize]; 3] = [&[1, 2], &[0], &[0]];
        let mut universe = Universe::new(10);
        for process in 0..PROCESSES.len() {
            let program = Program::menu(&['x', 'y'], 1, 2).and_send(others[process], 2);
            universe = universe.process_at(NODES[process], PROCESSES[process], program);
        }
        universe.symmetric(
            &[0, 1, 2],
            |key| if *key == 'x' { 'y' } else { 'x' },
            Ack::clone,
        )
    }

    fn outcomes(&self, history: &History<Key, Ack>) -> Vec<Document> {
        if self.mutex && Self::concurrent(history) {
            return Vec::new();
        }
        let text = |keys: Vec<EventId>| keys.into_iter().filter_map(|id| history.op(id)).collect();
        let remote = history
            .invocations()
            .map(|(id, _)| id)
            .filter(|id| id.process == 2);
        vec![Document([
            text(Self::typed(history)),
            text(remote.collect()),
        ])]
    }

    fn refines(&self, earlier: &Document, later: &Document) -> bool {
        earlier
            .0
            .iter()
            .zip(&later.0)
            .all(|(earlier, later)| later.starts_with(earlier.as_str()))
    }

    fn answer(&self, _: &Document, _: &History<Key, Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }

    fn say_op(&self, op: &Key) -> String {
        format!("type {op}")
    }

    fn say_outcome(&self, outcome: &Document, _: &History<Key, Ack>) -> String {
        let Document([here, remote]) = outcome;
        format!("\u{201c}{here}\u{201d} here, \u{201c}{remote}\u{201d} remotely")
    }
}
