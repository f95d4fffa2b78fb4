//! What must hold when a story is over.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use crate::known::{Key, Known, Time, is_near, time};
use crate::plan::{Action, user_id};
use crate::reference::{allowed, own_end, statuses};
use crate::world::WINDOW_MS;

/// A replica needs no more than this after a story, in MiB.
const MAX_RESIDENT_MIB: u64 = 160;
/// The connections of a replica to the database.
const MAX_CONNECTIONS: i64 = 20;
/// The longest that an observation may be older or newer than what it says: the timeout of 100ms, and some.
const SLACK_MS: i64 = 1_500;

/// How long after an erasure a report may still wait with those that it interrupted.
const ERASURE_MS: i64 = 250;

/// A broken invariant, by name, and how it was broken.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) how: String,
}

/// Says each way in which an invariant is broken.
type Check = fn(&Known) -> Vec<String>;

pub(crate) fn check(known: &Known) -> Vec<Broken> {
    let mut broken = Vec::new();
    let checks: [(&'static str, Check); 13] = [
        ("documented", |known| known.odd.clone()),
        ("errors", |known| known.errors.clone()),
        ("acknowledged", acknowledged),
        ("truth", truth),
        ("runs", runs),
        ("resume", resume),
        ("presence", presence),
        ("claims", claims),
        ("restores", restores),
        ("erased", erased),
        ("agreement", agreement),
        ("size", size),
        ("again", |known| known.unrestored.clone()),
    ];
    for (invariant, check) in checks {
        // The first of each kind says enough.
        broken.extend(
            check(known)
                .into_iter()
                .take(2)
                .map(|how| Broken { invariant, how }),
        );
    }
    broken
}

fn key_of(value: &serde_json::Value) -> Key {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    (text("room_id"), text("peer_id"))
}

/// What was acknowledged is in history.
fn acknowledged(known: &Known) -> Vec<String> {
    let mut missing = Vec::new();
    let mut look = |what: String, key: &Key, metadata: &str, at: Time, sent: Time| {
        let Some(user) = known.user_of(key) else {
            return;
        };
        // What ran beside an erasure, or arrived before the reports that waited for it had noticed it,
        // may have been before it.
        let noticed = |done: Time| done + TimeDelta::milliseconds(ERASURE_MS) >= sent;
        if known
            .erased
            .iter()
            .any(|(erased, span)| *erased == user && noticed(span.done))
        {
            return;
        }
        // What was asked while a restore was under way may be older than it, and is withdrawn.
        let beside_restore = known
            .sent
            .iter()
            .any(|sent| sent.key == *key && is_near(at, sent.at, sent.at, SLACK_MS));
        if metadata.is_empty() && beside_restore {
            return;
        }
        let within = |row: &&crate::known::Row| {
            row.metadata == metadata && row.first <= at && at <= row.last
        };
        if !known.rows_of(user, key).iter().any(within) {
            let rows: Vec<String> = known
                .rows_of(user, key)
                .iter()
                .map(|row| format!("{:?} {} to {}", row.metadata, row.first, row.last))
                .collect();
            missing.push(format!(
                "{what} of {key:?}: {metadata:?} at {at} is in no row of {rows:?}"
            ));
        }
    };
    for acked in &known.acked_rows {
        let key = key_of(&acked.row);
        let metadata = acked.row["metadata_raw"].as_str().unwrap_or_default();
        let left = own_end(known, &key).map(|(at, _)| at);
        for field in ["first_observed_at", "last_observed_at"] {
            let at = time(&acked.row[field]).expect("a time");
            // What a leave said is taken back where its join, which arrives later, says the same.
            if Some(at) != left {
                look(
                    format!("a snapshot's {field}"),
                    &key,
                    metadata,
                    at,
                    acked.span.sent,
                );
            }
        }
    }
    for event in known.events.iter().filter(|event| !event.acked.is_empty()) {
        let data = &event.value["data"];
        let (Some(metadata), kind) = (
            data["user_data"].as_str(),
            event.value["type"].as_str().unwrap_or_default(),
        ) else {
            continue;
        };
        let field = match kind {
            "peer.join.success" => "joined_at",
            "peer.leave.success" => "left_at",
            _ => "role_changed_at",
        };
        let key = key_of(data);
        let joined_with = known
            .arrived(&key)
            .find(|event| event.value["type"] == "peer.join.success");
        let repeats = joined_with.is_some_and(|join| join.value["data"]["user_data"] == *metadata);
        if kind == "peer.leave.success" && (metadata.is_empty() || repeats) {
            continue;
        }
        let sent = event
            .acked
            .iter()
            .map(|span| span.sent)
            .max()
            .expect("acked");
        look(
            kind.to_owned(),
            &key,
            metadata,
            time(&data[field]).expect("a time"),
            sent,
        );
    }
    missing
}

/// History says nothing that never was.
fn truth(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, rows) in &known.rows {
        for row in rows {
            let Some(owner) = known.user_of(&row.key) else {
                wrong.push(format!("{row:?} is of no peer"));
                continue;
            };
            let was_sent = known.sent.iter().any(|sent| {
                sent.key == row.key
                    && sent.metadata == row.metadata
                    && sent.at <= row.last + TimeDelta::milliseconds(SLACK_MS)
            });
            let by_player = row.metadata.is_empty() || known.set_by_player(&row.key, &row.metadata);
            if owner != *user || !(was_sent || by_player) {
                wrong.push(format!("{row:?} of user-{user} never was"));
            }
        }
    }
    wrong
}

