//! `cargo xtask databases`: servers to try things on.

use std::io::Write as _;

use databases::{Fleet, Member, MemberState, Product};

const HELP: &str = "\
Private PostgreSQL and MariaDB servers on loopback, two of each, for tests and demonstrations.

Usage: cargo xtask databases <COMMAND>

Commands:
  up               start those that do not run, and say how to reach them; installs them with apt-get if this is root
  down [--remove]  stop them; with --remove, delete their data as well
  status           say which run

Environment:
  CO_DATABASES_PORT    port of the first, the others follow (15431)
  CO_DATABASES_FOLDER  where their data is (co-databases in the folder for temporary files)
  CO_POSTGRES_BIN      folder with `postgres` and `initdb`, if they are not where packages put them
  CO_MARIADB_BIN       the same for `mariadbd` and `mariadb-install-db`

Nobody but this machine can reach them, and they have no passwords: do not keep anything in them.
";

/// Does what the arguments say.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["up"] => up(),
        ["down"] => down(false),
        ["down", "--remove"] => down(true),
        ["status"] => {
            show(&Fleet::of_machine()?.status());
            Ok(())
        }
        ["help" | "--help" | "-h"] => {
            say(HELP.trim_end());
            Ok(())
        }
        _ => Err(format!("what about the databases?\n\n{HELP}")),
    }
}

/// Installs the servers where that is possible, and says loudly what is not there: tests that need it will skip.
///
/// # Errors
/// In CI, if one is not there.
pub(crate) fn prepare() -> Result<(), String> {
    let mut missing = Vec::new();
    for (product, found) in databases::install() {
        if let Err(error) = found {
            say(&format!(
                "NOT INSTALLED: all that needs {product} is skipped: {error}"
            ));
            missing.push(error.to_string());
        }
    }
    if databases::in_ci() && !missing.is_empty() {
        return Err(format!("in CI nothing is skipped: {}", missing.join("; ")));
    }
    Ok(())
}

fn up() -> Result<(), String> {
    prepare()?;
    let fleet = Fleet::of_machine()?;
    let progress = |name: &str| say(&format!("starting {name}"));
    let members = fleet.up(progress).map_err(|error| error.to_string())?;
    show(&members);
    say(&format!("data in {}", fleet.folder().display()));
    let none = members
        .iter()
        .all(|member| matches!(member.state, MemberState::NotInstalled(_)));
    if none {
        return Err("no server is installed".to_owned());
    }
    Ok(())
}

fn down(remove: bool) -> Result<(), String> {
    let fleet = Fleet::of_machine()?;
    let stopped = fleet.down(remove).map_err(|error| error.to_string())?;
    if stopped.is_empty() {
        say("none was running");
    } else {
        say(&format!("stopped {}", stopped.join(", ")));
    }
    if remove {
        say(&format!("removed {}", fleet.folder().display()));
    }
    Ok(())
}

fn show(members: &[Member]) {
    for member in members {
        let product = match member.product {
            Product::Postgres => "PostgreSQL",
            Product::MariaDb => "MariaDB",
        };
        match &member.state {
            MemberState::Up(url) => say(&format!("{:4} {product:10} up    {url}", member.name)),
            MemberState::Down => say(&format!(
                "{:4} {product:10} down  port {}",
                member.name, member.port
            )),
            MemberState::NotInstalled(why) => say(&format!("{:4} {product:10} {why}", member.name)),
        }
    }
}

/// Tells the user. Who reads no more (`| head`) has heard enough, and what was asked for is done all the same.
fn say(text: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{text}");
}
