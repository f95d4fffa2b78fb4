//! The description of rejoin's own events, as the webhooks of OpenAPI 3.1: what the endpoint is sent,
//! and what its answers mean.

use serde_json::{Map, Value, json};

use super::examples;
use crate::domain::OwnEventType;

/// The `webhooks` of the description.
pub(super) fn webhooks() -> Value {
    let items = OwnEventType::ALL.iter().map(|&event_type| {
        let name = event_type.as_str().to_owned();
        (name, json!({"post": operation(event_type)}))
    });
    Value::Object(items.collect())
}

/// The schemas of the events, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let events = OwnEventType::ALL.iter().map(|&event_type| {
        let described = Described::of(event_type);
        (described.schema.to_owned(), event_schema(event_type))
    });
    events.collect()
}

/// What is described of the events of one type.
struct Described {
    operation_id: &'static str,
    schema: &'static str,
    summary: &'static str,
    /// When what it says happened.
    timestamp: &'static str,
    /// The fields of the data beside those that all events have.
    fields: Vec<(&'static str, Value)>,
}

impl Described {
    fn of(event_type: OwnEventType) -> Self {
        let changed_at = || ("changed_at", time("When the metadata changed."));
        let joined_at = || ("joined_at", or_null(time("When the peer joined.")));
        match event_type {
            OwnEventType::PeerDropped => Self {
                operation_id: "onPeerDropped",
                schema: "PeerDroppedEvent",
                summary: "A peer dropped: its connection was lost",
                timestamp: "When it dropped.",
                fields: vec![
                    joined_at(),
                    ("dropped_at", time("When it dropped.")),
                    ("reason", or_null(text("Why, in the words of 100ms."))),
                ],
            },
            OwnEventType::StateSaved => Self {
                operation_id: "onStateSaved",
                schema: "StateSavedEvent",
                summary: "A resume of the user returns another state than before",
                timestamp: "When the metadata changed.",
                fields: vec![
                    joined_at(),
                    changed_at(),
                    (
                        "last_observed_at",
                        time("When the peer was last observed with this state."),
                    ),
                ],
            },
            OwnEventType::StateRestored => Self {
                operation_id: "onStateRestored",
                schema: "StateRestoredEvent",
                summary: "A saved state was restored to a peer",
                timestamp: "When it was restored.",
                fields: vec![
                    changed_at(),
                    ("to_room_id", text("The room of the peer that has it now.")),
                    ("to_peer_id", text("The peer that has it now.")),
                    ("restored_at", time("When it was restored.")),
                    ("automatic", flag("Whether a join caused it.")),
                ],
            },
            OwnEventType::StateClaimed => Self {
                operation_id: "onStateClaimed",
                schema: "StateClaimedEvent",
                summary: "A saved state was claimed: no other claimant gets it",
                timestamp: "When it was claimed.",
                fields: vec![
                    changed_at(),
                    (
                        "to_room_id",
                        or_null(text(
                            "The room of the peer that it is for, if it is for one.",
                        )),
                    ),
                    (
                        "to_peer_id",
                        or_null(text("The peer that it is for, if it is for one.")),
                    ),
                    ("claimed_at", time("When it was claimed.")),
                    ("claimed_by", text("Who has it, in their own words.")),
                ],
            },
        }
    }
}

fn operation(event_type: OwnEventType) -> Value {
    let Described {
        operation_id,
        schema,
        summary,
        ..
    } = Described::of(event_type);
    let header = |name: &str, description: &str, required: bool| {
        json!({
            "name": name,
            "in": "header",
            "description": description,
            "required": required,
            "schema": {"type": "string"},
        })
    };
    json!({
        "tags": ["forward"],
        "operationId": operation_id,
        "summary": summary,
        "description": "Sent to `REJOIN_FORWARD_URL` where `REJOIN_FORWARD_EVENTS` is `true`, in order with the other events of its room, until it is accepted.",
        "security": [],
        "parameters": [
            header("webhook-id", "The same at all attempts of an event.", true),
            header("webhook-timestamp", "When this attempt was made, in seconds since 1970.", true),
            header("webhook-signature", "Signs both and the body by Standard Webhooks, where `REJOIN_FORWARD_SECRET` is set.", false),
        ],
        "requestBody": {
            "required": true,
            "content": {"application/json": {
                "schema": {"$ref": format!("#/components/schemas/{schema}")},
                "example": examples::own_event(event_type.as_str()).clone(),
            }},
        },
        "responses": {
            "2XX": {"description": "The event is accepted."},
            "410": {"description": "The event is not wanted: it is dead."},
            "default": {"description": "The event is sent again later, for 24 hours."},
        },
    })
}

fn event_schema(event_type: OwnEventType) -> Value {
    let Described {
        summary,
        timestamp,
        fields,
        ..
    } = Described::of(event_type);
    let drops = event_type == OwnEventType::PeerDropped;
    let of_peer = if drops {
        ["The room of the peer.", "The peer."]
    } else {
        [
            "The room of the peer whose state it is.",
            "The peer whose state it is.",
        ]
    };
    let snapshot_id = json!({
        "type": "string",
        "format": "uuid",
        "description": "The row of history that holds the metadata.",
    });
    // Of a dropped peer, there may be none.
    let snapshot_id = if drops {
        or_null(snapshot_id)
    } else {
        snapshot_id
    };
    let ids = [
        ("user_id", text("The user.")),
        ("room_id", text(of_peer[0])),
        ("peer_id", text(of_peer[1])),
        ("snapshot_id", snapshot_id),
    ];
    let always: Vec<(&str, Value)> = ids.into_iter().chain(fields).collect();
    let required: Vec<&str> = always.iter().map(|(name, _)| *name).collect();
    let metadata = [
        (
            "metadata",
            json!({"description": "With `REJOIN_FORWARD_METADATA`: the metadata, as in a resume; null when empty."}),
        ),
        (
            "metadata_raw",
            or_null(text(
                "With `REJOIN_FORWARD_METADATA`: the exact text of the metadata; null when 100ms had null or nothing.",
            )),
        ),
    ];
    let properties: Map<String, Value> = always
        .iter()
        .cloned()
        .chain(metadata)
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    json!({
        "type": "object",
        "description": format!("{summary}."),
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "const": event_type.as_str()},
            "timestamp": time(timestamp),
            "data": {"type": "object", "required": required, "properties": properties},
        },
    })
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn time(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": description})
}

fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}
