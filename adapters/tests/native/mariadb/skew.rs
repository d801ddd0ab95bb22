//! Write skew over two servers, with the other product too.

use std::sync::Arc;

use participant::conformance::{Client, found, get, put};
use participant::{Decision, Participant, Reply};

use super::{Life, server};

/// Each reads at both and writes at its own one, if the other's is one. One after the other, one of them is left.
fn write_skew(sites: [&Arc<dyn Participant>; 2]) {
    for (site, name) in sites.iter().zip(["x", "y"]) {
        let client = Client::begin(site, 90);
        assert!(client.run(put(name, "1")).is_ok());
        client.commit();
        site.quiesce();
    }
    let clients = [1, 2].map(|number| sites.map(|site| Client::begin(site, number)));
    for transaction in &clients {
        assert_eq!(transaction[0].run(get("x")), Ok(found("1")));
        assert_eq!(transaction[1].run(get("y")), Ok(found("1")));
    }
    let mut first = clients[0][0].start(put("x", "0"));
    assert_eq!(first.poll(), None, "the other has read it");
    let mut second = clients[1][1].start(put("y", "0"));
    assert_eq!(second.poll(), None, "the other has read it");
    // A circle that no server sees. What the coordinator does.
    let blocked: Vec<_> = sites
        .iter()
        .flat_map(|site| {
            site.quiesce();
            site.blocked()
        })
        .map(|it| (it.gtid.0, it.by[0].0.0))
        .collect();
    assert_eq!(blocked, [(1, 2), (2, 1)]);
    clients[1].iter().for_each(Client::abort);
    assert_eq!(first.poll(), Some(Ok(Reply::Done)));
    let ballots = clients[0].each_ref().map(Client::prepare);
    let stamp = ballots.iter().map(|it| it.yes().unwrap()).max().unwrap();
    for client in &clients[0] {
        assert_eq!(client.decide(Decision::Commit(stamp)), Ok(()));
    }
    for (site, name, value) in [(sites[0], "x", "0"), (sites[1], "y", "1")] {
        let client = Client::begin(site, 91);
        assert_eq!(client.run(get(name)), Ok(found(value)));
        client.commit();
    }
}

#[test]
fn write_skew_over_two_mariadb_servers_is_prevented_and_its_circle_is_seen() {
    let (Some(one), Some(other)) = (server(), server()) else {
        return;
    };
    let lives = [Life::begin(&one.url()), Life::begin(&other.url())];
    write_skew([&lives[0].site, &lives[1].site]);
}

#[test]
fn write_skew_over_postgres_and_mariadb_is_prevented_and_its_circle_is_seen() {
    let (Some(one), Some(other)) = (crate::server(), server()) else {
        return;
    };
    let mode = adapters::postgres::native::Mode::Lock;
    let lives = (
        crate::Life::begin(&one.url(), mode),
        Life::begin(&other.url()),
    );
    write_skew([&lives.0.site, &lives.1.site]);
}
