//! Makes histories of several sites that are commitment ordered by construction, in the format of this project.
//!
//! ```sh
//! cargo run --release -p checker --example sited -- --txns 1250000 --ops 4 --out /tmp/sited
//! cargo run --release -p checker --bin co-check -- follow --no-wait /tmp/sited/*.hist
//! ```
//!
//! Each transaction is run at every site, one after another: half of its operations are reads of the present version, a
//! third are writes, the rest increments, deletes, and now and then a scan.
#![allow(clippy::unwrap_used, reason = "an example: a failing write ends it")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "Makes histories of several sites that are commitment ordered by construction")]
struct Arguments {
    /// How many transactions.
    #[arg(long, default_value_t = 1000)]
    txns: u64,
    /// How many operations a transaction has at each site.
    #[arg(long, default_value_t = 4)]
    ops: u64,
    /// How many sites.
    #[arg(long, default_value_t = 2)]
    sites: usize,
    /// How many keys each site has.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// One transaction in so many scans; none if it is 0.
    #[arg(long, default_value_t = 0)]
    scans: u64,
    /// A read near the end is of the initial state, although the key was written.
    #[arg(long)]
    stale: bool,
    /// Say of each transaction which one of 64 sessions it is in, and when it ran: five overlap.
    #[arg(long)]
    clients: bool,
    /// The folder for the files.
    #[arg(long)]
    out: PathBuf,
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.out)?;
    for site in 0..arguments.sites {
        let path = arguments.out.join(format!("site{site}.hist"));
        let mut out = BufWriter::new(File::create(path)?);
        write_site(&arguments, site, &mut out)?;
        out.flush()?;
    }
    Ok(())
}

fn write_site(arguments: &Arguments, site: usize, out: &mut impl Write) -> std::io::Result<()> {
    let mut random = Random(site as u64);
    let mut latest = vec![0_u64; usize::try_from(arguments.keys).unwrap()];
    let version = if arguments.clients { 2 } else { 1 };
    writeln!(out, "co-history {version} S{site}")?;
    for txn in 1..=arguments.txns {
        let mut writes: Vec<u64> = Vec::new();
        let mut ops = String::new();
        for _ in 0..arguments.ops {
            let key = random.below(arguments.keys);
            let place = usize::try_from(key).unwrap();
            let kind = random.below(12);
            if writes.contains(&key) || kind < 6 {
                let stale = arguments.stale && txn + 100 > arguments.txns;
                let version = if stale { 0 } else { latest[place] };
                if !writes.contains(&key) {
                    ops += &format!(" r:k{key}@{version}");
                }
                continue;
            }
            ops += &format!(
                " {}:k{key}",
                ["w", "i", "x"][usize::from(kind > 9) + usize::from(kind > 10)]
            );
            writes.push(key);
        }
        if arguments.scans > 0 && txn % arguments.scans == 0 {
            ops += &format!(" s:zz..@{}[]", txn - 1);
        }
        let seq = if writes.is_empty() {
            "-".to_owned()
        } else {
            txn.to_string()
        };
        for key in writes {
            latest[usize::try_from(key).unwrap()] = txn;
        }
        let client = if arguments.clients {
            let (session, from) = (txn % 64, txn * 1000);
            format!(" p:s{session}@{txn} t:{from}..{}", from + 4500)
        } else {
            String::new()
        };
        writeln!(out, "c G{txn} {txn} {seq}{client}{ops}")?;
    }
    writeln!(out, "end {}", arguments.txns)
}
