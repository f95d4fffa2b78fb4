//! Everything that could be known of a story once it is over: what happened at 100ms, what arrived, and what is stored.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use hms_sim::Operation;
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row as _};

use crate::dispatcher::Event;
use crate::journal::{AckedClaim, AckedRow, Answer, Span};
use crate::plan::{Action, Story, user_id};
use crate::world::World;

pub(crate) type Time = DateTime<Utc>;

/// Room and peer.
pub(crate) type Key = (String, String);

/// A row of history.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) key: Key,
    /// Empty where there is none.
    pub(crate) metadata: String,
    pub(crate) role: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) has_tracks: bool,
    pub(crate) joined_at: Option<Time>,
    pub(crate) first: Time,
    pub(crate) last: Time,
}

/// A row of `resumes`.
#[derive(Debug, Clone)]
pub(crate) struct Resume {
    pub(crate) user: String,
    pub(crate) kind: String,
    pub(crate) to: Option<Key>,
    pub(crate) automatic: bool,
    pub(crate) claimed_by: Option<String>,
    pub(crate) outcome: String,
}

/// A value that 100ms took from the service.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) at: Time,
    pub(crate) key: Key,
    pub(crate) metadata: String,
}

pub(crate) struct Known {
    pub(crate) story: Story,
    pub(crate) events: Vec<Event>,
    pub(crate) acked_rows: Vec<AckedRow>,
    pub(crate) claims: Vec<AckedClaim>,
    pub(crate) odd: Vec<String>,
    pub(crate) unrestored: Vec<String>,
    pub(crate) erased: Vec<(usize, Span)>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) rows: BTreeMap<usize, Vec<Row>>,
    pub(crate) resumes: Vec<Resume>,
    /// What each replica says of each user.
    pub(crate) answers: BTreeMap<usize, Vec<Answer>>,
    /// The metadata of the peers that are at 100ms now.
    pub(crate) present: BTreeMap<Key, String>,
    pub(crate) resident_mib: Vec<u64>,
    pub(crate) connections: i64,
    pub(crate) errors: Vec<String>,
}

impl Known {
    pub(crate) async fn of(world: &World) -> Result<Self, String> {
        let mut known = Self {
            story: world.story.clone(),
            events: world.dispatcher.events(),
            acked_rows: world.journal.rows.lock().unwrap().clone(),
            claims: world.journal.claims.lock().unwrap().clone(),
            odd: Vec::new(),
            unrestored: world.journal.unrestored.lock().unwrap().clone(),
            erased: world.journal.erased.lock().unwrap().clone(),
            sent: sent(world),
            rows: BTreeMap::new(),
            resumes: Vec::new(),
            answers: BTreeMap::new(),
            present: present(world),
            resident_mib: Vec::new(),
            connections: 0,
            errors: Vec::new(),
        };
        for user in 0..3 {
            known.ask(world, user).await?;
        }
        known
            .read_tables(world)
            .await
            .map_err(|error| error.to_string())?;
        for replica in &world.client.replicas {
            known.resident_mib.extend(replica.resident_mib());
            known.errors.extend(replica.errors());
        }
        known.odd.clone_from(&world.journal.odd.lock().unwrap());
        Ok(known)
    }

    async fn ask(&mut self, world: &World, user: usize) -> Result<(), String> {
        let mut answers = Vec::new();
        for replica in 0..world.client.replicas.len() {
            let path = format!("/v1/users/{}/resume", user_id(user));
            let answer = world.client.get(replica, &path).await;
            answers.push(answer.ok_or("a replica does not answer a resume")?);
        }
        self.answers.insert(user, answers);
        let path = format!("/v1/users/{}/snapshots?limit=500", user_id(user));
        let history = world
            .client
            .get(0, &path)
            .await
            .ok_or("a replica does not answer history")?;
        let rows = history.body["snapshots"]
            .as_array()
            .ok_or("history has no rows")?;
        let mut rows: Vec<Row> = rows.iter().map(row).collect();
        rows.sort_by_key(|row| (row.first, row.last));
        self.rows.insert(user, rows);
        Ok(())
    }