/// The rows of a peer lie one after the other, and each says something else than the one before.
fn runs(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, rows) in &known.rows {
        let keys: BTreeSet<&Key> = rows.iter().map(|row| &row.key).collect();
        for key in keys {
            for pair in known.rows_of(*user, key).windows(2) {
                let same = (&pair[0].metadata, &pair[0].role, &pair[0].name)
                    == (&pair[1].metadata, &pair[1].role, &pair[1].name);
                // Whether the first mention of tracks is other content is left open.
                let same = same && (pair[0].has_tracks || !pair[1].has_tracks);
                let left = own_end(known, key).is_some_and(|(at, _)| at == pair[1].first);
                if pair[1].first < pair[0].last {
                    wrong.push(format!("rows overlap: {:?} and {:?}", pair[0], pair[1]));
                } else if same && !left {
                    wrong.push(format!(
                        "two rows say the same: {:?} and {:?}",
                        pair[0], pair[1]
                    ));
                }
            }
        }
    }
    wrong
}

fn resume(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, answers) in &known.answers {
        let allowed = allowed(known, *user);
        for answer in answers {
            let metadata = answer.body["metadata_raw"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let state = (answer.status == 200).then(|| (key_of(&answer.body), metadata));
            // What is known of an erased user depends on what ran beside the erasure.
            let stored = known.rows[user].iter().any(|row| {
                state
                    .as_ref()
                    .is_some_and(|(key, metadata)| (&row.key, &row.metadata) == (key, metadata))
            });
            let fine = if known.was_erased(*user) {
                stored || state.is_none()
            } else {
                allowed.states.contains(&state)
            };
            if !fine {
                let found = &answer.body["changed_at"];
                wrong.push(format!(
                    "user-{user} resumes {state:?} (changed {found}), allowed is {:?}, since {:?}",
                    allowed.states, allowed.reasons
                ));
                break;
            }
        }
    }
    wrong
}

fn presence(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, answers) in known
        .answers
        .iter()
        .filter(|(user, _)| !known.was_erased(**user))
    {
        for answer in answers.iter().filter(|answer| answer.status == 200) {
            let key = key_of(&answer.body);
            let (said, may) = (
                answer.body["presence"]["status"]
                    .as_str()
                    .unwrap_or_default(),
                statuses(known, &key),
            );
            if !may.contains(said) {
                wrong.push(format!("{key:?} of user-{user} is {said}, not {may:?}"));
            }
            let connected: BTreeSet<Key> = answer.body["connected_peers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(key_of)
                .collect();
            let of_user = known
                .story
                .peers()
                .into_iter()
                .filter(|peer| peer.user == *user);
            let keys = of_user.map(|peer| (peer.room_id(), peer.peer_id()));
            let expected: BTreeSet<Key> = keys
                .filter(|key| statuses(known, key).contains("connected"))
                .collect();
            if connected != expected {
                wrong.push(format!(
                    "of user-{user} {connected:?} are connected, not {expected:?}"
                ));
            }
        }
    }
    wrong
}

/// No change has two holders, and each claim that was answered is stored.
fn claims(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut holders: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
    for claim in known
        .claims
        .iter()
        .filter(|claim| !known.was_erased(claim.user))
    {
        holders
            .entry((claim.user, &claim.metadata))
            .or_default()
            .insert(&claim.claimant);
        let stored = known.resumes.iter().any(|row| {
            row.kind == "claim"
                && row.user == user_id(claim.user)
                && row.claimed_by.as_deref() == Some(&claim.claimant)
        });
        if !stored {
            wrong.push(format!(
                "the claim of {} by {} (answered {}) is not stored",
                user_id(claim.user),
                claim.claimant,
                claim.span.done
            ));
        }
    }
    // Values are set once: who claims one claims that change.
    for ((user, metadata), names) in holders.into_iter().filter(|(_, names)| names.len() > 1) {
        wrong.push(format!(
            "user-{user}'s {metadata:?} was claimed by {names:?}"
        ));
    }
    wrong
}

