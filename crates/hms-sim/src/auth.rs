//! Management tokens: JWTs signed with the app secret, checked as strictly as the documentation
//! describes them.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

/// How many different tokens are remembered.
const MAX_KNOWN_TOKENS: usize = 1000;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthError {
    /// There is none, or it is not valid: 401.
    InvalidToken,
    /// It is valid, but of another type than `management`: 403.
    NotPermitted,
}

/// The claims of a management token. All of them are documented, so all are required.
#[derive(Deserialize)]
struct Claims {
    access_key: String,
    version: u32,
    jti: String,
    #[serde(rename = "iat")]
    _iat: i64,
    nbf: i64,
    exp: i64,
}

/// Checks tokens, and remembers them so that they can be revoked.
pub(super) struct Auth {
    access_key: String,
    key: DecodingKey,
    validation: Validation,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    known: VecDeque<String>,
    revoked: VecDeque<String>,
}

impl Auth {
    pub(super) fn new(access_key: &str, secret: &SecretString) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are compared below, with the simulator's own clock and without leeway.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self {
            access_key: access_key.to_owned(),
            key: DecodingKey::from_secret(secret.expose_secret().as_bytes()),
            validation,
            tokens: Mutex::default(),
        }
    }

    /// Checks the `Authorization` header.
    pub(super) fn check(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<(), AuthError> {
        let token = bearer(headers).ok_or(AuthError::InvalidToken)?;
        let claims = jsonwebtoken::decode::<Value>(token, &self.key, &self.validation)
            .map_err(|_| AuthError::InvalidToken)?
            .claims;
        if claims["type"]
            .as_str()
            .is_some_and(|kind| kind != "management")
        {
            return Err(AuthError::NotPermitted);
        }
        let has_type = claims["type"].is_string();
        let claims = Claims::deserialize(claims).map_err(|_| AuthError::InvalidToken)?;
        let in_time = (claims.nbf..claims.exp).contains(&now.timestamp());
        let ours = claims.access_key == self.access_key && claims.version == 2;
        let admitted = self
            .tokens
            .lock()
            .expect("no panic while locked")
            .admit(claims.jti);
        if has_type && in_time && ours && admitted {
            Ok(())
        } else {
            Err(AuthError::InvalidToken)
        }
    }

    /// Refuses from now on every token that came so far.
    pub(super) fn revoke_known(&self) {
        let mut tokens = self.tokens.lock().expect("no panic while locked");
        let Tokens { known, revoked } = &mut *tokens;
        revoked.clone_from(known);
    }

    /// How many different tokens came.
    pub(super) fn token_count(&self) -> usize {
        self.tokens
            .lock()
            .expect("no panic while locked")
            .known
            .len()
    }
}

impl Tokens {
    fn admit(&mut self, jti: String) -> bool {
        if self.revoked.contains(&jti) {
            return false;
        }
        if !self.known.contains(&jti) {
            self.known.push_back(jti);
            if self.known.len() > MAX_KNOWN_TOKENS {
                self.known.pop_front();
            }
        }
        true
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}
