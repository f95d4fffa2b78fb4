//! The story: which steps, in which order.

use super::narrator::Narrator;
use super::{automatic, missed, steps};
use crate::cli::Failure;

/// Who is in the room at the end of the story.
pub(super) struct Ending {
    /// The peer that Ada came back as.
    pub(super) peer: String,
}

/// Plays the story; the first failed check ends it.
pub(super) async fn play(narrator: &mut Narrator<'_>) -> Result<Ending, Failure> {
    let first = steps::join(narrator).await?;
    steps::play(narrator, &first).await?;
    steps::save(narrator, &first).await?;
    steps::drop(narrator, &first).await?;
    let second = steps::come_back(narrator, &first).await?;
    steps::list_beside_ghost(narrator, &first, &second).await?;
    steps::save_room(narrator, &first, &second).await?;
    steps::resume(narrator, &first).await?;
    steps::play_on(narrator, &first, &second).await?;
    steps::resume_again(narrator, &second).await?;
    steps::exclude(narrator, &first, &second).await?;
    steps::outage(narrator, &second).await?;
    let first_of_bo = automatic::play(narrator).await?;
    automatic::drop(narrator, &first_of_bo).await?;
    automatic::come_back(narrator).await?;
    let first_of_cy = missed::play(narrator).await?;
    missed::kill(narrator).await?;
    missed::drop(narrator, &first_of_cy).await?;
    missed::start_again(narrator).await?;
    missed::replay(narrator).await?;
    Ok(Ending { peer: second })
}
