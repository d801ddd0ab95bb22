//! Servers and tables that are refused, with what to do about it.

use adapters::mariadb::{MariaDb, MariaDbOptions, OpenError};

use databases::{Product, Server};

use super::Bench;
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    (
        "settings that would lose something are refused",
        unfit_settings,
    ),
    ("other products and old versions are refused", versions),
    (
        "a table that cannot roll back is refused, and the advice mends it",
        aria,
    ),
    ("a table of somebody else is refused", other_columns),
    (
        "addresses that cannot be read, and servers that are not there",
        addresses,
    ),
];

fn open(bench: &Bench, options: &MariaDbOptions) -> Result<(), OpenError> {
    let opened = bench.run(MariaDb::open(&options.schema, options.clone()));
    opened.map(drop)
}

fn unfit_settings(bench: &mut Bench) {
    let options = bench.options();
    let mut conn = bench.connect();
    let strict = MariaDbOptions {
        lazy_flush: false,
        ..options.clone()
    };
    let refused = open(bench, &strict).unwrap_err();
    assert!(
        matches!(refused, OpenError::NotDurable { value: 2, .. }),
        "{refused}"
    );
    for (setting, unfit, usual) in [
        ("innodb_flush_log_at_trx_commit", "0", "2"),
        ("read_only", "ON", "OFF"),
        ("max_allowed_packet", "1048576", "16777216"),
    ] {
        bench
            .exec(&mut conn, &format!("SET GLOBAL {setting} = {unfit}"))
            .unwrap();
        let refused = open(bench, &options).unwrap_err();
        // The advice can be pasted.
        let said = refused.to_string();
        let advice = said.split('`').find(|part| part.starts_with("SET GLOBAL"));
        bench.exec(&mut conn, advice.unwrap()).unwrap();
        let fits = match setting {
            "read_only" => matches!(refused, OpenError::ReadOnly { .. }),
            "max_allowed_packet" => {
                matches!(
                    refused,
                    OpenError::SmallPackets {
                        found: 1_048_576,
                        ..
                    }
                )
            }
            _ => matches!(refused, OpenError::NotDurable { value: 0, .. }),
        };
        assert!(fits, "{said}");
        open(bench, &options).unwrap();
        bench
            .exec(&mut conn, &format!("SET GLOBAL {setting} = {usual}"))
            .unwrap();
    }
}

/// A server that says of itself what one would rather not have.
fn versions(bench: &mut Bench) {
    for version in ["8.0.36", "10.4.34-MariaDB"] {
        let server = Server::private(Product::MariaDb, &[("version", version)]).unwrap();
        let options = MariaDbOptions {
            url: server.url(),
            ..bench.options()
        };
        let refused = open(bench, &options).unwrap_err();
        let OpenError::Version { version: found, .. } = &refused else {
            panic!("{version}: {refused}");
        };
        assert_eq!(found, version);
    }
}

fn aria(bench: &mut Bench) {
    let options = bench.options();
    let mut conn = bench.connect();
    let mut mended = |create: &str, name: &str| {
        bench.exec(&mut conn, create).unwrap();
        let refused = open(bench, &options).unwrap_err();
        let OpenError::NotTransactional { table, engine } = &refused else {
            panic!("{refused}");
        };
        let quoted = format!("`{}`.`{name}`", options.schema);
        assert_eq!((engine.as_str(), table), ("Aria", &quoted));
        let said = refused.to_string();
        let (_, advice) = said.split_once("run `").unwrap();
        bench
            .exec(&mut conn, advice.strip_suffix('`').unwrap())
            .unwrap();
        open(bench, &options)
    };
    // An index of Aria does not hold our keys, so this is not a table of ours either.
    let rows = format!(
        "CREATE DATABASE {0}; CREATE TABLE {0}.rows (`key` VARBINARY(9) PRIMARY KEY, `value` BLOB) ENGINE = Aria",
        options.schema
    );
    let refused = mended(&rows, "rows").unwrap_err();
    assert!(matches!(refused, OpenError::Columns { .. }), "{refused}");
    let sites = format!(
        "DROP TABLE {0}.rows; ALTER TABLE {0}.sites ENGINE = Aria",
        options.schema
    );
    mended(&sites, "sites").unwrap();
}

fn other_columns(bench: &mut Bench) {
    let options = bench.options();
    let mut conn = bench.connect();
    let theirs = format!(
        "CREATE DATABASE {0}; CREATE TABLE {0}.rows (`key` VARCHAR(100) PRIMARY KEY, `value` TEXT)",
        options.schema
    );
    bench.exec(&mut conn, &theirs).unwrap();
    let refused = open(bench, &options).unwrap_err();
    assert!(matches!(refused, OpenError::Columns { .. }), "{refused}");
    assert!(refused.to_string().contains("varchar(100)"), "{refused}");
}

fn addresses(bench: &mut Bench) {
    for url in ["nonsense", "mysql://root:secret@127.0.0.1:notaport"] {
        let options = MariaDbOptions {
            url: url.to_owned(),
            ..bench.options()
        };
        let refused = open(bench, &options).unwrap_err();
        assert!(matches!(refused, OpenError::Address { .. }), "{refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
    }
    let options = MariaDbOptions {
        // Reserved, and nobody listens there.
        url: "mysql://root@127.0.0.1:1".to_owned(),
        ..bench.options()
    };
    let refused = open(bench, &options).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Backend(error) if error.is_away()),
        "{refused}"
    );
}
