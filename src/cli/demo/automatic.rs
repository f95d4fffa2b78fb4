//! The last steps: with the webhook set up, a game gets its players' states back without code of
//! its own.

use reqwest::Method;
use serde_json::json;

use super::narrator::{Ask, Narrator};
use super::steps::{PEER, ROOM, WORLD, controlled};
use crate::cli::Failure;

const USER: &str = "bo";
const CLIENT: &str = "Bo's client";
const STATE: &str = r#"{"level":2,"pet":"owl"}"#;

/// Bo joins and plays; returns his peer. Nobody fetches it.
pub(super) async fn play(narrator: &mut Narrator<'_>) -> Result<String, Failure> {
    narrator.step(
        "Bo plays another game, which knows nothing of rejoin",
        "100ms reports to rejoin by webhook who joins, leaves and drops. Nobody calls rejoin for him.",
    );
    let peer = join(narrator).await?;
    let ask = Ask::hms(CLIENT, Method::PUT, controlled(&peer, "metadata"))
        .body(json!({ "metadata": STATE }));
    let answer = narrator.ask(ask.show(&["id", "metadata"])).await?;
    narrator.check(
        "his state is at 100ms alone",
        answer.is(200) && answer.at("/metadata") == STATE,
    )?;
    Ok(peer)
}

async fn join(narrator: &Narrator<'_>) -> Result<String, Failure> {
    let ask = Ask::hms(CLIENT, Method::POST, format!("/control/rooms/{ROOM}/peers"))
        .body(json!({ "user_id": USER }));
    let answer = narrator.ask(ask.show(PEER)).await?;
    narrator.check(
        "he is in, and his metadata is empty",
        answer.is(201) && answer.at("/metadata") == "",
    )?;
    narrator.text("a peer id", answer.at("/id"))
}

/// His connection is lost, and 100ms reports it.
pub(super) async fn drop(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "Bo drops",
        "100ms reports it to rejoin, with the metadata that his peer had. (Here at once; often after a minute.)",
    );
    let ask =
        Ask::hms(WORLD, Method::POST, controlled(peer, "drop")).body(json!({ "leave_at": "drop" }));
    let answer = narrator
        .ask(ask.show(&["id", "user_id", "ghost_until"]))
        .await?;
    narrator.check(
        "his peer is a ghost now",
        answer.is(200) && answer.at("/ghost_until").is_string(),
    )?;
    let ask = Ask::rejoin("an admin", Method::GET, format!("/v1/users/{USER}/resume"));
    let shown = ["metadata", "presence", "status", "reason"];
    let answer = narrator
        .ask_until(ask.show(&shown), |answer| {
            answer.at("/presence/status") == "dropped"
        })
        .await?;
    let received =
        answer.at("/presence/status") == "dropped" && answer.at("/metadata_raw") == STATE;
    narrator.check("rejoin knows that he dropped, and has his state", received)
}

/// He joins again, and has his state.
pub(super) async fn come_back(narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.step(
        "Bo comes back",
        "He joins as a new, empty peer. Nobody asks for anything.",
    );
    let peer = join(narrator).await?;
    let ask = Ask::hms(
        WORLD,
        Method::GET,
        format!("/v2/active-rooms/{ROOM}/peers/{peer}"),
    );
    let shown = ["id", "user_id", "metadata"];
    let answer = narrator
        .ask_until(ask.show(&shown), |answer| answer.at("/metadata") == STATE)
        .await?;
    narrator.check(
        "rejoin has restored his state to his new peer automatically",
        answer.at("/metadata") == STATE,
    )
}
