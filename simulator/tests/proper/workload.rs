//! Every workload of a bound, once: what two or three transactions read and write, in which order, and where the keys
//! are.
//!
//! Invariants:
//! - K1 Two workloads of an enumeration are not the same under any renaming of transactions, keys and sites.
//! - K2 A key is at one site. A transaction that touches one site only is local there.

use std::collections::BTreeSet;
use std::fmt;

/// One operation of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Access {
    pub(crate) key: usize,
    pub(crate) write: bool,
}

/// What one transaction does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Program {
    pub(crate) accesses: Vec<Access>,
    /// It rolls back where others ask for their commit.
    pub(crate) gives_up: bool,
}

/// Transactions, the oldest first, and the site of each key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Workload {
    pub(crate) programs: Vec<Program>,
    pub(crate) site_of: Vec<usize>,
}

/// How large workloads are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) transactions: usize,
    /// Least and most operations of a transaction.
    pub(crate) operations: (usize, usize),
    pub(crate) keys: usize,
    pub(crate) sites: usize,
    /// Whether one of the transactions may give up.
    pub(crate) giving_up: bool,
    pub(crate) only: Only,
}

/// Which workloads of a bound are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Only {
    /// All of them.
    All,
    /// Those in which every key is used by two transactions or more, and written. What nobody else uses makes no
    /// conflict: such an operation changes at most which sites its transaction visits.
    Contended,
    /// Those in which each transaction shares one key with the next one around a circle, each key is written, and no
    /// operation can be spared: the shapes of minimal cycles through all transactions.
    Circles,
}

impl Bound {
    /// Its workloads, in order.
    pub(crate) fn workloads(self) -> Vec<Workload> {
        let mut found = BTreeSet::new();
        self.extend_programs(&mut Vec::new(), &mut found);
        found.into_iter().collect()
    }

    fn extend_programs(self, programs: &mut Vec<Program>, found: &mut BTreeSet<Workload>) {
        if programs.len() == self.transactions {
            self.place(programs, found);
            return;
        }
        let given_up = programs.iter().any(|program| program.gives_up);
        let used = 1 + programs
            .iter()
            .flat_map(|program| &program.accesses)
            .map(|access| access.key + 1)
            .max()
            .unwrap_or(0);
        for length in self.operations.0..=self.operations.1 {
            for accesses in sequences(length, used.min(self.keys), self.keys) {
                for gives_up in [false, true] {
                    if gives_up && (given_up || !self.giving_up) {
                        continue;
                    }
                    programs.push(Program {
                        accesses: accesses.clone(),
                        gives_up,
                    });
                    self.extend_programs(programs, found);
                    programs.pop();
                }
            }
        }
    }

    fn place(self, programs: &[Program], found: &mut BTreeSet<Workload>) {
        let keys = 1 + programs
            .iter()
            .flat_map(|program| &program.accesses)
            .map(|access| access.key)
            .max()
            .expect("programs do something");
        for number in 0..self.sites.pow(u32::try_from(keys).expect("few keys")) {
            let site =
                |key: usize| number / self.sites.pow(u32::try_from(key).expect("few")) % self.sites;
            let workload = Workload {
                programs: programs.to_vec(),
                site_of: (0..keys).map(site).collect(),
            };
            if self.only.admits(&workload) {
                found.insert(workload.canonical());
            }
        }
    }
}

/// The sequences of accesses in which new keys appear in order, the next new one being `used - 1`.
fn sequences(length: usize, used: usize, keys: usize) -> Vec<Vec<Access>> {
    let mut all = vec![(Vec::new(), used)];
    for _ in 0..length {
        let mut longer = Vec::new();
        for (accesses, used) in all {
            for key in 0..used {
                for write in [false, true] {
                    let mut accesses: Vec<Access> = accesses.clone();
                    accesses.push(Access { key, write });
                    longer.push((accesses, used.max(key + 2).min(keys)));
                }
            }
        }
        all = longer;
    }
    all.into_iter().map(|(accesses, _)| accesses).collect()
}

impl Only {
    fn admits(self, workload: &Workload) -> bool {
        let users = |key: usize| {
            let uses = |program: &&Program| program.accesses.iter().any(|access| access.key == key);
            workload.programs.iter().filter(uses).count()
        };
        let keys = workload.site_of.len();
        match self {
            Self::All => true,
            Self::Contended => (0..keys).all(|key| users(key) >= 2 && workload.is_written(key)),
            Self::Circles => {
                let shared = |one: &Program, two: &Program| {
                    let keys = |program: &Program| -> BTreeSet<usize> {
                        program.accesses.iter().map(|access| access.key).collect()
                    };
                    keys(one).intersection(&keys(two)).count() == 1
                };
                let count = workload.programs.len();
                keys == count
                    && (0..keys).all(|key| users(key) == 2 && workload.is_written(key))
                    && (0..count).all(|at| {
                        shared(&workload.programs[at], &workload.programs[(at + 1) % count])
                    })
            }
        }
    }
}

