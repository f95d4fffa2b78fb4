//! More stories of each kind: the same, with one thing changed that must not matter.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all changes have one type, and some always apply"
)]

use serde_json::Value;

use super::story::{Step, Story, Time, Webhook};

/// Changes a story; none where it does not apply to it.
type Change = fn(&mut Story) -> Option<()>;

/// Each story with one change, and with its expectation where it depends on the change.
const CHANGES: [(&str, Change); 8] = [
    ("odd content", odd_content),
    ("ids in another order", other_ids),
    ("a later hour", later_hour),
    ("another room", another_room),
    ("an older state", older_state),
    ("another drop", another_drop),
    ("a role that is reported", role_reported),
    ("answers for the room", answers_for_room),
];

/// The variants of a story; a change that does not apply to it makes none.
pub(super) fn of(story: &Story) -> Vec<Story> {
    let changed = CHANGES.iter().filter_map(|(name, change)| {
        let mut changed = story.clone();
        changed.name = format!("{} / {name}", story.name);
        change(&mut changed).map(|()| changed)
    });
    changed.collect()
}

fn webhooks(story: &mut Story) -> impl Iterator<Item = &mut Webhook> {
    story.steps.iter_mut().filter_map(|step| match step {
        Step::Webhook(webhook) => Some(webhook),
        Step::Rest(_) => None,
    })
}

fn each_peer(story: &mut Story, mut with: impl FnMut(&mut String, &mut String)) {
    for step in &mut story.steps {
        match step {
            Step::Webhook(Webhook {
                peer: Some(peer),
                room,
                ..
            }) => with(peer, room),
            Step::Webhook(_) => {}
            Step::Rest(answer) => with(&mut answer.peer, &mut answer.room),
        }
    }
}

/// Text that is almost JSON, with doubled keys, a NUL, quotes and letters outside the basic plane.
fn odd_content(story: &mut Story) -> Option<()> {
    let odd = |content: &mut String| {
        if !content.is_empty() {
            *content = format!("{{\"a\":1,\"a\":\"\u{0} \\u0000 \u{1f600}'\"}} {content}");
        }
    };
    for step in &mut story.steps {
        match step {
            Step::Webhook(webhook) => webhook.user_data.iter_mut().for_each(odd),
            Step::Rest(answer) => odd(&mut answer.metadata),
        }
    }
    if let Some(Value::String(content)) = &mut story.expect.metadata_raw {
        odd(content);
    }
    Some(())
}

/// Peers whose ids sort the other way round.
fn other_ids(story: &mut Story) -> Option<()> {
    let other = |peer: &mut String| {
        let other = if peer == "A" { "z" } else { "b" };
        other.clone_into(peer);
    };
    each_peer(story, |peer, _| other(peer));
    story.expect.peer.iter_mut().for_each(other);
    Some(())
}

fn later_hour(story: &mut Story) -> Option<()> {
    let later = |time: &mut Time| {
        if let Time::Seconds(seconds) = time {
            *seconds += 3_600.0;
        }
    };
    for step in &mut story.steps {
        match step {
            Step::Webhook(webhook) => {
                let times = [
                    &mut webhook.joined_at,
                    &mut webhook.left_at,
                    &mut webhook.role_changed_at,
                    &mut webhook.session_stopped_at,
                    &mut webhook.timestamp,
                ];
                times.into_iter().flatten().for_each(later);
            }
            Step::Rest(answer) => {
                later(&mut answer.joined_at);
                later(&mut answer.sent_at);
            }
        }
    }
    story.expect.changed_at.iter_mut().for_each(later);
    Some(())
}

/// The second peer is in a room of its own. No end of the first one's room concerns it.
fn another_room(story: &mut Story) -> Option<()> {
    let mut moved = None;
    each_peer(story, |peer, room| {
        if peer == "B" && room == "r" {
            "elsewhere".clone_into(room);
            moved = Some(());
        }
    });
    moved
}

/// The user had another peer long before, which left with a state of its own.
fn older_state(story: &mut Story) -> Option<()> {
    let event = |kind: &str, left: Option<f64>| {
        Step::Webhook(Webhook {
            r#type: kind.to_owned(),
            room: "r".to_owned(),
            peer: Some("older".to_owned()),
            joined_at: Some(Time::Seconds(-5_000.0)),
            left_at: left.map(Time::Seconds),
            role_changed_at: None,
            session_stopped_at: None,
            timestamp: None,
            reason: left.map(|_| "client request".to_owned()),
            role: None,
            user_data: Some("old".to_owned()),
        })
    };
    let before = [
        event("peer.join.success", None),
        event("peer.leave.success", Some(-4_000.0)),
    ];
    story.steps.splice(0..0, before);
    story.fixed = 2;
    if let Some(rows) = &mut story.expect.history_rows {
        *rows += 1;
    }
    Some(())
}

fn another_drop(story: &mut Story) -> Option<()> {
    let mut dropped = None;
    for webhook in webhooks(story) {
        if webhook.reason.as_deref() == Some("websocket closed") {
            webhook.reason = Some("ice connection state closed".to_owned());
            dropped = Some(());
        }
    }
    dropped
}

/// An event of the first peer's role, which says nothing of its metadata.
fn role_reported(story: &mut Story) -> Option<()> {
    let first = webhooks(story).find(|webhook| webhook.r#type == "peer.join.success")?;
    let Some(Time::Seconds(joined)) = first.joined_at else {
        return None;
    };
    let event = Webhook {
        r#type: "role.change.success".to_owned(),
        role_changed_at: Some(Time::Seconds(joined + 1.0)),
        user_data: None,
        ..first.clone()
    };
    story.steps.push(Step::Webhook(event));
    Some(())
}

/// What the room's list answered, which has no tracks.
fn answers_for_room(story: &mut Story) -> Option<()> {
    let mut any = None;
    for step in &mut story.steps {
        if let Step::Rest(answer) = step {
            answer.of_room = true;
            any = Some(());
        }
    }
    any
}
