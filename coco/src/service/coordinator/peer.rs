//! Links between coordinators: each opens one to every other that it was told of, and speaks on it; what
//! it hears comes over the links of the others.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::driver::{Input, PeerInput};
use super::{AbortOnDrop, HELLO_TIMEOUT};
use crate::failpoint;
use crate::protocol::{CoordinatorId, PeerMessage};
use crate::service::convert::{MalformedWire, coordinator_of, peer_of, peer_to_wire};
use crate::service::link::MAX_FRAME;
use crate::service::net::Connector;
use crate::service::security::Credentials;
use crate::service::transport::{InvalidUri, MAX_MESSAGE_BYTES, endpoint};
use crate::service::wire::{self, coordinator_client::CoordinatorClient};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why there can be no link to another coordinator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Its address is none.
    #[error("the address of coordinator {peer} is none: {source}")]
    Address {
        /// Whose.
        peer: CoordinatorId,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// Both have the same id.
    #[error("this is coordinator {0} itself; coordinators that share sites need different ids")]
    Itself(CoordinatorId),
}

/// Opens a link to each of the other coordinators.
pub(super) fn open_all(
    own: CoordinatorId,
    peers: &BTreeMap<CoordinatorId, String>,
    credentials: &Credentials,
    connector: &Connector,
    inbox: &mpsc::Sender<Input>,
) -> Result<Vec<AbortOnDrop<()>>, PeerError> {
    let open = |(&peer, uri): (&CoordinatorId, &String)| {
        if peer == own {
            return Err(PeerError::Itself(own));
        }
        endpoint(uri, credentials, connector)
            .map_err(|source| PeerError::Address { peer, source })?;
        let way = Way {
            uri: uri.clone(),
            credentials: credentials.clone(),
            connector: connector.clone(),
        };
        let task = keep_open(own, peer, way, inbox.clone());
        Ok(AbortOnDrop(tokio::spawn(task)))
    };
    peers.iter().map(open).collect()
}

/// How another coordinator is reached.
struct Way {
    uri: String,
    credentials: Credentials,
    connector: Connector,
}

/// Until the driver ends.
async fn keep_open(own: CoordinatorId, peer: CoordinatorId, way: Way, inbox: mpsc::Sender<Input>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let channel = match endpoint(&way.uri, &way.credentials, &way.connector) {
            Ok(target) if !failpoint::hit("peer: connect") => target.connect().await.ok(),
            Ok(_) | Err(_) => None,
        };
        if let Some(channel) = channel.filter(|_| !failpoint::hit("peer: up")) {
            pause = FIRST_PAUSE;
            let (sender, messages) = mpsc::unbounded_channel();
            if inbox
                .send(Input::Peer(PeerInput::Up { peer, sender }))
                .await
                .is_err()
            {
                return;
            }
            let frames = PeerFrames {
                introduce: Some(own),
                messages,
                taken: Vec::new(),
            };
            let mut client = CoordinatorClient::with_interceptor(channel, way.credentials.bearer())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            // It ends when the other side does, or refuses: either way the link is down.
            let _ended = client.peer(frames).await;
            if inbox
                .send(Input::Peer(PeerInput::Down { peer }))
                .await
                .is_err()
            {
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Passes on what another coordinator says, until its stream ends.
pub(super) async fn receive(
    own: CoordinatorId,
    mut frames: Streaming<wire::PeerFrame>,
    inbox: &mpsc::Sender<Input>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, frames.message());
    let first = first.await.map_err(|_| MalformedWire::NoHello)??;
    let first = first.ok_or(MalformedWire::NoHello)?;
    let number = first.coordinator.ok_or(MalformedWire::NoHello)?;
    let from = coordinator_of(number, "peer_frame.coordinator")?;
    if from == own {
        return Err(Status::failed_precondition(format!(
            "this is coordinator {own} too; coordinators that share sites need different ids"
        )));
    }
    if failpoint::hit("peer: hello") {
        return Err(super::stopping());
    }
    let (silence, mut replaced) = mpsc::channel(1);
    let mut next = Some(first);
    if inbox
        .send(Input::Peer(PeerInput::Speaks { from, silence }))
        .await
        .is_err()
    {
        return Err(super::stopping());
    }
    while let Some(frame) = next {
        if failpoint::hit("peer: frame heard") {
            break;
        }
        let messages = frame.messages.into_iter().map(peer_of);
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let input = Input::Peer(PeerInput::Messages { from, messages });
        if !replaced.is_closed() && inbox.send(input).await.is_err() {
            return Err(super::stopping());
        }
        next = tokio::select! {
            frame = frames.message() => frame?,
            // A later link of the same coordinator has come, or the driver has ended.
            _ = replaced.recv() => return Err(super::stopping()),
        };
    }
    // An error means that the driver has ended.
    let _driver_ended = inbox.send(Input::Peer(PeerInput::Silent { from })).await;
    Ok(())
}

/// The messages of one connection, gathered into frames; the first says who speaks.
struct PeerFrames {
    introduce: Option<CoordinatorId>,
    messages: mpsc::UnboundedReceiver<PeerMessage>,
    taken: Vec<PeerMessage>,
}

impl Stream for PeerFrames {
    type Item = wire::PeerFrame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<wire::PeerFrame>> {
        let this = self.get_mut();
        if failpoint::hit("peer: frame said") {
            return Poll::Ready(None);
        }
        if let Some(own) = this.introduce.take() {
            return Poll::Ready(Some(wire::PeerFrame {
                coordinator: Some(u32::from(own.0)),
                messages: Vec::new(),
            }));
        }
        let taken = ready!(
            this.messages
                .poll_recv_many(context, &mut this.taken, MAX_FRAME)
        );
        if taken == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(wire::PeerFrame {
            coordinator: None,
            messages: this.taken.drain(..).map(peer_to_wire).collect(),
        }))
    }
}
