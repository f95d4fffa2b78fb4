//! Benchmarks, run by hand: `just bench`, or `cargo bench --bench bench -- resume saves`.
//!
//! Most figures are ratios against a baseline from the same run, since machines differ and are
//! noisy. Each prints a line `PASS` or `MISS` against its bar. Postgres is the server of
//! `DATABASE_URL` if that is set (each benchmark creates a database of its own there), else an
//! embedded one. `pgbench` is looked up beside the binaries of an installed Postgres.

#![expect(clippy::cast_precision_loss, reason = "the figures are rounded anyway")]
#![expect(
    clippy::disallowed_methods,
    reason = "benchmarks date their events by the machine's clock"
)]

mod bulk;
mod database;
mod forwards;
mod load;
mod players;
mod process;
mod report;
mod restore;
mod resume;
mod saves;
mod sizes;
mod snapshot;
mod soak;
mod variant;
mod webhooks;

use std::time::Duration;

/// The same as in the program, since the service runs in this one too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each figure is measured.
const MEASUREMENT: Duration = Duration::from_secs(5);

fn main() {
    if variant::is_requested() {
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
        if is_wanted("presence") {
            resume::presence(&server).await;
        }
        if is_wanted("saves") {
            saves::against_pgbench(&server).await;
        }
        if is_wanted("snapshot") {
            snapshot::added_latency(&server).await;
        }
        let with_forwards = std::env::args().any(|argument| argument == "--forward");
        if is_wanted("webhooks") && with_forwards {
            forwards::against_none(&server).await;
        } else if is_wanted("webhooks") {
            webhooks::against_pgbench(&server).await;
        }
        if is_wanted("restore") {
            restore::latency_and_rate(&server).await;
        }
        if is_wanted("bulk") {
            bulk::beside_what_waits(&server).await;
        }
        if is_wanted("sizes") {
            sizes::per_million_joins(&server).await;
        }
        // An hour is too long to be part of all.
        if wanted.iter().any(|want| want == "soak") {
            soak::for_minutes(&server, minutes()).await;
        }
        if is_wanted("process") {
            process::memory_and_start(&server).await;
        }
    });
}

/// For how long `soak` runs: `--minutes=N`, 60 by default.
fn minutes() -> u64 {
    let minutes = std::env::args().find_map(|argument| {
        let minutes = argument.strip_prefix("--minutes=")?;
        Some(minutes.parse().expect("--minutes=N takes a number"))
    });
    minutes.unwrap_or(60)
}
