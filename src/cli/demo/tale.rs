//! Asking, telling and checking: what every step is made of.

use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::json;
use super::page::Page;
use super::stage::Stage;
use crate::cli::Failure;

/// The story as it is told.
pub(super) struct Tale<'a> {
    stage: &'a Stage,
    page: &'a Page,
    http: Client,
    steps: usize,
}

/// A request of a step.
pub(super) struct Ask<'a> {
    who: &'a str,
    whom: Whom,
    method: Method,
    path: String,
    body: Option<Value>,
    shown: &'a [&'a str],
}

/// Who is asked.
#[derive(Clone, Copy)]
enum Whom {
    Rejoin,
    Hms,
}

/// What was answered.
pub(super) struct Answer {
    status: StatusCode,
    body: Value,
}

impl<'a> Ask<'a> {
    /// Asks rejoin, with the key.
    pub(super) fn rejoin(who: &'a str, method: Method, path: impl Into<String>) -> Self {
        Self { who, whom: Whom::Rejoin, method, path: path.into(), body: None, shown: &[] }
    }

    /// Asks 100ms, with a management token.
    pub(super) fn hms(who: &'a str, method: Method, path: impl Into<String>) -> Self {
        Self { whom: Whom::Hms, ..Self::rejoin(who, method, path) }
    }

    /// With this JSON.
    pub(super) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Which fields of the answer to show.
    pub(super) fn show(self, shown: &'a [&'a str]) -> Self {
        Self { shown, ..self }
    }
}

impl Answer {
    /// Whether it has this status.
    pub(super) fn is(&self, status: u16) -> bool {
        self.status.as_u16() == status
    }

    /// What is at this place (a JSON pointer); null when nothing is.
    pub(super) fn at(&self, pointer: &str) -> &Value {
        self.body.pointer(pointer).unwrap_or(&Value::Null)
    }
}

impl<'a> Tale<'a> {
    /// A tale that has not begun.
    pub(super) fn new(stage: &'a Stage, page: &'a Page) -> Result<Self, Failure> {
        // Everything is on this machine, whatever proxies there are; an answer that does not come is not as told.
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().map_err(Failure::other)?;
        Ok(Self { stage, page, http, steps: 0 })
    }

    /// How many steps have begun.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str, text: &str) {
        self.steps += 1;
        self.page.title(&format!("{}. {title}", self.steps));
        self.page.narrate(text);
    }

    /// Asks, and shows the request and the answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        let (base, name, token) = match ask.whom {
            Whom::Rejoin => (self.stage.rejoin_url(), "rejoin", format!("Bearer {}", self.stage.key()).into_bytes()),
            Whom::Hms => (self.stage.hms_url(), "100ms", self.stage.hms_token().as_bytes().to_vec()),
        };
        self.page.caption(&format!("{} -> {name}", ask.who));
        self.page.request(&format!("{} {}", ask.method, ask.path));
        let mut request = self.http.request(ask.method, format!("{base}{}", ask.path)).header(AUTHORIZATION, token);
        if let Some(body) = &ask.body {
            self.page.body(vec![body.to_string()]);
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| Failure::other(format!("{name} did not answer: {error}"));
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        self.page.status(&status.to_string());
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        if !text.is_empty() {
            self.page.body(json::lay_out(&body, ask.shown, Page::BODY_WIDTH));
        }
        Ok(Answer { status, body })
    }

    /// Says that `what` is so, if it is; else the story ends here.
    pub(super) fn check(&self, what: &str, holds: bool) -> Result<(), Failure> {
        if holds {
            self.page.good(what);
            return Ok(());
        }
        self.page.bad(what);
        Err(Failure::other(format!("step {} was not as told", self.steps)))
    }

    /// The text of an answer that the story goes on with; without `what` it ends here.
    pub(super) fn text(&self, what: &str, value: &Value) -> Result<String, Failure> {
        match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => self.check(&format!("the answer has {what}"), false).map(|()| String::new()),
        }
    }
}