    async fn read_tables(&mut self, world: &World) -> sqlx::Result<()> {
        let mut connection = PgConnection::connect(&world.url).await?;
        let statement = "SELECT user_id, kind, to_room_id, to_peer_id, automatic, claimed_by, outcome FROM resumes ORDER BY at";
        for row in sqlx::query(statement).fetch_all(&mut connection).await? {
            let room: Option<String> = row.get(2);
            self.resumes.push(Resume {
                user: row.get(0),
                kind: row.get(1),
                to: room.zip(row.get::<Option<String>, _>(3)),
                automatic: row.get(4),
                claimed_by: row.get(5),
                outcome: row.get(6),
            });
        }
        let statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.connections = sqlx::query_scalar(statement)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await
    }

    pub(crate) fn was_erased(&self, user: usize) -> bool {
        self.erased.iter().any(|(erased, _)| *erased == user)
    }

    pub(crate) fn rows_of(&self, user: usize, key: &Key) -> Vec<&Row> {
        self.rows[&user]
            .iter()
            .filter(|row| row.key == *key)
            .collect()
    }

    /// The events that arrived and are of this peer.
    pub(crate) fn arrived(&self, key: &Key) -> impl Iterator<Item = &Event> {
        let data = |event: &Event, field: &str| {
            event.value["data"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        self.events.iter().filter(move |event| {
            !event.acked.is_empty()
                && data(event, "room_id") == key.0
                && data(event, "peer_id") == key.1
        })
    }

    /// The user of a peer.
    pub(crate) fn user_of(&self, key: &Key) -> Option<usize> {
        let peers = self.story.peers().into_iter();
        let mut own = peers.filter(|peer| (peer.room_id(), peer.peer_id()) == *key);
        own.next().map(|peer| peer.user)
    }

    /// Whether the player set this on that peer, or joined with it.
    pub(crate) fn set_by_player(&self, key: &Key, metadata: &str) -> bool {
        self.story.steps.iter().any(|step| match &step.action {
            Action::Join(peer, value) | Action::Set(peer, value) => {
                (peer.room_id(), peer.peer_id()) == *key && value == metadata
            }
            _ => false,
        })
    }
}

pub(crate) fn time(value: &Value) -> Option<Time> {
    let time = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    // What is stored has microseconds.
    DateTime::from_timestamp_micros(time.timestamp_micros())
}

fn row(value: &Value) -> Row {
    let text = |field: &str| value[field].as_str().map(ToOwned::to_owned);
    Row {
        key: (
            text("room_id").unwrap_or_default(),
            text("peer_id").unwrap_or_default(),
        ),
        metadata: text("metadata_raw").unwrap_or_default(),
        role: text("role"),
        name: text("name"),
        has_tracks: !value["tracks"].is_null(),
        joined_at: time(&value["joined_at"]),
        first: time(&value["first_observed_at"]).expect("a time"),
        last: time(&value["last_observed_at"]).expect("a time"),
    }
}

/// The updates that 100ms applied. One whose answer is 200 was, also where the answer was cut.
fn sent(world: &World) -> Vec<Sent> {
    let requests = world.sim.requests().into_iter();
    let updates = requests.filter(|request| {
        request.operation == Some(Operation::Update) && request.status == Some(200)
    });
    let sent = updates.filter_map(|request| {
        let body: Value = serde_json::from_str(request.body.as_deref()?).ok()?;
        let mut path = request.path.split('/').skip(3);
        let (room, peer) = (path.next()?, path.nth(1)?);
        Some(Sent {
            at: time(&request.at.clone().into())?,
            key: (room.to_owned(), peer.to_owned()),
            metadata: body["metadata"].as_str()?.to_owned(),
        })
    });
    sent.collect()
}

fn present(world: &World) -> BTreeMap<Key, String> {
    let state = world.sim.state();
    let mut present = BTreeMap::new();
    for (room, value) in state["rooms"].as_object().into_iter().flatten() {
        for (peer, value) in value["peers"].as_object().into_iter().flatten() {
            let metadata = value["metadata"].as_str().unwrap_or_default();
            let metadata: String = serde_json::from_str(metadata).unwrap_or_default();
            present.insert((room.clone(), peer.clone()), metadata);
        }
    }
    present
}

/// Whether `time` is within `slack` of the span.
pub(crate) fn is_near(time: Time, first: Time, last: Time, slack_ms: i64) -> bool {
    let slack = TimeDelta::milliseconds(slack_ms);
    first - slack <= time && time <= last + slack
}
