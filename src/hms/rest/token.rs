//! The management token: signed when needed, shared by all requests, renewed before it expires or
//! when 100ms refuses it.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::{Clock, Timestamp};
use crate::hms::Credentials;

/// What 100ms's own SDK subtracts from `iat` and `nbf`, since clocks differ.
const BACKDATED: TimeDelta = TimeDelta::seconds(10);
const LIFETIME: TimeDelta = TimeDelta::hours(24);
/// How long before `exp` a token is renewed, so that a request still arrives in time.
const RENEWED_BEFORE: TimeDelta = TimeDelta::seconds(30);

/// The claims of a management token, as 100ms documents them. Times are seconds since 1970.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    access_key: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// A token that requests carry.
#[derive(Debug)]
pub(super) struct Token {
    /// `Bearer ...`, marked sensitive so that no log shows it.
    pub(super) header: HeaderValue,
    /// How many tokens were signed before it: shows whether a refused token has been replaced
    /// meanwhile.
    generation: u64,
    renew_at: Option<Timestamp>,
}

/// Where tokens come from.
pub(super) struct Tokens {
    signer: Option<Signer>,
    clock: Clock,
    current: Mutex<Arc<Token>>,
}

struct Signer {
    access_key: String,
    key: EncodingKey,
}

impl Tokens {
    /// Tokens of these credentials; `None` when a ready token is not valid in a header.
    pub(super) fn new(credentials: &Credentials, clock: Clock) -> Option<Self> {
        let (signer, first) = match credentials {
            Credentials::Token(token) => (
                None,
                Token {
                    header: bearer(token.expose_secret())?,
                    generation: 0,
                    renew_at: None,
                },
            ),
            Credentials::Key { access_key, secret } => {
                let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
                let signer = Signer {
                    access_key: access_key.clone(),
                    key,
                };
                let first = signer.sign(0, clock.now());
                (Some(signer), first)
            }
        };
        Some(Self {
            signer,
            clock,
            current: Mutex::new(Arc::new(first)),
        })
    }

    /// The token to send now.
    pub(super) fn current(&self) -> Arc<Token> {
        self.replaced_if(|token, now| token.renew_at.is_some_and(|at| at <= now))
    }

    /// A fresher token than the one that 100ms refused; `None` where none can be signed. However
    /// many requests were refused with the same token, one new token is signed.
    pub(super) fn renew(&self, refused: &Token) -> Option<Arc<Token>> {
        self.signer.as_ref()?;
        Some(self.replaced_if(|token, _| token.generation == refused.generation))
    }

    fn replaced_if(&self, stale: impl FnOnce(&Token, Timestamp) -> bool) -> Arc<Token> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if let Some(signer) = self.signer.as_ref().filter(|_| stale(&current, now)) {
            *current = Arc::new(signer.sign(current.generation + 1, now));
        }
        Arc::clone(&current)
    }
}

impl Signer {
    fn sign(&self, generation: u64, now: Timestamp) -> Token {
        let (from, until) = (now.shifted(-BACKDATED), now.shifted(LIFETIME));
        let claims = Claims {
            access_key: &self.access_key,
            kind: "management",
            version: 2,
            jti: Uuid::new_v4(),
            iat: from.to_utc().timestamp(),
            nbf: from.to_utc().timestamp(),
            exp: until.to_utc().timestamp(),
        };
        let jwt = jsonwebtoken::encode(&Header::default(), &claims, &self.key)
            .expect("HS256 signs with any secret");
        let header = bearer(&jwt).expect("a JWT is plain ASCII");
        Token {
            header,
            generation,
            renew_at: Some(until.shifted(-RENEWED_BEFORE)),
        }
    }
}

/// The `Authorization` header that 100ms accepts from these credentials now, for callers that send
/// requests of their own; `None` when a ready token is not valid in a header.
pub fn authorization(credentials: &Credentials, clock: Clock) -> Option<HeaderValue> {
    Some(Tokens::new(credentials, clock)?.current().header.clone())
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;

    use super::*;

    const START: i64 = 1_772_359_200;

    fn clock() -> (Arc<AtomicI64>, Clock) {
        let seconds = Arc::new(AtomicI64::new(START));
        let shared = Arc::clone(&seconds);
        let now = move || {
            chrono::DateTime::from_timestamp_secs(shared.load(Ordering::SeqCst))
                .unwrap()
                .into()
        };
        (seconds, Clock::from_fn(now))
    }

    fn claims(token: &Token) -> Value {
        let jwt = token
            .header
            .to_str()
            .unwrap()
            .strip_prefix("Bearer ")
            .unwrap();
        assert_eq!(decode_header(jwt).unwrap().alg, Algorithm::HS256);
        let mut checks = Validation::new(Algorithm::HS256);
        checks.validate_exp = false;
        decode::<Value>(jwt, &DecodingKey::from_secret(b"secret"), &checks)
            .unwrap()
            .claims
    }

    #[test]
    fn the_claims_are_the_documented_ones() {
        let tokens = Tokens::new(&Credentials::key("key", "secret"), clock().1).unwrap();
        let mut claims = claims(&tokens.current());
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert!(Uuid::parse_str(jti.as_str().unwrap()).is_ok());
        let expected = serde_json::json!({
            "access_key": "key", "type": "management", "version": 2,
            "iat": START - 10, "nbf": START - 10, "exp": START + 24 * 3600,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn a_token_is_shared_until_30_s_before_it_expires() {
        let (seconds, clock) = clock();
        let tokens = Tokens::new(&Credentials::key("key", "secret"), clock).unwrap();
        let first = tokens.current();
        seconds.store(START + 24 * 3600 - 31, Ordering::SeqCst);
        assert_eq!(tokens.current().header, first.header);
        seconds.store(START + 24 * 3600 - 30, Ordering::SeqCst);
        assert_ne!(tokens.current().header, first.header);
        assert_eq!(claims(&tokens.current())["iat"], START + 24 * 3600 - 40);
    }

    #[test]
    fn one_refused_token_is_replaced_once() {
        let tokens = Tokens::new(&Credentials::key("key", "secret"), clock().1).unwrap();
        let refused = tokens.current();
        let fresh = tokens.renew(&refused).unwrap();
        assert_ne!(fresh.header, refused.header);
        assert_eq!(tokens.renew(&refused).unwrap().header, fresh.header);
        assert_ne!(tokens.renew(&fresh).unwrap().header, fresh.header);
    }

    #[test]
    fn a_ready_token_is_sent_as_it_is() {
        let tokens = Tokens::new(&Credentials::token("ready\n"), clock().1).unwrap();
        let token = tokens.current();
        assert_eq!(token.header, "Bearer ready");
        assert!(tokens.renew(&token).is_none());
        assert!(Tokens::new(&Credentials::token("no\ntoken"), clock().1).is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        let tokens = Tokens::new(&Credentials::token("hush"), clock().1).unwrap();
        for credentials in [Credentials::token("hush"), Credentials::key("hush", "hush")] {
            assert!(!format!("{credentials:?} {:?}", tokens.current()).contains("hush"));
        }
    }
}
