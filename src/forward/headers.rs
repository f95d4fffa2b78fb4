//! Which headers of an event are passed on: all but those that concern one connection, the host, or
//! our secret.

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use ::http::{HeaderMap, HeaderName};

use crate::domain::ForwardHeader;

const LEFT_OUT: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// These have no constants.
const ALSO_LEFT_OUT: [&str; 2] = ["keep-alive", "proxy-connection"];

/// The headers to pass on, without the one that carries our secret.
pub fn passed_on(headers: &HeaderMap, secret: &HeaderName) -> Vec<ForwardHeader> {
    let of_connection: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let is_passed_on = |name: &HeaderName| {
        name != secret
            && !LEFT_OUT.contains(name)
            && !ALSO_LEFT_OUT.contains(&name.as_str())
            && !of_connection.iter().any(|other| other == name.as_str())
    };
    headers
        .iter()
        .filter(|(name, _)| is_passed_on(name))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use ::http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn what_concerns_the_connection_and_our_secret_are_left_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "rejoin.example"),
            ("content-length", "12"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer of-theirs"),
            ("x-rejoin-secret", "secret"),
            ("content-type", "application/json"),
            ("x-theirs", "one"),
            ("x-theirs", "two"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let mut passed_on = passed_on(&headers, &HeaderName::from_static("x-rejoin-secret"));
        passed_on.sort();
        let expected = [
            ("authorization", &b"Bearer of-theirs"[..]),
            ("content-type", b"application/json"),
            ("x-latin", b"caf\xe9"),
            ("x-theirs", b"one"),
            ("x-theirs", b"two"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert_eq!(passed_on, expected);
    }

    #[test]
    fn authorization_is_left_out_where_it_carries_our_secret() {
        let value = HeaderValue::from_static("Bearer of-ours");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        assert_eq!(passed_on(&headers, &AUTHORIZATION), []);
    }
}
