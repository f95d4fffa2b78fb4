//! Examples: what the service really answered and sent in the story of `tests/it/problems/examples.rs`.

use std::sync::LazyLock;

use serde_json::Value;

use super::super::error::Code;

static EXAMPLES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("examples.json")).expect("the examples are JSON")
});

/// The body of a request of this operation; null where it has none.
pub(super) fn request(operation_id: &str) -> &'static Value {
    &EXAMPLES["requests"][operation_id]
}

/// The body of an answer of this operation; null where it has none.
pub(super) fn answer(operation_id: &str, status: &str) -> &'static Value {
    &EXAMPLES["answers"][operation_id][status]
}

/// A problem of this code.
pub(super) fn problem(code: Code) -> &'static Value {
    &EXAMPLES["problems"][code.as_str()]
}

/// An own event of this type.
pub(super) fn own_event(event_type: &str) -> &'static Value {
    &EXAMPLES["events"][event_type]
}

/// An id of this name, as in the other examples.
pub(super) fn id(name: &str) -> &'static Value {
    match name {
        "forward_id" => &EXAMPLES["answers"]["retryForward"]["200"]["id"],
        _ => &EXAMPLES["answers"]["snapshotPeer"]["201"][name],
    }
}
