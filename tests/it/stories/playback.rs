//! Plays a story to two replicas, and compares what they then answer about the user.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::story::{self, Expect, Order, Step, Story};
use crate::support::scripted::{self, Scripted};
use crate::support::webhooks::send_event;
use crate::support::world::{Replica, Setup, World};

/// How the steps reach the service.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// Each once, through one replica.
    Once,
    /// Each once, through two replicas in turn.
    Split,
    /// Each twice in a row, through two replicas.
    Doubled,
    /// All, and then all again through the other replica.
    Replayed,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Once, Self::Split, Self::Doubled, Self::Replayed];

    /// Which steps are sent, each to which replica.
    fn deliveries(self, order: &Order) -> Vec<(usize, usize)> {
        let steps = order.iter().copied();
        match self {
            Self::Once => steps.map(|step| (step, 0)).collect(),
            Self::Split => steps.zip([0, 1].into_iter().cycle()).collect(),
            Self::Doubled => steps.flat_map(|step| [(step, 0), (step, 1)]).collect(),
            Self::Replayed => [0, 1]
                .iter()
                .flat_map(|replica| order.iter().map(move |step| (*step, *replica)))
                .collect(),
        }
    }
}

/// Two replicas on one database, and the 100ms that they ask.
pub(super) struct Audience {
    world: World,
    replicas: [Replica; 2],
    /// What 100ms answers to the next request.
    answer: Arc<Mutex<String>>,
    _hms: Scripted,
    playbacks: AtomicU32,
    epoch: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// One playback of a story: everything in it is of rooms and a user of its own.
struct Playback<'a> {
    audience: &'a Audience,
    number: u32,
}

impl Audience {
    pub(super) async fn new() -> Self {
        let world = World::new().await;
        let answer = Arc::new(Mutex::new(String::new()));
        let answers = Arc::clone(&answer);
        let hms =
            Scripted::with(move |_| scripted::Answer::ok(answers.lock().unwrap().clone())).await;
        let setup = Setup {
            upstream_url: Some(format!("http://127.0.0.1:{}", hms.port)),
            ..Setup::with_webhooks()
        };
        let replicas = [
            world.replica(setup.clone()).await,
            world.replica(setup).await,
        ];
        let now = world.clock.now();
        Self {
            world,
            replicas,
            answer,
            _hms: hms,
            playbacks: AtomicU32::new(0),
            epoch: now - TimeDelta::days(1),
            now,
        }
    }

    /// Plays it in this order and way, and returns what came out wrong.
    pub(super) async fn play(&self, story: &Story, order: &Order, way: Way) -> Result<(), String> {
        let number = self.playbacks.fetch_add(1, Ordering::Relaxed);
        let playback = Playback {
            audience: self,
            number,
        };
        for (step, replica) in way.deliveries(order) {
            let replica = &self.replicas[replica];
            match &story.steps[step] {
                Step::Webhook(webhook) => playback.webhook(replica, webhook).await?,
                Step::Rest(answer) => playback.answer(replica, answer).await?,
            }
        }
        for replica in &self.replicas {
            playback.compare(replica, &story.expect).await?;
        }
        Ok(())
    }

    fn at(&self, time: &story::Time) -> DateTime<Utc> {
        time.at(self.epoch, self.now)
    }

    fn set_clock(&self, to: DateTime<Utc>) {
        self.world.clock.rewind(self.world.clock.now() - to);
    }
}

impl Playback<'_> {
    fn user(&self) -> String {
        format!("user-{}", self.number)
    }

    fn room(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    async fn webhook(&self, replica: &Replica, webhook: &story::Webhook) -> Result<(), String> {
        let text = |time: &story::Time| text(self.audience.at(time));
        let times = [
            ("joined_at", &webhook.joined_at),
            ("left_at", &webhook.left_at),
            ("role_changed_at", &webhook.role_changed_at),
            ("session_stopped_at", &webhook.session_stopped_at),
        ];
        let room = self.room(&webhook.room);
        let mut data = json!({"room_id": room, "session_id": format!("session of {room}")});
        for (field, time) in times {
            data[field] = time.as_ref().map(text).into();
        }
        if let Some(peer) = &webhook.peer {
            data["peer_id"] = peer.clone().into();
            data["user_id"] = self.user().into();
            data["user_name"] = "a player".into();
            data["role"] = webhook.role.as_deref().unwrap_or("player").into();
        }
        if let Some(reason) = &webhook.reason {
            data["reason"] = reason.clone().into();
        }
        if let Some(user_data) = &webhook.user_data {
            data["user_data"] = user_data.clone().into();
        }
        let last = times.iter().rev().find_map(|(_, time)| time.as_ref());
        let sent_at = webhook.timestamp.as_ref().or(last).expect("a time");
        let sent_at = self.audience.at(sent_at);
        let event = json!({
            "version": "2.0", "id": "any", "type": webhook.r#type, "data": data,
            "timestamp": sent_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        });
        let answer = send_event(replica, &event).await;
        match answer.status.as_u16() {
            200 => Ok(()),
            _ => Err(format!("{event}: {}", answer.text)),
        }
    }

    async fn answer(&self, replica: &Replica, answer: &story::Answer) -> Result<(), String> {
        let mut peer = json!({
            "id": answer.peer, "name": "a player", "user_id": self.user(), "metadata": answer.metadata,
            "role": answer.role.as_deref().unwrap_or("player"), "joined_at": text(self.audience.at(&answer.joined_at)),
        });
        let room = self.room(&answer.room);
        let path = if answer.of_room {
            peer = json!({"peers": {&*answer.peer: peer}});
            format!("/v1/rooms/{room}/snapshots")
        } else {
            format!("/v1/rooms/{room}/peers/{}/snapshots", answer.peer)
        };
        *self.audience.answer.lock().unwrap() = peer.to_string();
        self.audience.set_clock(self.audience.at(&answer.sent_at));
        let said = replica.post(&path).await;
        self.audience.set_clock(self.audience.now);
        match said.status.as_u16() {
            200 | 201 => Ok(()),
            _ => Err(format!("{path}: {}", said.text)),
        }
    }

    async fn compare(&self, replica: &Replica, expect: &Expect) -> Result<(), String> {
        let user = self.user();
        let said = replica.resume(&user).await.json();
        let history = replica.history(&user).await.expect(200).json();
        let rows = history["snapshots"].as_array().expect("rows");
        let mut wrong = Vec::new();
        let mut check = |what: &str, is: &Value, wanted: Value| {
            if *is != wanted {
                wrong.push(format!("{what} is {is}, not {wanted}"));
            }
        };
        if let Some(metadata) = &expect.metadata_raw {
            check("metadata_raw", &said["metadata_raw"], metadata.clone());
        }
        if let Some(peer) = &expect.peer {
            check("peer", &said["peer_id"], json!(peer));
        }
        if let Some(status) = &expect.status {
            check("status", &said["presence"]["status"], json!(status));
        }
        if let Some(time) = &expect.changed_at {
            let changed_at = self.audience.at(time);
            check("changed_at", &said["changed_at"], json!(text(changed_at)));
        }
        if let Some(count) = expect.history_rows {
            check("history_rows", &json!(rows.len()), json!(count));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join(", "))
        }
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
