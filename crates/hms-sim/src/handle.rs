//! The control calls as methods of [`Sim`], for the process that the simulator runs in.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Sim;
use super::control::shapes;
use super::faults::FaultRule;
use super::metadata::WireMetadata;
use super::model::{Disconnect, Join, NewTrack, Peer, RoomEnd, SimError, Update};
use super::requests::Request;
use super::webhooks::{Delivery, LeaveAt, Replay, WebhookSettings, WebhookTarget};

/// How a connection is lost, where it is not as usual.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropOptions {
    /// How many seconds the ghost stays.
    pub ghost_seconds: Option<f64>,
    /// The reason that its leave event gives.
    pub reason: Option<String>,
    /// When that event comes.
    pub leave_at: Option<LeaveAt>,
}

/// The people in the rooms. Errors are [`SimError::RoomNotActive`] and [`SimError::NoSuchPeer`]
/// where nothing else is said.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl Sim {
    /// Lets a peer into a room. [`SimError::PeerExists`] when its given id is there already.
    pub fn join(&self, room: &str, join: Join) -> Result<Peer, SimError> {
        let now = self.now();
        self.with_state(|state| state.join(now, room, join))
    }

    /// Changes a peer as update-peer does, but takes metadata of any form.
    pub fn update(&self, room: &str, peer: &str, update: Update) -> Result<Peer, SimError> {
        let now = self.now();
        self.with_state(|state| state.update(now, room, peer, update))
    }

    /// Sets a peer's metadata.
    pub fn set_metadata(
        &self,
        room: &str,
        peer: &str,
        metadata: WireMetadata,
    ) -> Result<Peer, SimError> {
        self.update(
            room,
            peer,
            Update {
                metadata: Some(metadata),
                ..Update::default()
            },
        )
    }

    /// Cuts a peer's connection: it stays as a ghost, then leaves.
    pub fn drop_peer(
        &self,
        room: &str,
        peer: &str,
        options: DropOptions,
    ) -> Result<Peer, SimError> {
        let settings = self.webhook_settings();
        let drop = Disconnect {
            ghost: ghost_of(options.ghost_seconds, self.0.ghost)?,
            reason: options.reason.unwrap_or(settings.drop_reason),
            send_leave_now: options.leave_at.unwrap_or(settings.leave_at) == LeaveAt::Drop,
        };
        let now = self.now();
        let dropped = self.with_state(|state| state.drop_peer(now, room, peer, drop));
        self.0.ghosts_changed.notify_one();
        dropped
    }

    /// The SDK's own reconnect within the time of the ghost: the same peer id, and no event.
    pub fn reconnect(&self, room: &str, peer: &str) -> Result<Peer, SimError> {
        self.with_state(|state| state.reconnect(room, peer))
    }

    /// The peer leaves, as when its page is closed.
    pub fn leave(&self, room: &str, peer: &str) -> Result<Peer, SimError> {
        self.remove(room, peer, "client request", "")
    }

    /// The peer is removed with a message.
    pub fn kick(&self, room: &str, peer: &str, message: &str) -> Result<Peer, SimError> {
        self.remove(room, peer, "peer kicked", message)
    }

    /// All peers of a role are removed with a message, at once.
    pub fn kick_role(&self, room: &str, role: &str, message: &str) -> Result<(), SimError> {
        let now = self.now();
        self.with_state(|state| state.remove_role(now, room, role, "peer kicked", message))
    }

    /// The peer is gone at once, for this reason.
    pub fn remove(
        &self,
        room: &str,
        peer: &str,
        reason: &str,
        message: &str,
    ) -> Result<Peer, SimError> {
        let now = self.now();
        self.with_state(|state| state.remove(now, room, peer, reason, message))
    }

    /// Ends a room. Its peers get leave events only when a reason for them is given.
    pub fn end_room(&self, room: &str, leave_reason: Option<&str>) -> Result<(), SimError> {
        self.end_room_with(
            room,
            RoomEnd {
                leave_reason: leave_reason.map(ToOwned::to_owned),
                ..RoomEnd::default()
            },
        )
    }

    /// Ends a room in this way. [`SimError::NoSuchPeer`] when the peer that ends it is not there.
    pub fn end_room_with(&self, room: &str, end: RoomEnd) -> Result<(), SimError> {
        let now = self.now();
        self.with_state(|state| state.end_room(now, room, end))
    }

    /// Publishes a track of a peer.
    pub fn add_track(&self, room: &str, peer: &str, track: NewTrack) -> Result<Peer, SimError> {
        let now = self.now();
        self.with_state(|state| state.add_track(now, room, peer, track))
    }

    /// Mutes or unmutes a track. [`SimError::NoSuchTrack`] when the peer has none of that id.
    pub fn mute(&self, room: &str, peer: &str, track: &str, mute: bool) -> Result<Peer, SimError> {
        self.with_state(|state| state.mute(room, peer, track, mute))
    }

    /// A peer that is connected or a ghost.
    pub fn peer(&self, room: &str, peer: &str) -> Result<Peer, SimError> {
        self.with_state(|state| state.peer(room, peer).cloned())
    }

    /// Everyone in every active room, as `GET /control/state` shows it.
    pub fn state(&self) -> Value {
        let (now, tokens) = (self.now(), self.token_count());
        self.with_state(|state| shapes::state(now, tokens, state))
    }
}

