//! Replays that were asked for through the REST API: which events, and how far each replay is.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::history::EventFilter;
use crate::wire::CUSTOMER_ID;

/// How many replays are remembered.
const MAX_WORKFLOWS: usize = 100;

/// What a replay is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReplayRequest {
    pub(crate) filter: EventFilter,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    /// The request as it was sent: what makes another one identical.
    pub(crate) as_sent: serde_json::Value,
}

/// A replay and its progress.
#[derive(Debug, Clone)]
pub(crate) struct Workflow {
    pub(crate) id: String,
    pub(crate) request: ReplayRequest,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) total: usize,
    pub(crate) completed: usize,
    pub(crate) failed_events: Vec<String>,
    /// How many events it sends; fewer than `total` when it ends early.
    sends: usize,
    /// It runs at least until then.
    runs_until: Instant,
    ended_at: DateTime<Utc>,
    forced_end: Option<ReplayEnd>,
}

/// What a replay is, or how it ended, in 100ms's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum WorkflowStatus {
    Running,
    #[serde(rename = "completed")]
    Completed,
    #[serde(rename = "completed_with_failures")]
    CompletedWithFailures,
    #[serde(rename = "failed")]
    Failed,
    Canceled,
    Terminated,
}

/// How a replay ends when it does not reach its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayEnd {
    /// `failed`.
    Failed,
    /// `Canceled`.
    Canceled,
    /// `Terminated`.
    Terminated,
}

/// What happens to replays that the REST API is asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplaySettings {
    /// How long a replay takes before it sends its first event.
    pub delay_ms: u64,
    /// How it ends early. It reaches its end when none is given.
    pub end: Option<ReplayEnd>,
    /// How many events it sends before it ends early.
    pub sends: usize,
    /// Where events say that they are replayed.
    pub mark: ReplayMark,
}

/// Where `is_replay: true` stands in a replayed event. 100ms does not document it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMark {
    /// At the top level.
    #[default]
    TopLevel,
    /// In `data`.
    Data,
    /// Nowhere: the bytes are those of the original.
    Nowhere,
}

impl Workflow {
    pub(crate) fn status(&self) -> WorkflowStatus {
        let failed = self.failed_events.len();
        if self.completed + failed < self.sends || Instant::now() < self.runs_until {
            return WorkflowStatus::Running;
        }
        match self.forced_end {
            Some(ReplayEnd::Failed) => WorkflowStatus::Failed,
            Some(ReplayEnd::Canceled) => WorkflowStatus::Canceled,
            Some(ReplayEnd::Terminated) => WorkflowStatus::Terminated,
            None if failed == 0 => WorkflowStatus::Completed,
            None if self.completed == 0 => WorkflowStatus::Failed,
            None => WorkflowStatus::CompletedWithFailures,
        }
    }

    /// When it ended; none while it runs.
    pub(crate) fn completed_at(&self) -> Option<DateTime<Utc>> {
        (self.status() != WorkflowStatus::Running).then_some(self.ended_at)
    }
}

/// The replays of late, oldest first.
#[derive(Default)]
pub(super) struct Workflows(VecDeque<Workflow>);

impl Workflows {
    pub(super) fn get(&self, id: &str) -> Option<&Workflow> {
        self.0.iter().find(|workflow| workflow.id == id)
    }

    /// The replay of an identical request that is still running.
    pub(super) fn running(&self, request: &ReplayRequest) -> Option<&Workflow> {
        self.0.iter().find(|workflow| {
            workflow.request.as_sent == request.as_sent
                && workflow.status() == WorkflowStatus::Running
        })
    }

    /// Adds a replay of `total` events.
    pub(super) fn start(
        &mut self,
        request: ReplayRequest,
        settings: &ReplaySettings,
        total: usize,
        now: DateTime<Utc>,
    ) -> Workflow {
        let delay = Duration::from_millis(settings.delay_ms);
        let workflow = Workflow {
            id: format!(
                "webhook-replay-{CUSTOMER_ID}-{}",
                hex::encode(rand::random::<[u8; 4]>())
            ),
            request,
            started_at: now,
            total,
            completed: 0,
            failed_events: Vec::new(),
            sends: if settings.end.is_some() {
                settings.sends.min(total)
            } else {
                total
            },
            runs_until: Instant::now() + delay,
            ended_at: now + TimeDelta::from_std(delay).unwrap_or_default(),
            forced_end: settings.end,
        };
        self.0.push_back(workflow.clone());
        if self.0.len() > MAX_WORKFLOWS {
            self.0.pop_front();
        }
        workflow
    }

    /// Records that an event of this replay was delivered or not.
    pub(super) fn settle(&mut self, id: &str, event: &str, delivered: bool, now: DateTime<Utc>) {
        let Some(workflow) = self.0.iter_mut().find(|workflow| workflow.id == id) else {
            return;
        };
        workflow.ended_at = workflow.ended_at.max(now);
        if delivered {
            workflow.completed += 1;
        } else {
            workflow.failed_events.push(event.to_owned());
        }
    }

    /// How many events the replay sends, and when the first.
    pub(super) fn plan(workflow: &Workflow) -> (usize, Instant) {
        (workflow.sends, workflow.runs_until)
    }
}
