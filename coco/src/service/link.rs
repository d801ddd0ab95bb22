//! A participant's end of its link to the coordinator: one stream that is opened again when it breaks.
//!
//! What the link promises: messages of one connection arrive in order; a message that was given to a
//! connection which then breaks may be lost. Nothing is carried over to the next connection, because after
//! the hello the voter says again everything that matters. So that no message can slip in before the hello,
//! each [`LinkEvent::Up`] brings the sender of its connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use co_core::Gtid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::Channel;

use super::convert::{down_of, up_to_wire};
use super::net::Connector;
use super::security::Credentials;
use super::transport::{InvalidUri, MAX_MESSAGE_BYTES, endpoint};
use super::wire::{self, coordinator_client::CoordinatorClient};
use crate::failpoint;
use crate::protocol::{CoordinatorId, SiteName, ToCoordinator, ToParticipant};

/// Most messages of one frame.
pub(super) const MAX_FRAME: usize = 512;

/// Takes the events of a participant's links.
pub type LinkEvents = mpsc::Sender<(CoordinatorId, LinkEvent)>;

/// How many events may wait for a participant that is slow to take them, before its links stand still.
pub const EVENTS: usize = 64;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What happens on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// It is connected. Say hello through this sender first, then everything else.
    Up(LinkSender),
    /// It is not connected any more, or could not be. It tries again by itself.
    Down {
        /// Why.
        reason: String,
    },
    /// The coordinator said these.
    Messages(Vec<ToParticipant>),
    /// The coordinator wants to know on which of its transactions the site has worked that are not decided; see
    /// [`LinkSender::working`].
    TellWorking,
}

/// What goes up.
#[derive(Debug)]
enum Up {
    Message(ToCoordinator),
    Working(Vec<Gtid>),
}

/// Sends over one connection of a link.
#[derive(Clone, Debug)]
pub struct LinkSender(mpsc::UnboundedSender<Up>);

impl LinkSender {
    /// Sends a message; never waits. It is lost if the connection has broken.
    pub fn send(&self, message: ToCoordinator) {
        // An error means that the connection is gone: the event says so.
        let _lost_with_its_connection = self.0.send(Up::Message(message));
    }

    /// Answers [`LinkEvent::TellWorking`].
    pub fn working(&self, gtids: Vec<Gtid>) {
        // As above.
        let _lost_with_its_connection = self.0.send(Up::Working(gtids));
    }
}

/// A link. Dropping it closes it.
#[derive(Debug)]
pub struct Link {
    task: JoinHandle<()>,
}

impl Link {
    /// Keeps a link to the coordinator with this id at `uri` open for `site`, in the present tokio
    /// runtime. Its events go to `events`, with the id.
    ///
    /// # Errors
    /// If `uri` is not an address.
    pub fn open(
        coordinator: CoordinatorId,
        uri: &str,
        site: SiteName,
        events: LinkEvents,
    ) -> Result<Self, InvalidUri> {
        let (credentials, connector) = (Credentials::none(), Connector::tcp());
        Self::open_with(coordinator, uri, site, credentials, connector, events)
    }

    /// [`Link::open`] that shows these credentials, each new connection the ones of its moment, and connects
    /// so.
    ///
    /// # Errors
    /// If `uri` is not an address that these credentials fit.
    pub fn open_with(
        coordinator: CoordinatorId,
        uri: &str,
        site: SiteName,
        credentials: Credentials,
        connector: Connector,
        events: LinkEvents,
    ) -> Result<Self, InvalidUri> {
        endpoint(uri, &credentials, &connector)?;
        let end = End {
            coordinator,
            uri: uri.to_owned(),
            site,
            credentials,
            connector,
            events,
        };
        let task = tokio::spawn(keep_open(end));
        Ok(Self { task })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// This end of a link.
struct End {
    coordinator: CoordinatorId,
    uri: String,
    site: SiteName,
    credentials: Credentials,
    connector: Connector,
    events: LinkEvents,
}

impl End {
    /// Says whether anybody listens.
    async fn tell(&self, event: LinkEvent) -> bool {
        self.events.send((self.coordinator, event)).await.is_ok()
    }
}

/// Until nobody listens any more.
async fn keep_open(link: End) {
    let mut pause = FIRST_PAUSE;
    loop {
        let end = match endpoint(&link.uri, &link.credentials, &link.connector) {
            Ok(_) if failpoint::hit("link: connect") => Some("a test says so".to_owned()),
            Ok(target) => match target.connect().await {
                Ok(channel) => run(channel, &link, &mut pause).await,
                Err(error) => Some(describe(&error)),
            },
            Err(error) => Some(describe(&error)),
        };
        let Some(reason) = end else { return };
        // A link cannot fail to be down.
        let _nothing_follows = failpoint::hit("link: down");
        if !link.tell(LinkEvent::Down { reason }).await {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection. Returns why it ended; `None` if nobody listens.
async fn run(channel: Channel, link: &End, pause: &mut Duration) -> Option<String> {
    if failpoint::hit("link: up") {
        return Some("a test says so".to_owned());
    }
    let (sender, messages) = mpsc::unbounded_channel();
    // The server answers when it has seen the hello, and only the owner can say it.
    if !link.tell(LinkEvent::Up(LinkSender(sender))).await {
        return None;
    }
    let mut client = CoordinatorClient::with_interceptor(channel, link.credentials.bearer())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let frames = UpFrames {
        coordinator: link.coordinator,
        site: link.site.clone(),
        messages,
        taken: Vec::new(),
    };
    let mut down = match client.link(frames).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Some(status.message().to_owned()),
    };
    *pause = FIRST_PAUSE;
    loop {
        let frame = match down.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Some("the coordinator closed the link".to_owned()),
            Err(status) => return Some(status.message().to_owned()),
        };
        if failpoint::hit("link: frame heard") {
            return Some("a test says so".to_owned());
        }
        let messages = frame
            .messages
            .into_iter()
            .map(down_of)
            .collect::<Result<_, _>>();
        let messages = match messages {
            Ok(messages) => messages,
            Err(error) => return Some(error.to_string()),
        };
        if !link.tell(LinkEvent::Messages(messages)).await {
            return None;
        }
        if frame.tell_working && !link.tell(LinkEvent::TellWorking).await {
            return None;
        }
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The messages of one connection, gathered into frames: each takes what is there and waits for no more.
struct UpFrames {
    coordinator: CoordinatorId,
    site: SiteName,
    messages: mpsc::UnboundedReceiver<Up>,
    taken: Vec<Up>,
}

impl Stream for UpFrames {
    type Item = wire::UpFrame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<wire::UpFrame>> {
        let this = self.get_mut();
        let taken = ready!(
            this.messages
                .poll_recv_many(context, &mut this.taken, MAX_FRAME)
        );
        if taken == 0 || failpoint::hit("link: frame said") {
            return Poll::Ready(None);
        }
        let mut frame = wire::UpFrame::default();
        for up in this.taken.drain(..) {
            match up {
                Up::Message(message) => {
                    let message = up_to_wire(this.coordinator, &this.site, message);
                    frame.messages.push(message);
                }
                Up::Working(gtids) => {
                    let gtids = gtids.into_iter().map(|gtid| gtid.0).collect();
                    frame.working = Some(wire::Working { gtids });
                }
            }
        }
        Poll::Ready(Some(frame))
    }
}
