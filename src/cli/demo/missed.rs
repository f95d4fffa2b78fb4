//! What happens while rejoin is away is not lost: 100ms sends it again.

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use super::narrator::{Ask, Narrator};
use super::steps::{PEER, ROOM, WORLD, controlled};
use crate::cli::Failure;
use crate::domain::Clock;

const USER: &str = "cy";
const CLIENT: &str = "Cy's client";
const ADMIN: &str = "an admin";
const STATE: &str = r#"{"level":9,"pet":"cat"}"#;

/// The path of Cy's state.
fn resume() -> String {
    format!("/v1/users/{USER}/resume")
}

/// Cy joins and plays; returns their peer.
pub(super) async fn play(narrator: &mut Narrator<'_>) -> Result<String, Failure> {
    narrator.step(
        "Cy plays",
        "As with Bo, rejoin hears of the join, and nobody calls it.",
    );
    let ask = Ask::hms(CLIENT, Method::POST, format!("/control/rooms/{ROOM}/peers"))
        .body(json!({ "user_id": USER }));
    let answer = narrator.ask(ask.show(PEER)).await?;
    narrator.check("Cy is in", answer.is(201))?;
    let peer = narrator.text("a peer id", answer.at("/id"))?;
    let ask = Ask::hms(CLIENT, Method::PUT, controlled(&peer, "metadata"))
        .body(json!({ "metadata": STATE }));
    let answer = narrator.ask(ask.show(&["id", "metadata"])).await?;
    narrator.check(
        "Cy's state is at 100ms alone",
        answer.at("/metadata") == STATE,
    )?;
    let ask = Ask::hms(WORLD, Method::GET, "/control/webhooks").show(&["pending"]);
    let answer = narrator
        .ask_until(ask, |answer| answer.at("/pending") == 0)
        .await?;
    narrator.check(
        "100ms has reported the join to rejoin",
        answer.at("/pending") == 0,
    )?;
    Ok(peer)
}

/// rejoin is killed.
pub(super) async fn kill(narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.step(
        "rejoin is killed",
        "It ends where it is, and finishes nothing. Postgres and 100ms go on.",
    );
    narrator.environment().kill_rejoin().await;
    let answers = narrator.rejoin_answers().await;
    narrator.check("nothing answers at its address", !answers)
}

/// Cy's connection is lost, and 100ms cannot report it.
pub(super) async fn drop(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "Cy drops meanwhile",
        "100ms tries to deliver the event four times in 14 s, and then gives up. (Here it does not wait so long.)",
    );
    let ask = Ask::hms(WORLD, Method::PUT, "/control/webhooks");
    let answer = narrator
        .ask(ask.body(json!({ "time_scale": 0.01 })))
        .await?;
    narrator.check("100ms will give up soon", answer.is(204))?;
    let ask =
        Ask::hms(WORLD, Method::POST, controlled(peer, "drop")).body(json!({ "leave_at": "drop" }));
    let answer = narrator.ask(ask.show(&["id", "user_id"])).await?;
    narrator.check("Cy's peer is a ghost now", answer.is(200))?;
    let path = "/v2/analytics/webhooks?status=failed&limit=10";
    let shown = ["events", "original_event_name", "error_reason"];
    let answer = narrator
        .ask_until(Ask::hms(ADMIN, Method::GET, path).show(&shown), |answer| {
            answer.at("/events/0").is_object()
        })
        .await?;
    narrator.check(
        "100ms could not deliver that Cy left",
        answer.at("/events/0/payload/original_event_name") == "peer.leave.success",
    )
}

/// rejoin is started again.
pub(super) async fn start_again(narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.step(
        "rejoin is started again",
        "What it had saved is in Postgres. But of Cy it only knows the join.",
    );
    narrator.environment().start_rejoin().await?;
    let ask = Ask::rejoin(ADMIN, Method::GET, resume());
    let answer = narrator.ask(ask.show(&["code"])).await?;
    narrator.check(
        "no state of Cy's is saved yet",
        answer.at("/code") == "no-saved-metadata",
    )
}

/// 100ms sends again what it could not deliver.
pub(super) async fn replay(narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.step(
        "100ms sends it again",
        "Where no replica was up for more than 14 s, rejoin asks for that by itself. Here it was a moment, so an admin \
         asks.",
    );
    // 100ms takes whole seconds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = Clock::system().now().shifted(-TimeDelta::minutes(1));
    let ask = Ask::rejoin(ADMIN, Method::POST, "/v1/reconciliations")
        .body(json!({ "since": since.to_string() }));
    let answer = narrator.ask(ask.show(&["id", "since", "state"])).await?;
    narrator.check("a replica will do it", answer.is(202))?;
    let id = narrator.text("an id", answer.at("/id"))?;
    let ask = Ask::rejoin(ADMIN, Method::GET, format!("/v1/reconciliations/{id}"));
    let shown = ["state", "result", "replayed", "rooms", "problem"];
    let answer = narrator
        .ask_until(ask.show(&shown), |answer| answer.at("/state") == "finished")
        .await?;
    let replayed = answer.at("/result/replayed").as_u64() > Some(0);
    narrator.check("the events were sent again", replayed)?;
    let shown = ["metadata", "presence", "status", "reason"];
    let ask = Ask::rejoin(ADMIN, Method::GET, resume());
    let answer = narrator
        .ask_until(ask.show(&shown), |answer| answer.is(200))
        .await?;
    let is_back = answer.at("/metadata_raw") == STATE && answer.at("/presence/status") == "dropped";
    narrator.check("rejoin has Cy's state, and knows that Cy dropped", is_back)?;
    let ask = Ask::hms(WORLD, Method::DELETE, "/control/webhooks");
    let answer = narrator.ask(ask).await?;
    narrator.check("100ms waits as usual again", answer.is(204))
}
