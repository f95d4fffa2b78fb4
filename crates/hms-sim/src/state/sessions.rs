//! The sessions, open or closed, and who is in them now.

use super::{Record, State};
use crate::model::Peer;

impl State {
    /// A session that is open, or one of the last that were closed, and who is in it now.
    pub(crate) fn session(&self, id: &str) -> Option<(&Record, Vec<&Peer>)> {
        let open = self
            .rooms
            .values()
            .find(|room| room.record.session.id == id);
        open.map(|room| (&room.record, room.peers.values().collect()))
            .or_else(|| {
                self.closed
                    .iter()
                    .rfind(|record| record.session.id == id)
                    .map(|record| (record, Vec::new()))
            })
    }

    /// All sessions that are open, and the last that were closed, the newest first.
    pub(crate) fn sessions(&self) -> Vec<(&Record, Vec<&Peer>)> {
        let open = self
            .rooms
            .values()
            .map(|room| (&room.record, room.peers.values().collect()));
        let closed = self.closed.iter().map(|record| (record, Vec::new()));
        let mut sessions: Vec<(&Record, Vec<&Peer>)> = open.chain(closed).collect();
        sessions.sort_by_key(|(record, _)| {
            let session = &record.session;
            std::cmp::Reverse((session.created_at, session.id.clone()))
        });
        sessions
    }
}
