//! Real servers, started, killed and started again. Skips, loudly, what is not installed.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests: a skipped one says so, and what fails panics"
)]

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use databases::{Binaries, Error, Fleet, MemberState, Product, Server};

/// A server, or nothing where its product is not installed.
fn server(product: Product) -> Option<Server> {
    Server::for_test(product, &[])
}

fn reachable(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn is_killed_and_comes_back(product: Product) {
    let Some(mut server) = server(product) else {
        return;
    };
    assert!(reachable(server.port()));
    let first = server.pid();
    server.kill();
    assert!(!reachable(server.port()), "killed, and it answers");
    server.start().unwrap();
    assert!(reachable(server.port()));
    assert_ne!(server.pid(), first);
    server.stop().unwrap();
    assert!(!reachable(server.port()));
    server.start().unwrap();
    let port = server.port();
    drop(server);
    assert!(!reachable(port), "dropped, and it answers");
}

#[test]
fn postgres_is_killed_and_comes_back() {
    is_killed_and_comes_back(Product::Postgres);
}

#[test]
fn mariadb_is_killed_and_comes_back() {
    is_killed_and_comes_back(Product::MariaDb);
}

/// Those that are made at the same time keep out of each other's temporary files. Eight, so that it shows every time.
#[test]
fn many_start_at_once() {
    let start = || std::thread::spawn(|| server(Product::MariaDb));
    let starting: Vec<_> = (0..8).map(|_| start()).collect();
    let servers = starting.into_iter().map(|starts| starts.join().unwrap());
    let servers: Vec<Server> = servers.flatten().collect();
    for server in &servers {
        assert!(reachable(server.port()), "{}", server.name());
    }
}

#[test]
fn a_taken_port_is_named() {
    let Some(mut server) = server(Product::Postgres) else {
        return;
    };
    server.stop().unwrap();
    let _guest = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    let refused = server.start().unwrap_err();
    assert!(matches!(refused, Error::PortInUse { port, .. } if port == server.port()));
    assert!(refused.to_string().contains(&server.port().to_string()));
}

#[test]
fn a_setting_that_the_server_refuses_is_shown_with_its_log() {
    if Binaries::for_test(Product::Postgres).is_none() {
        return;
    }
    let refused = Server::private(Product::Postgres, &[("max_connections", "minus one")]);
    match refused {
        Err(Error::NotReady { log, .. }) => assert!(log.contains("max_connections"), "{log}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_with_something_else_in_it_is_refused() {
    let folder = std::env::temp_dir().join(format!("co-databases-stale-{}", std::process::id()));
    let data = folder.join("pga").join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("letters.txt"), "mine").unwrap();
    let fleet = Fleet::in_folder(folder.clone(), 25_431);
    match fleet.up(|_| {}) {
        Err(Error::StaleFolder { .. }) => {}
        Ok(members) => assert!(
            matches!(members[0].state, MemberState::NotInstalled(_)),
            "{members:?}"
        ),
        Err(other) => panic!("{other}"),
    }
    assert!(data.join("letters.txt").exists());
    fleet.down(false).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_fleet_stays_up_until_it_is_taken_down() {
    let folder = std::env::temp_dir().join(format!("co-databases-fleet-{}", std::process::id()));
    let fleet = Fleet::in_folder(folder.clone(), 26_431);
    let members = fleet.up(|_| {}).unwrap();
    let up: Vec<_> = members
        .iter()
        .filter(|member| matches!(member.state, MemberState::Up(_)))
        .collect();
    assert!(up.iter().all(|member| reachable(member.port)));
    // Another program sees them, and starts none twice.
    let again = Fleet::in_folder(folder.clone(), 26_431);
    let mut started = Vec::new();
    again.up(|name| started.push(name.to_owned())).unwrap();
    assert_eq!(started, Vec::<String>::new());
    let stopped = again.down(true).unwrap();
    assert_eq!(stopped.len(), up.len());
    assert!(up.iter().all(|member| !reachable(member.port)));
    if up.len() < members.len() {
        eprintln!("SKIPPED: some of the fleet: {members:?}");
    }
    let _left = std::fs::remove_dir_all(folder);
}
