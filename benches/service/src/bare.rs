//! The bare transport: frames that come back, and two-phase commit that does nothing but pass messages.
//!
//! One bidirectional stream for each site, and frames that take whatever is there and wait for no more: what coco's
//! own links do. The coordinator counts votes and acknowledgements in a table; the sites answer what they are asked.
//! There is no log, no order, no engine, no recovery and no client.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::figures::{Figures, Load};

#[allow(
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated"
)]
mod wire {
    tonic::include_proto!("bare");
}

use wire::bare_client::BareClient;
use wire::bare_server::{Bare, BareServer};
use wire::{Decide, DownFrame, Up, UpFrame, Vote, Yes, down, up};

const MAX_FRAME: usize = 512;
const SITES: usize = 2;

/// What is said through `messages`, in frames.
struct Frames<T, F> {
    messages: mpsc::UnboundedReceiver<T>,
    taken: Vec<T>,
    frame: fn(Vec<T>) -> F,
}

impl<T, F> Frames<T, F> {
    fn new(messages: mpsc::UnboundedReceiver<T>, frame: fn(Vec<T>) -> F) -> Self {
        let taken = Vec::new();
        Self {
            messages,
            taken,
            frame,
        }
    }
}

impl<T: Unpin, F> Stream for Frames<T, F> {
    type Item = F;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F>> {
        let this = self.get_mut();
        let taken = ready!(
            this.messages
                .poll_recv_many(context, &mut this.taken, MAX_FRAME)
        );
        if taken == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some((this.frame)(std::mem::take(&mut this.taken))))
    }
}

fn up_frame(messages: Vec<Up>) -> UpFrame {
    UpFrame { messages }
}

fn down_frame(messages: Vec<wire::Down>) -> Result<DownFrame, Status> {
    Ok(DownFrame { messages })
}

/// A link that a site has opened.
struct Linked {
    up: Streaming<UpFrame>,
    down: mpsc::UnboundedSender<wire::Down>,
}

struct Service {
    linked: Mutex<mpsc::UnboundedSender<Linked>>,
}

#[tonic::async_trait]
impl Bare for Service {
    type EchoStream = Pin<Box<dyn Stream<Item = Result<UpFrame, Status>> + Send>>;

    async fn echo(
        &self,
        request: Request<Streaming<UpFrame>>,
    ) -> Result<Response<Self::EchoStream>, Status> {
        let mut frames = request.into_inner();
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                for message in frame.messages {
                    // An error means that the other end has gone, and the stream with it.
                    let _gone = sender.send(message);
                }
            }
        });
        let frames = Frames::new(messages, up_frame);
        Ok(Response::new(Box::pin(frames.map(Ok))))
    }

    type LinkStream = Frames<wire::Down, Result<DownFrame, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<UpFrame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (down, messages) = mpsc::unbounded_channel();
        let up = request.into_inner();
        let linked = Linked { up, down };
        let sent = self
            .linked
            .lock()
            .map_err(|_| Status::internal("poisoned"))?
            .send(linked);
        sent.map_err(|_| Status::unavailable("the measurement is over"))?;
        Ok(Response::new(Frames::new(messages, down_frame)))
    }
}

async fn serve() -> Result<(String, mpsc::UnboundedReceiver<Linked>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let (linked, links) = mpsc::unbounded_channel();
    let service = BareServer::new(Service {
        linked: Mutex::new(linked),
    });
    let connections = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        std::io::Result::Ok(stream)
    });
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(connections),
    );
    Ok((uri, links))
}

async fn connect(uri: &str) -> Result<BareClient<Channel>> {
    let endpoint = Endpoint::from_shared(uri.to_owned())?.tcp_nodelay(true);
    Ok(BareClient::new(endpoint.connect().await?))
}

/// Keeps as many messages on their way as the load says, and takes the time of each there and back.
///
/// # Errors
/// If the transport fails.
pub(crate) async fn echo(load: Load) -> Result<Figures> {
    let (uri, _links) = serve().await?;
    let mut client = connect(&uri).await?;
    let (sender, messages) = mpsc::unbounded_channel();
    let mut back = client
        .echo(Frames::new(messages, up_frame))
        .await?
        .into_inner();
    let vote = |gtid: usize| Up {
        message: Some(up::Message::Vote(Vote {
            gtid: gtid as u64,
            yes: Some(Yes {
                stamp: 1 << 30,
                incarnation: 1 << 50,
            }),
        })),
    };
    let mut sent = vec![Instant::now(); load.in_flight];
    for place in 0..load.in_flight {
        sender.send(vote(place))?;
    }
    let mut figures = load.begin();
    while !figures.is_over() {
        let frame = back.message().await?.context("the echo has ended")?;
        for message in frame.messages {
            let Some(up::Message::Vote(Vote { gtid, .. })) = message.message else {
                anyhow::bail!("something else came back");
            };
            let place = usize::try_from(gtid)?;
            figures.took(sent[place].elapsed());
            sent[place] = Instant::now();
            sender.send(vote(place))?;
        }
    }
    Ok(figures)
}

