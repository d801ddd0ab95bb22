//! Random schedules: short transactions over few keys at several sites, interleaved by a seed with every
//! message, sync and tick of the protocol, and judged by the checker.

use std::fmt;
use std::time::Duration;

use checker::{Case, Level, Verdict, judge_each};
use co_core::{Priority, VoteRule};
use fastrand::Rng;
use participant::engine::EngineKind;

use crate::client::{Client, Ending, Progress};
use crate::program::{Program, Shape, Workload, programs, shapes};
use crate::world::{Options, Step, World};

/// What kind of schedules to run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The world they run in; its engines are replaced by random ones if it names none.
    pub options: Options,
    /// How large they are.
    pub shape: Shape,
    /// What their transactions do.
    pub workload: Workload,
    /// One choice in this many crashes a site and starts it again from its log; 0 for never. Takes durable
    /// sites.
    pub crash_one_in: usize,
}

impl Setup {
    /// Random engines at two or three sites under this rule.
    #[must_use]
    pub fn new(rule: VoteRule) -> Self {
        Self {
            options: Options::new(&[], rule),
            shape: Shape::default(),
            workload: Workload::default(),
            crash_one_in: 0,
        }
    }
}

/// What one schedule led to.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Transactions committed.
    pub commits: u64,
    /// Transactions aborted.
    pub aborts: u64,
    /// Steps taken.
    pub steps: u64,
    /// Crashes of sites.
    pub crashes: u64,
    /// States in which nothing could move until time passed.
    pub stuck: u64,
    /// Whether the committed history of all sites together is serializable.
    pub serializable: bool,
    /// What must never be, if it was.
    pub problem: Option<Problem>,
}

/// What must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The sites together are not serializable, or not commitment ordered, under the rule that promises
    /// it; or a single site is not serializable under a rule that promises that.
    Disordered(String),
    /// Something was still undecided when nothing moved any more (I4).
    Stuck(String),
    /// All was decided and something was left behind (I7).
    Leak(String),
    /// An operation was refused that is allowed.
    Refused(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disordered(text) => write!(f, "not in order: {text}"),
            Self::Stuck(text) => write!(f, "stuck: {text}"),
            Self::Leak(text) => write!(f, "something was left behind: {text}"),
            Self::Refused(text) => write!(f, "an allowed operation was refused: {text}"),
        }
    }
}

/// How long time passes at once when nothing else can happen.
const PAUSE: Duration = Duration::from_millis(5);

/// After how many pauses a schedule counts as stuck: more than ten times the longest timeout.
const MAX_PAUSES: u64 = 40_000;

/// One choice in this many lets time pass although something could move.
const EARLY_PAUSE: usize = 40;

/// For how many pauses a client waits for one operation before it gives up: what ends deadlocks that
/// nobody looks for. The younger gives up first.
const PATIENCE: u64 = 400;

struct Actor {
    program: Program,
    client: Option<Client>,
    next: usize,
    /// For how many pauses its operation has waited.
    waited: u64,
}

enum Choice {
    World(Step),
    Actor(usize),
}

/// Runs the schedule of one seed.
#[must_use]
pub fn run(seed: u64, setup: &Setup) -> Run {
    let mut rng = Rng::with_seed(seed);
    let mut options = setup.options.clone();
    if options.engines.is_empty() {
        options.engines = random_engines(&mut rng, options.rule);
    }
    let rule = options.rule;
    // In every other schedule.
    options.dependent_votes &= seed.is_multiple_of(2);
    let mut world = World::new(options);
    let draw = match setup.workload {
        Workload::Mixed => programs,
        Workload::Shapes => shapes,
    };
    let mut actors: Vec<Actor> = draw(&mut rng, setup.shape, world.sites())
        .into_iter()
        .map(|program| Actor {
            program,
            client: None,
            next: 0,
            waited: 0,
        })
        .collect();
    let mut run = Run::default();
    run.problem = interleave(&mut rng, setup, &mut world, &mut actors, &mut run);
    for actor in &actors {
        match actor
            .client
            .as_ref()
            .and_then(|client| client.ending(&world))
        {
            Some(Ending::Committed) => run.commits += 1,
            _ => run.aborts += 1,
        }
    }
    judge(&mut world, rule, &mut run);
    run
}

/// Ordered sharing rests on the order of the votes, so it is drawn with that only.
fn random_engines(rng: &mut Rng, rule: VoteRule) -> Vec<EngineKind> {
    let kinds = match rule {
        VoteRule::Withhold => &EngineKind::ALL[..],
        VoteRule::LocalOnly | VoteRule::LocalSnapshot | VoteRule::DangerIgnoreReads => {
            &EngineKind::ALL[..4]
        }
    };
    (0..rng.usize(2..=3))
        .map(|_| kinds[rng.usize(..kinds.len())])
        .collect()
}

