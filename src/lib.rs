//! rejoin gives a player their state back.
//!
//! 100ms hosts rooms, and games store a player's state in the metadata of their *peer*. When a
//! player drops, 100ms forgets it: whoever comes back is a new peer with empty metadata. This
//! service saves the metadata of peers by `user_id` in Postgres, and returns the last saved state.
//!
//! # Map
//!
//! A module may use the modules that its row names, all of which stand above it: there are no
//! circles. `tests/it/architecture.rs` reads this table and the next one, and checks the code.
//!
//! | module | what lives there | may use |
//! |---|---|---|
//! | [`domain`] | ids, metadata, observations, and the rules: what is a change, what is restored | |
//! | `backoff` | the pauses between attempts, and what `Retry-After` asks for | |
//! | `trace` | spans for OpenTelemetry, and the trace context that goes in and out | |
//! | `metrics` | what a metric is, and that it exists from the start; each module declares its own | |
//! | [`keys`] | API keys and webhook secrets, and their comparison | |
//! | [`hms`] | all that 100ms sends and is sent: its REST API and its webhooks | `domain`, `backoff`, `trace`, `metrics` |
//! | [`store`] | all SQL: saves, resumes, history, restore jobs, own events, migrations | `domain`, `backoff`, `trace`, `metrics` |
//! | [`forward`] | the endpoint that events are passed on to: its address, requests and signatures | `domain`, `backoff` |
//! | [`config`] | settings from the environment and flags | `domain`, `keys`, `hms`, `forward` |
//! | [`telemetry`] | the log, the recorder of metrics, and the export of traces | `domain`, `trace`, `metrics`, `config` |
//! | [`service`] | what the service does, without HTTP: snapshots, webhooks, resumes, restores, watches, forwards | `domain`, `backoff`, `trace`, `metrics`, `hms`, `store`, `forward` |
//! | [`http`] | the URL table, handlers, the JSON of the API, problem details | `domain`, `trace`, `metrics`, `keys`, `hms`, `store`, `service` |
//! | [`server`] | connections, their limit, and graceful shutdown | `metrics` |
//! | [`app`] | the application, built from its settings | `domain`, `metrics`, `keys`, `hms`, `store`, `forward`, `config`, `telemetry`, `service`, `http`, `server` |
//! | [`cli`] | the commands, and the demo | `domain`, `keys`, `hms`, `store`, `config`, `telemetry`, `service`, `http`, `server`, `app` |
//!
//! # Invariants
//!
//! - Only `domain` decides: what an observation changes and what is restored are pure functions.
//! - `hms` knows no database, and `store` does not know 100ms. Nothing holds a database connection
//!   while it waits for 100ms.
//! - `http` has no SQL and calls no other service. Only `http::error` maps failures to statuses.
//! - Below `http`, nothing knows the JSON of the API.
//! - Each of these crates is used only here:
//!
//! | crate | used only in | why |
//! |---|---|---|
//! | `axum` | `http`, `server`, `app`, `cli` | the API, and the demo's server |
//! | `hyper` | `server` | connections |
//! | `utoipa` | `http` | the description of the API |
//! | `sqlx` | `store`, `config`, `app` | SQL; the others only pass connection options on |
//! | `reqwest` | `hms`, `forward`, `cli` | 100ms; the endpoint that events are passed on to; the commands that call the service itself |
//! | `jsonwebtoken` | `hms` | management tokens |
//! | `subtle` | `keys` | the comparison of secrets |
//! | `clap` | `config`, `cli` | flags |
//! | `opentelemetry` | `trace`, `telemetry` | the export of traces |
//! | `metrics` | `metrics`, `telemetry` | a metric that is declared exists from the start |
//!
//! # The path of a snapshot
//!
//! `http::snapshots` parses the ids and runs [`service::Service::snapshot_peer`] in a task of its
//! own, which completes even if the client hangs up. It asks [`hms::Client::peer`], makes an
//! [`domain::Observation`] of the answer, dated when the request was sent, and passes it to
//! [`store::Store::save`]. There the observation joins a batch: [`domain::PeerState::apply`]
//! applies the rules to the baseline of each peer (expected from recent writes, else read), and one
//! conditional write stores what changed. Then the request is answered: the snapshot is durable and
//! visible.
//!
//! # The path of a resume
//!
//! `http::resume` parses the ids and calls [`service::Service::resume`]; [`store::Store::resume`]
//! joins a batch that reads one index entry and one row of `peers` per user. 100ms is never asked,
//! and no answer comes from a cache.
//!
//! # The path of a restore
//!
//! `http::restore` calls [`service::Service::restore`]. It fetches the peer, reads the saved state,
//! claims it if asked to, writes a restore mark to the peer ([`domain::RestoreMark`]), and sends the
//! state to 100ms. Whoever observes that value on the peer next recognizes it by the mark:
//! [`domain::PeerState::apply`] moves the saved state to that peer and counts no change. A join
//! webhook queues the same restore as a job, in the transaction that stores the join; the
//! [`service::RestoreWorker`] of any replica runs it.

pub mod app;
mod backoff;
pub mod cli;
pub mod config;
pub mod domain;
pub mod forward;
pub mod hms;
pub mod http;
pub mod keys;
mod metrics;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
mod trace;
