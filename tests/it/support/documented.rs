//! Whether the description of the API names what is answered.

use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::Value;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(rejoin::http::openapi);

/// Checks that the status, and the code of a problem, are among those of the operation. What is
/// not described is not checked: other paths, and methods that a path does not support.
#[track_caller]
pub(crate) fn check(method: &Method, path: &str, status: StatusCode, body: &str) {
    let Some(operation) = operation(method, path) else {
        return;
    };
    let response = &operation["responses"][status.as_str()];
    assert!(
        !response.is_null(),
        "{method} {path}: {status} is not described: {body}"
    );
    if status.is_client_error() || status.is_server_error() {
        let problem: Value = serde_json::from_str(body).expect("a problem is JSON");
        let code = problem["code"].as_str().expect("a problem has a code");
        let examples = &response["content"]["application/problem+json"]["examples"];
        assert!(
            !examples[code].is_null(),
            "{method} {path}: {code} is not described"
        );
    }
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let paths = DESCRIPTION["paths"].as_object().expect("paths");
    let (_, item) = paths.iter().find(|(template, _)| matches(template, path))?;
    item.get(method.as_str().to_lowercase())
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(expected, part)| {
            expected.starts_with('{') && !part.is_empty() || expected == part
        })
}
