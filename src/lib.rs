//! rejoin gives a player their state back.
//!
//! 100ms hosts rooms, and games keep a player's state in the metadata of their *peer*. When a player drops, 100ms forgets
//! it; who comes back is a new peer with empty metadata. This service fetches peers, keeps their metadata by `user_id` in
//! Postgres, and serves the last saved state.
//!
//! # Map
//!
//! | module | what lives there | may use |
//! |---|---|---|
//! | [`domain`] | ids, metadata, observations, and the ordering rules | nothing |
//! | [`hms`] | the client of 100ms's REST API | `domain` |
//! | [`store`] | all SQL: saves, resumes, history, migrations | `domain` |
//! | [`service`] | what the service does, without HTTP | `hms`, `store`, `domain` |
//! | [`webhooks`] | what the events of 100ms tell, and keeping it | `store`, `domain` |
//! | [`restorer`] | the worker that restores by itself when a player joins again | `service`, `store`, `domain` |
//! | [`http`] | the URL table, handlers, problem details | `service`, `webhooks`, `keys` |
//! | [`keys`], [`config`], [`telemetry`] | API keys, settings, logs and metrics | |
//! | [`app`], [`server`] | the application built from its settings; connections and shutdown | all of these |
//! | [`embedded`], [`sim`] | a Postgres of our own; a simulated 100ms | |
//! | [`cli`] | the commands, and the demo | all of these |
//!
//! # The path of a snapshot
//!
//! `http::snapshots` parses the ids and runs [`service::Service::snapshot_peer`] in a task of its own, so that a client that
//! hangs up tears nothing. That asks [`hms::Client::peer`] (no database connection is held meanwhile), makes an
//! [`domain::Observation`] of the answer, dated when the request was sent, and gives it to [`store::Store::save`]. There it
//! joins the next batch of its lane: [`domain::PeerState::observe`] applies the rules to what is known of the batch's peers
//! (what was written last, or else is read), and one statement writes what moved, on the condition that this is still so.
//! Then, durable and visible, it is answered.
//!
//! # The path of a resume
//!
//! `http::resume` parses the ids and calls [`service::Service::resume`]; [`store::Store::resume`] joins the next batch of its
//! lane, one index entry and one row of `peers` a user. 100ms is never asked, and no answer comes from a cache.
//!
//! # The path of a restore
//!
//! `http::restore` calls [`service::Service::restore`]: it fetches the peer, reads the state, claims it if asked to, marks
//! the peer with what is about to be sent ([`domain::RestoreMark`]), and sends it. Whoever sees the value on that peer next
//! knows it by the mark: [`domain::PeerState::observe`] moves the state there and counts no change. A join webhook queues the
//! same as a job in the transaction that keeps the join; [`restorer::Restorer`] of any replica takes it.

pub mod app;
mod backoff;
pub mod cli;
pub mod config;
pub mod domain;
pub mod hms;
pub mod http;
pub mod keys;
mod metrics;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
