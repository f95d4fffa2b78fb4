//! The management token as 100ms sees it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rejoin::domain::Clock;
use rejoin::hms::InvalidConfig;
use serde_json::Value;

use super::*;

fn claims(jwt: &str) -> Value {
    let mut checks = Validation::new(Algorithm::HS256);
    (checks.validate_nbf, checks.leeway) = (true, 0);
    decode::<Value>(jwt, &DecodingKey::from_secret(b"secret"), &checks)
        .unwrap()
        .claims
}

#[tokio::test]
async fn the_token_is_the_documented_one_and_shared() {
    let server = Scripted::answers([Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    let (one, two) = tokio::join!(fetch_peer(&client), fetch_peer(&client));
    one.and(two).unwrap();
    let sent: HashSet<_> = server
        .received()
        .iter()
        .map(|request| request.bearer().to_owned())
        .collect();
    assert_eq!(sent.len(), 1);
    let claims = claims(sent.iter().next().unwrap());
    assert_eq!(
        (&claims["access_key"], &claims["type"], &claims["version"]),
        (&"access".into(), &"management".into(), &2.into())
    );
    assert_eq!(claims["iat"], claims["nbf"]);
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        24 * 3600 + 10
    );
    let age = chrono::Utc::now().timestamp() - claims["iat"].as_i64().unwrap();
    assert!((10..40).contains(&age), "{age}");
    assert_eq!(
        claims["jti"]
            .as_str()
            .unwrap()
            .parse::<uuid::Uuid>()
            .unwrap()
            .get_version_num(),
        4
    );
    assert_eq!(claims.as_object().unwrap().len(), 7);
}

#[tokio::test]
async fn a_refusal_gets_one_fresh_token_and_one_retry() {
    for status in [401, 403] {
        let server = Scripted::answers([Answer::new(status, ""), Answer::ok(PEER_BODY)]).await;
        fetch_peer(&client(&server)).await.unwrap();
        let sent: Vec<_> = server
            .received()
            .iter()
            .map(|request| claims(request.bearer())["jti"].clone())
            .collect();
        assert_eq!(sent.len(), 2);
        assert_ne!(sent[0], sent[1]);

        let (result, lines) = fetch_from([Answer::new(status, "")]).await;
        assert_eq!(code(result), ProblemCode::UpstreamUnauthorized);
        assert_eq!(lines.len(), 2);
    }
    let (result, lines) = fetch_from([Answer::new(401, ""), Answer::new(403, "")]).await;
    assert_eq!(code(result), ProblemCode::UpstreamUnauthorized);
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn refusals_and_failures_each_have_their_own_retries() {
    let (peer, lines) = fetch_from([
        Answer::new(500, ""),
        Answer::new(401, ""),
        Answer::new(500, ""),
        Answer::ok(PEER_BODY),
    ])
    .await;
    assert!(peer.is_ok());
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn concurrent_refusals_renew_once() {
    // 100ms refuses the first token it receives, as after a change of keys.
    let mut first = None;
    let server = Scripted::with(move |request| {
        let refused = first.get_or_insert_with(|| request.bearer().to_owned()) == request.bearer();
        let answer = if refused {
            Answer::new(401, "")
        } else {
            Answer::ok(PEER_BODY)
        };
        answer.delayed(Duration::from_millis(20))
    })
    .await;
    let client = client(&server);
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { fetch_peer(&client).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    let tokens: HashSet<_> = server
        .received()
        .iter()
        .map(|request| request.bearer().to_owned())
        .collect();
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn a_ready_token_is_sent_and_never_renewed() {
    for status in [401, 403] {
        let server = Scripted::answers([Answer::new(status, "")]).await;
        let ready = ClientConfig {
            credentials: Credentials::token("ready.made.token"),
            ..config(&server)
        };
        let result = fetch_peer(&Client::new(ready).unwrap()).await;
        assert_eq!(code(result), ProblemCode::UpstreamUnauthorized);
        let sent: Vec<_> = server
            .received()
            .iter()
            .map(|request| request.bearer().to_owned())
            .collect();
        assert_eq!(sent, ["ready.made.token"]);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = Scripted::answers([Answer::ok(PEER_BODY)]).await;
    let start = chrono::Utc::now().timestamp();
    let seconds = Arc::new(AtomicI64::new(start));
    let shared = Arc::clone(&seconds);
    let now = move || {
        chrono::DateTime::from_timestamp_secs(shared.load(Ordering::SeqCst))
            .unwrap()
            .into()
    };
    let client = Client::new(ClientConfig {
        clock: Clock::from_fn(now),
        ..config(&server)
    })
    .unwrap();
    for later in [0, 24 * 3600 - 31, 24 * 3600 - 30] {
        seconds.store(start + later, Ordering::SeqCst);
        fetch_peer(&client).await.unwrap();
    }
    let received = server.received();
    assert_eq!(received[0].bearer(), received[1].bearer());
    assert_ne!(received[1].bearer(), received[2].bearer());
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let config = |base: &str, credentials| ClientConfig::new(base.parse().unwrap(), credentials);
    let bad_base = Client::new(config("http://user@127.0.0.1", Credentials::token("t")));
    assert!(matches!(bad_base, Err(InvalidConfig::BaseUrl)));
    let bad_token = Client::new(config("http://127.0.0.1", Credentials::token("a\nb")));
    assert!(matches!(bad_token, Err(InvalidConfig::Token)));
}
