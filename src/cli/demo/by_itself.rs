//! The last steps: with the webhook set up, a game gets its players' states back without a line of its own.

use reqwest::Method;
use serde_json::json;

use super::steps::{PEER, ROOM, WORLD, controlled};
use super::tale::{Ask, Tale};
use crate::cli::Failure;

const USER: &str = "bo";
const CLIENT: &str = "Bo's client";
const STATE: &str = r#"{"level":2,"pet":"owl"}"#;

/// Bo joins and plays; returns his peer. Nobody fetches it.
pub(super) async fn play(tale: &mut Tale<'_>) -> Result<String, Failure> {
    tale.step(
        "Bo plays another game, that knows nothing of rejoin",
        "100ms tells rejoin by webhook who joins, leaves and drops. Nothing else is asked of rejoin from here on.",
    );
    let peer = join(tale).await?;
    let ask = Ask::hms(CLIENT, Method::PUT, controlled(&peer, "metadata"))
        .body(json!({ "metadata": STATE }));
    let answer = tale.ask(ask.show(&["id", "metadata"])).await?;
    tale.check(
        "his state is at 100ms alone",
        answer.is(200) && answer.at("/metadata") == STATE,
    )?;
    Ok(peer)
}

async fn join(tale: &Tale<'_>) -> Result<String, Failure> {
    let ask = Ask::hms(CLIENT, Method::POST, format!("/control/rooms/{ROOM}/peers"))
        .body(json!({ "user_id": USER }));
    let answer = tale.ask(ask.show(PEER)).await?;
    tale.check(
        "he is in, and his metadata is empty",
        answer.is(201) && answer.at("/metadata") == "",
    )?;
    tale.text("a peer id", answer.at("/id"))
}

/// His connection is lost, and 100ms tells so.
pub(super) async fn drop(tale: &mut Tale<'_>, peer: &str) -> Result<(), Failure> {
    tale.step(
        "Bo drops",
        "100ms tells rejoin, with the metadata that his peer had. (Here at once; often after a minute.)",
    );
    let ask =
        Ask::hms(WORLD, Method::POST, controlled(peer, "drop")).body(json!({ "leave_at": "drop" }));
    let answer = tale
        .ask(ask.show(&["id", "user_id", "ghost_until"]))
        .await?;
    tale.check(
        "what is left of him is a ghost",
        answer.is(200) && answer.at("/ghost_until").is_string(),
    )?;
    let ask = Ask::rejoin("an admin", Method::GET, format!("/v1/users/{USER}/resume"));
    let shown = ["metadata", "presence", "status", "reason"];
    let answer = tale
        .ask_until(ask.show(&shown), |answer| {
            answer.at("/presence/status") == "dropped"
        })
        .await?;
    let heard = answer.at("/presence/status") == "dropped" && answer.at("/metadata_raw") == STATE;
    tale.check("rejoin has heard of it, and has his state", heard)
}

/// He joins again, and has his state.
pub(super) async fn come_back(tale: &mut Tale<'_>) -> Result<(), Failure> {
    tale.step(
        "Bo comes back",
        "He joins as a new, empty peer. Nobody asks for anything.",
    );
    let peer = join(tale).await?;
    let ask = Ask::hms(
        WORLD,
        Method::GET,
        format!("/v2/active-rooms/{ROOM}/peers/{peer}"),
    );
    let shown = ["id", "user_id", "metadata"];
    let answer = tale
        .ask_until(ask.show(&shown), |answer| answer.at("/metadata") == STATE)
        .await?;
    tale.check(
        "rejoin has put his state back on his new peer, by itself",
        answer.at("/metadata") == STATE,
    )
}
