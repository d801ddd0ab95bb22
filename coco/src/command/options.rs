//! Options that the server commands share, and those that the operator's commands share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

use crate::service::process::{self, Fatal};
use crate::service::security::{
    CredentialFiles, Credentials, SecurityFiles, ServerSecurity, TlsFiles,
};
use crate::service::{Front, Limits};

/// What every server takes.
#[derive(ClapArgs, Clone, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    log: LogArgs,
    /// How long SIGTERM or Ctrl-C waits for the transactions that run; a second signal ends at once.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    drain_ms: u64,
    /// Serve metrics for Prometheus at http://ADDR/metrics; port 0 takes a free one, which is logged.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Security")]
struct SecurityArgs {
    /// The server's certificate, PEM. Read again on SIGHUP, as all of these files.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate of this authority.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Ask every caller for a token of this file: lines of `ROLE NAME TOKEN [site=SITE]`, the role one of
    /// client, participant, coordinator, operator. Readable by its owner only.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
}

#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// The largest message, either way.
    #[arg(long, value_name = "BYTES")]
    max_message_bytes: Option<usize>,
    /// Calls that one connection may have open; more wait at the client.
    #[arg(long, value_name = "N")]
    max_calls_per_connection: Option<u32>,
    /// Calls that one peer (a token, or an address) may have open; more are told when to come again.
    #[arg(long, value_name = "N")]
    max_calls_per_peer: Option<usize>,
    /// Calls that may be open in all.
    #[arg(long, value_name = "N")]
    max_calls: Option<usize>,
    /// Undecided transactions that one peer may have at a coordinator, or open at a site without a coordinator.
    #[arg(long, value_name = "N")]
    max_transactions_per_peer: Option<usize>,
    /// Undecided transactions in all.
    #[arg(long, value_name = "N")]
    max_transactions: Option<usize>,
    /// Operations of one request to a site.
    #[arg(long, value_name = "N")]
    max_operations: Option<usize>,
    /// Open connections in all.
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Open connections of one address.
    #[arg(long, value_name = "N")]
    max_connections_per_address: Option<usize>,
    /// How long a call may take.
    #[arg(long, value_name = "MS")]
    call_timeout_ms: Option<u64>,
    /// How long a new connection may take to its first request.
    #[arg(long, value_name = "MS")]
    handshake_timeout_ms: Option<u64>,
    /// After how long a connection is replaced by a new one, so that it shows a present certificate.
    #[arg(long, value_name = "SECONDS")]
    connection_age_s: Option<u64>,
    /// When a peer may come again that was refused for lack of room.
    #[arg(long, value_name = "MS")]
    retry_after_ms: Option<u64>,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        let millis = |value: Option<u64>| value.map(Duration::from_millis);
        let mut limits = Limits::default();
        set(&mut limits.message_bytes, self.max_message_bytes);
        set(
            &mut limits.calls_per_connection,
            self.max_calls_per_connection,
        );
        set(&mut limits.calls_per_peer, self.max_calls_per_peer);
        set(&mut limits.calls, self.max_calls);
        set(
            &mut limits.transactions_per_peer,
            self.max_transactions_per_peer,
        );
        set(&mut limits.transactions, self.max_transactions);
        set(&mut limits.operations, self.max_operations);
        set(&mut limits.connections, self.max_connections);
        set(
            &mut limits.connections_per_address,
            self.max_connections_per_address,
        );
        set(&mut limits.call_timeout, millis(self.call_timeout_ms));
        set(
            &mut limits.handshake_timeout,
            millis(self.handshake_timeout_ms),
        );
        set(&mut limits.retry_after, millis(self.retry_after_ms));
        limits.connection_age = self.connection_age_s.map(Duration::from_secs);
        limits
    }
}

#[derive(ClapArgs, Clone, Copy, Debug)]
#[command(next_help_heading = "Log")]
struct LogArgs {
    /// How log lines are written, to standard error.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written; debug shows every begin, commit, vote and decision.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl ServerArgs {
    /// Sets the log up. Once for a process; what is said before is lost.
    pub fn start_log(&self) {
        use std::io::IsTerminal as _;
        use tracing_subscriber::filter::LevelFilter;
        let level = match self.log.log_level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .with_target(false);
        // An error means that the program has a log already: that one is used.
        let _has_one = match self.log.log_format {
            LogFormat::Text => tracing::subscriber::set_global_default(log.finish()),
            LogFormat::Json => tracing::subscriber::set_global_default(log.json().finish()),
        };
    }

