//! The table as Markdown.

use std::fmt::Write as _;

use crate::cluster::Judged;
use crate::run::{Cell, Measured};

pub(crate) fn markdown(measured: &Measured) -> String {
    let mut text = String::new();
    let mut last = None;
    for cell in &measured.cells {
        let head = (cell.sites.as_str(), cell.pairs);
        if last != Some(head) {
            begin(&mut text, cell, measured.fsync);
            last = Some(head);
        }
        row(&mut text, cell).expect("a string takes all");
    }
    text
}

fn begin(text: &mut String, cell: &Cell, fsync: bool) {
    let gap = if text.is_empty() { "" } else { "\n" };
    let flushed = if fsync { "" } else { ", without fsync" };
    writeln!(
        text,
        "{gap}### {}, {} pairs{flushed}\n\n\
         | variant | clients | commits/s | aborts | wrong reads | median | checker |\n\
         |---|---:|---:|---:|---:|---:|---|",
        cell.sites, cell.pairs
    )
    .expect("a string takes all");
}

fn row(text: &mut String, cell: &Cell) -> std::fmt::Result {
    let wrong = match cell.wrong_reads {
        0 => "0".to_owned(),
        wrong => format!("**{wrong}** ({:.2} %)", cell.wrong_percent()),
    };
    let judged = match cell.judged {
        Judged::Valid => "serializable",
        Judged::Invalid => "**not serializable**",
        Judged::Unknown => "not decided",
        Judged::NotRecorded => "",
    };
    writeln!(
        text,
        "| {} | {} | {:.0} | {:.1} % | {wrong} of {} | {:.1} ms | {judged} |",
        cell.variant,
        cell.clients,
        cell.commits_per_second,
        cell.abort_percent(),
        cell.commits,
        cell.median_ms
    )
}
