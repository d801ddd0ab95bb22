//! Runs the cases, each on a thread of its own: a case that panics or hangs is a case that failed, and the
//! others run all the same.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::cases::{Case, all};
use crate::context::Context;
use crate::engine::{Answer, Engine, Place};
use crate::options::{Options, Progress};
use crate::outcome::broken_off;
use crate::report::{CaseReport, Finding, Report, Verdict};

/// Runs the kit on the stores that `open` opens.
///
/// A store of a case that hangs stays open on a thread that is left behind.
pub fn run<E: Engine>(
    open: impl Fn(Place) -> Answer<E> + Send + Sync + 'static,
    options: Options,
) -> Report {
    let context = Arc::new(Context::new(options, Arc::new(open)));
    let options = &context.options;
    let chosen = |case: &Case<E>| {
        let only = options.only.as_ref();
        only.is_none_or(|only| case.id.starts_with(only.as_str()))
    };
    let cases: Vec<Case<E>> = all(&context).into_iter().filter(chosen).collect();
    let mut reports = Vec::with_capacity(cases.len());
    for (done, case) in cases.iter().enumerate() {
        tell(options, done, cases.len(), Some(case.id));
        reports.push(CaseReport {
            id: case.id,
            title: case.title,
            verdict: verdict(&context, case),
        });
    }
    tell(options, cases.len(), cases.len(), None);
    Report {
        engine: options.name.clone(),
        seed: options.seed,
        cases: reports,
    }
}

fn tell(options: &Options, done: usize, total: usize, next: Option<&'static str>) {
    if let Some(progress) = &options.progress {
        progress(&Progress { done, total, next });
    }
}

fn verdict<E: Engine>(context: &Arc<Context<E>>, case: &Case<E>) -> Verdict {
    if let Some(reason) = case.skip {
        return Verdict::Skipped { reason };
    }
    let (sender, receiver) = mpsc::channel();
    let (shared, run) = (Arc::clone(context), Arc::clone(&case.run));
    thread::spawn(move || {
        let caught = catch_unwind(AssertUnwindSafe(|| run(&shared)));
        let verdict = match caught {
            Ok(Ok(outcome)) => outcome.verdict(),
            Ok(Err(finding)) => broken_off(finding),
            Err(panic) => broken_off(Finding {
                what: format!("the engine panicked: {}", message(panic.as_ref())),
                advice: "the panic's own message and place are on the error output; an engine answers a call that it cannot serve with a Refusal",
            }),
        };
        // The receiver is gone when the case took too long.
        drop(sender.send(verdict));
    });
    watch(context, &receiver)
}

/// Waits for the verdict as long as something happens.
fn watch<E: Engine>(context: &Context<E>, receiver: &mpsc::Receiver<Verdict>) -> Verdict {
    let patience = context.options.patience;
    loop {
        let before = context.steps();
        match receiver.recv_timeout(patience) {
            Ok(verdict) => return verdict,
            Err(_) if context.steps() != before => {}
            Err(_) => {
                return broken_off(Finding {
                    what: format!(
                        "nothing has happened for {patience:?}: a call has blocked its thread"
                    ),
                    advice: "a call that has to wait returns a future that is pending; it must not block the thread, nor hold a mutex while it waits",
                });
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
