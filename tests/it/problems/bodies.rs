//! Bodies that nobody asked for.

use std::convert::Infallible;

use futures_util::stream;
use reqwest::{Body, Method};

use super::problem;
use crate::support::raw::send_raw;
use crate::support::world::{Answer, Replica, World};

const KIB: usize = 1 << 10;

async fn post(app: &Replica, body: impl Into<Body>) -> Answer {
    Answer::to(
        app.request(Method::POST, "/v1/rooms/r/peers/p/snapshots")
            .body(body),
    )
    .await
}

fn chunked(size: usize) -> Body {
    let chunks = (0..size.div_ceil(KIB))
        .map(move |at| Ok::<_, Infallible>(vec![b'x'; (size - at * KIB).min(KIB)]));
    Body::wrap_stream(stream::iter(chunks))
}

#[tokio::test]
async fn a_body_is_forgotten_up_to_64_kib_and_refused_beyond() {
    let (_world, app) = World::with_app().await;
    for size in [0, 1, 64 * KIB] {
        problem(post(&app, vec![b'x'; size]).await, 404, "room-not-active");
        problem(post(&app, chunked(size)).await, 404, "room-not-active");
    }
    // Whole megabytes too: who is still sending reads the answer, not a reset connection.
    for size in [64 * KIB + 1, 5000 * KIB] {
        problem(post(&app, vec![b'x'; size]).await, 413, "payload-too-large");
        problem(post(&app, chunked(size)).await, 413, "payload-too-large");
    }
    let target = "/v1/rooms/r/snapshots";
    // Announced only.
    problem(
        send_raw(&app, "POST", target, "content-length: 99999999999\r\n").await,
        413,
        "payload-too-large",
    );
    // An endless one, of which only the first chunk is announced and none is sent, waits; a broken one does not.
    problem(
        send_raw(
            &app,
            "POST",
            target,
            "transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        )
        .await,
        400,
        "invalid-request",
    );
}
