//! Boxes and arrows of conflicts at sites.

use crate::explain::{Installed, Reason, Seen, SeenBy, Step};
use crate::index::Install;

use super::words::{MAX_LABEL, columns, elided, line};
use super::{Arrow, Box};

/// The transactions of these conflicts, each with the operations by which it met others.
pub(super) fn of_steps(steps: &[Step]) -> (Vec<Box>, Vec<Arrow>) {
    let mut boxes: Vec<Box> = Vec::new();
    let arrows = steps
        .iter()
        .map(|step| {
            let [earlier, later] = operations(step);
            Arrow {
                from: place(&mut boxes, step.from.to_string(), earlier),
                to: place(&mut boxes, step.to.to_string(), later),
                letters: step.reason.letters(),
                label: about(step, MAX_LABEL),
                sentence: step.to_string(),
            }
        })
        .collect();
    (boxes, arrows)
}

/// The place of a box, which now has this line.
fn place(boxes: &mut Vec<Box>, name: String, line: String) -> usize {
    let place = boxes.iter().position(|other| other.name == name);
    let place = place.unwrap_or_else(|| {
        let lines = Vec::new();
        boxes.push(Box { name, lines });
        boxes.len() - 1
    });
    let lines = &mut boxes[place].lines;
    if !lines.contains(&line) {
        lines.push(line);
    }
    place
}

/// The key and the site, in so many columns; the site gives way first. Of a session, its name.
fn about(step: &Step, most: usize) -> String {
    let (key, site) = match (&step.key, &step.site, &step.reason) {
        (Some(key), Some(site), _) => (key.to_string(), site.to_string()),
        (_, _, Reason::Session { session, .. }) => return elided(&session.to_string(), most),
        (_, _, _) => return String::new(),
    };
    let room = most - 3;
    let for_site = columns(&site).min((room / 3).max(room.saturating_sub(columns(&key))));
    let (key, site) = (elided(&key, room - for_site), elided(&site, for_site));
    format!("{key} @ {site}")
}

/// What the earlier transaction did, and what the later.
fn operations(step: &Step) -> [String; 2] {
    let about = about(step, 26);
    match &step.reason {
        Reason::WriteWrite { earlier, later } => {
            [install(*earlier, &about), install(*later, &about)]
        }
        Reason::WriteRead { installed, seen } => [install(*installed, &about), sight(seen, &about)],
        Reason::ReadWrite { seen, installed } => [sight(seen, &about), install(*installed, &about)],
        Reason::Session { earlier, later, .. } => {
            let turn = |position: u64| line("session ", &about, "  turn ", &position.to_string());
            [turn(*earlier), turn(*later)]
        }
        Reason::Realtime { told, asked, .. } => [
            line("told at ", "", "", &told.to_string()),
            line("asked at ", "", "", &asked.to_string()),
        ],
    }
}

fn install(installed: Installed, about: &str) -> String {
    let verb = match installed.how {
        Install::Write => "write  ",
        Install::Delete => "delete ",
        Install::Increment => "add to ",
    };
    line(verb, about, "  seq ", &installed.seq.to_string())
}

fn sight(seen: &Seen, about: &str) -> String {
    let version = seen.version.to_string();
    match (&seen.by, &seen.installer) {
        (SeenBy::Read, None) => line("read   ", about, "  ", "initial"),
        (SeenBy::Read, Some(_)) => line("read   ", about, "  seq ", &version),
        (SeenBy::Scan { found: false, .. }, _) => line("scan   ", about, "  ", "absent"),
        (SeenBy::Scan { found: true, .. }, None) => line("scan   ", about, "  ", "initial"),
        (SeenBy::Scan { found: true, .. }, Some(_)) => line("scan   ", about, "  seq ", &version),
    }
}
