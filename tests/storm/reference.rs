//! What resume and presence must say: the rules, as plain code over all that is known, sorted by time.
//!
//! It shares nothing with the service. Where the rules leave something open, it says what is allowed.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::known::{Key, Known, Row, Time, time};
use crate::plan::GHOST_MS;

const DROPS: [&str; 3] = [
    "websocket closed",
    "ice connection state closed",
    "server removed peer",
];

/// What may be said of a user.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// The peer and its metadata; none where there may be nothing to resume.
    pub(crate) states: BTreeSet<Option<(Key, String)>>,
    /// What decided it, for people.
    pub(crate) reasons: Vec<String>,
}

/// When the metadata of a peer changed: between these, and to what.
#[derive(Debug, Clone)]
struct Change {
    key: Key,
    metadata: String,
    low: Time,
    high: Time,
    joined_at: Option<Time>,
    /// The peer whose state was restored to this one.
    from: Option<Key>,
    restored_at: Option<Time>,
}

/// The end that was reported of a peer itself.
pub(crate) fn own_end(known: &Known, key: &Key) -> Option<(Time, &'static str)> {
    let ends = known
        .arrived(key)
        .filter(|event| event.value["type"] == "peer.leave.success");
    let ends = ends.filter_map(|event| {
        let data = &event.value["data"];
        let kind = match data["reason"].as_str().unwrap_or_default() {
            reason if DROPS.contains(&reason) => "dropped",
            "peer kicked" => "kicked",
            _ => "left",
        };
        Some((time(&data["left_at"])?, kind))
    });
    ends.max()
}

/// The statuses that may be said of a peer.
pub(crate) fn statuses(known: &Known, key: &Key) -> BTreeSet<&'static str> {
    if let Some((_, kind)) = own_end(known, key) {
        return [kind].into();
    }
    let sessions: BTreeSet<&str> = known
        .arrived(key)
        .filter_map(|event| event.value["data"]["session_id"].as_str())
        .collect();
    let ended = known.events.iter().any(|event| {
        let is_end = ["session.close.success", "room.end.success"]
            .contains(&event.value["type"].as_str().unwrap_or_default());
        let session = event.value["data"]["session_id"]
            .as_str()
            .unwrap_or_default();
        is_end && !event.acked.is_empty() && sessions.contains(session)
    });
    match (sessions.is_empty(), ended) {
        (false, true) => ["ended"].into(),
        (false, false) => ["connected"].into(),
        // Known by REST alone: whether an end of its room concerns it may depend on fractions of a second.
        (true, _) => ["unknown", "ended"].into(),
    }
}

pub(crate) fn allowed(known: &Known, user: usize) -> Allowed {
    let keys: BTreeSet<Key> = known.rows[&user]
        .iter()
        .map(|row| row.key.clone())
        .collect();
    let changes: Vec<Change> = keys
        .iter()
        .filter_map(|key| change(known, user, key))
        .collect();
    // A restored state beats the peer that it came from, unless that has changed since, or has got it back later.
    let given_away = |change: &Change| {
        changes.iter().any(|other| {
            other.from.as_ref() == Some(&change.key)
                && other.metadata == change.metadata
                && other.restored_at >= change.restored_at
        })
    };
    let own: Vec<&Change> = changes
        .iter()
        .filter(|change| !given_away(change))
        .collect();
    let mut allowed = Allowed::default();
    let Some(latest_low) = own.iter().map(|change| change.low).max() else {
        allowed.states.insert(None);
        return allowed;
    };
    let mut first: Vec<&&Change> = own
        .iter()
        .filter(|change| change.high >= latest_low)
        .collect();
    // Which of two restores of one state that ran beside each other is the later one, nobody else can say.
    let times: Vec<Time> = first
        .iter()
        .filter_map(|change| change.restored_at)
        .collect();
    let beside = times.iter().min().zip(times.iter().max());
    let beside =
        times.len() > 1 && beside.is_some_and(|(low, high)| *high - *low < TimeDelta::seconds(1));
    let exact = !beside && first.iter().all(|change| change.low == change.high);
    if exact {
        first.sort_by_key(|change| {
            (
                change.restored_at,
                change.joined_at,
                change.key.1.clone(),
                change.key.0.clone(),
            )
        });
        first = first.into_iter().rev().take(1).collect();
    }
    for change in &first {
        let state =
            (!change.metadata.is_empty()).then(|| (change.key.clone(), change.metadata.clone()));
        allowed.states.insert(state);
    }
    let line = |change: &Change| {
        let Change {
            key,
            metadata,
            low,
            high,
            from,
            ..
        } = change;
        format!(
            "{}/{} {metadata:?} changed {low} to {high}, restored from {from:?}",
            key.0, key.1
        )
    };
    let rows = |change: &Change| {
        let end = own_end(known, &change.key);
        let rows = known.rows_of(user, &change.key).into_iter();
        let rows: Vec<String> = rows
            .map(|row| {
                format!(
                    "{:?} {} to {}",
                    row.metadata,
                    row.first.time(),
                    row.last.time()
                )
            })
            .collect();
        format!("{} (rows {rows:?}, end {end:?})", line(change))
    };
    allowed.reasons = changes.iter().map(rows).collect();
    allowed
}

