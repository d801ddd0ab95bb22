//! `adapter branches`: what is prepared in a server, and whose it is.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use coco::command::table::{self, span};
use coco::protocol::GtidParts;
use coco::service::process::{self, Fatal};
use serde_json::{Value, json};

use super::{DatabaseArgs, mariadb, postgres};
use crate::branch::{BranchName, Site};
use crate::site::Product;

/// Whose branches to list, and where.
#[derive(ClapArgs, Clone, Debug)]
pub(super) struct Branches {
    /// The site whose branches are told from those of others.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A branch as the server lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    /// What the server calls it.
    pub(super) identifier: String,
    /// In which database it can be ended; `None` if in any.
    pub(super) database: Option<String>,
    /// Who prepared it.
    pub(super) owner: Option<String>,
    /// Since when it has been prepared, if the server says so.
    pub(super) age: Option<Duration>,
}

/// Whose a branch is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Whose {
    /// A site's.
    Site(String, BranchName),
    /// It was not prepared by an adapter.
    Foreign,
}

impl Whose {
    fn of(identifier: &str) -> Self {
        let mut parts = identifier.splitn(3, ':').skip(1);
        let site = parts.next().and_then(|name| Site::new(name).ok());
        let branch = site
            .as_ref()
            .and_then(|site| Some((site.name().to_owned(), site.parse(identifier)?)));
        branch.map_or(Self::Foreign, |(site, branch)| Self::Site(site, branch))
    }

    fn words(&self, own: &Site) -> String {
        match self {
            Self::Foreign => "not an adapter's".to_owned(),
            Self::Site(site, branch) => {
                let site = if site == own.name() {
                    "this site".to_owned()
                } else {
                    format!("site {site}")
                };
                match branch {
                    BranchName::Global(gtid) => {
                        let coordinator = GtidParts::coordinator_of(*gtid);
                        format!(
                            "{site}, transaction {} of coordinator {coordinator}",
                            gtid.0
                        )
                    }
                    BranchName::Local { life, number } => {
                        format!("{site}, local transaction {number} of life {life}")
                    }
                }
            }
        }
    }

    fn json(&self, own: &Site) -> Value {
        match self {
            Self::Foreign => json!({ "whose": "foreign" }),
            Self::Site(site, branch) => {
                let whose = if site == own.name() { "own" } else { "other" };
                match branch {
                    BranchName::Global(gtid) => json!({
                        "whose": whose, "site": site, "gtid": gtid.0,
                        "coordinator": GtidParts::coordinator_of(*gtid).0,
                    }),
                    BranchName::Local { life, number } => json!({
                        "whose": whose, "site": site, "life": life, "local": number,
                    }),
                }
            }
        }
    }
}

impl Branches {
    pub(super) async fn run(&self) -> Result<ExitCode, Fatal> {
        let own = Site::new(&self.name).map_err(Fatal::new)?;
        let address = self.database.address()?;
        let listed = match Product::of_address(&address).map_err(Fatal::new)? {
            Product::Postgres => postgres::branches(&address).await?,
            Product::MariaDb => mariadb::branches(&address).await?,
        };
        if self.json {
            let all: Vec<Value> = listed.iter().map(|branch| document(branch, &own)).collect();
            process::say(&Value::from(all).to_string())?;
        } else if listed.is_empty() {
            process::say("nothing is prepared")?;
        } else {
            let rows: Vec<[String; 4]> = listed.iter().map(|branch| row(branch, &own)).collect();
            table::print(["AGE", "BRANCH", "DATABASE", "WHOSE"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(branch: &Listed, own: &Site) -> [String; 4] {
    let unknown = || "-".to_owned();
    [
        branch.age.map_or_else(unknown, span),
        branch.identifier.clone(),
        branch.database.clone().unwrap_or_else(unknown),
        Whose::of(&branch.identifier).words(own),
    ]
}

fn document(branch: &Listed, own: &Site) -> Value {
    let mut document = Whose::of(&branch.identifier).json(own);
    document["branch"] = branch.identifier.clone().into();
    document["database"] = branch.database.clone().into();
    document["owner"] = branch.owner.clone().into();
    document["age_seconds"] = branch.age.map(|age| age.as_secs_f64()).into();
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    use co_core::Gtid;

    #[test]
    fn a_branch_is_told_from_those_of_others_and_of_no_site() {
        let own = Site::new("pg").unwrap();
        let other = Site::new("pg-b").unwrap();
        let name = BranchName::Global(Gtid(7));
        let local = BranchName::Local { life: 3, number: 4 };
        let words = |identifier: &str| Whose::of(identifier).words(&own);
        assert_eq!(
            words(&own.identifier(name)),
            "this site, transaction 7 of coordinator C0"
        );
        assert_eq!(
            words(&other.identifier(name)),
            "site pg-b, transaction 7 of coordinator C0"
        );
        assert_eq!(
            words(&own.identifier(local)),
            "this site, local transaction 4 of life 3"
        );
        for foreign in ["backup", "co:pg", "co:pg:x1", "xx:pg:g7", "co::g7", ""] {
            assert_eq!(words(foreign), "not an adapter's", "{foreign}");
        }
        let json = Whose::of(&own.identifier(name)).json(&own);
        assert_eq!(json["whose"], "own");
        assert_eq!(json["gtid"], 7);
    }
}
