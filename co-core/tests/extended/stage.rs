//! What the random schedules have in common: the shape of a set of transactions.

use crate::dice::Dice;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Read,
    Write,
    Increment,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) site: usize,
    pub(crate) verb: Verb,
    pub(crate) item: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) sites: usize,
    pub(crate) items: usize,
    pub(crate) globals: usize,
    pub(crate) locals: usize,
}

/// The three shapes of the campaigns.
pub(crate) const SHAPES: [Shape; 3] = [
    Shape {
        sites: 2,
        items: 2,
        globals: 3,
        locals: 4,
    },
    Shape {
        sites: 2,
        items: 3,
        globals: 2,
        locals: 8,
    },
    Shape {
        sites: 3,
        items: 2,
        globals: 3,
        locals: 6,
    },
];

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) global: bool,
    pub(crate) steps: Vec<Step>,
}

impl Program {
    /// The sites it touches, in order.
    pub(crate) fn sites(&self) -> Vec<usize> {
        let mut sites: Vec<_> = self.steps.iter().map(|step| step.site).collect();
        sites.sort_unstable();
        sites.dedup();
        sites
    }
}

impl Shape {
    /// Globals touch every site once or twice; locals do two or three operations at one.
    pub(crate) fn programs(self, dice: &mut Dice, verbs: &[Verb]) -> Vec<Program> {
        let mut programs = Vec::new();
        for index in 0..self.globals + self.locals {
            let global = index < self.globals;
            let mut steps = Vec::new();
            let sites = if global {
                0..self.sites
            } else {
                let site = dice.below(self.sites);
                site..site + 1
            };
            for site in sites {
                for _ in 0..dice.pick(if global { &[1, 2] } else { &[2, 3] }) {
                    steps.push(Step {
                        site,
                        verb: dice.pick(verbs),
                        item: dice.below(self.items),
                    });
                }
            }
            dice.shuffle(&mut steps);
            programs.push(Program { global, steps });
        }
        programs
    }
}
