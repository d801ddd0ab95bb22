//! Transcripts: each file in `tests/scripts` holds commands (lines that start with `>`) and, under
//! each, what the coordinator and the voters do. Comments start with `#`.
//!
//! After a wanted change run with `COCO_REGENERATE=1` and read the difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use co_core::{Gtid, Priority};
use coco::protocol::{
    AbortCause, DeadlockPolicy, Dependencies, Durability, TransactionState, VoterConfig, Wait,
};

use crate::world::{Lie, Work, World, coordinator_config, voter_config};

#[test]
fn every_script_gives_its_transcript() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(
        paths.len() >= 15,
        "only {} scripts in {folder:?}",
        paths.len()
    );
    let regenerate = std::env::var_os("COCO_REGENERATE").is_some();
    let mut wrong = Vec::new();
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        println!("{}", path.display());
        let actual = run(&expected);
        if actual == expected {
            continue;
        }
        if regenerate {
            std::fs::write(&path, actual).unwrap();
        } else {
            let at = actual
                .lines()
                .zip(expected.lines())
                .position(|(it, was)| it != was);
            let at = at.unwrap_or_else(|| actual.lines().count().min(expected.lines().count()));
            let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
            wrong.push(format!(
                "{path:?} line {}: expected {:?}, got {:?}",
                at + 1,
                line(&expected),
                line(&actual)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs the commands and comments of a transcript; returns the transcript that comes of it.
fn run(script: &str) -> String {
    let mut runner = Runner::new();
    let mut out = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            out += line;
            out.push('\n');
            let words: Vec<&str> = command.split_whitespace().collect();
            for line in runner.command(&words) {
                out += &format!("{line}\n");
            }
        } else if line.starts_with('#') || line.is_empty() {
            out += line;
            out.push('\n');
        }
    }
    if let Some(violation) = &runner.world.violation {
        out += &format!("VIOLATION {violation}\n");
    }
    out
}

struct Runner {
    world: World,
    gtids: BTreeMap<String, Gtid>,
    callers: u64,
}

impl Runner {
    fn new() -> Self {
        let mut world = World::new(coordinator_config(), Lie::None);
        world.trace = Some(Vec::new());
        Self {
            world,
            gtids: BTreeMap::new(),
            callers: 0,
        }
    }

    fn command(&mut self, words: &[&str]) -> Vec<String> {
        let world = &mut self.world;
        match *words {
            // The coordinator starts anew, with deadlock detection switched off.
            ["no-detection"] => {
                let config = coco::protocol::CoordinatorConfig {
                    deadlocks: DeadlockPolicy::Timeouts,
                    ..coordinator_config()
                };
                *world = World::new(config, Lie::None);
                world.trace = Some(Vec::new());
            }
            ["sites" | "dependent-sites" | "volatile-site", ..] => Self::sites(world, words),
            // A transaction that has worked at these sites.
            ["begin", name, ref sites @ ..] => self.begin(name, sites),
            [how @ ("commit" | "commit-dependent"), name, ref sites @ ..] => {
                self.callers += 1;
                let sites = self.indexes(sites);
                let gtid = self.gtid(name);
                let dependent = how != "commit";
                self.world.commit(self.callers, gtid, &sites, dependent);
            }
            ["rollback", name, ref sites @ ..] => {
                self.callers += 1;
                let sites = self.indexes(sites);
                let gtid = self.gtid(name);
                self.world.rollback(self.callers, gtid, &sites);
            }
            ["release", site, name, ref vote @ ..] => self.release(site, name, vote),
            // Who waits for whom at a site, all of them; shown now and again after 10 ms.
            ["waits", site, ref waits @ ..] => self.waits(site, waits),
            ["after", ms, "ms"] => self.pass(ms.parse().unwrap()),
            ["state"] => self.state(),
            _ => Self::machinery(world, words),
        }
        self.world.trace.as_mut().unwrap().drain(..).collect()
    }

    /// Sites that are connected and have said hello.
    fn sites(world: &mut World, words: &[&str]) {
        let durability = match words[0] {
            "volatile-site" => Durability::Volatile,
            _ => Durability::Durable,
        };
        let config = VoterConfig {
            dependent_votes: words[0] == "dependent-sites",
            ..voter_config(durability)
        };
        for name in &words[1..] {
            world.add_site_with(name, config.clone());
            world.connect(world.sites.len() - 1);
        }
        world.deliver_all();
        world.trace = Some(Vec::new());
    }

    /// `yes`, `read-only`, `no`; `yes after T1` and `yes if T1` depend on others.
    fn release(&mut self, site: &str, name: &str, vote: &[&str]) {
        let gtid = self.gtid(name);
        let mut depends = Dependencies::default();
        let vote = match *vote {
            ["yes"] => Ok(false),
            ["read-only"] => Ok(true),
            ["no"] => Err(AbortCause::WriteConflict),
            ["yes", "after", ref named @ ..] => {
                depends.after = named.iter().map(|name| self.gtid(name)).collect();
                Ok(false)
            }
            ["yes", "if", ref named @ ..] => {
                depends.if_committed = named.iter().map(|name| self.gtid(name)).collect();
                Ok(false)
            }
            _ => panic!("{vote:?}: no vote"),
        };
        let site = self.world.site(site);
        self.world.release_dependent(site, gtid, vote, depends);
    }

    /// Links, disks and machines.
    fn machinery(world: &mut World, words: &[&str]) {
        match *words {
            ["deliver"] => world.deliver_all(),
            ["deliver", site, "up"] => world.deliver_to_coordinator(world.site(site)),
            ["deliver", site, "down"] => world.deliver_to_site(world.site(site)),
            ["lose", site, "up"] => {
                let site = world.site(site);
                world.sites[site].to_coordinator.pop_front().unwrap();
            }
            ["lose", site, "down"] => {
                let site = world.site(site);
                world.sites[site].to_site.pop_front().unwrap();
            }
            // The message at the head arrives now and once more later.
            ["repeat", site, "up"] => {
                let site = world.site(site);
                let message = world.sites[site].to_coordinator[0].clone();
                world.arrive_at_coordinator(site, message);
            }
            ["repeat", site, "down"] => {
                let site = world.site(site);
                let message = world.sites[site].to_site[0].clone();
                world.arrive_at_site(site, message);
            }
            ["sync", "C"] => world.sync_coordinator_fully(),
            ["sync", site] => {
                let site = world.site(site);
                while !world.sites[site].log.pending.is_empty() {
                    world.sync_site(site);
                }
            }
            ["fail-log", "C"] => world.fail_coordinator_log(),
            ["fail-log", site] => world.fail_site_log(world.site(site)),
            ["crash", "C"] => world.crash_coordinator(0),
            ["crash", "C", "keeping", some] => world.crash_coordinator(some.parse().unwrap()),
            ["crash", site] => world.crash_site(world.site(site), 0),
            ["crash", site, "keeping", some] => {
                world.crash_site(world.site(site), some.parse().unwrap());
            }
            ["start", "C"] => world.start_coordinator(),
            ["start", site] => world.start_site(world.site(site)),
            ["cut", site] => world.cut(world.site(site)),
            ["connect", ref sites @ ..] => {
                for site in sites {
                    world.connect(world.site(site));
                }
            }
            _ => panic!("{words:?}: no such command"),
        }
    }

    fn begin(&mut self, name: &str, sites: &[&str]) {
        let gtid = self.world.begin(None);
        self.gtids.insert(name.to_owned(), gtid);
        self.world.names.insert(gtid, name.to_owned());
        for site in self.indexes(sites) {
            self.world.sites[site].work.insert(gtid, Work::Working);
        }
    }

    /// `T1<T2,T3`: T1 waits for T2 and T3.
    fn waits(&mut self, site: &str, waits: &[&str]) {
        let of = |name: &str| {
            let gtid = self.gtid(name);
            (gtid, Priority(gtid.0))
        };
        let waits = waits
            .iter()
            .map(|wait| {
                let (waiter, by) = wait.split_once('<').unwrap();
                let (gtid, priority) = of(waiter);
                Wait {
                    gtid,
                    priority,
                    by: by.split(',').map(of).collect(),
                }
            })
            .collect();
        let site = self.world.site(site);
        self.world.sites[site].waits = waits;
        self.world.show_waits(site);
        self.pass(10);
    }

    fn pass(&mut self, ms: u64) {
        self.world.now = self.world.now + Duration::from_millis(ms);
        self.world.tick_coordinator();
        for site in 0..self.world.sites.len() {
            self.world.tick_site(site);
            self.world.show_waits(site);
        }
    }

    fn state(&mut self) {
        let name = |gtid: &Gtid| self.world.names.get(gtid).cloned().unwrap_or_default();
        let mut lines = Vec::new();
        if let Some(coordinator) = &self.world.coordinator {
            for it in coordinator.transactions() {
                let state = match it.state {
                    TransactionState::Voting { missing } => format!("Voting, missing {missing:?}"),
                    other => format!("{other:?}"),
                };
                lines.push(format!("C  {}: {state}", name(&it.gtid)));
            }
        }
        for site in &self.world.sites {
            for (gtid, work) in &site.work {
                lines.push(format!("{}  {}: {work:?}", site.name, name(gtid)));
            }
        }
        self.world.trace.as_mut().unwrap().extend(lines);
    }

    fn gtid(&self, name: &str) -> Gtid {
        *self
            .gtids
            .get(name)
            .unwrap_or_else(|| panic!("{name} was not begun"))
    }

    fn indexes(&self, sites: &[&str]) -> Vec<usize> {
        sites.iter().map(|site| self.world.site(site)).collect()
    }
}
