//! API keys and their scopes.

use rejoin::keys::new_key;
use reqwest::Method;

use super::problem;
use crate::support::world::{Answer, Replica, Setup, World};

const ROUTES: [(&str, &str, &str); 4] = [
    ("POST", "/v1/rooms/r/peers/p/snapshots", "snapshot"),
    ("POST", "/v1/rooms/r/snapshots", "snapshot"),
    ("GET", "/v1/users/u/resume", "resume"),
    ("GET", "/v1/users/u/snapshots", "history"),
];

async fn call(app: &Replica, method: &str, path: &str) -> Answer {
    Answer::to(app.request(method.parse().unwrap(), path)).await
}

async fn with_header(app: &Replica, authorization: &str) -> Answer {
    Answer::to(
        app.request(Method::GET, "/v1/users/u/resume")
            .header("authorization", authorization),
    )
    .await
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say_and_nothing_else() {
    let world = World::new().await;
    let scopes = ["snapshot", "resume", "history", "admin", "snapshot+resume"];
    let made: Vec<_> = scopes
        .iter()
        .map(|scope| new_key(&scope.replace('+', "-"), scope).unwrap())
        .collect();
    let keys = made
        .iter()
        .map(|key| key.entry.as_str())
        .collect::<Vec<_>>()
        .join(",");
    let app = world
        .replica(Setup {
            keys,
            ..Setup::default()
        })
        .await;
    for (scopes, key) in scopes.iter().zip(&made) {
        let app = app.with_key(&key.key);
        for (method, path, needed) in ROUTES {
            let answer = call(&app, method, path).await;
            if *scopes == "admin" || scopes.split('+').any(|scope| scope == needed) {
                assert!(
                    [200, 404].contains(&answer.status.as_u16()),
                    "{scopes} {path}: {}",
                    answer.text
                );
            } else {
                let refused = problem(answer, 403, "forbidden");
                assert!(
                    refused.text.contains(needed),
                    "it names what is missing: {}",
                    refused.text
                );
            }
        }
    }
}

#[tokio::test]
async fn without_a_known_key_nothing_is_said() {
    let world = World::new().await;
    let key = new_key("only", "admin").unwrap();
    let app = world
        .replica(Setup {
            keys: key.entry.clone(),
            ..Setup::default()
        })
        .await;
    let digest = key.entry.rsplit(':').next().unwrap();
    for (method, path, _) in ROUTES {
        let missing = problem(call(&app, method, path).await, 401, "unauthorized");
        assert_eq!(missing.header("www-authenticate"), "Bearer");
        problem(
            call(&app.with_key("wrong"), method, path).await,
            401,
            "unauthorized",
        );
    }
    let key = &key.key;
    let wrong = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Bearer {digest}"),
        format!("Bearer {key}x"),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {}", key.to_uppercase()),
        format!("Basic {key}"),
        format!("Token {key}"),
        key.clone(),
        format!("Bearer{key}"),
        format!("Bearer Bearer {key}"),
    ];
    for header in wrong {
        let answer = problem(with_header(&app, &header).await, 401, "unauthorized");
        assert!(!answer.text.contains(key.as_str()));
    }
    for right in [
        format!("Bearer {key}"),
        format!("bearer {key}"),
        format!("BEARER  {key}"),
    ] {
        problem(with_header(&app, &right).await, 404, "no-saved-metadata");
    }
    // Who may not call learns nothing of what is wrong with the call; and 100ms is not asked.
    problem(
        app.get("/v1/users/u/resume?nonsense=1").await,
        401,
        "unauthorized",
    );
    assert_eq!(world.sim.request_count(), 0);
}
