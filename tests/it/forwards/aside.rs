//! Events that stand aside hold up no others, however many they are: neither those of their room nor
//! those of other rooms.

use std::time::Duration;

use super::{count, join_in, send_joins, world};
use crate::support::scripted::Answer;
use crate::support::wait::until;
use crate::support::webhooks::send_event;

#[tokio::test]
async fn many_events_that_are_sent_again_hold_up_neither_their_room_nor_others() {
    let (world, endpoint, app) = world().await;
    endpoint.answers(Answer::new(410, ""));
    send_joins(&app, &["room-a"], 0..40).await;
    send_joins(&app, &["room-b"], 0..1).await;
    let pool = world.database.pool().await;
    until("they are dead", async || {
        count(&pool, "forwards WHERE state = 'dead'").await == 41
    })
    .await;
    let asked_before = endpoint.server.received().len();
    endpoint.answers(Answer::new(500, "").delayed(Duration::from_millis(100)));
    app.post("/v1/forwards/retry").await.expect(200);
    endpoint.until_asked(asked_before + 1).await;
    send_event(&app, &join_in("room-a", "new"))
        .await
        .expect(200);
    endpoint.until_asked(asked_before + 40).await;
    let asked = endpoint.server.received().split_off(asked_before);
    let place = |text: &str| asked.iter().position(|it| it.body.contains(text));
    let places = [place("room-b"), place("\"new\"")];
    // Those that are sent at that moment come before them, and no more.
    assert!(
        places.iter().all(|place| place.is_some_and(|it| it < 10)),
        "{places:?}"
    );
}
