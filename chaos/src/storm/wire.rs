//! What a life says to its parent, a line at a time, through a pipe: what it has said outlives it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};

use crate::ledger::{Change, SiteIndex, SiteState};

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// What a site holds, with nothing in doubt anywhere.
    Holds(SiteIndex, SiteState),
    /// Recovery is over: the state of all sites has been said.
    Ready,
    /// A transaction is about to ask for its commit.
    Asked(u64, BTreeSet<SiteIndex>, Vec<Change>),
    /// It was acknowledged as committed.
    Committed(u64),
    /// It was acknowledged as aborted.
    Aborted(u64),
    /// The process dies at this point of its log.
    DiesAt(String),
}

/// Says a line with one write. Without a parent there is nobody to tell, and no reason to go on.
pub(super) fn say(line: &Line) {
    let text = line.encode();
    if std::io::stdout().lock().write_all(text.as_bytes()).is_err() {
        std::process::exit(2);
    }
}

impl Line {
    fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _infallible = match self {
            Self::Holds(site, state) => {
                text.push_str(&format!("holds {site}"));
                for (account, amount) in &state.accounts {
                    text.push_str(&format!(" {account}={amount}"));
                }
                for id in &state.markers {
                    text.push_str(&format!(" {id}"));
                }
                Ok(())
            }
            Self::Ready => write!(text, "ready"),
            Self::Asked(id, sites, changes) => {
                text.push_str(&format!("asked {id}"));
                for site in sites {
                    text.push_str(&format!(" {site}"));
                }
                for it in changes {
                    text.push_str(&format!(" {}:{}:{}", it.site, it.account, it.by));
                }
                Ok(())
            }
            Self::Committed(id) => write!(text, "committed {id}"),
            Self::Aborted(id) => write!(text, "aborted {id}"),
            Self::DiesAt(point) => write!(text, "dies {point}"),
        };
        text.push('\n');
        text
    }

    /// Reads a whole line.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn decode(line: &str) -> Result<Self> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split_whitespace();
        let mut first = || -> Result<u64> { Ok(words.next().context("a number")?.parse()?) };
        Ok(match kind {
            "ready" => Self::Ready,
            "committed" => Self::Committed(first()?),
            "aborted" => Self::Aborted(first()?),
            "dies" => Self::DiesAt(rest.to_owned()),
            "holds" => {
                let site = usize::try_from(first()?)?;
                let mut state = SiteState::default();
                for word in words {
                    match word.split_once('=') {
                        Some((account, amount)) => {
                            state.accounts.insert(account.parse()?, amount.parse()?);
                        }
                        None => {
                            state.markers.insert(word.parse()?);
                        }
                    }
                }
                Self::Holds(site, state)
            }
            "asked" => {
                let id = first()?;
                let (mut sites, mut changes) = (BTreeSet::new(), Vec::new());
                for word in words {
                    let parts: Vec<&str> = word.split(':').collect();
                    match parts[..] {
                        [site] => {
                            sites.insert(site.parse()?);
                        }
                        [site, account, by] => changes.push(Change {
                            site: site.parse()?,
                            account: account.parse()?,
                            by: by.parse()?,
                        }),
                        _ => bail!("`{word}` is no site and no change"),
                    }
                }
                Self::Asked(id, sites, changes)
            }
            _ => bail!("`{kind}` is no kind of line"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let state = SiteState {
            markers: BTreeSet::from([3, 5]),
            accounts: BTreeMap::from([(0, -7), (2, 9)]),
        };
        let change = Change {
            site: 1,
            account: 2,
            by: -4,
        };
        for line in [
            Line::Holds(2, state),
            Line::Holds(0, SiteState::default()),
            Line::Ready,
            Line::Asked(77, BTreeSet::from([0, 1]), vec![change]),
            Line::Committed(8),
            Line::Aborted(9),
            Line::DiesAt("append: sync segment".to_owned()),
        ] {
            assert_eq!(Line::decode(line.encode().trim_end()).unwrap(), line);
        }
        assert!(Line::decode("committed").is_err());
    }
}
