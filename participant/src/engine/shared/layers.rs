//! The undecided changes of each key, in the order of their locks, on top of the committed data.
//!
//! Invariants:
//! - A1 The layers of a key lie in the order of the granted requests for it: a transaction has at most one there, with
//!   the net change of the key, and where a later change moves it up, those that it passes commute with it.
//! - A2 A layer is there from the change to the decision, or to the undoing, of its transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::number;
use crate::engine::workspace::{Pending, Row};
use crate::participant::{Key, KeyRange, Value};
use crate::registry::Handle;
use crate::storage::Cell;

#[derive(Debug, Default)]
pub(super) struct Layers {
    keys: BTreeMap<Key, Vec<Layer>>,
}

#[derive(Debug)]
struct Layer {
    owner: Arc<Handle>,
    change: Pending,
}

/// What a transaction sees of a key, without its own change.
#[derive(Debug)]
pub(super) struct Visible {
    pub(super) value: Option<Value>,
    /// The newest committed version that went into the value, zero if none did.
    pub(super) version: u64,
    /// Whose undecided changes did.
    pub(super) writers: Vec<Arc<Handle>>,
}

impl Layers {
    /// Puts the net change of a key on top of the others.
    pub(super) fn lay(&mut self, key: &Key, owner: &Arc<Handle>, change: Pending) {
        let layers = self.keys.entry(Arc::clone(key)).or_default();
        layers.retain(|layer| !is(&layer.owner, owner));
        layers.push(Layer {
            owner: Arc::clone(owner),
            change,
        });
    }

    /// Takes a transaction's layer out.
    pub(super) fn take(&mut self, key: &Key, owner: &Handle) {
        if let Some(layers) = self.keys.get_mut(key) {
            layers.retain(|layer| !is(&layer.owner, owner));
            if layers.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// Whether another transaction's undecided change has replaced the committed value.
    pub(super) fn is_replaced(&self, key: &Key, reader: &Handle) -> bool {
        let layers = self.of(key, reader);
        layers.into_iter().any(replaces)
    }

    /// What `reader` sees of a key on top of what is committed: the newest value and the increments behind it.
    pub(super) fn visible(&self, key: &Key, committed: Cell, reader: &Handle) -> Visible {
        let layers = self.of(key, reader);
        let from = layers.iter().rposition(|layer| replaces(layer));
        let above = &layers[from.unwrap_or(0)..];
        let (mut value, version) = if from.is_some() {
            (None, 0)
        } else {
            (committed.value, committed.version)
        };
        for layer in above {
            value = match &layer.change {
                Pending::Put(value) => Some(Arc::clone(value)),
                Pending::Delete => None,
                Pending::Increment(delta) => Some(number::add(value.as_deref(), *delta)),
            };
        }
        let writers = above.iter().map(|layer| Arc::clone(&layer.owner)).collect();
        Visible {
            value,
            version,
            writers,
        }
    }

    /// What `reader` sees of a range: present rows, and absent ones where that is undecided.
    pub(super) fn range(
        &self,
        range: &KeyRange,
        committed: Vec<Row>,
        version: impl Fn(&Key) -> u64,
        reader: &Handle,
    ) -> BTreeMap<Key, Visible> {
        let mut found: BTreeMap<Key, Visible> = BTreeMap::new();
        for (key, version, value) in committed {
            let visible = Visible {
                value: Some(value),
                version,
                writers: Vec::new(),
            };
            found.insert(key, visible);
        }
        for (key, _) in self.keys.range(range.bounds()) {
            let before = found.remove(key);
            let committed = Cell {
                version: before
                    .as_ref()
                    .map_or_else(|| version(key), |it| it.version),
                value: before.and_then(|it| it.value),
                ..Cell::default()
            };
            let visible = self.visible(key, committed, reader);
            if visible.value.is_some() || !visible.writers.is_empty() {
                found.insert(Arc::clone(key), visible);
            }
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The layers of a key that are not the reader's own.
    fn of(&self, key: &Key, reader: &Handle) -> Vec<&Layer> {
        let layers = self.keys.get(key).into_iter().flatten();
        layers.filter(|layer| !is(&layer.owner, reader)).collect()
    }
}

fn is(one: &Handle, other: &Handle) -> bool {
    one.txn().id() == other.txn().id()
}

fn replaces(layer: &Layer) -> bool {
    match layer.change {
        Pending::Put(_) | Pending::Delete => true,
        Pending::Increment(_) => false,
    }
}
