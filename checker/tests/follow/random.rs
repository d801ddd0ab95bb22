//! Random histories of several sites: an interleaving of transactions, each with reads of the present state, then bent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Numbers that look random (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Clone)]
struct Line {
    /// `c`, `a` or `u`.
    kind: char,
    txn: String,
    stamp: Option<u64>,
    seq: Option<u64>,
    ops: Vec<String>,
}

/// The lines of each site.
pub(crate) struct History {
    sites: Vec<Vec<Line>>,
    cut: Vec<bool>,
    pub(crate) stamped: bool,
}

struct Store {
    now: BTreeMap<u64, (u64, char)>,
    seq: u64,
    initial: Vec<u64>,
}

impl Store {
    fn op(&self, keys: u64, numbers: &mut Numbers) -> String {
        let key = numbers.below(keys);
        match numbers.below(12) {
            0..=4 => format!("r:k{key}@{}", self.now.get(&key).map_or(0, |now| now.0)),
            5 | 6 => format!("w:k{key}"),
            7 => format!("x:k{key}"),
            8..=10 => format!("i:k{key}"),
            _ => {
                let (lo, hi) = (key, key + 1 + numbers.below(keys));
                let mut found = Vec::new();
                for key in (lo..hi).filter(|key| *key < keys) {
                    match self.now.get(&key) {
                        Some((_, 'x')) => {}
                        Some((seq, _)) => found.push(format!("k{key}@{seq}")),
                        None if self.initial.contains(&key) => found.push(format!("k{key}@0")),
                        None => {}
                    }
                }
                format!("s:k{lo}..k{hi}@{}[{}]", self.seq, found.join(","))
            }
        }
    }
}

impl History {
    pub(crate) fn random(numbers: &mut Numbers) -> Self {
        let sites = 1 + numbers.below(3) as usize;
        let (txns, keys) = (4 + numbers.below(30), 1 + numbers.below(5));
        let initial: Vec<u64> = (0..keys).filter(|_| numbers.one_in(4)).collect();
        let store = || Store {
            now: BTreeMap::new(),
            seq: 0,
            initial: initial.clone(),
        };
        let mut stores: Vec<Store> = (0..sites).map(|_| store()).collect();
        let mut lines: Vec<Vec<Line>> = vec![Vec::new(); sites];
        for txn in 1..=txns {
            let global = sites > 1 && numbers.one_in(2);
            let home = numbers.below(sites as u64) as usize;
            for site in (0..sites).filter(|site| global || *site == home) {
                let count = 1 + numbers.below(4);
                let store = &mut stores[site];
                let mut ops: Vec<String> = (0..count).map(|_| store.op(keys, numbers)).collect();
                let installs: Vec<String> = ops
                    .iter()
                    .filter(|op| !op.starts_with(['r', 's']))
                    .cloned()
                    .collect();
                // Reads come first: what follows an own install is not a read of others.
                ops.sort_by_key(|op| !op.starts_with(['r', 's']));
                let seq = (!installs.is_empty()).then(|| store.seq + 1);
                for op in installs {
                    store.seq = seq.unwrap();
                    let key: u64 = op[3..].parse().unwrap();
                    let how = op.chars().next().unwrap();
                    let how = match store.now.get(&key) {
                        Some((now, before))
                            if *now == store.seq && how == 'i' && *before != 'i' =>
                        {
                            'w'
                        }
                        _ => how,
                    };
                    store.now.insert(key, (store.seq, how));
                }
                let letter = if global { 'G' } else { 'L' };
                let txn = format!("{letter}{txn}");
                let stamp = Some(txn[1..].parse::<u64>().unwrap() * 4);
                lines[site].push(Line {
                    kind: 'c',
                    txn,
                    stamp,
                    seq,
                    ops,
                });
            }
        }
        let mut history = Self {
            cut: vec![false; sites],
            sites: lines,
            stamped: true,
        };
        history.bend(numbers);
        history
    }

    fn bend(&mut self, numbers: &mut Numbers) {
        for _ in 0..numbers.below(4) {
            let site = numbers.below(self.sites.len() as u64) as usize;
            let lines = &mut self.sites[site];
            if lines.is_empty() {
                continue;
            }
            let place = numbers.below(lines.len() as u64) as usize;
            match numbers.below(9) {
                0..=2 => self.restamp(site, place, numbers),
                3 => {
                    let seqs: Vec<u64> = lines.iter().filter_map(|line| line.seq).collect();
                    let line = &mut lines[place];
                    for op in line.ops.iter_mut().filter(|op| op.starts_with('r')) {
                        let seq = seqs.get(numbers.below(seqs.len() as u64 + 1) as usize);
                        let key = op.split('@').next().unwrap().to_owned();
                        *op = format!("{key}@{}", seq.unwrap_or(&0));
                    }
                }
                4 => lines[place].kind = 'a',
                5 => lines[place].kind = 'u',
                6 => {
                    lines[place].stamp = None;
                    self.stamped = false;
                }
                7 => self.cut[site] = true,
                _ => {
                    let ops = &mut lines[place].ops;
                    if let Some(op) = ops.iter_mut().find(|op| op.starts_with('s')) {
                        let (head, found) = op.split_once('[').unwrap();
                        let first = found.split([',', ']']).next().unwrap();
                        *op = format!("{head}[{first}]");
                    }
                }
            }
        }
    }

    /// A transaction is decided at another time, mostly at all its sites.
    fn restamp(&mut self, site: usize, place: usize, numbers: &mut Numbers) {
        let txn = self.sites[site][place].txn.clone();
        let near = self.sites[site][place].stamp.unwrap_or(40);
        let stamp = (near + numbers.below(24)).saturating_sub(12);
        let everywhere = !numbers.one_in(5);
        for (other, lines) in self.sites.iter_mut().enumerate() {
            for line in lines.iter_mut().filter(|line| line.txn == txn) {
                if other == site || (everywhere && txn.starts_with('G')) {
                    line.stamp = line.stamp.and(Some(stamp));
                }
            }
        }
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for (site, lines) in self.sites.iter().enumerate() {
            let mut text = format!("co-history 1 S{site}\n");
            for line in lines {
                let or_none =
                    |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
                let ops: String = line.ops.iter().map(|op| format!(" {op}")).collect();
                match line.kind {
                    'c' => writeln!(
                        text,
                        "c {} {} {}{ops}",
                        line.txn,
                        or_none(line.stamp),
                        or_none(line.seq)
                    ),
                    'a' => writeln!(text, "a {} Cycle", line.txn),
                    _ => writeln!(text, "u {}{ops}", line.txn),
                }
                .unwrap();
            }
            if !self.cut[site] {
                writeln!(text, "end {}", lines.len()).unwrap();
            }
            texts.push(text);
        }
        texts
    }
}

/// The lines of each text between the header and the footer in another order.
pub(crate) fn shuffled(texts: &[String], numbers: &mut Numbers) -> Vec<String> {
    let shuffle = |text: &String| {
        let mut lines: Vec<&str> = text.lines().collect();
        let end = lines.len() - usize::from(text.contains("\nend "));
        for last in (2..end).rev() {
            lines.swap(last, 1 + numbers.below(last as u64) as usize);
        }
        lines.join("\n") + "\n"
    };
    texts.iter().map(shuffle).collect()
}
