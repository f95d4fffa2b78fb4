//! The steps of the story. Each sends its requests and checks the answers, and takes what it needs
//! from earlier steps.
//!
//! Clients of players reach 100ms over SDKs; here the control API of the simulator stands in for
//! them.

use reqwest::Method;
use serde_json::{Value, json};

use super::narrator::{Ask, Narrator};
use crate::cli::Failure;

/// Whose story it is.
pub(super) const USER: &str = "ada";
/// Where it happens.
pub(super) const ROOM: &str = "arena";

/// What Ada has when she drops.
const STATE: &str = r#"{"bag":["rope"],"gold":120,"level":4}"#;
/// What she has after playing on.
const NEW_STATE: &str = r#"{"bag":[],"gold":150,"level":5}"#;

const CLIENT: &str = "Ada's client";
const GAME: &str = "the game server";
pub(super) const WORLD: &str = "behind the scenes";

pub(super) const PEER: &[&str] = &["id", "user_id", "metadata", "joined_at"];
const LISTED: &[&str] = &["peers", "user_id", "metadata", "joined_at"];
const SAVED: &[&str] = &[
    "snapshots",
    "skipped",
    "user_id",
    "peer_id",
    "metadata",
    "first_observed_at",
    "source",
];
const RESUMED: &[&str] = &["peer_id", "metadata", "changed_at", "age_seconds"];
const PROBLEM: &[&str] = &["code", "detail"];

/// A path of the control API that stands in for the SDK.
pub(super) fn controlled(peer: &str, what: &str) -> String {
    format!("/control/rooms/{ROOM}/peers/{peer}/{what}")
}

/// The path that fetches and saves one peer.
pub(super) fn snapshots_of(peer: &str) -> String {
    format!("/v1/rooms/{ROOM}/peers/{peer}/snapshots")
}

/// The path that fetches and saves the room.
pub(super) fn snapshots_of_room() -> String {
    format!("/v1/rooms/{ROOM}/snapshots")
}

/// The path that gives the state back.
pub(super) fn resume_path() -> String {
    format!("/v1/users/{USER}/resume")
}

/// Ada joins; returns her peer.
pub(super) async fn join(narrator: &mut Narrator<'_>) -> Result<String, Failure> {
    narrator.step(
        &format!("Ada joins the room \"{ROOM}\""),
        "Her game connects to 100ms, which makes her a peer. (Games do this over an SDK; the simulator's control API \
         stands in for it.)",
    );
    enter(narrator).await
}

async fn enter(narrator: &Narrator<'_>) -> Result<String, Failure> {
    let ask = Ask::hms(CLIENT, Method::POST, format!("/control/rooms/{ROOM}/peers"));
    let answer = narrator
        .ask(
            ask.body(json!({ "user_id": USER, "name": "Ada" }))
                .show(PEER),
        )
        .await?;
    narrator.check(
        "she is in, and her metadata is empty",
        answer.is(201) && answer.at("/metadata") == "",
    )?;
    narrator.text("a peer id", answer.at("/id"))
}

/// She sets metadata.
pub(super) async fn play(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "She plays",
        "Her client stores her state in the metadata of her peer, as one string.",
    );
    set(narrator, peer, STATE).await
}

async fn set(narrator: &Narrator<'_>, peer: &str, state: &str) -> Result<(), Failure> {
    let ask = Ask::hms(CLIENT, Method::PUT, controlled(peer, "metadata"));
    let answer = narrator
        .ask(
            ask.body(json!({ "metadata": state }))
                .show(&["id", "metadata"]),
        )
        .await?;
    narrator.check(
        "100ms has it, for as long as this peer is there",
        answer.is(200) && answer.at("/metadata") == state,
    )
}

/// The game server has her peer saved.
pub(super) async fn save(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "The game has rejoin save it",
        "rejoin fetches the peer from 100ms now, and answers once the state is safely in Postgres.",
    );
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::POST, snapshots_of(peer)).show(SAVED))
        .await?;
    let saved =
        answer.is(201) && answer.at("/user_id") == USER && answer.at("/metadata_raw") == STATE;
    narrator.check("her state is saved under her user id, byte for byte", saved)
}

/// Her connection is lost.
pub(super) async fn drop(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "Her connection drops",
        "100ms does not know yet that she is gone: it lists the peer for about 60 s.",
    );
    let ask = Ask::hms(WORLD, Method::POST, controlled(peer, "drop"));
    let answer = narrator
        .ask(ask.show(&["id", "user_id", "ghost_until"]))
        .await?;
    narrator.check(
        "her peer is a ghost now",
        answer.is(200) && answer.at("/ghost_until").is_string(),
    )
}

/// She joins again; returns her new peer.
pub(super) async fn come_back(narrator: &mut Narrator<'_>, ghost: &str) -> Result<String, Failure> {
    narrator.step(
        "She comes back",
        "To 100ms this is somebody new: another peer, with nothing in its metadata.",
    );
    let peer = enter(narrator).await?;
    narrator.check("it is not the peer she was", peer != ghost)?;
    Ok(peer)
}

