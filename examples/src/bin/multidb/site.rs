//! The three sites of the demonstration and the pairs they form.

use std::fmt;

/// One of the three participant processes, each with a concurrency control of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Site {
    /// Strict two-phase locking.
    A,
    /// Optimistic: reads without locks, validates at the vote.
    B,
    /// Multi-version: reads a snapshot.
    C,
}

impl Site {
    /// All sites, in order.
    pub(crate) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    /// The name that the coordinator, the histories and the report use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }

    /// The engine that the site runs.
    pub(crate) const fn engine(self) -> &'static str {
        match self {
            Self::A => "ss2pl",
            Self::B => "optimistic",
            Self::C => "mvcc",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Two sites that share an application rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Pair {
    /// A with B.
    AB,
    /// B with C.
    BC,
    /// A with C.
    AC,
}

impl Pair {
    /// All pairs, in order.
    pub(crate) const ALL: [Self; 3] = [Self::AB, Self::BC, Self::AC];

    /// The two sites.
    pub(crate) const fn sites(self) -> [Site; 2] {
        match self {
            Self::AB => [Site::A, Site::B],
            Self::BC => [Site::B, Site::C],
            Self::AC => [Site::A, Site::C],
        }
    }

    /// The name that keys use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AB => "ab",
            Self::BC => "bc",
            Self::AC => "ac",
        }
    }

    /// Whether `site` is one of the two.
    #[cfg(test)]
    pub(crate) fn has(self, site: Site) -> bool {
        self.sites().contains(&site)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.sites();
        write!(f, "{first} and {second}")
    }
}
