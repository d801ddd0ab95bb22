//! Threads of an adapter's own, so that a site of any kind can have one.

use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, mpsc};

use tokio::runtime::{Builder, Runtime};

/// An adapter's threads. Clones share them; they go without waiting for what runs on them, wherever the last owner is.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Owned>);

#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Threads {
    /// Starts one thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("adapter")
            .enable_all()
            .build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    /// Runs something there, and blocks this thread until it is done. Not to be called from there.
    ///
    /// # Panics
    /// If it panics.
    pub fn wait_for<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, answer) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Nobody who is gone misses it.
            let _gone = done.send(work.await);
        });
        answer
            .recv()
            .expect("the adapter's thread runs until it is dropped")
    }
}

impl Deref for Threads {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.0.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
