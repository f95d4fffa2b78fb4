//! A batch worker: takes what is queued, up to the size of a batch, and runs it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Span;

use super::queue::Queue;
use super::{Batch, Ticket};
use crate::metrics::{GaugeSeries, HistogramSeries};
use crate::store::metrics::BATCH_SIZE;
use crate::trace::{Instrument, span};

pub(super) async fn run_worker<B: Batch>(
    batch: Arc<B>,
    mut queue: Queue<B>,
    max_batch: usize,
    depth: GaugeSeries,
) {
    let sizes = BATCH_SIZE.of(&B::QUEUE);
    while let Some(tickets) = queue.next_batch(max_batch).await {
        run_batch(&batch, tickets, &depth, &sizes).await;
    }
}

async fn run_batch<B: Batch>(
    batch: &Arc<B>,
    mut tickets: Vec<Ticket<B>>,
    depth: &GaugeSeries,
    sizes: &HistogramSeries,
) {
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    let size = tickets.len() as f64;
    depth.decrement(size);
    tickets.retain(|ticket| !B::SKIPS_ABANDONED || !ticket.is_abandoned());
    if tickets.is_empty() {
        return;
    }
    sizes.record(size);
    let span = batch_span(&tickets);
    // A panic fails its batch, whose tickets are dropped, and not the worker.
    let run = AssertUnwindSafe(batch.run(tickets)).catch_unwind();
    let _ = run.instrument(span).await;
}

/// The span of a batch, with links to what its callers are doing.
fn batch_span<B: Batch>(tickets: &[Ticket<B>]) -> Span {
    let span = span!(
        parent: None,
        "batch",
        otel.name = format_args!("{} batch", B::QUEUE.as_str()),
        rejoin.batch.size = tickets.len(),
    );
    if !span.is_disabled() {
        for ticket in tickets {
            span.follows_from(&ticket.span);
        }
    }
    span
}
