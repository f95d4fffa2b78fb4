//! Forwards: events that are passed on, as they came, to another endpoint.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{RoomId, Timestamp, UserId, named};

/// An event as it came, to be passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct NewForward {
    /// What the endpoint knows it by, whichever attempt it gets.
    pub id: Uuid,
    /// The room whose events are sent in order; none where the event names none.
    pub room_id: Option<RoomId>,
    /// Whose peer it is about; none where it is about none.
    pub user_id: Option<UserId>,
    /// The headers that it came with and that are passed on.
    pub headers: Vec<ForwardHeader>,
    /// The event, byte for byte.
    pub body: Bytes,
}

/// The name and the value of a header.
pub type ForwardHeader = (String, Vec<u8>);

impl NewForward {
    /// Its size in bytes.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        headers + self.body.len()
    }
}

/// Without the headers and the body: they have what players own.
impl fmt::Debug for NewForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewForward")
            .field("id", &self.id)
            .field("room_id", &self.room_id)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// An event that a worker has taken to send it.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The event.
    pub event: NewForward,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// How long ago the event came.
    pub age: Duration,
}

named! {
    /// Whether an event is to be passed on.
    pub enum ForwardState {
        /// It is sent, or will be.
        Waiting = "waiting",
        /// It was refused for good, or for too long.
        Dead = "dead",
    }
}

/// What is known of an event that was not passed on yet, without the event itself.
#[derive(Debug, Clone)]
pub struct ForwardRecord {
    /// Its place in the order in which events came.
    pub position: i64,
    /// What the endpoint knows it by.
    pub id: Uuid,
    /// The room; none where the event names none.
    pub room_id: Option<RoomId>,
    /// Whose peer it is about; none where it is about none.
    pub user_id: Option<UserId>,
    /// Whether it is to be passed on.
    pub state: ForwardState,
    /// When it came.
    pub received_at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next, if it waits.
    pub due_at: Timestamp,
    /// When its first attempt failed.
    pub failing_since: Option<Timestamp>,
    /// What came of the last attempt.
    pub last_error: Option<String>,
    /// When it was given up.
    pub dead_at: Option<Timestamp>,
}

named! {
    /// How an attempt ended.
    pub enum ForwardOutcome {
        /// The endpoint accepted the event.
        Accepted = "accepted",
        /// It redirects, which is not followed.
        Redirected = "redirected",
        /// It answered with another status that is no success.
        Refused = "refused",
        /// It did not answer in time.
        TimedOut = "timed-out",
        /// It could not be reached, or closed the connection.
        Unreachable = "unreachable",
        /// It answered 410: the event is dead.
        Gone = "gone",
        /// It did not accept the event for so long that the event is dead.
        Dead = "dead",
    }
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub struct ForwardResult {
    /// The event.
    pub id: Uuid,
    /// Which attempt it was.
    pub attempt: i32,
    /// How it failed, in a sentence without secrets; none where the event was accepted.
    pub error: Option<String>,
    /// How long to wait until the next attempt; none where there is none.
    pub pause: Option<Duration>,
}
