//! No sequence of calls panics; what the state of a transaction does not allow is a typed error and changes
//! nothing.

use co_core::{
    AbortReason, Access, Certification, Eco, Gco, Misuse, Outcome, Reads, SiteTxn, State, Vote,
};
use proptest::prelude::*;

use crate::scenario::{global, local};

#[derive(Clone, Copy, Debug)]
enum Call {
    Begin(bool),
    Read(usize, u8),
    Write(usize, u8),
    Increment(usize, u8),
    Ask(usize),
    Decide(usize, bool),
    Doom(usize),
    TakeDoomed,
    Remembered,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let txn = 0..8usize;
    let key = 0..3u8;
    let call = prop_oneof![
        2 => any::<bool>().prop_map(Call::Begin),
        4 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Call::Read(txn, key)),
        4 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Call::Write(txn, key)),
        1 => (txn.clone(), key).prop_map(|(txn, key)| Call::Increment(txn, key)),
        3 => txn.clone().prop_map(Call::Ask),
        3 => (txn.clone(), any::<bool>()).prop_map(|(txn, commit)| Call::Decide(txn, commit)),
        1 => txn.prop_map(Call::Doom),
        1 => Just(Call::TakeDoomed),
        1 => Just(Call::Remembered),
    ];
    proptest::collection::vec(call, 0..60)
}

/// What both types have in common, as the calls above need it.
trait Site {
    fn begin(&self, is_global: bool) -> SiteTxn;
    fn operate(&self, txn: &SiteTxn, call: Call) -> Result<bool, Misuse>;
    fn ask(&self, txn: &SiteTxn) -> Option<Vote>;
    fn decided(&self, txn: &SiteTxn, outcome: Outcome) -> Result<(), Misuse>;
    fn doom(&self, txn: &SiteTxn) -> bool;
    fn look(&self) -> usize;
    fn is_empty(&self) -> bool;
}

macro_rules! site {
    ($type:ty, $increment:ident) => {
        impl Site for $type {
            fn begin(&self, is_global: bool) -> SiteTxn {
                <$type>::begin(self, if is_global { global(1) } else { local(1) })
            }
            fn operate(&self, txn: &SiteTxn, call: Call) -> Result<bool, Misuse> {
                Ok(match call {
                    Call::Read(_, key) => self.read(txn, &key)?.is_granted(),
                    Call::Increment(_, key) => self.$increment(txn, &key)?.is_granted(),
                    Call::Write(_, key) => self.write(txn, &key)?.is_granted(),
                    _ => unreachable!("no operation"),
                })
            }
            fn ask(&self, txn: &SiteTxn) -> Option<Vote> {
                self.request_vote(txn).peek()
            }
            fn decided(&self, txn: &SiteTxn, outcome: Outcome) -> Result<(), Misuse> {
                <$type>::decided(self, txn, outcome)
            }
            fn doom(&self, txn: &SiteTxn) -> bool {
                <$type>::doom(self, txn, AbortReason::Requested)
            }
            fn look(&self) -> usize {
                self.take_doomed().len() + self.remembered()
            }
            fn is_empty(&self) -> bool {
                <$type>::is_empty(self)
            }
        }
    };
}

site!(Eco<u8>, increment);
site!(Gco<u8>, write);

