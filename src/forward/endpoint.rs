//! Where events are passed on to, and what the requests carry.

use std::fmt;
use std::net::IpAddr;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::SigningSecret;
use super::address::LOCALHOST;

/// The endpoint.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) url: Url,
    pub(super) secret: Option<SigningSecret>,
    /// What each request carries besides the headers of its event.
    pub(super) headers: HeaderMap,
}

impl Endpoint {
    /// The endpoint at a URL: `https`, or `http` to this machine, and without a user name. None for
    /// any other.
    pub fn at(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let is_plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let is_allowed = match url.scheme() {
            "https" => url.has_host(),
            "http" => url.host().is_some_and(|host| is_this_machine(&host)),
            _ => false,
        };
        (is_plain && is_allowed).then_some(Self {
            url,
            secret: None,
            headers: HeaderMap::new(),
        })
    }

    /// The same, whose requests are signed.
    #[must_use]
    pub fn signed_with(self, secret: Option<SigningSecret>) -> Self {
        Self { secret, ..self }
    }

    /// The same, whose requests carry these headers: `name: value`, one a line, or all in one line
    /// and separated by commas. None where they are not such.
    #[must_use]
    pub fn with_headers(mut self, headers: &str) -> Option<Self> {
        let headers = headers.trim();
        let entries = if headers.contains('\n') {
            headers.lines().collect()
        } else {
            in_one_line(headers)
        };
        for entry in entries {
            if entry.trim().is_empty() {
                continue;
            }
            let (name, value) = entry.split_once(':')?;
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value: HeaderValue = value.trim().parse().ok()?;
            value.set_sensitive(true);
            self.headers.append(name, value);
        }
        Some(self)
    }
}

/// The headers of one line. A comma begins another one where `name:` follows; any other is part of a
/// value.
fn in_one_line(line: &str) -> Vec<&str> {
    let (mut headers, mut start) = (Vec::new(), 0);
    for (comma, _) in line.match_indices(',') {
        if begins_header(&line[comma + 1..]) {
            headers.push(&line[start..comma]);
            start = comma + 1;
        }
    }
    headers.push(line[start..].trim_end_matches([',', ' ']));
    headers
}

fn begins_header(text: &str) -> bool {
    let name = text.split_once(':').map(|(name, _)| name.trim_start());
    name.is_some_and(|name| name.parse::<HeaderName>().is_ok())
}

/// Names the host and nothing that may be a secret.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("host", &self.url.host_str())
            .field("signed", &self.secret.is_some())
            .finish_non_exhaustive()
    }
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case(LOCALHOST),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => IpAddr::V6(*ip).to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_sent_events_in_the_clear() {
        for good in [
            "https://hooks.example/100ms?token=x",
            "https://10.0.0.7/hooks",
            "http://127.0.0.1:9000/",
            "http://[::1]:9000",
            "http://localhost:9000/hooks",
        ] {
            assert!(Endpoint::at(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "hooks.example",
            "http://hooks.example/",
            "http://10.0.0.7/",
            "http://localhost.example/",
            "ftp://127.0.0.1/",
            "https://user@hooks.example/",
            "https://:password@hooks.example/",
            "https://hooks.example/#part",
        ] {
            assert!(Endpoint::at(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn headers_are_one_a_line_or_separated_by_commas_and_shown_nowhere() {
        let endpoint = || Endpoint::at("https://hooks.example/?token=secret").unwrap();
        for text in ["x-a: secret, X-B:2:3", "x-a: secret\r\nX-B: 2:3\n"] {
            let endpoint = endpoint().with_headers(text).unwrap();
            let value = |name: &str| endpoint.headers[name].to_str().unwrap().to_owned();
            assert_eq!(
                (&*value("x-a"), &*value("x-b")),
                ("secret", "2:3"),
                "{text}"
            );
            assert!(!format!("{endpoint:?}").contains("secret"));
        }
        for bad in [
            "x-a",
            "x a: 1",
            ": 1",
            "x-a: \u{1}",
            "x-a, x-b: 1",
            "x-a: 1\nx-b",
        ] {
            assert!(endpoint().with_headers(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_comma_is_part_of_a_value_unless_a_name_follows_in_the_same_line() {
        let list = "accept: text/html, */*;q=0.1";
        for (text, expected) in [
            (list, &[("accept", "text/html, */*;q=0.1")][..]),
            (
                "accept: text/html, */*;q=0.1,x-b: 2,",
                &[("accept", "text/html, */*;q=0.1"), ("x-b", "2")],
            ),
            (
                "link: <https://a.example>, <https://b.example>; rel=next",
                &[("link", "<https://a.example>, <https://b.example>; rel=next")],
            ),
            ("x-a: 1, x-b:2", &[("x-a", "1"), ("x-b", "2")]),
            // In lines, no comma begins a header.
            (
                "x-a: 1, x-b: 2\nx-c: 3",
                &[("x-a", "1, x-b: 2"), ("x-c", "3")],
            ),
        ] {
            let endpoint = Endpoint::at("https://hooks.example/").unwrap();
            let headers = endpoint.with_headers(text).unwrap().headers;
            let headers = headers.iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            assert_eq!(headers, expected, "{text}");
        }
    }
}
