//! Shortens a story to what still breaks the same invariant.

use std::time::Duration;

use tokio::time::Instant;

use crate::plan::Story;
use crate::run::Stage;

/// Removes chunks of steps, of half of them down to one, while what is left still fails (delta debugging).
pub(crate) async fn shrunk(
    stage: &Stage,
    mut story: Story,
    invariant: &str,
    patience: Duration,
) -> Story {
    let start = Instant::now();
    let mut chunk = story.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < story.steps.len() {
            if start.elapsed() > patience {
                return story;
            }
            let mut shorter = story.clone();
            shorter.steps.drain(at..(at + chunk).min(story.steps.len()));
            let outcome = stage.outcome(&shorter).await;
            if outcome.iter().any(|broken| broken.invariant == invariant) {
                story = shorter;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    story
}