/// 100ms lists the ghost beside the new peer.
pub(super) async fn list_beside_ghost(
    narrator: &mut Narrator<'_>,
    ghost: &str,
    peer: &str,
) -> Result<(), Failure> {
    narrator.step(
        "A ghost beside an empty peer",
        "Asked for Ada, 100ms answers with both: the ghost that holds her state, and the peer she plays with now.",
    );
    let path = format!("/v2/active-rooms/{ROOM}/peers?user_id={USER}");
    let answer = narrator
        .ask(Ask::hms(GAME, Method::GET, path).show(LISTED))
        .await?;
    let metadata_of = |peer: &str| answer.at(&format!("/peers/{peer}/metadata"));
    let both = answer.is(200) && metadata_of(ghost) == STATE && metadata_of(peer) == "";
    narrator.check(
        "100ms itself cannot say which of the two is Ada's state",
        both,
    )
}

/// The whole room is saved.
pub(super) async fn save_room(
    narrator: &mut Narrator<'_>,
    ghost: &str,
    peer: &str,
) -> Result<(), Failure> {
    narrator.step(
        "rejoin saves the whole room",
        "One call lists the room at 100ms and saves everybody in it.",
    );
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::POST, snapshots_of_room()).show(SAVED))
        .await?;
    let both = metadata_of(answer.at("/snapshots"), ghost) == STATE
        && metadata_of(answer.at("/snapshots"), peer) == "";
    narrator.check(
        "both peers are saved, each with its own metadata",
        answer.is(200) && both,
    )
}

/// The exact metadata of one peer among snapshots.
fn metadata_of<'a>(snapshots: &'a Value, peer: &str) -> &'a Value {
    let of_peer = snapshots
        .as_array()
        .and_then(|all| all.iter().find(|one| one["peer_id"] == peer));
    of_peer.map_or(&Value::Null, |one| &one["metadata_raw"])
}

/// Her state comes back.
pub(super) async fn resume(narrator: &mut Narrator<'_>, ghost: &str) -> Result<(), Failure> {
    narrator.step(
        "Ada gets her state back",
        "Resume is by user, not by peer. A new peer that never had metadata does not count: its empty metadata \
         replaces nothing.",
    );
    let shown = [
        "user_id",
        "peer_id",
        "metadata",
        "metadata_raw",
        "changed_at",
        "age_seconds",
    ];
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::GET, resume_path()).show(&shown))
        .await?;
    let back =
        answer.is(200) && answer.at("/peer_id") == ghost && answer.at("/metadata_raw") == STATE;
    narrator.check("level, gold and bag are back, byte for byte", back)
}

/// She goes on with her new peer, beside the ghost.
pub(super) async fn play_on(
    narrator: &mut Narrator<'_>,
    ghost: &str,
    peer: &str,
) -> Result<(), Failure> {
    narrator.step(
        "She plays on",
        "Her client sets what it got on the new peer, and the game goes on: she sells her rope.",
    );
    set(narrator, peer, NEW_STATE).await?;
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::POST, snapshots_of_room()).show(SAVED))
        .await?;
    let both = metadata_of(answer.at("/snapshots"), ghost) == STATE
        && metadata_of(answer.at("/snapshots"), peer) == NEW_STATE;
    narrator.check(
        "the new state is saved; the ghost was observed again, unchanged",
        answer.is(200) && both,
    )
}

/// The ghost does not win.
pub(super) async fn resume_again(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "The ghost does not win",
        "The latest change of metadata counts. The ghost was observed again just now, but nothing has changed on it.",
    );
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::GET, resume_path()).show(RESUMED))
        .await?;
    let newest =
        answer.is(200) && answer.at("/peer_id") == peer && answer.at("/metadata_raw") == NEW_STATE;
    narrator.check("resume gives what she has now", newest)
}

/// The new peer is left out.
pub(super) async fn exclude(
    narrator: &mut Narrator<'_>,
    ghost: &str,
    peer: &str,
) -> Result<(), Failure> {
    narrator.step(
        "Leaving a connection out",
        "Some clients set defaults as they join, and a default is a change too. Such a game names its new peer in \
         exclude_peer_id, and gets the state from before it.",
    );
    let path = format!("{}?exclude_peer_id={peer}", resume_path());
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::GET, path).show(RESUMED))
        .await?;
    let before =
        answer.is(200) && answer.at("/peer_id") == ghost && answer.at("/metadata_raw") == STATE;
    narrator.check("this is her state from before the new peer", before)
}

/// 100ms fails; resume does not.
pub(super) async fn outage(narrator: &mut Narrator<'_>, peer: &str) -> Result<(), Failure> {
    narrator.step(
        "100ms is down",
        "Nothing can be fetched then. But resume never asks 100ms.",
    );
    let down = Ask::hms(WORLD, Method::PUT, "/control/faults")
        .body(json!([{ "fault": { "status": 503 } }]));
    let answer = narrator.ask(down).await?;
    narrator.check("from here on 100ms answers 503", answer.is(204))?;
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::POST, snapshots_of(peer)).show(PROBLEM))
        .await?;
    let failed = answer.is(502) && answer.at("/code") == "upstream-unavailable";
    narrator.check("a snapshot fails, and says why", failed)?;
    let answer = narrator
        .ask(Ask::rejoin(GAME, Method::GET, resume_path()).show(RESUMED))
        .await?;
    narrator.check(
        "resume works as before",
        answer.is(200) && answer.at("/metadata_raw") == NEW_STATE,
    )?;
    let answer = narrator
        .ask(Ask::hms(WORLD, Method::DELETE, "/control/faults"))
        .await?;
    narrator.check("100ms is back", answer.is(204))
}
