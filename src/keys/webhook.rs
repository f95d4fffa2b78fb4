//! The secrets of webhooks: 100ms signs no event, but sends a header that we choose.

use std::fmt;

use ::http::{HeaderMap, HeaderName, HeaderValue};

use super::digest::{SecretDigest, find_by_secret};

/// What proves that an event comes from 100ms: a header whose value is one of the secrets.
#[derive(Clone)]
pub struct WebhookSecrets {
    header: HeaderName,
    digests: Vec<SecretDigest>,
}

impl WebhookSecrets {
    /// The header where none is chosen.
    pub const DEFAULT_HEADER: &str = "x-rejoin-secret";

    /// Accepts any of these secrets, in this header.
    pub fn new<'a>(header: HeaderName, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let digests = secrets
            .into_iter()
            .map(|secret| SecretDigest::of(secret.as_bytes()))
            .collect();
        Self { header, digests }
    }

    /// The header that carries the secret.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Whether the headers of a request carry one of the secrets.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let secret = headers
            .get(&self.header)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let digests = self.digests.iter().map(|digest| (digest, ()));
        find_by_secret(digests, secret).is_some()
    }
}

/// Names the header only.
impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecrets")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_secrets_is_accepted_in_the_header_and_none_elsewhere() {
        let name = HeaderName::from_static("x-rejoin-secret");
        let secrets = WebhookSecrets::new(name.clone(), ["old", "new"]);
        let with = |name: &HeaderName, value: &'static str| {
            HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))])
        };
        assert!(secrets.admits(&with(&name, "old")) && secrets.admits(&with(&name, "new")));
        assert!(!secrets.admits(&with(&name, "")) && !secrets.admits(&with(&name, "old,new")));
        assert!(!secrets.admits(&HeaderMap::new()));
        let another = HeaderName::from_static("authorization");
        assert!(!secrets.admits(&with(&another, "old")));
        assert!(!format!("{secrets:?}").contains(&SecretDigest::of(b"old").to_hex()));
    }
}