/// Every join that could be restored to was, or a row says why not.
fn restores(known: &Known) -> Vec<String> {
    if known.story.restore == "off" {
        return Vec::new();
    }
    let joins = known
        .events
        .iter()
        .filter(|event| event.value["type"] == "peer.join.success");
    joins
        .filter_map(|event| unexplained(known, event))
        .collect()
}

fn unexplained(known: &Known, join: &crate::dispatcher::Event) -> Option<String> {
    let data = &join.value["data"];
    let (key, first) = (key_of(data), join.attempts.first()?);
    let user = known.user_of(&key)?;
    let in_time = time(&data["joined_at"])? + TimeDelta::milliseconds(WINDOW_MS - 500)
        > join.acked.first()?.done;
    let touched = known.story.steps.iter().any(|step| match &step.action {
        Action::Set(peer, metadata) => {
            peer.user == user && (metadata.is_empty() || (peer.room_id(), peer.peer_id()) == key)
        }
        Action::Restore(peer, ..) | Action::Role(peer, _) => {
            (peer.room_id(), peer.peer_id()) == key
        }
        Action::Erase(erased) | Action::Lock(erased, _) => *erased == user,
        _ => false,
    });
    // Where its own end came first, there was nobody to restore to.
    let ended = known.arrived(&key).any(|event| {
        event.value["type"] == "peer.leave.success" && event.attempts[0].sent <= join.acked[0].done
    });
    if data["user_data"] != "" || !in_time || touched || ended {
        return None;
    }
    let of_other =
        |other: &Key| other.0 == key.0 && *other != key && known.user_of(other) == Some(user);
    let reported = known
        .events
        .iter()
        .filter(|event| of_other(&key_of(&event.value["data"])));
    let reported = reported.filter(|event| {
        event.value["data"]["user_data"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    });
    let reported = reported
        .filter(|event| {
            event
                .acked
                .first()
                .is_some_and(|span| span.done < first.sent)
        })
        .count();
    let observed = known
        .acked_rows
        .iter()
        .filter(|acked| of_other(&key_of(&acked.row)) && acked.span.done < first.sent);
    let observed = observed
        .filter(|acked| {
            acked.row["metadata_raw"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        })
        .count();
    let explained = known
        .resumes
        .iter()
        .any(|row| row.automatic && row.to.as_ref() == Some(&key));
    (reported + observed > 0 && !explained).then(|| {
        let has = known.present.get(&key);
        let rows: Vec<_> = known.resumes.iter().filter(|row| row.automatic).map(|row| (&row.to, &row.outcome)).collect();
        format!("{key:?} of user-{user} joined empty while a state was saved, has {has:?}, and no row of resumes is of it: {rows:?}")
    })
}

/// Nothing from before an erasure is stored, but what was sent or asked again.
fn erased(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, span) in &known.erased {
        for row in &known.rows[user] {
            let reported_again = known.arrived(&row.key).any(|event| {
                let data = &event.value["data"];
                let times = ["joined_at", "left_at", "role_changed_at"];
                let within = times
                    .iter()
                    .filter_map(|field| time(&data[*field]))
                    .any(|at| is_near(at, row.first, row.last, 0));
                within
                    && event
                        .attempts
                        .iter()
                        .any(|attempt| attempt.done >= span.sent)
            });
            if row.last < span.sent - TimeDelta::milliseconds(SLACK_MS) && !reported_again {
                wrong.push(format!(
                    "user-{user} was erased at {}, but {row:?} is stored",
                    span.done
                ));
            }
        }
    }
    wrong
}

/// All replicas say the same.
fn agreement(known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    for (user, answers) in &known.answers {
        let essence = |answer: &crate::journal::Answer| {
            let mut body = answer.body.clone();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("age_seconds");
                fields.remove("request_id");
            }
            (answer.status, body)
        };
        if let Some(other) = answers
            .iter()
            .find(|other| essence(other) != essence(&answers[0]))
        {
            wrong.push(format!(
                "of user-{user} one replica says {:?}, another {:?}",
                answers[0], other
            ));
        }
    }
    wrong
}

fn size(known: &Known) -> Vec<String> {
    let mut wrong: Vec<String> = known
        .resident_mib
        .iter()
        .filter(|mib| **mib > MAX_RESIDENT_MIB)
        .map(|mib| format!("a replica has {mib} MiB"))
        .collect();
    let replicas = i64::try_from(known.story.replicas).expect("few");
    if known.connections > replicas * MAX_CONNECTIONS {
        wrong.push(format!(
            "{} connections to the database are open",
            known.connections
        ));
    }
    wrong
}
