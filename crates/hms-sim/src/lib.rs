//! A simulated 100ms: its REST API, its webhooks, ghosts, and faults on demand. For demos and
//! tests.
//!
//! Everything is in memory and bounded, and nothing depends on rejoin. What 100ms does not document
//! is either left out or chosen strictly, so that a client that works here relies on nothing
//! undocumented.
//!
//! - [`serve`] runs it on a listener; [`Sim`] is the handle for the same process, with the same
//!   calls as the control API;
//! - `state` is the pure state machine, `room_settings` what a room can be set to, `rest` and `wire`
//!   show both as 100ms does, `auth` checks tokens;
//! - `faults` replaces or breaks answers, `requests` is the log of what was asked;
//! - `webhooks` sends events to a target, and can lose, delay, duplicate, reorder and replay them, and
//!   keeps the history of their deliveries;
//! - `control` is the HTTP form of the handle, under `/control`: its module lists every call.

mod auth;
#[cfg(feature = "cli")]
pub mod cli;
mod control;
mod faults;
mod handle;
mod metadata;
mod model;
mod requests;
mod rest;
mod room_settings;
mod serve;
mod state;
mod webhooks;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::auth::{Auth, AuthError};
use self::faults::Faults;
pub use self::faults::{Fault, FaultRule, Operation, RateLimit};
pub use self::handle::DropOptions;
pub use self::metadata::WireMetadata;
pub use self::model::{Ghost, Join, NewTrack, Peer, RoomEnd, SimError, Track, Update};
pub use self::requests::Request;
use self::requests::RequestLog;
use self::room_settings::RoomSettings;
pub use self::serve::serve;
use self::state::{RoomInfo, State};
pub use self::webhooks::{
    Attempt, Delivery, DeliveryState, Effect, LeaveAt, Replay, ReplayEnd, ReplayMark,
    ReplaySettings, WebhookRule, WebhookSettings, WebhookTarget,
};
use self::webhooks::{EventFilter, PastEvent, ReplayRequest, WebhookSender, Workflow};

/// How long 100ms lists the peer of a lost connection.
pub const DEFAULT_GHOST: Duration = Duration::from_mins(1);
/// The largest request body.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// How the simulator is set up.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// The access key that tokens must name.
    pub access_key: String,
    /// The app secret that tokens must be signed with.
    pub secret: SecretString,
    /// How long a dropped peer stays visible, unless the drop says otherwise.
    pub ghost: Duration,
    /// Where "now" comes from.
    pub clock: SimClock,
    /// Where webhooks go; none are sent without.
    pub webhook: Option<WebhookTarget>,
}

impl SimConfig {
    /// The usual set-up: ghosts of 60 s, the machine's clock, no webhooks.
    pub fn new(access_key: &str, secret: SecretString) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret,
            ghost: DEFAULT_GHOST,
            clock: SimClock::system(),
            webhook: None,
        }
    }
}

/// Where the simulator's "now" comes from, in nanoseconds.
#[derive(Clone)]
pub struct SimClock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl SimClock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::from_fn(Utc::now)
    }

    /// A clock that asks `now`. Ghosts end by it at the next request, or within a second.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wire::time(self.now()))
    }
}

/// A simulated 100ms. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Sim(Arc<Inner>);

struct Inner {
    ghost: Duration,
    clock: SimClock,
    auth: Auth,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    requests: Mutex<RequestLog>,
    webhooks: WebhookSender,
    /// Wakes the timer when there is a ghost that may go before the one it waits for.
    ghosts_changed: Notify,
}

impl Sim {
    /// A simulator in which nobody has joined. Webhooks and the timer of the ghosts need
    /// [`Sim::run`], which [`serve`] calls.
    pub fn new(config: SimConfig) -> Self {
        Self(Arc::new(Inner {
            auth: Auth::new(&config.access_key, &config.secret),
            ghost: config.ghost,
            state: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            webhooks: WebhookSender::new(config.webhook, config.clock.clone()),
            clock: config.clock,
            ghosts_changed: Notify::new(),
        }))
    }

    /// The REST API under `/v2` and the control API under `/control`.
    pub fn router(&self) -> Router {
        rest::router(self.clone()).nest("/control", control::router(self.clone()))
    }

    /// Sends webhooks and ends ghosts in time, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(
            self.0.webhooks.run(shutdown.clone()),
            self.end_ghosts(shutdown)
        );
    }

    async fn end_ghosts(&self, shutdown: CancellationToken) {
        /// The longest sleep, since tests may move the clock meanwhile.
        const MAX_SLEEP: Duration = Duration::from_secs(1);
        loop {
            let next = self.with_state(|state| state.next_expiry());
            let wait = next.map_or(MAX_SLEEP, |next| {
                (next - self.now())
                    .to_std()
                    .unwrap_or_default()
                    .min(MAX_SLEEP)
            });
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.0.ghosts_changed.notified() => {}
                () = tokio::time::sleep(wait), if next.is_some() => {}
            }
        }
    }

    /// Runs `step` on the present state, and hands the events it caused to the webhooks in their
    /// order.
    fn with_state<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.state.lock().expect("no panic while locked");
        state.expire(self.now());
        let result = step(&mut state);
        self.0.webhooks.publish(state.take_events());
        result
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        self.0.auth.check(headers, self.now())
    }

    fn take_fault(&self, operation: Option<Operation>) -> (Duration, Option<Fault>) {
        self.0
            .faults
            .lock()
            .expect("no panic while locked")
            .take(operation)
    }

    fn past_events(&self, filter: &EventFilter) -> Vec<PastEvent> {
        self.0.webhooks.past_events(filter)
    }

    fn start_replay(&self, request: ReplayRequest) -> (Workflow, bool) {
        self.0.webhooks.start_replay(request)
    }

    fn workflow(&self, id: &str) -> Option<Workflow> {
        self.0.webhooks.workflow(id)
    }

    fn create_room(&self, settings: RoomSettings) -> Result<RoomInfo, SimError> {
        let now = self.now();
        self.with_state(|state| {
            let room = state.create_room(now, settings)?;
            self.0
                .webhooks
                .set_room_webhook(&room.id, room.webhook.as_ref());
            Ok(room)
        })
    }

    fn update_room(&self, id: &str, settings: RoomSettings) -> Result<RoomInfo, SimError> {
        let now = self.now();
        self.with_state(|state| {
            let room = state.update_room(now, id, settings)?;
            self.0
                .webhooks
                .set_room_webhook(&room.id, room.webhook.as_ref());
            Ok(room)
        })
    }

    fn log(&self, request: Request) -> u64 {
        self.0
            .requests
            .lock()
            .expect("no panic while locked")
            .push(request)
    }

    fn log_answer(&self, number: u64, at: &str, status: u16) {
        self.0
            .requests
            .lock()
            .expect("no panic while locked")
            .answered(number, at, status);
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
