//! Turns the types of Postgres into those of the domain.

use chrono::{DateTime, Utc};
use sqlx::error::BoxDynError;
use uuid::Uuid;

use crate::domain::{
    ChangeId, End, EndKind, Label, Metadata, PeerId, PeerKey, RestoreMark, RoomId, Source,
    Timestamp, UserId,
};

/// The error for a row that this service cannot have written.
pub(super) fn corrupt(what: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

/// What a row of many says. One that cannot be decoded is left out and logged, so that the others
/// can be used.
pub(super) fn readable<T>(row: Result<T, sqlx::Error>, table: &str) -> Option<T> {
    row.inspect_err(|error| {
        tracing::error!(%error, table, "a row cannot be decoded and is left out");
    })
    .ok()
}

/// The entry of `items` at an ordinality of Postgres, which counts from 1.
pub(super) fn at_ordinality<T>(items: &mut [T], ordinality: i64) -> Result<&mut T, sqlx::Error> {
    usize::try_from(ordinality - 1)
        .ok()
        .and_then(|index| items.get_mut(index))
        .ok_or_else(|| corrupt(format!("no entry has the ordinality {ordinality}")))
}

pub(super) fn key(user_id: &str, room_id: &str, peer_id: &str) -> Result<PeerKey, sqlx::Error> {
    Ok(PeerKey {
        user_id: UserId::parse(user_id).map_err(corrupt)?,
        room_id: RoomId::parse(room_id).map_err(corrupt)?,
        peer_id: PeerId::parse(peer_id).map_err(corrupt)?,
    })
}

pub(super) fn metadata(raw: Option<Vec<u8>>) -> Result<Metadata, sqlx::Error> {
    raw.map_or(Ok(Metadata::NONE), |bytes| {
        String::from_utf8(bytes)
            .map(Metadata::from_text)
            .map_err(corrupt)
    })
}

pub(super) fn source(name: &str) -> Result<Source, sqlx::Error> {
    Source::parse(name).ok_or_else(|| corrupt(format!("unknown source {name:?}")))
}

pub(super) fn label(text: Option<String>) -> Option<Label> {
    text.map(|text| Label::new(&text))
}

pub(super) fn end(
    at: Option<DateTime<Utc>>,
    kind: Option<&str>,
    reason: Option<String>,
) -> Result<Option<End>, sqlx::Error> {
    let Some(at) = at else { return Ok(None) };
    let kind = kind
        .and_then(EndKind::parse)
        .ok_or_else(|| corrupt("unknown kind of end"))?;
    Ok(Some(End {
        at: at.into(),
        kind,
        reason: label(reason),
    }))
}

/// The id of the change to this metadata. The previous version of the service stored none, and left
/// one in place that is of another change.
pub(super) fn change_id(
    id: Option<Uuid>,
    user_id: &UserId,
    changed_at: Timestamp,
    metadata: &Metadata,
) -> ChangeId {
    match id.map(ChangeId::from_uuid) {
        Some(id) if id.is_to(metadata) => id,
        _ => ChangeId::new(user_id, changed_at, metadata),
    }
}

pub(super) fn restore_mark(
    at: Option<DateTime<Utc>>,
    change: Option<Uuid>,
    changed_at: Option<DateTime<Utc>>,
    answered_at: Option<DateTime<Utc>>,
) -> Option<RestoreMark> {
    Some(RestoreMark {
        at: at?.into(),
        change: ChangeId::from_uuid(change?),
        changed_at: changed_at?.into(),
        answered_at: answered_at.map(Into::into),
    })
}
