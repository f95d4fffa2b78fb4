//! A running app as its clients know it: by HTTP.

use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio_util::sync::DropGuard;

use super::documented;
use super::world::ROOM;

/// A running app, and a client that talks to it.
#[derive(Clone)]
pub(crate) struct Replica {
    /// `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    key: Option<String>,
    client: reqwest::Client,
    _stop: Option<Arc<DropGuard>>,
}

impl Replica {
    /// One that is served elsewhere.
    pub(crate) fn at(base: String) -> Self {
        Self {
            base,
            key: None,
            client: client(),
            _stop: None,
        }
    }

    /// The same, which `stop` stops as its last clone is dropped.
    pub(super) fn stopped_by(self, stop: DropGuard) -> Self {
        Self {
            _stop: Some(Arc::new(stop)),
            ..self
        }
    }

    /// The same app, asked with an API key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        self.key.iter().fold(request, RequestBuilder::bearer_auth)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::POST, path)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// Takes a snapshot of a peer in [`ROOM`].
    pub(crate) async fn snapshot(&self, peer: &str) -> Answer {
        self.post(&format!("/v1/rooms/{ROOM}/peers/{peer}/snapshots"))
            .await
    }

    /// Takes a snapshot of [`ROOM`].
    pub(crate) async fn snapshot_room(&self) -> Answer {
        self.post(&format!("/v1/rooms/{ROOM}/snapshots")).await
    }

    pub(crate) async fn resume(&self, user: &str) -> Answer {
        self.get(&format!("/v1/users/{user}/resume")).await
    }

    /// The metadata that a resume returns, as text.
    pub(crate) async fn resumed_metadata(&self, user: &str) -> String {
        self.resume(user).await.expect(200).json()["metadata_raw"]
            .as_str()
            .expect("text")
            .to_owned()
    }

    pub(crate) async fn history(&self, user: &str) -> Answer {
        self.get(&format!("/v1/users/{user}/snapshots")).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.expect("the app answers")
    }

    /// The same, where the app may go away before its answer is complete.
    pub(crate) async fn try_to(request: RequestBuilder) -> Result<Self, reqwest::Error> {
        let (client, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        documented::check(&method, &path, status, &text);
        Ok(Self {
            status,
            headers,
            text,
        })
    }

    /// The same, where its status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header as text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("plain text"))
    }

    /// One field of each of the `snapshots` in the body.
    #[track_caller]
    pub(crate) fn column(&self, field: &str) -> Vec<Value> {
        let body = self.json();
        let rows = body["snapshots"].as_array().expect("snapshots");
        rows.iter().map(|row| row[field].clone()).collect()
    }

    /// The problem code of a failure.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    client.build().expect("a client can be built")
}
