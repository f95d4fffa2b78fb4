//! What every step consists of: a request, its answer on the page, and checks.

use std::time::{Duration, Instant};

use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::environment::Environment;
use super::json;
use super::page::Page;
use crate::cli::Failure;

/// Sends the requests of the story, and shows and checks the answers.
pub(super) struct Narrator<'a> {
    environment: &'a Environment,
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
    is_empty: bool,
}

/// How long to wait for the wanted answer.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

impl Whom {
    fn name(self) -> &'static str {
        match self {
            Self::Rejoin => "rejoin",
            Self::Hms => "100ms",
        }
    }
}

impl<'a> Ask<'a> {
    /// Asks rejoin, with the key.
    pub(super) fn rejoin(who: &'a str, method: Method, path: impl Into<String>) -> Self {
        Self {
            who,
            whom: Whom::Rejoin,
            method,
            path: path.into(),
            body: None,
            shown: &[],
        }
    }

    /// Asks 100ms, with a management token.
    pub(super) fn hms(who: &'a str, method: Method, path: impl Into<String>) -> Self {
        Self {
            whom: Whom::Hms,
            ..Self::rejoin(who, method, path)
        }
    }

    /// With this JSON.
    pub(super) fn body(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
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

    /// The value at this JSON pointer, or null.
    pub(super) fn at(&self, pointer: &str) -> &Value {
        self.body.pointer(pointer).unwrap_or(&Value::Null)
    }
}

impl<'a> Narrator<'a> {
    /// A narrator before the first step.
    pub(super) fn new(environment: &'a Environment, page: &'a Page) -> Result<Self, Failure> {
        // Everything is on this machine, whatever proxies there are; an answer that does not come
        // is a failure.
        #[expect(
            clippy::disallowed_methods,
            reason = "the demo calls the service on this machine as a game would"
        )]
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(Failure::other)?;
        Ok(Self {
            environment,
            page,
            http,
            steps: 0,
        })
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

    /// What the story runs on.
    pub(super) fn environment(&self) -> &Environment {
        self.environment
    }

    /// Whether rejoin answers at all.
    pub(super) async fn rejoin_answers(&self) -> bool {
        let ask = Ask::rejoin("", Method::GET, "/health/ready");
        self.send(&ask).await.is_ok()
    }

    /// Asks, and shows the request and the answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        self.show_request(&ask);
        let answer = self.send(&ask).await?;
        self.show_answer(&ask, &answer);
        Ok(answer)
    }

    /// Repeats a request until the answer is the wanted one, or for [`ANSWER_WAIT`]. Shows the last
    /// answer.
    pub(super) async fn ask_until(
        &self,
        ask: Ask<'_>,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, Failure> {
        let start = Instant::now();
        let answer = loop {
            let answer = self.send(&ask).await?;
            if wanted(&answer) || start.elapsed() > ANSWER_WAIT {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.show_request(&ask);
        self.show_answer(&ask, &answer);
        Ok(answer)
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let (base, token) = match ask.whom {
            Whom::Rejoin => (
                self.environment.rejoin_url(),
                format!("Bearer {}", self.environment.key()).into_bytes(),
            ),
            Whom::Hms => (
                self.environment.hms_url(),
                self.environment.hms_token().as_bytes().to_vec(),
            ),
        };
        let url = format!("{base}{}", ask.path);
        let request = self
            .http
            .request(ask.method.clone(), url)
            .header(AUTHORIZATION, token);
        let request = ask.body.iter().fold(request, RequestBuilder::json);
        let failed = |error: reqwest::Error| {
            Failure::other(format!("{} did not answer: {error}", ask.whom.name()))
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        Ok(Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            is_empty: text.is_empty(),
        })
    }

    fn show_request(&self, ask: &Ask<'_>) {
        self.page
            .caption(&format!("{} -> {}", ask.who, ask.whom.name()));
        self.page.request(&format!("{} {}", ask.method, ask.path));
        if let Some(body) = &ask.body {
            self.page.body(vec![body.to_string()]);
        }
    }

    fn show_answer(&self, ask: &Ask<'_>, answer: &Answer) {
        self.page.status(&answer.status.to_string());
        if !answer.is_empty {
            self.page
                .body(json::lay_out(&answer.body, ask.shown, Page::BODY_WIDTH));
        }
    }

    /// Shows whether the check holds. A failed check ends the story.
    pub(super) fn check(&self, what: &str, holds: bool) -> Result<(), Failure> {
        if holds {
            self.page.passed(what);
            return Ok(());
        }
        self.page.failed(what);
        Err(Failure::other(format!("step {} failed", self.steps)))
    }

    /// A text of an answer that later steps need. The story ends where it is missing.
    pub(super) fn text(&self, what: &str, value: &Value) -> Result<String, Failure> {
        match value.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => self
                .check(&format!("the answer has {what}"), false)
                .map(|()| String::new()),
        }
    }
}