fn interleave(
    rng: &mut Rng,
    setup: &Setup,
    world: &mut World,
    actors: &mut [Actor],
    run: &mut Run,
) -> Option<Problem> {
    let mut pauses = 0;
    loop {
        let choices = choices(world, actors);
        let finished = actors.iter().all(|actor| is_done(world, actor));
        if choices.is_empty() && finished && world.is_quiet() {
            return None;
        }
        if choices.is_empty() || rng.usize(..EARLY_PAUSE) == 0 {
            run.stuck += u64::from(choices.is_empty() && pauses == 0);
            pauses += 1;
            if pauses > MAX_PAUSES {
                return Some(unfinished(world, finished));
            }
            world.pass(PAUSE);
            give_up(world, actors);
            continue;
        }
        if setup.crash_one_in > 0 && rng.usize(..setup.crash_one_in) == 0 {
            let site = rng.usize(..world.sites());
            crash(world, actors, site);
            run.crashes += 1;
            continue;
        }
        run.steps += 1;
        match choices[rng.usize(..choices.len())] {
            Choice::World(step) => world.step(step),
            Choice::Actor(index) => {
                if let Err(problem) = act(world, actors, index) {
                    return Some(problem);
                }
                world.run();
            }
        }
        pauses = 0;
    }
}

/// A site loses what its log has not, and comes back.
fn crash(world: &mut World, actors: &mut [Actor], site: usize) {
    world.crash(site);
    world.start(site);
    for client in actors.iter_mut().filter_map(|actor| actor.client.as_mut()) {
        client.lose(world, site);
    }
}

/// Clients whose operations have waited too long roll back, and sites end what a client that is gone has
/// left there.
fn give_up(world: &mut World, actors: &mut [Actor]) {
    let count = actors.len() as u64;
    for (age, actor) in (0..).zip(actors) {
        let Some(client) = &mut actor.client else {
            continue;
        };
        let patience = PATIENCE + PATIENCE * (count - age);
        if client.ending(world).is_some() {
            actor.waited += 1;
            if actor.waited > patience {
                client.expire(world);
                actor.waited = 0;
            }
        } else if client.is_asleep() && !client.is_ending() {
            actor.waited += 1;
            if actor.waited > patience {
                client.rollback(world);
            }
        } else {
            actor.waited = 0;
        }
    }
}

fn unfinished(world: &World, finished: bool) -> Problem {
    if finished {
        Problem::Leak(format!("{world:?}"))
    } else {
        Problem::Stuck(format!("{world:?}"))
    }
}

fn is_done(world: &World, actor: &Actor) -> bool {
    actor
        .client
        .as_ref()
        .is_some_and(|client| client.ending(world).is_some())
}

fn choices(world: &World, actors: &[Actor]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = world.possible().into_iter().map(Choice::World).collect();
    for (index, actor) in actors.iter().enumerate() {
        let able = match &actor.client {
            None => true,
            Some(client) => !client.is_ending() && !client.is_asleep(),
        };
        if able {
            choices.push(Choice::Actor(index));
        }
    }
    choices
}

fn act(world: &mut World, actors: &mut [Actor], index: usize) -> Result<(), Problem> {
    let actor = &mut actors[index];
    let Some(client) = &mut actor.client else {
        actor.client = Some(if actor.program.local {
            let number = index as u64 + 1;
            Client::local(number, Priority(world.now().0))
        } else {
            Client::global(world, None)
        });
        return Ok(());
    };
    let progress = if client.is_running() {
        client.poll(world)
    } else if let Some((site, operation)) = actor.program.steps.get(actor.next) {
        actor.next += 1;
        client.start(world, *site, operation.clone())
    } else {
        client.commit(world);
        return Ok(());
    };
    match progress {
        Progress::Replied(_) | Progress::Waiting => Ok(()),
        Progress::Aborted => {
            client.rollback(world);
            Ok(())
        }
        Progress::Refused(message) => Err(Problem::Refused(message)),
    }
}

fn judge(world: &mut World, rule: VoteRule, run: &mut Run) {
    let histories = world.histories();
    let case = Case::new(&histories);
    let serializability = case.judge(Level::Serializability);
    run.serializable = is_valid(&serializability.verdict, run.commits);
    if run.problem.is_some() {
        return;
    }
    let promised = match rule {
        VoteRule::Withhold => {
            vec![serializability, case.judge(Level::CommitmentOrdering)]
        }
        VoteRule::LocalOnly | VoteRule::LocalSnapshot => {
            judge_each(&histories, Level::Serializability)
        }
        VoteRule::DangerIgnoreReads => Vec::new(),
    };
    run.problem = promised
        .iter()
        .find(|report| !is_valid(&report.verdict, run.commits))
        .map(|report| Problem::Disordered(in_words(&report.verdict)));
}

/// A history without a commit is in order, though there is nothing that a checker could say about it; so
/// is a site's at which nothing was committed.
fn is_valid(verdict: &Verdict, commits: u64) -> bool {
    match verdict {
        Verdict::Valid { .. } => true,
        Verdict::Invalid { .. } => false,
        Verdict::Unknown { reasons, .. } => {
            commits == 0
                || reasons
                    .iter()
                    .all(|doubt| matches!(doubt, checker::Doubt::NothingToJudge))
        }
    }
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Valid { .. } => "valid".to_owned(),
        Verdict::Invalid { anomalies, .. } => lines(anomalies),
        Verdict::Unknown { reasons, .. } => lines(reasons),
    }
}

fn lines(items: &[impl fmt::Display]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
