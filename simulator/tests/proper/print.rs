//! Witnesses as text: a column for each site, one for the coordinator's decisions, a line for each event.

use std::fmt::Write as _;

use crate::explore::Explored;
use crate::judge::in_words;
use crate::play::{Event, Play, Step, Then, What};
use crate::proper::Failure;
use crate::variant::Variant;
use crate::workload::{Workload, key_name, site_name};

const WIDTH: usize = 40;

/// The schedule that leads to what a failure says, where `H1` ends in it, and what is lost.
pub(crate) fn witness(
    variant: Variant,
    workload: &Workload,
    explored: &Explored,
    failure: &Failure,
) -> String {
    let (earlier, later) = (explored.last_good(failure), failure.at());
    let way = explored.way(later);
    let mut text = format!("{}\n{workload}\n\n", variant.name);
    let sites =
        (0..workload.sites()).map(|site| format!("{}: {}", site_name(site), variant.sites[site]));
    line(&mut text, "", sites, "decisions");
    let mut play = Play::new(variant, workload);
    let size = explored.admitted.history(earlier).size;
    let mut told = vec![false; workload.programs.len()];
    for (number, step) in way.iter().enumerate() {
        let event = play.step(*step);
        let mut decisions = Vec::new();
        for (txn, told) in told.iter_mut().enumerate() {
            if !*told && play.is_committed(txn) && !workload.is_local(txn) {
                *told = true;
                decisions.push(format!("commit T{}", txn + 1));
            }
        }
        let cell = |site: usize| match step {
            Step::Act { site: at, .. }
            | Step::Deliver { site: at, .. }
            | Step::AbortByHand { site: at, .. } => {
                if *at == site {
                    in_cell(&event)
                } else {
                    String::new()
                }
            }
            Step::Pass => in_cell(&event),
        };
        let cells: Vec<String> = (0..workload.sites()).map(cell).collect();
        line(
            &mut text,
            &format!("{}", number + 1),
            cells.into_iter(),
            &decisions.join(", "),
        );
    }
    let facts = |history| in_words(explored.admitted.facts(history));
    // Writing to a string cannot fail.
    let _infallible = match failure {
        Failure::NoOutcome { .. } => write!(
            text,
            "\nH1, the first {size} of these {} events: an outcome of serializability is\n  {}\nH2, all of them: no serial order \
             explains\n  {}\n",
            way.len(),
            facts(earlier),
            facts(later)
        ),
        Failure::TakenBack { .. } => write!(
            text,
            "\nH1, {size} of these {} events: told is\n  {}\nH2, all of them: told is\n  {}\n",
            way.len(),
            facts(earlier),
            facts(later)
        ),
    };
    text
}

fn line(text: &mut String, number: &str, cells: impl Iterator<Item = String>, decisions: &str) {
    let mut line = format!("{number:>2}  ");
    for cell in cells {
        let _infallible = write!(line, "{cell:<WIDTH$}");
    }
    line.push_str(decisions);
    text.push_str(line.trim_end());
    text.push('\n');
}

fn in_cell(event: &Event) -> String {
    let name = |txn: usize| format!("T{}", txn + 1);
    let version = |from: Option<usize>| from.map_or_else(|| "⊥".to_owned(), name);
    let mut text = match event.what {
        What::Read { txn, key, from } => {
            format!("{} reads {} = {}", name(txn), key_name(key), version(from))
        }
        What::Wrote { txn, key } => format!("{} writes {}", name(txn), key_name(key)),
        What::Waits { txn, key } => format!("{} waits for {}", name(txn), key_name(key)),
        What::Fails { txn } => format!("{} is aborted", name(txn)),
        What::Commits { txn } => format!("{} asks for its commit", name(txn)),
        What::GivesUp { txn } => format!("{} gives up", name(txn)),
        What::Prepare { txn } => format!("prepare {}", name(txn)),
        What::Commit { txn } => format!("learns commit {}", name(txn)),
        What::Abort { txn } => format!("learns abort {}", name(txn)),
        What::ByHand { txn } => format!("{} is aborted by hand", name(txn)),
        What::Pass => "time passes".to_owned(),
    };
    for then in &event.then {
        let what = match *then {
            Then::Yes { txn } => format!("YES {}", name(txn)),
            Then::No { txn } => format!("NO {}", name(txn)),
            Then::Committed { txn } => format!("commit {}", name(txn)),
            Then::Aborted { txn } => format!("abort {}", name(txn)),
            Then::Replaced { key, txn, .. } => format!("{} = {}", key_name(key), name(txn)),
            Then::Forgot { txn } => format!("forgets {}", name(txn)),
        };
        let _infallible = write!(text, "; {what}");
    }
    text
}
