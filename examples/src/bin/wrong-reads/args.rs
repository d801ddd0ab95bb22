//! What is measured: everything that the command line says.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use databases::Product;

use crate::variant::Variant;

/// Counts transactions that commit after reading a state that no serial execution has, over two real databases.
///
/// Two servers hold the halves of many pairs. A transaction reads both halves of one pair; if both are 1 it sets one of
/// them to 0, else it sets both back to 1. One after the other, no transaction ever reads 0 in both halves. Each server
/// alone sees nothing wrong in two transactions that do that to the two halves of one pair at once.
#[derive(Parser, Clone, Debug)]
#[command(
    version,
    after_help = "Examples:\n  \
        wrong-reads                              the whole table; about ten minutes\n  \
        wrong-reads --quick                      a few cells, in half a minute\n  \
        wrong-reads --sites postgres,mariadb --pairs 10 --clients 16 --markdown table.md --svg table.svg\n  \
        wrong-reads --variants co --pairs 10 --clients 16 --commits 1000000\n\n\
        Exit status: 0 all variants that are ordered showed no wrong read, 1 one of them did, 2 it could not be measured."
)]
pub(crate) struct Args {
    /// Two products, joined by a comma: postgres or mariadb. May be given more than once.
    #[arg(long, value_name = "A,B")]
    pub(crate) sites: Vec<Duo>,
    /// How transactions are run at the sites.
    #[arg(long, value_delimiter = ',')]
    pub(crate) variants: Vec<Variant>,
    /// How many clients there are at once.
    #[arg(long, value_delimiter = ',', default_value = "2,4,16")]
    pub(crate) clients: Vec<usize>,
    /// How many pairs there are: few are hot.
    #[arg(long, value_delimiter = ',', default_value = "1000,10")]
    pub(crate) pairs: Vec<u32>,
    /// How long each cell runs in each round.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How often each cell runs; variants take turns within a round.
    #[arg(long, default_value_t = 2)]
    pub(crate) rounds: usize,
    /// Run each cell until so many transactions have committed instead, whatever the time.
    #[arg(long)]
    pub(crate) commits: Option<u64>,
    /// Switch fsync off in the servers: what is left is the cost of their work and of round trips.
    #[arg(long)]
    pub(crate) no_fsync: bool,
    /// A few cells only: two clients counts, ten pairs, one second.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write the table as Markdown to this file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write a picture of the table to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of the random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Args {
    /// The command line with what it leaves open filled in.
    pub(crate) fn complete(mut self) -> Self {
        if self.sites.is_empty() {
            self.sites = Duo::ALL.to_vec();
        }
        if self.variants.is_empty() {
            self.variants = Variant::ALL.to_vec();
        }
        if self.quick {
            self.clients = vec![4, 16];
            self.pairs = vec![10];
            self.seconds = 1.0;
            self.rounds = 1;
        }
        self
    }

    /// How long one run of a cell takes.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("between 0.1 and 86400 seconds".to_owned())
    }
}

/// The products of the two sites.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Duo(pub(crate) [Product; 2]);

impl Duo {
    pub(crate) const ALL: [Self; 3] = [
        Self([Product::Postgres, Product::Postgres]),
        Self([Product::Postgres, Product::MariaDb]),
        Self([Product::MariaDb, Product::MariaDb]),
    ];
}

impl std::fmt::Display for Duo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.0[0], self.0[1])
    }
}

impl FromStr for Duo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let product = |name: &str| match name {
            "postgres" => Ok(Product::Postgres),
            "mariadb" => Ok(Product::MariaDb),
            _ => Err(format!("`{name}` is neither postgres nor mariadb")),
        };
        match text.split(',').collect::<Vec<_>>().as_slice() {
            [a, b] => Ok(Self([product(a)?, product(b)?])),
            _ => Err("two products, such as postgres,mariadb".to_owned()),
        }
    }
}
