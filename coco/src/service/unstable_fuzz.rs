//! The wire's decoders for fuzz targets outside this crate (feature `unstable-fuzz`).
//!
//! Bytes become protobuf messages and those become plain values, or either is refused; nothing else may
//! happen. Nothing here is stable.

use prost::Message as _;

use super::{convert, wire};
use crate::protocol::{CoordinatorId, PeerMessage, SiteName, ToCoordinator, ToParticipant};

/// What a participant's frame says; the name comes with a hello. `None` if it is refused.
#[must_use]
pub fn up_frame(bytes: &[u8]) -> Option<Vec<(Option<SiteName>, ToCoordinator)>> {
    let frame = wire::UpFrame::decode(bytes).ok()?;
    let messages = frame.messages.into_iter();
    messages
        .map(|message| {
            let (hello, message) = convert::up_of(message).ok()?;
            Some((hello.map(|hello| hello.site), message))
        })
        .collect()
}

/// A frame that says this.
#[must_use]
pub fn encode_up(site: &SiteName, messages: Vec<ToCoordinator>) -> Vec<u8> {
    let messages = messages.into_iter();
    let messages = messages.map(|message| convert::up_to_wire(CoordinatorId(0), site, message));
    wire::UpFrame {
        messages: messages.collect(),
        working: None,
    }
    .encode_to_vec()
}

/// What another coordinator's frame says. `None` if it is refused.
#[must_use]
pub fn peer_frame(bytes: &[u8]) -> Option<Vec<PeerMessage>> {
    let frame = wire::PeerFrame::decode(bytes).ok()?;
    let messages = frame.messages.into_iter();
    messages
        .map(|message| convert::peer_of(message).ok())
        .collect()
}

/// A frame that says this.
#[must_use]
pub fn encode_peer(messages: Vec<PeerMessage>) -> Vec<u8> {
    wire::PeerFrame {
        coordinator: Some(1),
        messages: messages.into_iter().map(convert::peer_to_wire).collect(),
    }
    .encode_to_vec()
}

/// What a coordinator's frame says. `None` if it is refused.
#[must_use]
pub fn down_frame(bytes: &[u8]) -> Option<Vec<ToParticipant>> {
    let frame = wire::DownFrame::decode(bytes).ok()?;
    let messages = frame.messages.into_iter();
    messages
        .map(|message| convert::down_of(message).ok())
        .collect()
}

/// A frame that says this.
#[must_use]
pub fn encode_down(messages: Vec<ToParticipant>) -> Vec<u8> {
    wire::DownFrame {
        messages: messages.into_iter().map(convert::down_to_wire).collect(),
        tell_working: false,
    }
    .encode_to_vec()
}

/// Decodes and converts the bytes as each message that a client, a site or a coordinator is sent.
pub fn every_message(bytes: &[u8]) {
    fn each<M: prost::Message + Default, T>(bytes: &[u8], convert: impl Fn(M) -> T) {
        drop(M::decode(bytes).map(convert));
    }
    each(bytes, convert::execute_of);
    each(bytes, convert::query_of);
    each(bytes, |request: wire::CommitRequest| {
        convert::names_of(request.sites)
    });
    each(bytes, convert::answer_of);
    each(bytes, convert::begin_grant);
    each(bytes, convert::site_infos);
    each(bytes, convert::statistics_of);
    each(bytes, convert::execute_answer_of);
    each(bytes, convert::query_reply_of);
    each(bytes, convert::site_statistics_of);
}
