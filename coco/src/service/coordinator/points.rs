//! Which failpoint the driver comes to with an input, and which with an effect.

use super::driver::Input;
use crate::log::Record;
use crate::protocol::{CoordinatorEffect, ToParticipant};

/// Where tests have the driver fail on an input: its log then counts as failed.
pub(super) const fn point_of(input: &Input) -> &'static str {
    match input {
        Input::Begin { .. } => "coordinator: begin",
        Input::Commit { .. } => "coordinator: commit",
        Input::Rollback { .. } => "coordinator: rollback",
        Input::Link { .. } => "coordinator: link",
        Input::Messages { .. } => "coordinator: messages",
        Input::LinkEnded { .. } => "coordinator: link ended",
        Input::Peer(_) => "peer: message",
        Input::Sites { .. }
        | Input::Statistics { .. }
        | Input::Observe { .. }
        | Input::Transactions { .. }
        | Input::History { .. }
        | Input::StateOf { .. }
        | Input::Drain { .. }
        | Input::Working { .. }
        | Input::Shutdown { .. } => "coordinator: question",
    }
}

/// Where tests have the driver fail at an effect: a message's link breaks, or else the log counts as failed.
pub(super) const fn point_at(effect: &CoordinatorEffect) -> &'static str {
    match effect {
        CoordinatorEffect::Append { record, .. } => match record {
            Record::Epoch { .. } => "coordinator: append epoch",
            Record::Commit { .. } | Record::End { .. } => "coordinator: append commit",
        },
        CoordinatorEffect::AppendLazy { .. } => "coordinator: append end",
        CoordinatorEffect::Send { message, .. } => match message {
            ToParticipant::Prepare { .. } => "coordinator: send prepare",
            ToParticipant::CommitOnePhase { .. } => "coordinator: send one-phase",
            ToParticipant::Decide { .. } => "coordinator: send decision",
        },
        CoordinatorEffect::SendPeer { .. }
        | CoordinatorEffect::Answer { .. }
        | CoordinatorEffect::Note(_) => "coordinator: answer",
    }
}
