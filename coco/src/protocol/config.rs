//! What can be set: spans of time and bounds. No default hurts correctness, only speed and patience.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Settings of a [`Coordinator`](super::Coordinator).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CoordinatorConfig {
    /// How long the youngest preparing transaction may wait for its votes. The oldest may wait twice
    /// as long, the others something between: of the transactions on an unseen deadlock the youngest
    /// runs out first, and its abort frees the older ones.
    pub vote_timeout: Duration,
    /// How long a begun transaction may stay without asking for commit.
    pub idle_timeout: Duration,
    /// After how long a decision without acknowledgement is sent again (doubled each time).
    pub resend_after: Duration,
    /// The longest span between two resends.
    pub resend_limit: Duration,
    /// What is done about deadlocks over several sites, besides the timeouts.
    pub deadlocks: DeadlockPolicy,
    /// How many undecided transactions there may be; begins beyond it are refused.
    pub max_in_flight: usize,
    /// How many outcomes of ended transactions are kept, to answer a client that asks again.
    pub remembered_outcomes: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            vote_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            resend_after: Duration::from_secs(1),
            resend_limit: Duration::from_secs(30),
            deadlocks: DeadlockPolicy::Search,
            max_in_flight: 100_000,
            remembered_outcomes: 65_536,
        }
    }
}

/// What a coordinator does about deadlocks over several sites. Timeouts are behind all of them.
/// Coordinators that share sites should have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum DeadlockPolicy {
    /// Searches for cycles among the reported waits, and aborts the youngest on each.
    #[default]
    Search,
    /// An older transaction that waits for a younger one has it aborted.
    WoundWait,
    /// A younger transaction that would wait for an older one is aborted.
    WaitDie,
    /// Nothing: the timeouts alone.
    Timeouts,
}

impl DeadlockPolicy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Search, Self::WoundWait, Self::WaitDie, Self::Timeouts];

    /// Its name, as options spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::WoundWait => "wound-wait",
            Self::WaitDie => "wait-die",
            Self::Timeouts => "timeouts",
        }
    }
}

impl fmt::Display for DeadlockPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no policy has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no deadlock policy `{0}`; use search, wound-wait, wait-die or timeouts")]
pub struct UnknownPolicy(String);

impl FromStr for DeadlockPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let mut policies = Self::ALL.into_iter();
        policies
            .find(|policy| policy.name() == name)
            .ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// What survives a restart of a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Durability {
    /// Prepared transactions are forced to a log before the YES leaves.
    #[default]
    Durable,
    /// Nothing: no log at all. A restart loses every transaction of the site, committed ones
    /// included; the coordinator aborts those that are not yet decided.
    Volatile,
}

/// Settings of a [`Voter`](super::Voter).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VoterConfig {
    /// Where clients reach the site: announced to the coordinator.
    pub address: String,
    /// Whether the site has a log.
    pub durability: Durability,
    /// How long a wait must last before it is reported to the coordinator: shorter ones end by
    /// themselves and are not worth a message. `None` is full autonomy: nothing but votes and
    /// outcomes leaves the site, and deadlocks over several sites are left to the timeouts.
    pub report_after: Option<Duration>,
    /// How long a transaction may stay without a decision before the coordinator is asked (doubled
    /// each time).
    pub inquire_after: Duration,
    /// The longest span between two inquiries.
    pub inquire_limit: Duration,
    /// After how long a withheld vote turns into NO here. `None` leaves that to the coordinator,
    /// whose timers favour older transactions and never end two on one cycle.
    pub vote_wait_timeout: Option<Duration>,
    /// Vote before predecessors that have voted are decided, and say that the vote depends on them,
    /// for transactions that allow it.
    pub dependent_votes: bool,
    /// How many outcomes of ended transactions are kept, to answer repeated messages.
    pub remembered_outcomes: usize,
}

impl Default for VoterConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
            durability: Durability::Durable,
            report_after: Some(Duration::from_millis(5)),
            inquire_after: Duration::from_secs(2),
            inquire_limit: Duration::from_secs(30),
            vote_wait_timeout: None,
            dependent_votes: false,
            remembered_outcomes: 65_536,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_found_by_the_name_that_the_refusal_of_others_lists() {
        let refusal = DeadlockPolicy::from_str("hope").unwrap_err().to_string();
        assert!(refusal.contains("`hope`"), "{refusal}");
        for policy in DeadlockPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert!(refusal.contains(policy.name()), "{refusal}");
        }
        let names = DeadlockPolicy::ALL.map(DeadlockPolicy::name);
        assert_eq!(names, ["search", "wound-wait", "wait-die", "timeouts"]);
    }
}
