//! Sending past events again.

use tokio::time::Instant;

use super::{Message, Origin, Outbox, REPLAY_PACE, body, scaled};
use crate::webhooks::delivery::DeliveryState;
use crate::webhooks::history::{EventFilter, PastEvent};
use crate::webhooks::settings::Replay;
use crate::webhooks::workflows::{ReplayMark, ReplayRequest, Workflow, Workflows};

impl Outbox {
    /// Sends past events again, untouched by the rules.
    pub(in crate::webhooks) fn replay(&mut self, replay: &Replay) -> usize {
        let events = self
            .history
            .iter()
            .filter(|event| replay.takes(event.id(), event.kind()));
        let events: Vec<PastEvent> = events.cloned().collect();
        let mark = if replay.in_data {
            ReplayMark::Data
        } else {
            ReplayMark::TopLevel
        };
        self.send_again(&events, mark, Instant::now(), |_| Origin::Control);
        events.len()
    }

    /// The events that match, oldest first.
    pub(in crate::webhooks) fn past_events(&self, filter: &EventFilter) -> Vec<PastEvent> {
        let events = self.history.iter().filter(|event| filter.matches(event));
        events.cloned().collect()
    }

    /// Starts a replay, unless an identical one is running. Whether it started comes with it.
    pub(in crate::webhooks) fn start_replay(&mut self, request: ReplayRequest) -> (Workflow, bool) {
        if let Some(running) = self.workflows.running(&request) {
            return (running.clone(), false);
        }
        let mut events = self.past_events(&request.filter);
        events.drain(..request.offset.min(events.len()));
        events.truncate(request.limit);
        let settings = self.settings.replays.clone();
        let now = self.clock.now();
        let workflow = self.workflows.start(request, &settings, events.len(), now);
        let (sends, first) = Workflows::plan(&workflow);
        events.truncate(sends);
        self.send_again(&events, settings.mark, first, |event| Origin::Workflow {
            id: workflow.id.clone(),
            event: event.id().to_owned(),
        });
        (workflow, true)
    }

    pub(in crate::webhooks) fn workflow(&self, id: &str) -> Option<Workflow> {
        self.workflows.get(id).cloned()
    }

    /// Sends events at the pace of replays, the first one at `first`.
    fn send_again(
        &mut self,
        events: &[PastEvent],
        mark: ReplayMark,
        first: Instant,
        origin: impl Fn(&PastEvent) -> Origin,
    ) {
        let pace = scaled(REPLAY_PACE, self.settings.time_scale);
        let mut due = first;
        for event in events {
            let message = Message {
                id: event.id().to_owned(),
                kind: event.kind().to_owned(),
                room: event.room_id().to_owned(),
                body: body(&event.envelope.replayed(mark)),
                origin: origin(event),
            };
            let number = self.add(message, DeliveryState::Pending, due);
            if let Some(entry) = self.entry(number) {
                entry.is_replay = true;
            }
            due += pace;
        }
    }
}
