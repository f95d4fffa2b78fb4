//! The shape of a story, and the orders in which it can be played.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The indices of steps.
pub(super) type Order = Vec<usize>;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Story {
    pub(super) name: String,
    #[serde(rename = "why")]
    _why: String,
    orders: Orders,
    pub(super) steps: Vec<Step>,
    pub(super) expect: Expect,
    /// How many of the steps always come first, as they stand.
    #[serde(skip)]
    pub(super) fixed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Orders {
    All,
    Given,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    /// An event of 100ms.
    Webhook(Webhook),
    /// An answer of its REST API.
    Rest(Answer),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) r#type: String,
    pub(super) room: String,
    pub(super) peer: Option<String>,
    pub(super) joined_at: Option<Time>,
    pub(super) left_at: Option<Time>,
    pub(super) role_changed_at: Option<Time>,
    pub(super) session_stopped_at: Option<Time>,
    pub(super) timestamp: Option<Time>,
    pub(super) reason: Option<String>,
    pub(super) role: Option<String>,
    pub(super) user_data: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) room: String,
    pub(super) peer: String,
    pub(super) joined_at: Time,
    pub(super) role: Option<String>,
    pub(super) metadata: String,
    pub(super) sent_at: Time,
    /// Whether it is the answer to a request for the whole room.
    #[serde(skip)]
    pub(super) of_room: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// Null: there is nothing to resume.
    #[serde(default, deserialize_with = "given")]
    pub(super) metadata_raw: Option<Value>,
    pub(super) peer: Option<String>,
    pub(super) changed_at: Option<Time>,
    pub(super) status: Option<String>,
    pub(super) history_rows: Option<usize>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Seconds after an epoch in the past, or a time relative to the present.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    Seconds(f64),
    Relative(String),
}

impl Time {
    pub(super) fn at(&self, epoch: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        let after = |start: DateTime<Utc>, seconds: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "stories are short")]
            let micros = (seconds * 1e6).round() as i64;
            start + TimeDelta::microseconds(micros)
        };
        match self {
            Self::Seconds(seconds) => after(epoch, *seconds),
            Self::Relative(text) => {
                let seconds = text.strip_prefix("now").expect("`now`, or a number");
                let ahead = seconds.trim_start_matches('+');
                after(now, ahead.parse().unwrap_or(0.0))
            }
        }
    }
}

pub(super) fn read(json: &str) -> Vec<Story> {
    serde_json::from_str(json).expect("stories")
}

impl Story {
    /// The orders in which it is played; of more than `most`, some that are spread over all.
    pub(super) fn orders(&self, most: usize) -> Vec<Order> {
        let given: Order = (0..self.steps.len()).collect();
        if self.orders == Orders::Given {
            return vec![given];
        }
        let all = permutations(&given[self.fixed..]);
        let stride = all.len().div_ceil(most);
        let picked = all.into_iter().step_by(stride);
        picked
            .map(|rest| [&given[..self.fixed], &rest].concat())
            .collect()
    }
}

fn permutations(items: &[usize]) -> Vec<Order> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let first = |index: usize| {
        let mut rest = items.to_vec();
        let item = rest.remove(index);
        let rest = permutations(&rest).into_iter();
        rest.map(move |rest| [&[item][..], &rest].concat())
    };
    (0..items.len()).flat_map(first).collect()
}
