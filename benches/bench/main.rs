//! Benchmarks, run by hand: `just bench`, or `cargo bench --bench bench -- resume saves`.
//!
//! Every figure is a ratio against a baseline from the same run, since machines differ and are noisy. Each benchmark ends
//! in a line `PASS` or `MISS` against its bar. Postgres is `DATABASE_URL`'s server where that is set (a database of its own is
//! made there), else an embedded one; `pgbench` is looked for beside the usual binaries.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]
#![expect(
    clippy::disallowed_methods,
    reason = "benchmarks date their events by the machine's clock"
)]

mod database;
mod load;
mod process;
mod report;
mod resume;
mod saves;
mod snapshot;
mod variant;
mod webhooks;

use std::time::Duration;

/// As in the program: the service is run from here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each figure is measured.
const SPELL: Duration = Duration::from_secs(5);

fn main() {
    if variant::is_asked_for() {
        return variant::serve();
    }
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|want| want == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = database::Server::start().await;
        if is_wanted("resume") {
            resume::against_pgbench(&server).await;
        }
        if is_wanted("growth") {
            resume::growth(&server).await;
        }
        if is_wanted("saves") {
            saves::against_pgbench(&server).await;
        }
        if is_wanted("snapshot") {
            snapshot::added_latency(&server).await;
        }
        if is_wanted("webhooks") {
            webhooks::against_pgbench(&server).await;
        }
        if is_wanted("process") {
            process::memory_and_start(&server).await;
        }
    });
}
