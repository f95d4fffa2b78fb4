//! The URLs of 100ms, built from path segments so that no id can reach another path.

use url::Url;

use crate::domain::{PeerId, RoomId, SessionId, UserId};

/// How many sessions a page has: 100ms allows 10 to 100, and each comes with all of its peers.
const SESSIONS_IN_PAGE: &str = "50";

/// A base URL that paths can be added to.
#[derive(Debug, Clone)]
pub(super) struct Base(Url);

impl Base {
    /// An http or https URL without its query and fragment; `None` for any other, and for one with
    /// a user name.
    pub(super) fn new(mut url: Url) -> Option<Self> {
        let plain = url.username().is_empty() && url.password().is_none();
        url.set_query(None);
        url.set_fragment(None);
        (matches!(url.scheme(), "http" | "https") && plain).then_some(Self(url))
    }

    /// Whether it is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }

    /// `/active-rooms/{room_id}`
    pub(super) fn room(&self, room: &RoomId) -> Url {
        self.active_rooms(&[room.as_str()])
    }

    /// `/active-rooms/{room_id}/peers/{peer_id}`
    pub(super) fn peer(&self, room: &RoomId, peer: &PeerId) -> Url {
        self.active_rooms(&[room.as_str(), "peers", peer.as_str()])
    }

    /// `/active-rooms/{room_id}/peers[?user_id=][&role=]`
    pub(super) fn peers(&self, room: &RoomId, user: Option<&UserId>, role: Option<&str>) -> Url {
        let mut url = self.active_rooms(&[room.as_str(), "peers"]);
        let filters = [("user_id", user.map(UserId::as_str)), ("role", role)];
        for (name, value) in filters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url
    }

    /// `/sessions?active=true&limit=50[&start=]`
    pub(super) fn active_sessions(&self, start: Option<&str>) -> Url {
        let mut url = self.path(&["sessions"]);
        url.query_pairs_mut()
            .append_pair("active", "true")
            .append_pair("limit", SESSIONS_IN_PAGE);
        if let Some(start) = start {
            url.query_pairs_mut().append_pair("start", start);
        }
        url
    }

    /// `/sessions/{session_id}`
    pub(super) fn session(&self, session: &SessionId) -> Url {
        self.path(&["sessions", session.as_str()])
    }

    /// `/analytics/webhooks/replay`
    pub(super) fn replays(&self) -> Url {
        self.path(&["analytics", "webhooks", "replay"])
    }

    /// `/analytics/webhooks/replay/{workflow_id}`
    pub(super) fn replay(&self, workflow_id: &str) -> Url {
        self.path(&["analytics", "webhooks", "replay", workflow_id])
    }

    fn active_rooms(&self, below: &[&str]) -> Url {
        self.path(&[&["active-rooms"], below].concat())
    }

    // Each segment is percent-encoded, `/` and `%` too. `.` and `..` would be dropped, but no id is
    // one of them.
    fn path(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> Base {
        Base::new(url.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_base_is_an_http_url_without_credentials() {
        for bad in [
            "ftp://h/",
            "mailto:a@b",
            "http://user@h/",
            "http://:pw@h/",
            "data:,x",
        ] {
            assert!(Base::new(bad.parse().unwrap()).is_none(), "{bad}");
        }
        let room = RoomId::parse("r").unwrap();
        for good in ["https://h/v2", "https://h/v2/", "https://h/v2?x=1#y"] {
            assert_eq!(
                base(good).room(&room).as_str(),
                "https://h/v2/active-rooms/r"
            );
        }
        assert_eq!(
            base("http://h:1").room(&room).as_str(),
            "http://h:1/active-rooms/r"
        );
    }

    #[test]
    fn ids_stay_one_segment() {
        let cases = [
            ("a/b", "a%2Fb"),
            ("%2e%2e", "%252e%252e"),
            ("..%2f", "..%252f"),
            ("../x", "..%2Fx"),
            ("?x", "%3Fx"),
            ("#y", "%23y"),
            ("ü", "%C3%BC"),
            (" ", "%20"),
            ("\\", "%5C"),
            (";a=b", ";a=b"),
            ("...", "..."),
        ];
        for (id, segment) in cases {
            let url =
                base("http://h/v2").peer(&RoomId::parse(id).unwrap(), &PeerId::parse(id).unwrap());
            assert_eq!(
                url.as_str(),
                format!("http://h/v2/active-rooms/{segment}/peers/{segment}"),
                "{id}"
            );
        }
    }

    #[test]
    fn filters_are_encoded() {
        let room = RoomId::parse("r").unwrap();
        let user = UserId::parse("a&role=x#?+ü").unwrap();
        let url = base("http://h").peers(&room, Some(&user), Some("on stage"));
        assert_eq!(
            url.query(),
            Some("user_id=a%26role%3Dx%23%3F%2B%C3%BC&role=on+stage")
        );
        assert_eq!(base("http://h").peers(&room, None, None).query(), None);
    }

    #[test]
    fn loopback_is_recognized_by_name_and_address() {
        for url in ["http://localhost:1", "http://127.0.0.1", "http://[::1]/v2"] {
            assert!(base(url).is_loopback(), "{url}");
        }
        assert!(!base("https://api.100ms.live/v2").is_loopback());
    }
}
