//! `adapter check`: whether a server can be a site as it is, and what to run where it cannot.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use coco::service::process::{self, Fatal};
use serde_json::{Value, json};

use super::{DatabaseArgs, TableArgs, mariadb, postgres};
use crate::site::Product;

/// Which server to look at.
#[derive(ClapArgs, Clone, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    table: TableArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    /// The server cannot be a site like that, or promises would be broken.
    Wrong,
    /// It can, with a drawback.
    Drawback,
}

/// Something about a server that should be otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What is so, and what follows.
    pub(super) what: String,
    /// What to run in the server.
    pub(super) statement: String,
    /// What to do after that.
    pub(super) then: Option<&'static str>,
}

impl Finding {
    /// Whether the server can be a site all the same.
    pub(super) fn is_drawback(&self) -> bool {
        self.severity == Severity::Drawback
    }
}

pub(super) fn wrong(what: String, statement: String, then: Option<&'static str>) -> Finding {
    Finding {
        severity: Severity::Wrong,
        what,
        statement,
        then,
    }
}

pub(super) fn drawback(what: String, statement: String, then: Option<&'static str>) -> Finding {
    Finding {
        severity: Severity::Drawback,
        ..wrong(what, statement, then)
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Findings {
    pub(super) product: Product,
    pub(super) version: String,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) all: Vec<Finding>,
}

impl Findings {
    /// Whether the server can be a site.
    fn fits(&self) -> bool {
        self.all.iter().all(Finding::is_drawback)
    }

    fn lines(&self) -> Vec<String> {
        let Self {
            product,
            version,
            database,
            user,
            ..
        } = self;
        let verdict = match (self.fits(), self.all.is_empty()) {
            (true, true) => "fits",
            (true, false) => "fits, with drawbacks",
            (false, _) => "does not fit",
        };
        let mut lines = vec![format!(
            "{product} {version}, database {database}, user {user}: {verdict}"
        )];
        for finding in &self.all {
            let mark = match finding.severity {
                Severity::Wrong => "WRONG   ",
                Severity::Drawback => "drawback",
            };
            lines.push(format!("  {mark}  {}", finding.what));
            let then = finding.then.map(|then| format!("  -- then {then}"));
            lines.push(format!(
                "            {}{}",
                finding.statement,
                then.unwrap_or_default()
            ));
        }
        lines
    }

    fn json(&self) -> Value {
        let all = self.all.iter().map(|finding| {
            json!({
                "severity": match finding.severity {
                    Severity::Wrong => "wrong",
                    Severity::Drawback => "drawback",
                },
                "what": finding.what,
                "statement": finding.statement,
                "then": finding.then,
            })
        });
        json!({
            "product": self.product.to_string(),
            "version": self.version,
            "database": self.database,
            "user": self.user,
            "fits": self.fits(),
            "findings": all.collect::<Vec<Value>>(),
        })
    }
}

impl Check {
    pub(super) async fn run(&self) -> Result<ExitCode, Fatal> {
        let address = self.database.address()?;
        let findings = match Product::of_address(&address).map_err(Fatal::new)? {
            Product::Postgres => postgres::check(&address, &self.table).await?,
            Product::MariaDb => mariadb::check(&address, &self.table).await?,
        };
        if self.json {
            process::say(&findings.json().to_string())?;
        } else {
            for line in findings.lines() {
                process::say(&line)?;
            }
        }
        Ok(if findings.fits() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(all: Vec<Finding>) -> Findings {
        Findings {
            product: Product::Postgres,
            version: "15.1".to_owned(),
            database: "shop".to_owned(),
            user: "orders".to_owned(),
            all,
        }
    }

    fn finding(severity: Severity) -> Finding {
        Finding {
            severity,
            what: "it is so".to_owned(),
            statement: "MEND IT;".to_owned(),
            then: Some("restart the server"),
        }
    }

    #[test]
    fn a_server_with_drawbacks_fits_and_one_with_something_wrong_does_not() {
        assert!(findings(vec![]).fits());
        assert!(findings(vec![finding(Severity::Drawback)]).fits());
        let wrong = findings(vec![finding(Severity::Drawback), finding(Severity::Wrong)]);
        assert!(!wrong.fits());
        let lines = wrong.lines();
        assert!(lines[0].ends_with("does not fit"), "{lines:?}");
        assert!(lines[4].ends_with("MEND IT;  -- then restart the server"));
        assert_eq!(wrong.json()["findings"][1]["severity"], "wrong");
    }
}
