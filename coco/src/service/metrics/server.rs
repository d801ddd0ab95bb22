//! `/metrics` over HTTP/1.1, on a listener of its own: whoever may scrape need not be let in elsewhere.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How many scrapes may run beside each other; more wait.
const CONNECTIONS: usize = 16;

/// How long one connection may take: a scrape is one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long accepting rests when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `/metrics`. Dropping it ends it.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Serves what `gather` returns, in the present tokio runtime.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start<F, G>(listener: TcpListener, gather: F) -> io::Result<Self>
    where
        F: Fn() -> G + Send + Sync + 'static,
        G: Future<Output = String> + Send + 'static,
    {
        let address = listener.local_addr()?;
        let gather = Arc::new(gather);
        let task = tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS));
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let gather = Arc::clone(&gather);
                        tokio::spawn(async move {
                            // A peer that dawdles or breaks off has had its chance.
                            let _over =
                                tokio::time::timeout(PATIENCE, talk(stream, &*gather)).await;
                            drop(place);
                        });
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk<F, G>(stream: TcpStream, gather: &F) -> Result<(), hyper::Error>
where
    F: Fn() -> G,
    G: Future<Output = String>,
{
    let answer = service_fn(|request: Request<Incoming>| async move {
        let mut response = Response::new(String::new());
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => {
                let kind = HeaderValue::from_static(super::CONTENT_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                *response.body_mut() = gather().await;
            }
            (_, "/metrics") => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                let get = HeaderValue::from_static("GET");
                response.headers_mut().insert(ALLOW, get);
            }
            _ => {
                *response.status_mut() = StatusCode::NOT_FOUND;
                "there is only /metrics here\n".clone_into(response.body_mut());
            }
        }
        Ok::<_, Infallible>(response)
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}
