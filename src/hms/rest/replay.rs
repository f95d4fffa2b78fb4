//! The replay of webhooks that 100ms could not deliver.

use serde::Serialize;

use super::peer::bad_response;
use crate::domain::Timestamp;
use crate::hms::HmsError;
use crate::hms::wire::{self, Reader};

/// The filters of a replay. `role.change.success` and `room.end.success` cannot be named, so no type
/// is.
#[derive(Debug, Serialize)]
pub(super) struct Filters {
    start_time: String,
    end_time: String,
    status: &'static str,
}

impl Filters {
    /// What failed from the one time to the other. 100ms shows whole seconds.
    pub(super) fn failed(start: Timestamp, end: Timestamp) -> Self {
        let seconds = |at: Timestamp| at.to_utc().format("%FT%TZ").to_string();
        Self {
            start_time: seconds(start),
            end_time: seconds(end),
            status: "failed",
        }
    }
}

/// A replay at 100ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Names it when its state is asked for.
    pub workflow_id: String,
}

/// The state of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayState {
    /// Whether it goes on.
    pub is_running: bool,
    /// Whether it was carried through, even if events failed again.
    pub is_complete: bool,
    /// How many events it has.
    pub total: u64,
    /// How many events were delivered so far.
    pub completed: u64,
    /// How many of them failed again.
    pub failed: u64,
}

/// Reads the answer to the request for a replay.
///
/// # Errors
/// [`HmsError::BadResponse`] when it names no workflow.
pub(super) fn read_replay(body: &[u8]) -> Result<Replay, HmsError> {
    let json = wire::decode(body);
    let (mut workflow_id, mut reader) = (None, Reader::new(&json));
    let object = reader.each_entry(|field, value| {
        match field.as_bytes() {
            b"workflow_id" => workflow_id = value.exact()?.map(Into::into),
            _ => value.skip()?,
        }
        Ok(())
    });
    match (object, workflow_id) {
        (Ok(true), Some(workflow_id)) => Ok(Replay { workflow_id }),
        _ => Err(bad_response("the answer to a replay names no workflow")),
    }
}

/// Reads the state of a replay. Its names are of mixed case.
///
/// # Errors
/// [`HmsError::BadResponse`] when it has no status that is documented.
pub(super) fn read_state(body: &[u8]) -> Result<ReplayState, HmsError> {
    let json = wire::decode(body);
    let (mut status, mut counts) = (None, [0; 3]);
    let mut reader = Reader::new(&json);
    let object = reader.each_entry(|field, value| {
        match field.as_bytes() {
            b"status" => status = value.exact()?.map(|status| status.to_ascii_lowercase()),
            b"progress" | b"result" => {
                value.each_entry(|field, value| {
                    match field.as_bytes() {
                        b"completed" => counts[0] = value.count()?.unwrap_or(counts[0]),
                        b"total" => counts[2] = value.count()?.unwrap_or(counts[2]),
                        b"failed" => counts[1] = value.count()?.unwrap_or(counts[1]),
                        _ => value.skip()?,
                    }
                    Ok(())
                })?;
            }
            _ => value.skip()?,
        }
        Ok(())
    });
    let state = |is_running, is_complete| ReplayState {
        is_running,
        is_complete,
        total: counts[2],
        completed: counts[0],
        failed: counts[1],
    };
    match (object, status.as_deref()) {
        (Ok(true), Some("running")) => Ok(state(true, false)),
        (Ok(true), Some("completed" | "completed_with_failures")) => Ok(state(false, true)),
        (Ok(true), Some("failed" | "canceled" | "terminated")) => Ok(state(false, false)),
        _ => Err(bad_response("the state of a replay has no known status")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_answers_are_read() {
        let started = read_replay(br#"{"workflow_id":"w-1","status":"started","filters":{}}"#);
        assert_eq!(started.unwrap().workflow_id, "w-1");
        let state = |json: &str| read_state(json.as_bytes()).unwrap();
        assert_eq!(
            state(
                r#"{"status":"completed_with_failures","progress":{"total":150,"completed":3,"failed":0},
                    "result":{"total":150,"completed":148,"failed":2,"failed_events":["x"]}}"#
            ),
            ReplayState {
                is_running: false,
                is_complete: true,
                total: 150,
                completed: 148,
                failed: 2,
            }
        );
        for (status, is_running, is_complete) in [
            ("Running", true, false),
            ("completed", false, true),
            ("failed", false, false),
            ("Canceled", false, false),
            ("Terminated", false, false),
        ] {
            let state = state(&format!(r#"{{"status":"{status}","progress":null}}"#));
            assert_eq!(
                (state.is_running, state.is_complete),
                (is_running, is_complete)
            );
        }
    }

    #[test]
    fn what_is_not_documented_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"workflow_id":7}"#,
            r#"{"status":"lost"}"#,
        ] {
            assert!(read_replay(body.as_bytes()).is_err(), "{body}");
            assert!(read_state(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn times_are_whole_seconds() {
        let at = |text| Timestamp::parse(text).unwrap();
        let filters = Filters::failed(at("2026-03-01T10:00:00.9Z"), at("2026-03-01T11:00:00Z"));
        assert_eq!(
            serde_json::to_string(&filters).unwrap(),
            r#"{"start_time":"2026-03-01T10:00:00Z","end_time":"2026-03-01T11:00:00Z","status":"failed"}"#
        );
    }
}
