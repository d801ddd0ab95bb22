//! Advice in words, and as a table in Markdown.

use std::fmt;

use super::advice::{Advice, Answer, Checked, TypeAdvice};

impl Answer {
    /// The answer as a heading.
    #[must_use]
    pub const fn heading(&self) -> &'static str {
        match self {
            Self::NoCoordination => "NO COORDINATION",
            Self::SingleSite { .. } => "SINGLE-SITE ORDERING POINT",
            Self::AcrossSites => "COMMITMENT ORDERING ACROSS SITES",
        }
    }

    /// What the answer asks for, in words.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::NoCoordination => {
                "it commits at its replica without asking another site; if types are ordered across sites, its own \
                 site's scheduler puts it before or after each of them"
            }
            Self::SingleSite { .. } => {
                "one site puts its executions into an order and does them one after the other; other sites take no part \
                 in that"
            }
            Self::AcrossSites => {
                "one global transaction at every site that holds copies of what it touches; all that ran there before \
                 is in what it sees, and all that runs there later sees it"
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.heading())?;
        match self {
            Self::SingleSite { site } => write!(f, " at {site}"),
            Self::NoCoordination | Self::AcrossSites => Ok(()),
        }
    }
}

impl Advice {
    /// A table with a row for each transaction type.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| transaction | coordination | because |\n|---|---|---|\n");
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        for its in &self.types {
            let mut reasons: Vec<String> =
                its.reasons.iter().map(|it| cell(&because(it))).collect();
            if reasons.is_empty() {
                reasons.push(cell(&self.free_because(its)));
            }
            let heading = its.answer.to_string();
            text += &format!(
                "| {} | {} | {} |\n",
                cell(&its.name),
                cell(&heading),
                reasons.join("; ")
            );
        }
        text += "\n";
        for (heading, meaning) in self.legend() {
            text += &format!("- {heading}: {meaning}.\n");
        }
        text += "\n";
        text += SOUND;
        text
    }

    /// The answers that are given, and what they mean.
    fn legend(&self) -> Vec<(&'static str, &'static str)> {
        let mut answers: Vec<&Answer> = self.types.iter().map(|it| &it.answer).collect();
        answers.sort_unstable();
        let mut legend: Vec<_> = answers
            .iter()
            .map(|it| (it.heading(), it.meaning()))
            .collect();
        legend.dedup();
        legend
    }

    /// Why a type needs no coordination.
    fn free_because(&self, its: &TypeAdvice) -> String {
        if its.touches.is_empty() {
            return "no invariant speaks of what it changes".to_owned();
        }
        let touched = self
            .invariants
            .iter()
            .filter(|it| its.touches.contains(&it.invariant));
        let pairs: u64 = touched
            .filter_map(|it| it.searched)
            .map(|it| it.pairs)
            .sum();
        format!(
            "every merge is valid, on all {pairs} pairs of states that were searched for the {} it can touch",
            counted(its.touches.len(), "invariant")
        )
    }
}

const SOUND: &str = "\
Sound for the invariants declared and within the bounds stated, and for nothing else: what no invariant says may happen.\n\
It holds if the store merges as the model does: all increments and decrements count; of values that are assigned \
concurrently, any or all stay; a cascading deletion also deletes rows that arrive later; what a transaction writes \
arrives at once; and a transaction that would break an invariant where it runs aborts there.\n";

/// `1 row`, `2 rows`.
pub(super) fn counted<N: fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn because(reason: &super::advice::Reason) -> String {
    match &reason.invariant {
        Some(invariant) => format!("\"{invariant}\": {}", reason.text),
        None => reason.text.clone(),
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (types, invariants) = (self.types.len(), self.invariants.len());
        writeln!(
            f,
            "{}: {}, {} that they can touch\n",
            self.application,
            counted(types, "transaction type"),
            counted(invariants, "invariant")
        )?;
        for its in &self.types {
            writeln!(f, "{}: {}", its.name, its.answer)?;
            if its.reasons.is_empty() {
                writeln!(f, "  {}", self.free_because(its))?;
            }
            for reason in &its.reasons {
                let of = if reason.invariant.is_some() {
                    "of "
                } else {
                    ""
                };
                writeln!(f, "  because {of}{}", because(reason))?;
                if let Some(witness) = &reason.witness {
                    for line in witness.to_string().lines() {
                        writeln!(f, "      {line}")?;
                    }
                }
            }
            if !its.order.is_empty() {
                let what = its.order.join("; ");
                writeln!(f, "  order there: {what}; what else it does needs no order")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "Searched, with the types coordinated as advised:")?;
        for checked in &self.invariants {
            write_checked(f, checked)?;
        }
        writeln!(f)?;
        for (heading, meaning) in self.legend() {
            writeln!(f, "{heading}: {meaning}.")?;
        }
        write!(f, "\n{SOUND}")
    }
}

fn write_checked(f: &mut fmt::Formatter<'_>, checked: &Checked) -> fmt::Result {
    writeln!(f, "  {}", checked.invariant)?;
    let groups = [
        ("free", &checked.free),
        ("at one site", &checked.at_one_site),
        ("across sites", &checked.across_sites),
    ];
    let told = groups.iter().filter(|(_, types)| !types.is_empty());
    let told = told.map(|(label, types)| format!("{label}: {}", types.join(", ")));
    writeln!(f, "    {}", told.collect::<Vec<_>>().join("; "))?;
    match &checked.searched {
        Some(searched) => writeln!(f, "    {searched}")?,
        None => writeln!(
            f,
            "    serial for it, as nothing that touches it runs freely"
        )?,
    }
    if let Some(instead) = &checked.instead {
        let types = instead.types.join(", ");
        let site = &instead.site;
        writeln!(f, "    or, at one site: {types} ordered at {site}")?;
    }
    Ok(())
}