/// The change that the peer's newest metadata is; none where it never had any.
fn change(known: &Known, user: usize, key: &Key) -> Option<Change> {
    let rows = known.rows_of(user, key);
    let newest = rows.last()?;
    let start = rows
        .iter()
        .rposition(|row| row.metadata != newest.metadata)
        .map_or(0, |before| before + 1);
    if newest.metadata.is_empty() && start == 0 {
        return None;
    }
    let raw = rows[start].first;
    let joined_at = rows.iter().filter_map(|row| row.joined_at).max();
    let before = start.checked_sub(1).map(|before| rows[before].last);
    let base = Change {
        key: key.clone(),
        metadata: newest.metadata.clone(),
        low: raw,
        high: raw,
        joined_at,
        from: None,
        restored_at: sent_last(known, key, &newest.metadata),
    };
    if let Some(carried) = restored(known, user, &base, &rows[..start]) {
        return Some(carried);
    }
    let dated = dated(known, key, raw, before, joined_at);
    Some(Change {
        low: dated,
        high: dated,
        ..base
    })
}

/// A ghost plays no more.
fn dated(
    known: &Known,
    key: &Key,
    raw: Time,
    before: Option<Time>,
    joined_at: Option<Time>,
) -> Time {
    let ghost = TimeDelta::milliseconds(i64::try_from(GHOST_MS).expect("a short time"));
    match own_end(known, key) {
        Some((left_at, "dropped")) if raw > left_at - ghost => {
            [Some(left_at - ghost), before, joined_at]
                .into_iter()
                .flatten()
                .max()
                .map_or(raw, |bound| bound.min(raw))
        }
        _ => raw,
    }
}

/// The change where it is what was restored to the peer: it keeps the time of the change of the peer that it came from.
fn restored(known: &Known, user: usize, change: &Change, earlier: &[&Row]) -> Option<Change> {
    if change.metadata.is_empty() {
        return None;
    }
    let last = sent_last(known, &change.key, &change.metadata)?;
    if known.set_by_player(&change.key, &change.metadata) {
        // Sent back to the peer that made it: what is there is that state, or was set once more.
        let made = earlier.iter().find(|row| row.metadata == change.metadata)?;
        return Some(Change {
            low: made.first.min(change.low),
            restored_at: Some(last),
            ..change.clone()
        });
    }
    // With a change of its own between, what was restored before that is found again as the player's.
    let own_before = earlier.iter().any(|row| !row.metadata.is_empty());
    let keys: BTreeSet<&Key> = known.rows[&user].iter().map(|row| &row.key).collect();
    let from = keys
        .into_iter()
        .find(|key| known.set_by_player(key, &change.metadata));
    let Some(from) = from else {
        // The peer that it came from is not known any more.
        return Some(Change {
            low: Time::MIN_UTC,
            high: change.high,
            from: Some(change.key.clone()),
            restored_at: Some(last),
            ..change.clone()
        });
    };
    let rows = known.rows_of(user, from);
    let first = rows
        .iter()
        .position(|row| row.metadata == change.metadata)?;
    let before = first.checked_sub(1).map(|before| rows[before].last);
    let joined_at = rows.iter().filter_map(|row| row.joined_at).max();
    let low = dated(known, from, rows[first].first, before, joined_at);
    let high = if own_before {
        change.high
    } else {
        rows[first].first.max(low).min(last)
    };
    Some(Change {
        low: low.min(high),
        high,
        from: Some(from.clone()),
        restored_at: Some(last),
        ..change.clone()
    })
}

/// When this was last sent to the peer.
fn sent_last(known: &Known, key: &Key, metadata: &str) -> Option<Time> {
    let sent = known.sent.iter();
    let sent = sent.filter(|sent| sent.key == *key && sent.metadata == metadata);
    sent.map(|sent| sent.at).max()
}
