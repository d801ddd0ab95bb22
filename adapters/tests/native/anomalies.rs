//! Two servers, each serializable by itself: what goes wrong over both, and in which modes it does not.

use adapters::postgres::native::Mode;
use databases::Server;
use participant::conformance::{Client, Running, get, put, scan};
use participant::{Decision, Operation, OperationError, Reply};

use super::{Foreign, Life, server};

/// The same site name at both: they are different databases.
struct Pair {
    sites: [Life; 2],
    _servers: [Server; 2],
}

impl Pair {
    fn open(mode: Mode) -> Option<Self> {
        let servers = [server()?, server()?];
        let sites = [0, 1].map(|at| Life::begin(&servers[at].url(), mode));
        Some(Self {
            sites,
            _servers: servers,
        })
    }

    fn put(&self, number: u64, rows: [(&str, &str); 2]) {
        for (life, (key, value)) in self.sites.iter().zip(rows) {
            let client = life.client(number);
            declare(life, &client, &[key]);
            assert!(client.run(put(key, value)).is_ok());
            client.commit();
            life.site.quiesce();
        }
    }

    /// A global transaction at both sites.
    fn both(&self, number: u64) -> [Client; 2] {
        [0, 1].map(|at| self.sites[at].client(number))
    }

    fn sum(&self, number: u64) -> i64 {
        let values = [("x", 0), ("y", 1)].map(|(key, at)| {
            let life = &self.sites[at];
            let client = life.client(number);
            declare(life, &client, &[key]);
            let Ok(Reply::Value(Some(value))) = client.run(get(key)) else {
                panic!("{key}");
            };
            client.commit();
            String::from_utf8_lossy(&value).parse::<i64>().unwrap()
        });
        values[0] + values[1]
    }
}

fn declare(life: &Life, client: &Client, keys: &[&str]) {
    let declared = client.run(declaration(keys));
    assert_eq!(declared, Ok(Reply::Done), "{}", life.site.engine());
}

fn declaration(keys: &[&str]) -> Operation {
    Operation::Declare(keys.iter().map(|key| key.as_bytes().into()).collect())
}

/// All sites vote, and all of them or none commit.
fn commit(clients: &[Client; 2]) -> bool {
    let ballots = [0, 1].map(|at| clients[at].prepare());
    let votes: Vec<_> = ballots.iter().filter_map(|ballots| ballots.yes()).collect();
    let Some(stamp) = votes.iter().max().filter(|_| votes.len() == 2) else {
        clients.iter().for_each(Client::abort);
        return false;
    };
    for client in clients {
        assert_eq!(client.decide(Decision::Commit(*stamp)), Ok(()));
    }
    true
}

type Answer = Result<Reply, OperationError>;

/// Reads both keys and writes its own one; how far it comes, and what it then waits for.
struct Skew {
    clients: [Client; 2],
    mine: usize,
    left: Vec<(usize, Operation)>,
    waiting: Option<Running<Answer>>,
    aborted: bool,
}

impl Skew {
    fn new(pair: &Pair, number: u64, mine: usize) -> Self {
        let write = put(["x", "y"][mine], "0");
        Self {
            clients: pair.both(number),
            mine,
            left: vec![
                (0, declaration(&["x"])),
                (1, declaration(&["y"])),
                (0, get("x")),
                (1, get("y")),
                (mine, write),
            ],
            waiting: None,
            aborted: false,
        }
    }

    /// Goes on as far as it can, `steps` at most. If the rule does not hold any more it writes nothing.
    fn go_on(&mut self, mut steps: usize) {
        while steps > 0 && !self.aborted {
            let mut running = match self.waiting.take() {
                Some(running) => running,
                None => {
                    if self.left.is_empty() {
                        return;
                    }
                    let (at, operation) = self.left.remove(0);
                    self.clients[at].start(operation)
                }
            };
            match running.poll() {
                None => {
                    self.waiting = Some(running);
                    return;
                }
                Some(Ok(Reply::Value(Some(value)))) if *value == *b"0" => self.left.clear(),
                Some(Ok(_)) => {}
                Some(Err(_)) => self.aborted = true,
            }
            steps -= 1;
        }
    }

    fn is_done(&self) -> bool {
        self.left.is_empty() && self.waiting.is_none() && !self.aborted
    }
}

