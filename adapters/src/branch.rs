//! Names of prepared branches: which site, which transaction.
//!
//! A branch outlives its session, its adapter and its server, so its name has to say whose it is: after a crash the adapter
//! finds its own among all that lie there, and leaves the others alone.

use std::fmt;

use co_core::Gtid;
use participant::TxnName;

/// The transaction of a branch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BranchName {
    /// A global transaction's: the same in every life of the adapter.
    Global(Gtid),
    /// A transaction of this site alone, in one life of the adapter.
    Local {
        /// Which life.
        life: u64,
        /// Its number.
        number: u64,
    },
}

impl BranchName {
    /// The branch of a transaction, in this life.
    #[must_use]
    pub const fn of(name: TxnName, life: u64) -> Self {
        match name {
            TxnName::Global(gtid) => Self::Global(gtid),
            TxnName::Local(number) => Self::Local { life, number },
        }
    }
}

/// The names of one site's branches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site(String);

/// A site's name that no branch can carry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the site name `{0}` cannot be part of a branch's name: use 1 to 40 letters, digits, `_`, `-` or `.`"
)]
pub struct InvalidSite(String);

impl Site {
    /// The longest name of a site, in bytes: with it a branch's name fits into the 64 bytes of an XA identifier.
    pub const MAX_BYTES: usize = 40;

    /// A site's names.
    ///
    /// # Errors
    /// [`InvalidSite`] for a name that a server would have to be told in quotes.
    pub fn new(name: &str) -> Result<Self, InvalidSite> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let fits = (1..=Self::MAX_BYTES).contains(&name.len()) && name.bytes().all(plain);
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidSite(name.to_owned()))
        }
    }

    /// The site's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The identifier of a branch, as the server knows it: letters, digits and `_-.:` only.
    #[must_use]
    pub fn identifier(&self, branch: BranchName) -> String {
        format!("{self}{branch}")
    }

    /// Which branch of this site has that identifier; `None` for those of others.
    #[must_use]
    pub fn parse(&self, identifier: &str) -> Option<BranchName> {
        let rest = identifier.strip_prefix(&self.to_string())?;
        let number = |text: &str| {
            let number = text.parse::<u64>().ok()?;
            (number.to_string() == text).then_some(number)
        };
        if let Some(gtid) = rest.strip_prefix('g') {
            return Some(BranchName::Global(Gtid(number(gtid)?)));
        }
        let (life, local) = rest.strip_prefix('l')?.split_once('.')?;
        Some(BranchName::Local {
            life: number(life)?,
            number: number(local)?,
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "co:{}:", self.0)
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global(gtid) => write!(f, "g{}", gtid.0),
            Self::Local { life, number } => write!(f, "l{life}.{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_found_again_by_its_identifier_and_by_no_other() {
        let site = Site::new("pg-a").unwrap();
        let other = Site::new("pg").unwrap();
        for branch in [
            BranchName::Global(Gtid(0)),
            BranchName::Global(Gtid(u64::MAX)),
            BranchName::Local {
                life: 1_763_000_000_000_000,
                number: u64::MAX,
            },
        ] {
            let identifier = site.identifier(branch);
            assert_eq!(site.parse(&identifier), Some(branch));
            assert_eq!(other.parse(&identifier), None);
        }
        let longest = "s".repeat(Site::MAX_BYTES);
        let identifier = Site::new(&longest)
            .unwrap()
            .identifier(BranchName::Global(Gtid(u64::MAX)));
        assert!(identifier.len() <= 64 + 1, "{}", identifier.len());
        for foreign in [
            "co:pg-a:",
            "co:pg-a:g",
            "co:pg-a:g01",
            "co:pg-a:g1x",
            "co:pg-a:l1",
            "co:pg-a:l1.",
            "pg-a:g1",
        ] {
            assert_eq!(site.parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_site_that_needs_quotes_is_refused() {
        for name in ["", "a b", "a'b", "a:b", "ü"] {
            assert_eq!(Site::new(name), Err(InvalidSite(name.to_owned())));
        }
    }
}
