//! What every problem answer has.

use super::replica::Answer;

/// Checks that an answer is the problem of this code, and returns it.
#[track_caller]
pub(crate) fn problem(answer: Answer, status: u16, code: &str) -> Answer {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    let names: Vec<&str> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        ["code", "detail", "request_id", "status", "title", "type"]
    );
    assert_eq!(
        (&body["code"], &body["status"]),
        (&code.into(), &status.into()),
        "{body}"
    );
    assert!(
        !body["title"].as_str().unwrap().is_empty() && !body["detail"].as_str().unwrap().is_empty()
    );
    assert_eq!(body["request_id"], answer.header("x-request-id"));
    assert!(!answer.header("x-request-id").is_empty());
    let waits = [
        "upstream-rate-limited",
        "database-unavailable",
        "overloaded",
    ]
    .contains(&code);
    assert_eq!(answer.headers.contains_key("retry-after"), waits, "{code}");
    answer
}