/// x at one server, y at the other; both transactions read both, and if the sum is two each takes one away, the first x and
/// the second y. One after the other that leaves one; the sum is never zero.
fn write_skew(mode: Mode) -> Option<i64> {
    let pair = Pair::open(mode)?;
    pair.put(90, [("x", "1"), ("y", "1")]);
    let mut first = Skew::new(&pair, 1, 0);
    let mut second = Skew::new(&pair, 2, 1);
    // Both read before either writes, if they can.
    for steps in [2, 2, 1] {
        first.go_on(steps);
        second.go_on(steps);
    }
    if first.waiting.is_some() && second.waiting.is_some() {
        // Each waits for the other at its own site: a circle that no server sees. What the coordinator does.
        let blocked = pair.sites.iter().flat_map(|life| {
            life.site.quiesce();
            life.site.blocked()
        });
        let blocked: Vec<_> = blocked.collect();
        let waits: Vec<_> = blocked.iter().map(|it| (it.gtid.0, it.by[0].0.0)).collect();
        assert_eq!(waits, [(1, 2), (2, 1)], "{}", mode.name());
        second.clients.iter().for_each(Client::abort);
        second.aborted = true;
        first.go_on(9);
    }
    for _ in 0..2 {
        for skew in [&mut first, &mut second] {
            skew.go_on(9);
            if skew.is_done() && !skew.clients.is_empty() {
                let committed = commit(&skew.clients);
                assert!(committed || mode == Mode::Plain, "{}", mode.name());
                skew.aborted = true;
            }
        }
    }
    assert_eq!(first.mine + second.mine, 1);
    Some(pair.sum(91))
}

#[test]
fn write_skew_over_two_servers_is_there_in_plain_mode_and_in_no_other() {
    let Some(sum) = write_skew(Mode::Plain) else {
        return;
    };
    assert_eq!(sum, 0, "two serializable servers, and no serial order");
    for mode in [Mode::Lock, Mode::Advisory, Mode::Serial] {
        assert_eq!(write_skew(mode), Some(1), "{}", mode.name());
    }
}

/// Each counts the rows at both servers and adds one if there is none. `FOR SHARE` finds no row to lock.
fn phantom(mode: Mode) -> Option<usize> {
    let pair = Pair::open(mode)?;
    let clients = [1, 2].map(|number| pair.both(number));
    for transaction in &clients {
        for client in transaction {
            assert_eq!(client.run(scan("a", "z")), Ok(Reply::Rows(Vec::new())));
        }
    }
    let mut writes: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(at, transaction)| transaction[at].start(put("only one", "1")))
        .collect();
    let done: Vec<_> = writes.iter_mut().map(Running::poll).collect();
    if done.iter().all(Option::is_none) {
        // As above.
        clients[1].iter().for_each(Client::abort);
        assert_eq!(writes[0].poll(), Some(Ok(Reply::Done)));
        assert!(commit(&clients[0]));
    } else {
        assert!(clients.iter().all(commit));
    }
    let rows = pair.sites.iter().map(|life| {
        let client = life.client(9);
        let Ok(Reply::Rows(rows)) = client.run(scan("a", "z")) else {
            panic!("{}", mode.name());
        };
        client.commit();
        rows.len()
    });
    Some(rows.sum())
}

#[test]
fn a_phantom_over_two_servers_is_there_in_plain_mode_and_not_under_table_locks() {
    let Some(rows) = phantom(Mode::Plain) else {
        return;
    };
    assert_eq!(rows, 2, "two serializable servers, and no serial order");
    assert_eq!(phantom(Mode::Lock), Some(1));
}

#[test]
fn what_was_not_declared_is_refused_and_says_what_to_do() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Advisory);
    let client = life.client(1);
    assert_eq!(client.run(get("x")), Err(OperationError::NotDeclared));
    declare(&life, &client, &["y", "x"]);
    assert_eq!(
        client.run(declaration(&["z"])),
        Err(OperationError::DeclaredLate)
    );
    assert_eq!(client.run(put("z", "1")), Err(OperationError::NotDeclared));
    assert!(client.run(put("x", "1")).is_ok());
    let engine = "postgres-advisory";
    let refused = client.run(scan("a", "z"));
    assert!(matches!(refused, Err(OperationError::Unsupported { engine: it, .. }) if it == engine));
    let refused = client.run(Operation::Sql("SELECT 1".to_owned()));
    let what = "run statements";
    assert_eq!(refused, Err(OperationError::Unsupported { engine, what }));
    // The same keys the other way round: one order for all, so the second waits, and nobody in a circle.
    let other = life.client(2);
    let mut waiting = other.start(declaration(&["x", "y"]));
    assert_eq!(waiting.poll(), None);
    let ballots = client.prepare();
    assert!(ballots.yes().is_some());
    assert_eq!(
        waiting.poll(),
        None,
        "a prepared transaction keeps its locks"
    );
    assert!(client.conclude(&ballots).is_ok());
    assert_eq!(waiting.poll(), Some(Ok(Reply::Done)));
    other.commit();
    // Elsewhere a declaration means nothing.
    let lock = Life::of(
        "other",
        1,
        super::options(&server.url(), Mode::Lock),
        participant::engine::Options::default(),
    );
    let client = lock.client(3);
    declare(&lock, &client, &["x"]);
    assert!(client.run(get("w")).is_ok());
    client.commit();
    lock.site.quiesce();
    assert_eq!(Foreign::to(&server.url()).prepared(), 0);
}