impl Workload {
    fn is_written(&self, key: usize) -> bool {
        self.programs
            .iter()
            .flat_map(|program| &program.accesses)
            .any(|access| access.key == key && access.write)
    }

    /// How many sites there are.
    pub(crate) fn sites(&self) -> usize {
        1 + self.site_of.iter().max().expect("there is a key")
    }

    /// The sites that a transaction touches, ascending.
    pub(crate) fn sites_of(&self, txn: usize) -> BTreeSet<usize> {
        let accesses = self.programs[txn].accesses.iter();
        accesses.map(|access| self.site_of[access.key]).collect()
    }

    /// Whether a transaction touches one site only (K2).
    pub(crate) fn is_local(&self, txn: usize) -> bool {
        self.sites_of(txn).len() == 1
    }

    /// Whether two transactions use a key that one of them writes.
    pub(crate) fn conflict(&self, one: usize, two: usize) -> bool {
        let (one, two) = (&self.programs[one].accesses, &self.programs[two].accesses);
        one.iter()
            .any(|a| two.iter().any(|b| a.key == b.key && (a.write || b.write)))
    }

    /// The least of the workloads that differ from it by names only (K1).
    fn canonical(&self) -> Self {
        let orders = permutations(self.programs.len());
        let renamed = orders.iter().map(|order| self.renamed(order));
        renamed.min().expect("there is a permutation")
    }

    /// Transactions in this order, keys and sites numbered as they appear.
    fn renamed(&self, order: &[usize]) -> Self {
        let mut names = vec![None; self.site_of.len()];
        let mut sites = Vec::new();
        let mut site_of = Vec::new();
        let programs = order.iter().map(|&txn| {
            let program = &self.programs[txn];
            let accesses = program.accesses.iter().map(|access| {
                let key = *names[access.key].get_or_insert_with(|| {
                    let old = self.site_of[access.key];
                    let site = sites
                        .iter()
                        .position(|&site| site == old)
                        .unwrap_or_else(|| {
                            sites.push(old);
                            sites.len() - 1
                        });
                    site_of.push(site);
                    site_of.len() - 1
                });
                Access { key, ..*access }
            });
            Program {
                accesses: accesses.collect(),
                gives_up: program.gives_up,
            }
        });
        let programs = programs.collect();
        Self { programs, site_of }
    }
}

/// All orders of the numbers below `count`.
pub(crate) fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let unused = (0..count).filter(|number| !order.contains(number));
                let longer = unused.map(|number| {
                    let mut longer = order.clone();
                    longer.push(number);
                    longer
                });
                longer.collect::<Vec<_>>()
            })
            .collect();
    }
    all
}

/// A key's name.
pub(crate) fn key_name(key: usize) -> char {
    ['x', 'y', 'z', 'u', 'v'][key]
}

/// A site's name.
pub(crate) fn site_name(site: usize) -> char {
    ['A', 'B', 'C'][site]
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (txn, program) in self.programs.iter().enumerate() {
            let local = if self.is_local(txn) { " (local)" } else { "" };
            write!(f, "{}T{}{local}:", if txn > 0 { "; " } else { "" }, txn + 1)?;
            for access in &program.accesses {
                let verb = if access.write { 'w' } else { 'r' };
                let site = site_name(self.site_of[access.key]);
                write!(f, " {verb}({})@{site}", key_name(access.key))?;
            }
            if program.gives_up {
                f.write_str(" gives up")?;
            }
        }
        Ok(())
    }
}

#[test]
fn each_workload_is_there_once_and_none_is_left_out() {
    let bound = Bound {
        transactions: 2,
        operations: (2, 2),
        keys: 2,
        sites: 2,
        giving_up: false,
        only: Only::All,
    };
    let found = bound.workloads();
    for (index, one) in found.iter().enumerate() {
        for order in permutations(2) {
            let renamed = one.renamed(&order);
            let same = found.iter().position(|other| *other == renamed.canonical());
            assert_eq!(same, Some(index), "{one}");
        }
    }
    // By brute force over names: every assignment of four accesses and two sites falls into one of them.
    let mut reached = BTreeSet::new();
    for number in 0..4_usize.pow(4) * 4 {
        let access = |slot: u32| {
            let digit = number / 4_usize.pow(slot) % 4;
            Access {
                key: digit / 2,
                write: digit % 2 == 1,
            }
        };
        let program = |first: u32| Program {
            accesses: vec![access(first), access(first + 1)],
            gives_up: false,
        };
        let sites = number / 256;
        let workload = Workload {
            programs: vec![program(0), program(2)],
            site_of: vec![sites % 2, sites / 2],
        };
        reached.insert(workload.canonical());
    }
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), found);
}