/// Makes the calls, right or wrong, and checks each answer against the state before it.
fn check(site: &impl Site, calls: &[Call]) -> Result<(), TestCaseError> {
    let mut txns: Vec<SiteTxn> = Vec::new();
    let txn = |txns: &[SiteTxn], at: usize| txns.get(at).cloned();
    for &call in calls {
        match call {
            Call::Begin(is_global) => txns.push(site.begin(is_global)),
            Call::Read(at, _) | Call::Write(at, _) | Call::Increment(at, _) => {
                let Some(txn) = txn(&txns, at) else { continue };
                let before = txn.state();
                match site.operate(&txn, call) {
                    Err(Misuse::WrongState { state, .. }) => {
                        prop_assert_eq!(state, before);
                        prop_assert!(!matches!(state, State::Active | State::Doomed));
                    }
                    Err(other) => prop_assert!(false, "{other}"),
                    Ok(granted) => {
                        prop_assert!(matches!(before, State::Active | State::Doomed));
                        prop_assert!(!granted || txn.state() == State::Active);
                    }
                }
            }
            Call::Ask(at) => {
                let Some(txn) = txn(&txns, at) else { continue };
                let expected = match site.ask(&txn) {
                    None => matches!(txn.state(), State::Withheld),
                    Some(Vote::Yes) => matches!(
                        txn.state(),
                        State::Voted | State::Committed | State::Aborted
                    ),
                    Some(Vote::No(_)) => matches!(txn.state(), State::Doomed | State::Aborted),
                };
                prop_assert!(expected, "{txn:?}");
            }
            Call::Decide(at, commit) => {
                let Some(txn) = txn(&txns, at) else { continue };
                let before = txn.state();
                let outcome = if commit {
                    Outcome::Commit
                } else {
                    Outcome::Abort
                };
                let allowed = if commit {
                    before == State::Voted
                } else {
                    before.is_undecided()
                };
                prop_assert_eq!(site.decided(&txn, outcome).is_ok(), allowed);
                prop_assert!(allowed || txn.state() == before);
            }
            Call::Doom(at) => {
                let Some(txn) = txn(&txns, at) else { continue };
                let before = txn.state();
                let doomed = site.doom(&txn);
                prop_assert_eq!(doomed, matches!(before, State::Active | State::Withheld));
            }
            Call::TakeDoomed | Call::Remembered => {
                site.look();
            }
        }
    }
    for txn in &txns {
        if txn.state().is_undecided() {
            prop_assert!(site.decided(txn, Outcome::Abort).is_ok());
        }
    }
    prop_assert!(site.is_empty(), "I7");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_sequence_of_calls_confuses_eco(calls in calls()) {
        check(&Eco::new(), &calls)?;
    }

    #[test]
    fn no_sequence_of_calls_confuses_gco(calls in calls(), newest in any::<bool>(), order in any::<bool>()) {
        let reads = if newest { Reads::Newest } else { Reads::Snapshot };
        let certification = if order { Certification::CommitOrder } else { Certification::Interval };
        check(&Gco::new(reads, certification), &calls)?;
    }
}

#[test]
fn a_handle_of_another_site_is_refused_by_every_call() {
    let (here, there) = (Eco::<u8>::new(), Eco::<u8>::new());
    let stranger = there.begin(local(1));
    let _same_name = here.begin(local(1));
    let wrong = |result: Result<Access, Misuse>| matches!(result, Err(Misuse::WrongState { .. }));
    assert!(wrong(here.read(&stranger, &0)));
    assert!(wrong(here.write(&stranger, &0)));
    assert!(wrong(here.increment(&stranger, &0)));
    let refusal = Some(Vote::No(AbortReason::Requested));
    assert_eq!(here.request_vote(&stranger).peek(), refusal);
    assert!(here.decided(&stranger, Outcome::Abort).is_err());
    assert!(!here.doom(&stranger, AbortReason::Requested));
    assert!(here.blocked_by(&stranger).is_empty());
    assert_eq!(stranger.state(), State::Active);

    let here: Gco<u8> = Gco::new(Reads::Newest, Certification::Interval);
    let _same_name = here.begin(local(1));
    assert!(here.read(&stranger, &0).is_err());
    assert!(wrong(here.write(&stranger, &0)));
    assert_eq!(here.request_vote(&stranger).peek(), refusal);
    assert!(
        here.decided_with(&stranger, Outcome::Abort, |_| panic!("installed"))
            .is_err()
    );
    assert_eq!(there.request_vote(&stranger).peek(), Some(Vote::Yes));
    // Its own site votes on it; this one still has no word in it.
    assert_eq!(here.request_vote(&stranger).peek(), refusal);
    assert!(here.decided(&stranger, Outcome::Commit).is_err());
}

#[test]
fn who_waits_for_an_end_hears_of_it_and_so_does_who_waits_for_a_vote() {
    let site = Eco::new();
    let (writer, reader) = (site.begin(local(1)), site.begin(global(2)));
    assert!(site.write(&writer, &0).unwrap().is_granted());
    let Access::Busy(holder) = site.read(&reader, &0).unwrap() else {
        panic!("the write is undecided");
    };
    assert_eq!((holder.txn(), holder.peek()), (writer.id(), None));
    let waiter = std::thread::spawn(move || holder.wait());
    assert_eq!(site.request_vote(&writer).wait(), Vote::Yes);
    site.decided(&writer, Outcome::Commit).unwrap();
    assert_eq!(waiter.join().unwrap(), Outcome::Commit);
    assert!(site.read(&reader, &0).unwrap().is_granted());

    let later = site.begin(global(3));
    assert!(site.write(&later, &0).unwrap().is_granted());
    let vote = site.request_vote(&later);
    let waiter = std::thread::spawn(move || vote.wait());
    site.decided(&reader, Outcome::Abort).unwrap();
    assert_eq!(waiter.join().unwrap(), Vote::Yes);
    site.decided(&later, Outcome::Commit).unwrap();
    assert!(site.is_empty());
}
