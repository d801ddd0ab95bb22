//! A way to the server that can be broken in the middle: the client's side ends, the server's side stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port that leads to a server.
pub(crate) struct Proxy {
    port: u16,
    /// How many of the first connections are held: what they say stays here, and whether the client is still there makes
    /// no difference to the server.
    held: watch::Sender<usize>,
    /// Counts how often the clients were cut off.
    cuts: watch::Sender<u32>,
    /// How many bytes wait to be let go.
    waiting: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
    listener: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (held, _) = watch::channel(0);
        let (cuts, _) = watch::channel(0);
        let (waiting, _) = watch::channel(0);
        let (holding, cutting, count) = (held.clone(), cuts.clone(), waiting.clone());
        let connections = Arc::new(AtomicUsize::new(0));
        let numbers = Arc::clone(&connections);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                let way = Way {
                    number: numbers.fetch_add(1, Ordering::SeqCst),
                    held: holding.subscribe(),
                    cuts: cutting.subscribe(),
                    waiting: count.clone(),
                };
                tokio::spawn(pass(client, server, way));
            }
        });
        Self {
            port: own,
            held,
            cuts,
            waiting,
            connections,
            listener,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// From now on nothing reaches the server.
    pub(crate) fn hold(&self) {
        self.held.send_replace(usize::MAX);
    }

    /// Connections that come from now on are not held.
    pub(crate) fn pass_new(&self) {
        self.held
            .send_replace(self.connections.load(Ordering::SeqCst));
    }

    /// Waits until something waits here.
    pub(crate) async fn holds_something(&self) {
        let mut waiting = self.waiting.subscribe();
        waiting.wait_for(|bytes| *bytes > 0).await.unwrap();
    }

    /// Ends all connections on the client's side alone.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets everything go on, also what was held of connections that are cut.
    pub(crate) fn release(&self) {
        self.held.send_replace(0);
    }

    /// Whether what was held has gone on, or its way was closed.
    pub(crate) fn delivered(&self) -> bool {
        *self.waiting.borrow() == 0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// One connection, and what it has to look at.
struct Way {
    number: usize,
    held: watch::Receiver<usize>,
    cuts: watch::Receiver<u32>,
    waiting: watch::Sender<usize>,
}

async fn pass(client: TcpStream, server: TcpStream, way: Way) {
    let Way {
        number,
        mut held,
        mut cuts,
        waiting,
    } = way;
    let (mut from_client, to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let cut = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&cut);
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        let mut client = Some(to_client);
        loop {
            tokio::select! {
                () = told.notified() => client = None,
                read = from_server.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(bytes) => if let Some(client) = &mut client {
                        let _gone = client.write_all(&buffer[..bytes]).await;
                    },
                },
            }
            if client.is_none() {
                // What the server says now is for nobody; it only must not find the way closed.
                while matches!(from_server.read(&mut buffer).await, Ok(1..)) {}
                break;
            }
        }
    });
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from_client.read(&mut buffer) => read,
            _ = cuts.changed() => Ok(0),
        };
        let Ok(bytes @ 1..) = read else {
            break;
        };
        if *held.borrow() > number {
            waiting.send_modify(|count| *count += bytes);
            let cut_off = tokio::select! {
                _ = held.wait_for(|held| *held <= number) => false,
                _ = cuts.changed() => true,
            };
            if cut_off {
                drop(from_client);
                cut.notify_one();
                let _open = held.wait_for(|held| *held <= number).await.is_ok();
                let _gone = to_server.write_all(&buffer[..bytes]).await;
                // Its end comes behind it, so that it has been read when the server has ended this.
                drop(to_server);
                let _ended = back.await;
                waiting.send_modify(|count| *count -= bytes);
                return;
            }
            waiting.send_modify(|count| *count -= bytes);
        }
        if to_server.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
    drop(from_client);
    cut.notify_one();
    // The server's side ends when the server ends it.
    let _ended = back.await;
    drop(to_server);
}