    /// What the server lets in. Warns if it listens where others can reach it without asking who they are.
    ///
    /// # Errors
    /// If a certificate, key or tokens file cannot be used.
    pub fn front(&self, listen: SocketAddr) -> Result<Front, Fatal> {
        let security = &self.security;
        let tls = match (&security.tls_cert, &security.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                client_ca: security.tls_client_ca.clone(),
            }),
            _ => None,
        };
        let tokens = security.tokens.clone();
        if !listen.ip().is_loopback() && (tls.is_none() || tokens.is_none()) {
            tracing::warn!(
                "LISTENING ON {listen} {}: whoever can reach this address can {}; \
                 use --tls-cert, --tls-key and --tokens",
                match (&tls, &tokens) {
                    (None, None) => "WITHOUT ENCRYPTION AND WITHOUT TOKENS",
                    (None, Some(_)) => "WITHOUT ENCRYPTION",
                    (Some(_), _) => "WITHOUT TOKENS",
                },
                if tokens.is_none() {
                    "read and change everything"
                } else {
                    "read the tokens on the wire"
                },
            );
        }
        let security = ServerSecurity::load(SecurityFiles { tls, tokens }).map_err(Fatal::new)?;
        Ok(Front::new(security, self.limits.limits()))
    }

    /// How long an end waits for what runs.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// Where metrics are served.
    #[must_use]
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The certificate and key of the server, for a site that shows them on its own link as well.
    fn own_certificate(&self) -> (Option<PathBuf>, Option<PathBuf>) {
        let security = &self.security;
        (security.tls_cert.clone(), security.tls_key.clone())
    }
}

/// What a site, or a coordinator, shows to the coordinators that it links to.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Link")]
pub struct LinkArgs {
    /// Trust coordinators with a certificate of this authority; the link is then encrypted, and shows the
    /// server's own certificate if there is one.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The name that the coordinator's certificate is for, if it is not the one in its address.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_server_name: Option<String>,
    /// A file with the token to show to the coordinator; readable by its owner only.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl LinkArgs {
    /// What the link shows.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn credentials(&self, server: &ServerArgs) -> Result<Credentials, Fatal> {
        let (cert, key) = match self.tls_ca {
            Some(_) => server.own_certificate(),
            None => (None, None),
        };
        let files = CredentialFiles {
            ca: self.tls_ca.clone(),
            cert,
            key,
            server_name: self.tls_server_name.clone(),
            token: self.token_file.clone(),
        };
        Credentials::load(files).map_err(Fatal::new)
    }
}

/// Which coordinator an operator asks, and how.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ClientArgs {
    /// The coordinator's address.
    #[arg(long, value_name = "URI")]
    pub at: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl ClientArgs {
    /// What is shown.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn credentials(&self) -> Result<Credentials, Fatal> {
        self.connection.credentials()
    }

    /// Whether to print JSON.
    #[must_use]
    pub const fn json(&self) -> bool {
        self.connection.json
    }
}

/// A server that an operator asks: a coordinator, or one site alone.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct EitherArgs {
    /// The coordinator's address.
    #[arg(
        long,
        value_name = "URI",
        required_unless_present = "site",
        conflicts_with = "site"
    )]
    pub at: Option<String>,
    /// The address of one site, to ask it alone; its coordinator need not be there.
    #[arg(long, value_name = "URI")]
    pub site: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl EitherArgs {
    /// What is shown.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn credentials(&self) -> Result<Credentials, Fatal> {
        self.connection.credentials()
    }

    /// Whether to print JSON.
    #[must_use]
    pub const fn json(&self) -> bool {
        self.connection.json
    }
}

/// What an operator shows to a server.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// Trust servers with a certificate of this authority, and connect encrypted.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The operator's certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name that the server's certificate is for, if it is not the one in its address.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_server_name: Option<String>,
    /// A file with the operator's token; readable by its owner only.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ConnectionArgs {
    fn credentials(&self) -> Result<Credentials, Fatal> {
        let files = CredentialFiles {
            ca: self.tls_ca.clone(),
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            server_name: self.tls_server_name.clone(),
            token: self.token_file.clone(),
        };
        Credentials::load(files).map_err(Fatal::new)
    }
}

/// Reads certificates and tokens again on every SIGHUP, in the present runtime, until the process ends.
///
/// # Errors
/// If the signal cannot be caught.
pub fn reload_on_hangup(security: ServerSecurity, credentials: Credentials) -> Result<(), Fatal> {
    let mut hangups = process::hangups()?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            match security.reload().and_then(|()| credentials.reload()) {
                Ok(()) => tracing::info!("certificates and tokens are read again"),
                Err(error) => tracing::error!("certificates and tokens stay as they were: {error}"),
            }
        }
    });
    Ok(())
}
