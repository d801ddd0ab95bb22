//! What happened, in order: as a hash always, as text if somebody wants to read it.

use std::hash::{Hash, Hasher};

/// FNV-1a over words: the same in every process and on every machine of one word size.
#[derive(Clone, Debug)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The trace of one run.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: Fnv,
    events: u64,
    text: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(readable: bool) -> Self {
        Self {
            hash: Fnv(0xcbf2_9ce4_8422_2325),
            events: 0,
            text: readable.then(Vec::new),
        }
    }

    /// Something happened at this time; `what` tells it from everything else that could have.
    pub(crate) fn event(&mut self, now: u64, what: impl Hash, text: impl FnOnce() -> String) {
        self.events += 1;
        (now, what).hash(&mut self.hash);
        if let Some(lines) = &mut self.text {
            lines.push(format!("{now:>10} {}", text()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn into_text(self) -> Vec<String> {
        self.text.unwrap_or_default()
    }
}
