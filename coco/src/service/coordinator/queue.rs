//! What goes down to a site: a bounded queue, gathered into frames.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::failpoint;
use crate::protocol::ToParticipant;
use crate::service::convert::down_to_wire;
use crate::service::link::MAX_FRAME;
use crate::service::wire;

/// How many messages may wait for one site. A site so slow loses its link; its next hello brings it up to
/// date.
pub(super) const QUEUE: usize = 64 * 1024;

/// What may be said to a site.
#[derive(Debug)]
pub(super) enum Down {
    Message(ToParticipant),
    /// On which transactions has it worked?
    TellWorking,
}

/// The frames for one site: each takes what is there and waits for no more. Ends when the driver drops its
/// end of the queue.
pub(crate) struct DownFrames {
    messages: mpsc::Receiver<Down>,
    taken: Vec<Down>,
}

impl DownFrames {
    pub(super) fn new(messages: mpsc::Receiver<Down>) -> Self {
        Self {
            messages,
            taken: Vec::new(),
        }
    }
}

impl Stream for DownFrames {
    type Item = Result<wire::DownFrame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let taken = ready!(
            this.messages
                .poll_recv_many(context, &mut this.taken, MAX_FRAME)
        );
        if taken == 0 || failpoint::hit("coordinator: frame said") {
            return Poll::Ready(None);
        }
        let mut frame = wire::DownFrame::default();
        for down in this.taken.drain(..) {
            match down {
                Down::Message(message) => frame.messages.push(down_to_wire(message)),
                Down::TellWorking => frame.tell_working = true,
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}
