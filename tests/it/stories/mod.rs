//! Small stories that must come out right in every order of arrival, also doubled, and split over two replicas.
//!
//! Each is sent over HTTP to a real service: webhooks as 100ms writes them, and answers of a scripted 100ms at the time
//! that the story says. `story` is the shape of `stories.json`, `variants` makes more of each kind, `playback` plays them.

mod playback;
mod story;
mod variants;

use std::fmt::Write;

use playback::{Audience, Way};
use story::{Order, Story};

/// Stories that do not come out right, and why.
const NOT_RIGHT: &[(&str, &str)] = &[(
    "a row is split / answers for the room",
    "what a room shows as it was within the last minute is not written: decision 0044",
)];

/// In how many orders a variant is played at most.
const ORDERS_OF_A_VARIANT: usize = 3;

/// A story with more orders than this is played in one way in each of them, and not in every way.
const ORDERS_IN_EVERY_WAY: usize = 6;

/// Plays each story in its orders, in each way; fails with all that came out wrong.
async fn play(stories: Vec<Story>, most_orders: usize) {
    let audience = Audience::new().await;
    let mut wrong = String::new();
    for story in stories {
        let outcome = outcome(&audience, &story, most_orders).await;
        let known = NOT_RIGHT
            .iter()
            .find(|(name, _)| story.name.starts_with(name));
        match (outcome, known) {
            (Err(why), None) => {
                let _ = write!(wrong, "\n{}: {why}", story.name);
            }
            (Err(_), Some((name, why))) => println!("not right: {name} ({why})"),
            (Ok(()), Some((name, _))) => println!("right by now: {name}"),
            (Ok(()), None) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

async fn outcome(audience: &Audience, story: &Story, most_orders: usize) -> Result<(), String> {
    let (mut playbacks, mut wrong, mut first) = (0, 0, String::new());
    let orders = story.orders(most_orders);
    let every_way = most_orders == usize::MAX && orders.len() <= ORDERS_IN_EVERY_WAY;
    for (number, order) in orders.iter().enumerate() {
        let one = [Way::ALL[number % Way::ALL.len()]];
        for way in if every_way { &Way::ALL[..] } else { &one } {
            playbacks += 1;
            if let Err(why) = audience.play(story, order, *way).await {
                wrong += 1;
                if wrong == 1 {
                    let _ = write!(first, "{} {way:?}: {why}", in_words(order));
                }
            }
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(format!("{wrong} of {playbacks}; first {first}")),
    }
}

fn in_words(order: &Order) -> String {
    let steps: Vec<String> = order.iter().map(|step| (step + 1).to_string()).collect();
    format!("in the order {}", steps.join(" "))
}

#[tokio::test]
async fn the_stories_come_out_right_in_every_order() {
    let stories = story::read(include_str!("../stories.json"));
    play(stories, usize::MAX).await;
}

#[tokio::test]
async fn more_stories_come_out_right_in_every_order() {
    let stories = story::read(include_str!("../more_stories.json"));
    play(stories, usize::MAX).await;
}

#[tokio::test]
async fn variants_of_the_stories_come_out_right() {
    let stories = story::read(include_str!("../stories.json")).into_iter();
    let more = story::read(include_str!("../more_stories.json"));
    let variants = stories.chain(more).flat_map(|story| variants::of(&story));
    play(variants.collect(), ORDERS_OF_A_VARIANT).await;
}