async fn site(uri: String) -> Result<()> {
    let mut client = connect(&uri).await?;
    let (sender, messages) = mpsc::unbounded_channel();
    let mut down = client
        .link(Frames::new(messages, up_frame))
        .await?
        .into_inner();
    let mut clock = 0;
    while let Ok(Some(frame)) = down.message().await {
        for message in frame.messages {
            let answer = match message.message.context("an empty message")? {
                down::Message::PrepareGtid(gtid) => {
                    clock += 1;
                    let yes = Yes {
                        stamp: clock,
                        incarnation: 1 << 50,
                    };
                    up::Message::Vote(Vote {
                        gtid,
                        yes: Some(yes),
                    })
                }
                down::Message::Decide(Decide { gtid, .. }) => up::Message::AckGtid(gtid),
            };
            sender.send(Up {
                message: Some(answer),
            })?;
        }
    }
    Ok(())
}

/// Commits with as many callers as the load says, each of which waits for the decision on its transaction before it
/// asks for the next, and takes the time of each.
///
/// # Errors
/// If the transport fails.
pub(crate) async fn two_phase_commit(load: Load) -> Result<Figures> {
    let (uri, mut links) = serve().await?;
    let sites: Vec<_> = (0..SITES)
        .map(|_| tokio::spawn(site(uri.clone())))
        .collect();
    let (inbox, inputs) = mpsc::channel(4096);
    let mut downs = Vec::new();
    for _ in 0..SITES {
        let Linked { mut up, down } = links.recv().await.context("no site came")?;
        downs.push(down);
        let inbox = inbox.clone();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = up.message().await {
                // An error means that the measurement is over.
                let _over = inbox.send(Input::Heard(frame.messages)).await;
            }
        });
    }
    let coordinator = Coordinator {
        downs,
        undecided: HashMap::new(),
        next: 0,
    };
    let coordinator = tokio::spawn(coordinator.run(inputs));
    let callers: Vec<_> = (0..load.in_flight)
        .map(|_| tokio::spawn(caller(inbox.clone(), load)))
        .collect();
    let mut figures = load.begin();
    for caller in callers {
        figures.add(caller.await??);
    }
    coordinator.abort();
    for site in sites {
        site.abort();
    }
    Ok(figures)
}

async fn caller(inbox: mpsc::Sender<Input>, load: Load) -> Result<Figures> {
    let mut figures = load.begin();
    while !figures.is_over() {
        let start = Instant::now();
        let (reply, decided) = oneshot::channel();
        inbox.send(Input::Commit(reply)).await?;
        let _stamp = decided.await?;
        figures.took(start.elapsed());
    }
    Ok(figures)
}

enum Input {
    Commit(oneshot::Sender<u64>),
    Heard(Vec<Up>),
}

/// A transaction on its way.
struct Undecided {
    caller: Option<oneshot::Sender<u64>>,
    votes: usize,
    stamp: u64,
    acks: usize,
}

struct Coordinator {
    downs: Vec<mpsc::UnboundedSender<wire::Down>>,
    undecided: HashMap<u64, Undecided>,
    next: u64,
}

impl Coordinator {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<()> {
        while let Some(input) = inputs.recv().await {
            match input {
                Input::Commit(caller) => self.begin(caller),
                Input::Heard(messages) => {
                    for message in messages {
                        self.hear(message)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn say(&self, message: down::Message) {
        for down in &self.downs {
            // An error means that the site has gone: the measurement fails for want of answers.
            let _gone = down.send(wire::Down {
                message: Some(message),
            });
        }
    }

    fn begin(&mut self, caller: oneshot::Sender<u64>) {
        let gtid = self.next;
        self.next += 1;
        let undecided = Undecided {
            caller: Some(caller),
            votes: 0,
            stamp: 0,
            acks: 0,
        };
        self.undecided.insert(gtid, undecided);
        self.say(down::Message::PrepareGtid(gtid));
    }

    fn hear(&mut self, message: Up) -> Result<()> {
        match message.message.context("an empty message")? {
            up::Message::Vote(Vote { gtid, yes }) => {
                let yes = yes.context("a vote without a ballot")?;
                let undecided = self.undecided.get_mut(&gtid).context("an unknown vote")?;
                undecided.votes += 1;
                undecided.stamp = undecided.stamp.max(yes.stamp);
                if undecided.votes == SITES {
                    let commit_stamp = undecided.stamp;
                    let caller = undecided.caller.take().context("decided twice")?;
                    // An error means that the measurement is over.
                    let _over = caller.send(commit_stamp);
                    self.say(down::Message::Decide(Decide { gtid, commit_stamp }));
                }
            }
            up::Message::AckGtid(gtid) => {
                let undecided = self.undecided.get_mut(&gtid).context("an unknown ack")?;
                undecided.acks += 1;
                if undecided.acks == SITES {
                    self.undecided.remove(&gtid);
                }
            }
        }
        Ok(())
    }
}
