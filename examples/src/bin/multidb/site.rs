//! The sites of a demonstration, what is behind each, and the pairs they form.

use std::fmt;
use std::str::FromStr;

use databases::Product;
use participant::engine::EngineKind;

/// What is behind a site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Kind {
    /// One of the engines of this project.
    Engine(EngineKind),
    /// A database server, started for the demonstration, with an adapter.
    Server(Product),
}

impl Kind {
    /// Every kind.
    const ALL: [Self; 7] = [
        Self::Engine(EngineKind::Ss2pl),
        Self::Engine(EngineKind::Sco),
        Self::Engine(EngineKind::Optimistic),
        Self::Engine(EngineKind::Mvcc),
        Self::Engine(EngineKind::Shared),
        Self::Server(Product::Postgres),
        Self::Server(Product::MariaDb),
    ];

    /// What the command line and the reports call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Engine(engine) => engine.name(),
            Self::Server(Product::Postgres) => "postgres",
            Self::Server(Product::MariaDb) => "mariadb",
        }
    }

    /// What a person calls it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Engine(EngineKind::Ss2pl) => "strict two-phase locking",
            Self::Engine(EngineKind::Sco) => "strict commit order",
            Self::Engine(EngineKind::Optimistic) => "optimistic",
            Self::Engine(EngineKind::Mvcc) => "multi-version",
            Self::Engine(EngineKind::Shared) => "ordered sharing",
            Self::Server(Product::Postgres) => "PostgreSQL",
            Self::Server(Product::MariaDb) => "MariaDB",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no site `{name}`; use some of {names}")
        })
    }
}

/// A site: a process of its own with a concurrency control of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Site {
    place: usize,
    kind: Kind,
}

impl Site {
    /// The name that the coordinator, the histories and the report use.
    pub(crate) const fn name(self) -> &'static str {
        NAMES[self.place]
    }

    /// What is behind it.
    pub(crate) const fn kind(self) -> Kind {
        self.kind
    }

    /// The engine that it runs.
    pub(crate) const fn engine(self) -> &'static str {
        self.kind.name()
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names of sites, in order.
const NAMES: [&str; Sites::MOST] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// The sites of a demonstration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sites {
    kinds: [Kind; Self::MOST],
    count: usize,
}

impl Sites {
    /// The most there can be.
    pub(crate) const MOST: usize = 8;

    /// Sites of these kinds, in this order; `None` if there are none or too many.
    pub(crate) fn of(kinds: &[Kind]) -> Option<Self> {
        let mut sites = Self {
            kinds: [Kind::Engine(EngineKind::Ss2pl); Self::MOST],
            count: kinds.len(),
        };
        if sites.count == 0 {
            return None;
        }
        sites.kinds.get_mut(..sites.count)?.copy_from_slice(kinds);
        Some(sites)
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Site> {
        let kinds = self.kinds.iter().take(self.count).enumerate();
        kinds
            .map(|(place, kind)| Site { place, kind: *kind })
            .collect()
    }

    /// Every two of them; neighbours first.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let sites = self.all();
        let apart = (1..self.count).flat_map(|by| {
            let sites = &sites;
            (by..self.count).map(move |second| Pair {
                first: sites[second - by],
                second: sites[second],
            })
        });
        apart.collect()
    }
}

impl FromStr for Sites {
    type Err = String;

    /// Kinds with commas between them.
    fn from_str(names: &str) -> Result<Self, String> {
        let kinds = names.split(',').map(|name| name.trim().parse());
        let kinds = kinds.collect::<Result<Vec<Kind>, String>>()?;
        Self::of(&kinds).ok_or_else(|| format!("there are 1 to {} sites", Self::MOST))
    }
}

/// Two sites that share an application rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Pair {
    first: Site,
    second: Site,
}

impl Pair {
    /// The two sites.
    pub(crate) const fn sites(self) -> [Site; 2] {
        [self.first, self.second]
    }

    /// The name that keys use.
    pub(crate) fn name(self) -> String {
        let Self { first, second } = self;
        format!("{first}{second}").to_lowercase()
    }

    /// Whether `site` is one of the two.
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

/// The sites of the plain command, by name, for tests.
#[cfg(test)]
impl Sites {
    pub(crate) const USUAL: Self = {
        let mut kinds = [Site::A.kind; Self::MOST];
        kinds[1] = Site::B.kind;
        kinds[2] = Site::C.kind;
        Self { kinds, count: 3 }
    };
}

#[cfg(test)]
impl Site {
    pub(crate) const A: Self = Self {
        place: 0,
        kind: Kind::Engine(EngineKind::Ss2pl),
    };
    pub(crate) const B: Self = Self {
        place: 1,
        kind: Kind::Engine(EngineKind::Optimistic),
    };
    pub(crate) const C: Self = Self {
        place: 2,
        kind: Kind::Engine(EngineKind::Mvcc),
    };
    pub(crate) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];
}

#[cfg(test)]
impl Pair {
    pub(crate) const AB: Self = Self {
        first: Site::A,
        second: Site::B,
    };
    pub(crate) const BC: Self = Self {
        first: Site::B,
        second: Site::C,
    };
    pub(crate) const AC: Self = Self {
        first: Site::A,
        second: Site::C,
    };
    pub(crate) const ALL: [Self; 3] = [Self::AB, Self::BC, Self::AC];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_have_names_in_order_and_form_every_pair_once() {
        assert_eq!(Sites::USUAL.all(), Site::ALL);
        assert_eq!(Sites::USUAL.pairs(), Pair::ALL);
        assert_eq!(Pair::BC.name(), "bc");
        let kinds: Vec<Kind> = ["postgres", "mariadb", "mvcc", "postgres"]
            .map(|name| name.parse().unwrap())
            .into();
        let sites = Sites::of(&kinds).unwrap();
        let names: Vec<_> = sites
            .all()
            .iter()
            .map(|site| (site.name(), site.engine()))
            .collect();
        let expected = [
            ("A", "postgres"),
            ("B", "mariadb"),
            ("C", "mvcc"),
            ("D", "postgres"),
        ];
        assert_eq!(names, expected);
        let mut pairs: Vec<_> = sites.pairs().into_iter().map(Pair::name).collect();
        pairs.sort();
        assert_eq!(pairs, ["ab", "ac", "ad", "bc", "bd", "cd"]);
        assert_eq!(Sites::of(&kinds[..1]).unwrap().pairs(), []);
    }

    #[test]
    fn there_is_at_least_one_site_and_not_too_many_of_kinds_that_exist() {
        assert_eq!(Sites::of(&[]), None);
        assert!(Sites::of(&[Site::A.kind; Sites::MOST]).is_some());
        assert_eq!(Sites::of(&[Site::A.kind; Sites::MOST + 1]), None);
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let refused = "oracle".parse::<Kind>().unwrap_err();
        assert!(refused.contains("postgres, mariadb"), "{refused}");
    }
}
