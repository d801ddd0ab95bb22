//! M1 to M7, played on [`Site`], against the transcripts that the hand-written version order of the suite has
//! left in `tests/golden`. What is compared is who was executed, withheld, doomed and released, and in which
//! history that ends; which edges an operation made is not visible from outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use co_core::{State, Txn, Vote, VoteFuture};

use crate::site::{Seen, Site};

struct Player {
    site: Site,
    txns: BTreeMap<u32, Txn>,
    votes: BTreeMap<u32, VoteFuture>,
    transcript: String,
    history: Vec<String>,
}

impl Player {
    fn play(schedule: &str) -> Self {
        let site = Site::new();
        let mut player = Self {
            txns: (1..=3).map(|number| (number, site.begin(number))).collect(),
            site,
            votes: BTreeMap::new(),
            transcript: String::new(),
            history: Vec::new(),
        };
        for token in schedule.split_whitespace() {
            player.execute(token);
            player.settle();
        }
        let txns: Vec<_> = player.txns.values().cloned().collect();
        player.site.close(&txns.iter().collect::<Vec<_>>());
        player
    }

    fn say(&mut self, token: &str, what: &str) {
        writeln!(self.transcript, "{token:<8}{what}").unwrap();
    }

    /// `w1(x)`, `r2(x0)`, `c1`.
    fn execute(&mut self, token: &str) {
        let characters: Vec<_> = token.chars().collect();
        let number = characters[1].to_digit(10).unwrap();
        let txn = self.txns[&number].clone();
        if !txn.state().is_undecided() {
            self.say(token, "ignored: the transaction has ended");
            return;
        }
        match characters[0] {
            'w' => {
                self.site.write(&txn, characters[3]).unwrap();
                self.say(token, "executed");
                self.history.push(token.to_owned());
            }
            'r' => {
                let Ok(Seen::Now(writer)) = self.site.read(&txn, characters[3]) else {
                    panic!("{token}: nobody is late in these schedules");
                };
                let executed = format!("r{number}({}{writer})", characters[3]);
                if executed == token {
                    self.say(token, "executed");
                } else {
                    let why = "the version asked for is not committed";
                    self.say(token, &format!("executed as {executed}: {why}"));
                }
                self.history.push(executed);
            }
            'c' => self.request(token, number, &txn),
            other => unreachable!("no operation is written {other:?}"),
        }
    }

    fn request(&mut self, token: &str, number: u32, txn: &Txn) {
        let vote = self.site.scheduler.request_vote(txn);
        match vote.peek() {
            Some(Vote::Yes) => {
                self.say(token, "voted, committed");
                self.commit(number);
            }
            Some(Vote::No(reason)) => self.say(token, &format!("voted no: {reason}")),
            None => {
                let blockers = self.site.scheduler.blocked_by(txn);
                let names = blockers.iter().map(|(gtid, _)| format!("T{}", gtid.0));
                let names: Vec<_> = names.collect();
                self.say(token, &format!("withheld until {} ended", names.join(", ")));
                self.votes.insert(number, vote);
            }
        }
    }

    fn commit(&mut self, number: u32) {
        let txn = self.txns[&number].clone();
        let stamp = self.site.queries.vote(&txn).unwrap();
        self.site.commit(&txn, stamp);
        self.history.push(format!("c{number}"));
    }

    /// Dooms and released votes.
    fn settle(&mut self) {
        loop {
            let doomed = self.site.scheduler.take_doomed();
            for txn in &doomed {
                let number = Site::number(txn);
                let what = format!("doomed: {}", txn.doomed().unwrap());
                self.say(&format!("a{number}"), &what);
                self.site.abort(txn);
                self.history.push(format!("a{number}"));
            }
            let votes = self.votes.iter();
            let released: Vec<_> = votes
                .filter(|(number, _)| self.txns[number].state() == State::Voted)
                .map(|(number, _)| *number)
                .collect();
            for number in &released {
                assert_eq!(self.votes.remove(number).unwrap().peek(), Some(Vote::Yes));
                self.say(&format!("c{number}"), "released, committed");
                self.commit(*number);
            }
            if doomed.is_empty() && released.is_empty() {
                return;
            }
        }
    }
}

fn golden(id: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{id}.txt"));
    std::fs::read_to_string(file).unwrap()
}

/// A transcript line without the edges.
fn without_edges(line: &str) -> &str {
    if line.contains("executed") {
        line.split(", T").next().unwrap()
    } else {
        line
    }
}

#[test]
fn m1_to_m7_end_as_in_the_golden_transcripts() {
    for id in ["M1", "M2", "M3", "M4", "M5", "M6", "M7"] {
        let text = golden(id);
        let (head, body) = text.split_once("[versions]\n").unwrap();
        let schedule = head.lines().next().unwrap().split_once(": ").unwrap().1;
        let (steps, history) = body.split_once("history: ").unwrap();
        let history = history.split("   (").next().unwrap();

        let player = Player::play(schedule);
        let expected: Vec<_> = steps.lines().map(without_edges).collect();
        let actual: Vec<_> = player.transcript.lines().collect();
        assert_eq!(actual, expected, "{id}");
        let plain = player.history.join(" ");
        assert_eq!(plain, history, "{id}");
    }
}