/// What goes wrong, and what was asked.
impl Sim {
    /// Replaces the rules of the faults.
    pub fn set_faults(&self, rules: impl IntoIterator<Item = FaultRule>) {
        self.0.faults.lock().expect("no panic while locked").rules = rules.into_iter().collect();
    }

    /// The rules, with what is left of their counts.
    pub fn faults(&self) -> Vec<FaultRule> {
        self.0
            .faults
            .lock()
            .expect("no panic while locked")
            .rules
            .clone()
    }

    /// Refuses with 401 every token that came so far. New ones are accepted.
    pub fn revoke_tokens(&self) {
        self.0.auth.revoke_known();
    }

    /// How many different tokens came.
    pub fn token_count(&self) -> usize {
        self.0.auth.token_count()
    }

    /// The last requests to the REST API, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.0
            .requests
            .lock()
            .expect("no panic while locked")
            .recent()
    }

    /// How many requests to the REST API there were since the last reset.
    pub fn request_count(&self) -> u64 {
        self.0
            .requests
            .lock()
            .expect("no panic while locked")
            .total()
    }

    /// Forgets the requests.
    pub fn clear_requests(&self) {
        self.0
            .requests
            .lock()
            .expect("no panic while locked")
            .clear();
    }
}

/// Webhooks.
impl Sim {
    /// Sends webhooks there from now on, or nowhere.
    pub fn set_webhook_target(&self, target: Option<WebhookTarget>) {
        self.0.webhooks.set_target(target);
    }

    /// How webhooks are sent.
    pub fn webhook_settings(&self) -> WebhookSettings {
        self.0.webhooks.settings()
    }

    /// Replaces how webhooks are sent. What the previous reorder rules still hold back is sent.
    pub fn set_webhook_settings(&self, settings: WebhookSettings) {
        self.0.webhooks.set_settings(settings);
    }

    /// Loses every event from now on: each stands in the history as a delivery that failed, and can
    /// be replayed.
    pub fn lose_webhooks(&self) {
        self.0.webhooks.set_lose_all(true);
    }

    /// Sends events again from now on. What was lost stays lost until it is replayed.
    pub fn deliver_webhooks(&self) {
        self.0.webhooks.set_lose_all(false);
    }

    /// The last deliveries, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.webhooks.deliveries()
    }

    /// How many deliveries are not yet settled.
    pub fn pending_deliveries(&self) -> usize {
        self.0.webhooks.pending()
    }

    /// Sends past events again, and returns how many.
    pub fn replay(&self, replay: &Replay) -> usize {
        self.0.webhooks.replay(replay)
    }

    /// Delivers this body as if it were an event, with the usual retries.
    pub fn send_webhook(&self, body: &str) {
        self.0.webhooks.send_raw(body);
    }
}

fn ghost_of(seconds: Option<f64>, usual: Duration) -> Result<Duration, SimError> {
    let given = seconds.map(Duration::try_from_secs_f64).transpose();
    Ok(given
        .map_err(|error| SimError::Invalid(format!("ghost_seconds: {error}")))?
        .unwrap_or(usual))
}
