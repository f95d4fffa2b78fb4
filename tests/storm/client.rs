//! Asks the replicas, and notes what they answered.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::dispatcher::SECRET;
use crate::journal::{Answer, Journal};
use crate::replica::Replica;

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_secs(12);

pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) journal: Arc<Journal>,
}

impl Client {
    pub(crate) fn new(replicas: Vec<Arc<Replica>>, journal: Arc<Journal>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Self {
            http: http.build().expect("a client"),
            replicas,
            journal,
        }
    }

    pub(crate) async fn get(&self, replica: usize, path: &str) -> Option<Answer> {
        self.ask(replica, Method::GET, path, None).await
    }

    pub(crate) async fn post(
        &self,
        replica: usize,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        self.ask(replica, Method::POST, path, body).await
    }

    /// Sends an event as 100ms does.
    pub(crate) async fn webhook(&self, replica: usize, body: Bytes) -> Option<Answer> {
        let base = self.base(replica)?;
        let request = self.http.post(format!("{base}/v1/webhooks/100ms"));
        let request = request.header("x-rejoin-secret", SECRET).body(body.clone());
        let asked = format!("webhook {}", String::from_utf8_lossy(&body));
        self.answer(&asked, request).await
    }

    /// The replica of this number, or any that listens.
    fn base(&self, replica: usize) -> Option<String> {
        let count = self.replicas.len();
        (0..count).find_map(|next| self.replicas[(replica + next) % count].base())
    }

    async fn ask(
        &self,
        replica: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        let base = self.base(replica)?;
        let mut request = self.http.request(method.clone(), format!("{base}{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(
            &format!("{method} {path} {}", body.unwrap_or(&Value::Null)),
            request,
        )
        .await
    }

    async fn answer(&self, asked: &str, request: reqwest::RequestBuilder) -> Option<Answer> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                if error.is_timeout() {
                    let line = format!("{asked} was not answered within {PATIENCE:?}");
                    self.journal.odd.lock().unwrap().push(line);
                }
                return None;
            }
        };
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
        let answer = Answer { status, body };
        self.journal.check(asked, &answer);
        Some(answer)
    }
}
