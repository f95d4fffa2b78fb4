//! The story: which steps, in which order.

use super::tale::Tale;
use super::{by_itself, steps};
use crate::cli::Failure;

/// Who is there at the end of the story.
pub(super) struct Present {
    /// The peer that Ada came back as.
    pub(super) peer: String,
}

/// Tells the story; the first thing that is not as told ends it.
pub(super) async fn tell(tale: &mut Tale<'_>) -> Result<Present, Failure> {
    let first = steps::join(tale).await?;
    steps::play(tale, &first).await?;
    steps::keep(tale, &first).await?;
    steps::drop(tale, &first).await?;
    let second = steps::come_back(tale, &first).await?;
    steps::list_beside_ghost(tale, &first, &second).await?;
    steps::keep_room(tale, &first, &second).await?;
    steps::resume(tale, &first).await?;
    steps::play_on(tale, &first, &second).await?;
    steps::resume_again(tale, &second).await?;
    steps::exclude(tale, &first, &second).await?;
    steps::outage(tale, &second).await?;
    let first_of_bo = by_itself::play(tale).await?;
    by_itself::drop(tale, &first_of_bo).await?;
    by_itself::come_back(tale).await?;
    Ok(Present { peer: second })
}
