//! Manners that all server commands share: one line when ready, one clear line and exit status 2 when not,
//! an end in good order when told to.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Why a command ends with status 2: one line that says what to do.
#[derive(Debug)]
pub struct Fatal {
    message: String,
}

impl Fatal {
    /// From an error, with its causes.
    pub fn new(error: impl Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors repeat their cause in their own message.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        Self { message }
    }

    /// From words.
    #[must_use]
    pub fn because(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fatal {}

/// The exit status of `program`; says why if it is not zero.
#[must_use]
pub fn exit_code(program: &str, result: Result<(), Fatal>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            warn(program, &fatal.message);
            ExitCode::from(2)
        }
    }
}

/// Prints a line at once, for whoever waits for it.
///
/// # Errors
/// If standard output is closed.
pub fn say(line: &str) -> Result<(), Fatal> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| Fatal::because(format!("standard output cannot be written: {error}")))
}

/// Prints a line for the operator.
pub fn warn(program: &str, line: &str) {
    // Without standard error there is nobody to tell.
    let _nobody_to_tell = writeln!(io::stderr().lock(), "{program}: {line}");
}

/// Listens.
///
/// # Errors
/// One line that says what to do when the port is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Fatal> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedies = [
            (
                io::ErrorKind::AddrInUse,
                "the port is in use; choose another, or 0 for a free one",
            ),
            (
                io::ErrorKind::AddrNotAvailable,
                "this machine has no such address",
            ),
            (
                io::ErrorKind::PermissionDenied,
                "the port needs more rights; choose one above 1023",
            ),
        ];
        let remedy = remedies.iter().find(|(kind, _)| *kind == error.kind());
        let remedy = remedy.map_or("it was refused", |(_, remedy)| remedy);
        Fatal::because(format!("cannot listen on {address}: {remedy} ({error})"))
    })
}

/// What tells a process to end.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    parent: Option<oneshot::Receiver<()>>,
}

/// Why a process is told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// By Ctrl-C or SIGTERM: in good order.
    Told,
    /// Its standard input has ended: whoever started it is gone, and nobody waits for anything.
    ParentGone,
}

impl Stop {
    /// Catches the signals from now on; with `with_parent` the end of standard input as well.
    ///
    /// # Errors
    /// If signals cannot be caught.
    pub fn catch(with_parent: bool) -> Result<Self, Fatal> {
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            parent: with_parent.then(parent_gone).flatten(),
        })
    }

    /// Ends when the process is told to end; once for each time that it is.
    pub async fn told(&mut self) -> StopCause {
        let Self {
            interrupt,
            terminate,
            parent,
        } = self;
        let gone = async {
            match parent {
                // An error is what tells it: the sender was dropped.
                Some(parent) => {
                    let _ended = parent.await;
                }
                None => std::future::pending().await,
            }
        };
        let cause = tokio::select! {
            _ = interrupt.recv() => StopCause::Told,
            _ = terminate.recv() => StopCause::Told,
            () = gone => StopCause::ParentGone,
        };
        if cause == StopCause::ParentGone {
            self.parent = None;
        }
        cause
    }

    /// Waits for an end in good order, unless the process is told to end once more.
    ///
    /// # Errors
    /// If it was told once more: then nothing is waited for.
    pub async fn unless_told_again<T>(&mut self, end: impl Future<Output = T>) -> Result<T, Fatal> {
        tokio::select! {
            ended = end => Ok(ended),
            _ = self.told() => Err(Fatal::because(
                "told to end twice: ended before what runs was done",
            )),
        }
    }
}

/// The signals that ask for a reload.
///
/// # Errors
/// If signals cannot be caught.
pub fn hangups() -> Result<Signal, Fatal> {
    catch(SignalKind::hangup())
}

fn catch(kind: SignalKind) -> Result<Signal, Fatal> {
    signal(kind).map_err(|error| Fatal::because(format!("no signals: {error}")))
}

/// Tells when standard input ends. Reads on a thread of its own that the runtime does not wait for, since
/// nothing wakes a thread that reads a terminal.
fn parent_gone() -> Option<oneshot::Receiver<()>> {
    let (gone, is_gone) = oneshot::channel::<()>();
    let reader = std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            // The end of input and an unreadable input both mean that nobody is there any more.
            let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(gone);
        });
    reader.is_ok().then_some(is_gone)
}
