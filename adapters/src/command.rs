//! The `adapter` command as a function, so that another program can be its own adapter process: runs a site over a
//! database server, looks at the branches that are prepared there, and says whether the server's settings fit.

mod branches;
mod check;
mod mariadb;
mod postgres;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use coco::command::{InDoubt, Resolve, in_doubt, resolve};
use coco::protocol::VoterConfig;
use coco::service::process::Fatal;
use coco::service::security::read_secret;
use participant::command::serve::{Opening, Program, SiteArgs, on_a_runtime};

use crate::columns::TableColumns;
use crate::identity::LogIdentity;
use crate::site::{Mode, SiteOptions, open_site};

/// What this command is called, and says.
const PROGRAM: Program = Program {
    name: "adapter",
    volatile: "volatile: without --data nothing remembers votes, so a restart rolls back what this site had promised and \
               others have committed",
};

/// A PostgreSQL or MariaDB server as a site that votes in commit order.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Runs a site over a database server until it is told to end (Ctrl-C or SIGTERM).
    #[command(after_help = "Examples:\n  \
        adapter serve --name orders --database postgres://orders@127.0.0.1/shop \\\n      \
            --coordinator http://127.0.0.1:7000 --data /var/lib/orders\n  \
        adapter serve --name stock --database-file stock.url --coordinator 127.0.0.1:7000 --data ./stock \\\n      \
            --history stock.hist")]
    Serve(Box<Serve>),
    /// Lists the branches that are prepared in a server: those of a site, those of others, and, in PostgreSQL, how old they
    /// are.
    #[command(after_help = "Example:\n  \
        adapter branches --name orders --database postgres://orders@127.0.0.1/shop\n\n\
        A running site ends its own branches by itself. What a site has left for good is ended by hand with\n\
        `adapter resolve`, or, if the site will never run again, with the server's own statements.")]
    Branches(branches::Branches),
    /// Says whether a server's settings fit, and with which statements to mend them. Changes nothing.
    #[command(after_help = "Example:\n  \
        adapter check --database postgres://orders@127.0.0.1/shop\n\n\
        Exit status: 0 it fits, 1 it does not, 2 could not ask.")]
    Check(check::Check),
    /// Shows what is in doubt at a site, and what was decided there by hand; as `coco in-doubt`.
    InDoubt(InDoubt),
    /// Ends a transaction in doubt at a site by hand; as `coco resolve`.
    Resolve(Resolve),
}

/// Which server and database.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Database")]
struct DatabaseArgs {
    /// The server and database: postgres://user@host:port/database or mysql://user@host:port. Whoever may list
    /// processes can read it: an address with a password goes into a file.
    #[arg(long, value_name = "URL", required_unless_present = "database_file")]
    database: Option<String>,
    /// A file with the address and nothing else, readable by its owner only.
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    database_file: Option<PathBuf>,
}

impl DatabaseArgs {
    fn address(&self) -> Result<String, Fatal> {
        match (&self.database, &self.database_file) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(file)) => {
                let content = read_secret(file).map_err(Fatal::new)?;
                let text = String::from_utf8(content);
                let text = text
                    .map_err(|_| Fatal::because(format!("{} holds no address", file.display())))?;
                Ok(text.trim().to_owned())
            }
            (None, None) => Err(Fatal::because(
                "say which database, with --database or --database-file",
            )),
        }
    }
}

/// Which table.
#[derive(ClapArgs, Clone, Debug)]
struct TableArgs {
    /// The schema of the site's table; in MariaDB that is a database.
    #[arg(long, default_value = "co")]
    schema: String,
    /// The site's table; it is made if it is not there, unless --key says that it is yours.
    #[arg(long, default_value = "rows")]
    table: String,
    /// Columns of a table of yours that make the keys, in their order (mode co).
    #[arg(
        long,
        value_name = "COLUMN,...",
        value_delimiter = ',',
        requires = "value"
    )]
    key: Vec<String>,
    /// Columns of a table of yours that make the values (mode co).
    #[arg(
        long,
        value_name = "COLUMN,...",
        value_delimiter = ',',
        requires = "key"
    )]
    value: Vec<String>,
    /// Let others write to the table past the site (in MariaDB, to a table of yours): what they do has no place in the commit order, and the
    /// site cannot see it.
    #[arg(long)]
    no_guard: bool,
    /// How many sessions with the server the site has at most.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = sessions)]
    sessions: usize,
}

fn columns(table: &TableArgs) -> Option<TableColumns> {
    (!table.key.is_empty()).then(|| TableColumns {
        key: table.key.clone(),
        value: table.value.clone(),
    })
}

fn sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("it is a number from 1 to 10000".to_owned()),
    }
}

#[derive(ClapArgs, Clone, Debug)]
struct Serve {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Who keeps the commit order: co (the adapter, for keys and ranges); in PostgreSQL also lock (row locks), advisory
    /// (locks on keys that are declared first), serial (one transaction at a time, SQL too), or plain (nobody: not
    /// serializable over several sites).
    #[arg(long, default_value_t = Mode::Co)]
    mode: Mode,
    #[command(flatten)]
    table: TableArgs,
    /// Run without --data, for trials: a restart forgets what the site has promised, and rolls back what the other sites
    /// of those transactions have committed.
    #[arg(long, conflicts_with = "data")]
    volatile: bool,
    #[command(flatten)]
    site: SiteArgs,
}

/// What who gives no data folder, and does not say that nothing need be remembered, is told.
const NO_DATA: &str = "say with --data FOLDER where the site's log is: without it a restart rolls back what this site had \
                       promised and others have committed. For a trial whose data may be lost say --volatile";

/// Runs the command to its end, on a runtime of its own.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    on_a_runtime(&PROGRAM, async {
        match args.command {
            Command::Serve(args) => serve(*args).await.map(|()| ExitCode::SUCCESS),
            Command::Branches(args) => args.run().await,
            Command::Check(args) => args.run().await,
            Command::InDoubt(args) => in_doubt(&args).await,
            Command::Resolve(args) => resolve(&args).await,
        }
    })
}

async fn serve(args: Serve) -> Result<(), Fatal> {
    let Serve {
        database,
        mode,
        table,
        volatile,
        site,
    } = args;
    if !volatile && !site.remembers() {
        return Err(Fatal::because(NO_DATA));
    }
    let database = database.address()?;
    site.serve(&PROGRAM, VoterConfig::default(), move |opening| {
        let Opening {
            name,
            rule,
            recorder,
            data,
        } = opening;
        let log = data.as_deref().map(LogIdentity::of_folder).transpose();
        open_site(SiteOptions {
            name,
            database,
            mode,
            columns: columns(&table),
            guard: !table.no_guard,
            schema: table.schema,
            table: table.table,
            sessions: table.sessions,
            log: log.map_err(Fatal::new)?,
            rule,
            recorder,
        })
        .map_err(Fatal::new)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_comes_from_the_command_line_or_from_a_file_that_only_its_owner_reads() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.url");
        std::fs::write(&file, "postgres://u:secret@h/d\n").unwrap();
        let from = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, permissions).unwrap();
            let args = DatabaseArgs {
                database: None,
                database_file: Some(file.clone()),
            };
            args.address().map_err(|fatal| fatal.to_string())
        };
        assert_eq!(from(0o600), Ok("postgres://u:secret@h/d".to_owned()));
        assert!(from(0o644).is_err(), "others can read the password");
        let both = ["adapter", "branches", "--name", "a"];
        assert!(Cli::try_parse_from(both).is_err(), "no database");
    }
}
