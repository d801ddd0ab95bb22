//! Shopping carts (Keeping CALM, section 2.1.1).

use std::collections::BTreeSet;

use super::super::history::{EventId, History};
use super::super::specification::Specification;
use super::super::universe::{Program, Universe};
use super::Row;
use super::answers::{Answers, alike, choices, included, say_set};

pub(super) fn rows() -> Vec<Row> {
    const SECTION: &str = "Keeping CALM, section 2.1.1";
    vec![
        Row::new("cart", "a shopping cart", SECTION)
            .remark("What was added and what was deleted are two sets that only grow, kept at two replicas.")
            .monotone(Cart::Updates, true),
        Row::new("cart-with-checkout", "a shopping cart with checkout", SECTION)
            .remark("A checkout buys what the replica knows. Updates that did not come after it must not be lost.")
            .monotone(Cart::Checkout, false),
        Row::new("cart-with-manifest", "a shopping cart with a manifest at checkout", SECTION)
            .remark("A checkout names the updates that came before it. The call is the moment at which the replica carries it out, \
                which it does when it knows them all.")
            .monotone(Cart::Manifest, true),
    ]
}

/// A message of the shopper that changes the cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Update {
    Add(&'static str),
    Delete(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Op {
    Update(Update),
    Checkout,
    /// A checkout with the updates that came before it.
    CheckoutAfter(BTreeSet<Update>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Answer {
    Done,
    Bought(BTreeSet<&'static str>),
}

/// How one checks out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cart {
    /// Not at all.
    Updates,
    Checkout,
    Manifest,
}

/// What was added and deleted, and what clients were told.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    updates: BTreeSet<Update>,
    answers: Answers<Answer>,
}

fn contents<'a>(updates: impl IntoIterator<Item = &'a Update>) -> BTreeSet<&'static str> {
    let (mut added, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    for update in updates {
        match *update {
            Update::Add(item) => added.insert(item),
            Update::Delete(item) => deleted.insert(item),
        };
    }
    added.difference(&deleted).copied().collect()
}

fn update(op: &Op) -> Option<&Update> {
    match op {
        Op::Update(update) => Some(update),
        Op::Checkout | Op::CheckoutAfter(_) => None,
    }
}

impl Specification for Cart {
    type Op = Op;
    type Value = Answer;
    type Outcome = Outcome;

    fn universe(&self) -> Universe<Self> {
        use Update::{Add, Delete};
        let mut menu = [Add("milk"), Add("eggs"), Delete("milk"), Delete("eggs")]
            .map(Op::Update)
            .to_vec();
        let manifests: [&[Update]; 3] = [
            &[Add("milk"), Add("eggs")],
            &[Add("milk"), Delete("milk")],
            &[Add("eggs"), Delete("eggs")],
        ];
        match self {
            Self::Updates => {}
            Self::Checkout => menu.push(Op::Checkout),
            Self::Manifest => menu.extend(
                manifests.map(|manifest| Op::CheckoutAfter(manifest.iter().copied().collect())),
            ),
        }
        let program = Program::menu(&menu, 1, 3);
        alike(10, &["p", "q"], &program, 1, other_op, other_answer).calls_wait()
    }

    fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Outcome> {
        let updates = |with: &dyn Fn(EventId) -> bool| -> BTreeSet<Update> {
            let operations = history.invocations().filter(|(id, _)| with(*id));
            operations
                .filter_map(|(_, op)| update(op))
                .copied()
                .collect()
        };
        let answers = choices(history, |id, op| match op {
            Op::Update(_) => vec![Answer::Done],
            Op::Checkout => vec![Answer::Bought(contents(&updates(&|other| {
                !history.precedes(id, other)
            })))],
            Op::CheckoutAfter(manifest) => {
                let known = updates(&|other| history.precedes(other, id));
                let bought = manifest
                    .is_subset(&known)
                    .then(|| Answer::Bought(contents(manifest)));
                bought.into_iter().collect()
            }
        });
        let updates = updates(&|_| true);
        let outcome = |answers| Outcome {
            updates: updates.clone(),
            answers,
        };
        answers.into_iter().map(outcome).collect()
    }

    fn refines(&self, earlier: &Outcome, later: &Outcome) -> bool {
        earlier.updates.is_subset(&later.updates) && included(&earlier.answers, &later.answers)
    }

    fn answer(&self, outcome: &Outcome, _: &History<Op, Answer>, asked: EventId) -> Option<Answer> {
        outcome.answers.get(&asked).cloned()
    }

    fn say_op(&self, op: &Op) -> String {
        match op {
            Op::Update(update) => say_update(update),
            Op::Checkout => "checkout".to_owned(),
            Op::CheckoutAfter(manifest) => format!(
                "checkout after {}",
                say_set(manifest.iter().map(say_update))
            ),
        }
    }

    fn say_value(&self, value: &Answer) -> String {
        match value {
            Answer::Done => "ok".to_owned(),
            Answer::Bought(items) => say_set(items),
        }
    }

    fn say_outcome(&self, outcome: &Outcome, _: &History<Op, Answer>) -> String {
        let bought = outcome
            .answers
            .values()
            .filter(|answer| **answer != Answer::Done);
        let orders: Vec<String> = bought
            .map(|answer| format!(", bought {}", self.say_value(answer)))
            .collect();
        format!(
            "{}{}",
            say_set(outcome.updates.iter().map(say_update)),
            orders.concat()
        )
    }
}

fn say_update(update: &Update) -> String {
    match update {
        Update::Add(item) => format!("add({item})"),
        Update::Delete(item) => format!("delete({item})"),
    }
}

fn other(item: &'static str) -> &'static str {
    if item == "milk" { "eggs" } else { "milk" }
}

fn other_update(update: &Update) -> Update {
    match *update {
        Update::Add(item) => Update::Add(other(item)),
        Update::Delete(item) => Update::Delete(other(item)),
    }
}

fn other_op(op: &Op) -> Op {
    match op {
        Op::Update(update) => Op::Update(other_update(update)),
        Op::Checkout => Op::Checkout,
        Op::CheckoutAfter(manifest) => {
            Op::CheckoutAfter(manifest.iter().map(other_update).collect())
        }
    }
}

fn other_answer(answer: &Answer) -> Answer {
    match answer {
        Answer::Done => Answer::Done,
        Answer::Bought(items) => Answer::Bought(items.iter().map(|item| other(item)).collect()),
    }
}
