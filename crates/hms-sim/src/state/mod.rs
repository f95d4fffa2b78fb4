//! The rooms as a state machine: what each step changes and which events it causes. The time is an
//! argument.
//!
//! No I/O, no clock, no JSON: those are in the modules around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use super::model::{
    Disconnect, Event, EventKind, Filter, Ghost, Join, NewTrack, Peer, RoomEnd, SimError, Update,
};
use super::room_settings::RoomSettings;

mod registry;
mod room;
mod sessions;
#[cfg(test)]
mod tests;

use self::registry::Registry;
pub(super) use self::registry::RoomInfo;
pub(super) use self::room::{Record, Room};
use self::room::{new_peer, new_track, uuid};

type Now = DateTime<Utc>;

/// How many closed sessions are remembered.
const MAX_CLOSED_SESSIONS: usize = 1000;
/// How many peers that left are remembered per session.
const MAX_LEFT_PEERS: usize = 20_000;

/// Everything the simulator knows of rooms.
#[derive(Default)]
pub(super) struct State {
    rooms: BTreeMap<String, Room>,
    registry: Registry,
    closed: VecDeque<Record>,
    /// Ghosts by their end, so that expiry looks at no other peer.
    ghosts: BTreeSet<(Now, String, String)>,
    events: Vec<Event>,
}

impl State {
    /// Lets a peer into a room, which becomes active if it was not.
    pub(super) fn join(&mut self, now: Now, room_id: &str, join: Join) -> Result<Peer, SimError> {
        let active = &self.rooms;
        let name = join.room_name.as_deref();
        let info = self
            .registry
            .joined(room_id, name, now, |id| active.contains_key(id));
        if !info.enabled {
            return Err(SimError::RoomDisabled);
        }
        let events = &mut self.events;
        let room = self.rooms.entry(room_id.to_owned()).or_insert_with(|| {
            let room = Room::open(info, &join, now);
            events.push(room.event(now, EventKind::SessionOpened));
            room
        });
        let peer = new_peer(now, &room.record.session, join);
        if room.peers.contains_key(&peer.id) {
            return Err(SimError::PeerExists);
        }
        room.record.session.updated_at = now;
        room.peers.insert(peer.id.clone(), peer.clone());
        events.push(room.event(now, EventKind::PeerJoined(peer.clone())));
        Ok(peer)
    }

    /// Changes a peer, ghost or not. The last writer wins.
    pub(super) fn update(
        &mut self,
        now: Now,
        room: &str,
        peer: &str,
        update: Update,
    ) -> Result<Peer, SimError> {
        let room = self.rooms.get_mut(room).ok_or(SimError::RoomNotActive)?;
        let peer = room.peers.get_mut(peer).ok_or(SimError::NoSuchPeer)?;
        peer.name = update.name.unwrap_or_else(|| peer.name.clone());
        peer.metadata = update.metadata.unwrap_or_else(|| peer.metadata.clone());
        let peer = match update.role.filter(|role| *role != peer.role) {
            None => peer.clone(),
            Some(role) => {
                let previous_role = std::mem::replace(&mut peer.role, role);
                let peer = peer.clone();
                self.events.push(room.event(
                    now,
                    EventKind::RoleChanged {
                        peer: peer.clone(),
                        previous_role,
                        requested_by: update.requested_by,
                    },
                ));
                peer
            }
        };
        Ok(peer)
    }

    /// Cuts a peer's connection: it becomes a ghost. One that is a ghost already stays as it is.
    pub(super) fn drop_peer(
        &mut self,
        now: Now,
        room_id: &str,
        peer: &str,
        drop: Disconnect,
    ) -> Result<Peer, SimError> {
        let room = self.rooms.get_mut(room_id).ok_or(SimError::RoomNotActive)?;
        let peer = room.peers.get_mut(peer).ok_or(SimError::NoSuchPeer)?;
        if peer.ghost.is_some() {
            return Ok(peer.clone());
        }
        let until = now + TimeDelta::from_std(drop.ghost).unwrap_or(TimeDelta::days(365));
        peer.ghost = Some(Ghost {
            until,
            reason: drop.reason.clone(),
            leave_sent: drop.send_leave_now,
        });
        let peer = peer.clone();
        self.ghosts
            .insert((until, room_id.to_owned(), peer.id.clone()));
        if drop.send_leave_now {
            let left = EventKind::PeerLeft {
                peer: peer.clone(),
                reason: drop.reason,
                message: String::new(),
            };
            self.events.push(room.event(now, left));
        }
        self.expire(now);
        Ok(peer)
    }

    /// The SDK's own reconnect: the ghost is a connected peer again, under the same id and without
    /// an event.
    pub(super) fn reconnect(&mut self, room_id: &str, peer: &str) -> Result<Peer, SimError> {
        let peer = self.peer_mut(room_id, peer)?;
        let ghost = peer.ghost.take();
        let peer = peer.clone();
        if let Some(ghost) = ghost {
            self.ghosts
                .remove(&(ghost.until, room_id.to_owned(), peer.id.clone()));
        }
        Ok(peer)
    }

    /// Removes a peer at once. A ghost whose leave event has been sent gets no second one.
    pub(super) fn remove(
        &mut self,
        now: Now,
        room_id: &str,
        peer_id: &str,
        reason: &str,
        message: &str,
    ) -> Result<Peer, SimError> {
        let room = self.rooms.get_mut(room_id).ok_or(SimError::RoomNotActive)?;
        let peer = room.peers.remove(peer_id).ok_or(SimError::NoSuchPeer)?;
        room.record.session.updated_at = now;
        room.record.left.push_back((peer.clone(), now));
        if room.record.left.len() > MAX_LEFT_PEERS {
            room.record.left.pop_front();
        }
        if let Some(ghost) = &peer.ghost {
            self.ghosts
                .remove(&(ghost.until, room_id.to_owned(), peer_id.to_owned()));
        }
        if peer.ghost.as_ref().is_none_or(|ghost| !ghost.leave_sent) {
            let (reason, message) = (reason.to_owned(), message.to_owned());
            self.events.push(room.event(
                now,
                EventKind::PeerLeft {
                    peer: peer.clone(),
                    reason,
                    message,
                },
            ));
        }
        if room.peers.is_empty() {
            self.close(now, room_id);
        }
        Ok(peer)
    }

    /// Removes every peer of a role, as [`State::remove`] does.
    pub(super) fn remove_role(
        &mut self,
        now: Now,
        room_id: &str,
        role: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), SimError> {
        let peers = self.room(room_id)?.peers.values();
        let peers = peers.filter(|peer| peer.role == role);
        let ids: Vec<String> = peers.map(|peer| peer.id.clone()).collect();
        for id in ids {
            self.remove(now, room_id, &id, reason, message)?;
        }
        Ok(())
    }

    /// Ends a room for everyone.
    pub(super) fn end_room(
        &mut self,
        now: Now,
        room_id: &str,
        end: RoomEnd,
    ) -> Result<(), SimError> {
        let room = self.rooms.get_mut(room_id).ok_or(SimError::RoomNotActive)?;
        let by = match &end.by {
            None => None,
            Some(id) => Some(room.peers.get(id).ok_or(SimError::NoSuchPeer)?.clone()),
        };
        room.record.session.updated_at = now;
        for (_, peer) in std::mem::take(&mut room.peers) {
            let leave_sent = peer.ghost.as_ref().is_some_and(|ghost| ghost.leave_sent);
            if let Some(reason) = end.leave_reason.clone().filter(|_| !leave_sent) {
                self.events.push(room.event(
                    now,
                    EventKind::PeerLeft {
                        peer: peer.clone(),
                        reason,
                        message: String::new(),
                    },
                ));
            }
            room.record.left.push_back((peer, now));
        }
        self.ghosts
            .retain(|(_, ghost_room, _)| ghost_room != room_id);
        let ended = EventKind::RoomEnded {
            reason: end.reason,
            lock: end.lock,
            by: by.map(Box::new),
        };
        self.events.push(room.event(now, ended));
        if end.lock {
            self.registry.disable(room_id, now);
        }
        self.close(now, room_id);
        Ok(())
    }

    /// Publishes a track.
    pub(super) fn add_track(
        &mut self,
        now: Now,
        room: &str,
        peer: &str,
        track: NewTrack,
    ) -> Result<Peer, SimError> {
        let peer = self.peer_mut(room, peer)?;
        let stream_id = peer
            .tracks
            .values()
            .next()
            .map_or_else(uuid, |other| other.stream_id.clone());
        let track = new_track(now, &stream_id, track);
        peer.tracks.insert(track.id.clone(), track);
        Ok(peer.clone())
    }

    /// Mutes or unmutes a track.
    pub(super) fn mute(
        &mut self,
        room: &str,
        peer: &str,
        track: &str,
        mute: bool,
    ) -> Result<Peer, SimError> {
        let peer = self.peer_mut(room, peer)?;
        peer.tracks
            .get_mut(track)
            .ok_or(SimError::NoSuchTrack)?
            .mute = mute;
        Ok(peer.clone())
    }

    /// Forgets the ghosts whose time is over; each leaves at the end of its own time, whenever this
    /// is called.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some((until, room, peer)) =
            self.ghosts.first().filter(|ghost| ghost.0 <= now).cloned()
        {
            let reason = self.ghost_reason(&room, &peer);
            self.remove(until, &room, &peer, &reason, "")
                .expect("a ghost is in its room until it is removed here");
        }
    }

    /// When the next ghost goes.
    pub(super) fn next_expiry(&self) -> Option<Now> {
        self.ghosts.first().map(|ghost| ghost.0)
    }

    /// Creates a room, or changes the one that has this name.
    pub(super) fn create_room(
        &mut self,
        now: Now,
        settings: RoomSettings,
    ) -> Result<RoomInfo, SimError> {
        self.registry.create(settings, now).cloned()
    }

    /// Changes a room.
    pub(super) fn update_room(
        &mut self,
        now: Now,
        room_id: &str,
        settings: RoomSettings,
    ) -> Result<RoomInfo, SimError> {
        self.registry.update(room_id, settings, now).cloned()
    }

    /// A room, active or not.
    pub(super) fn room_info(&self, room: &str) -> Option<&RoomInfo> {
        self.registry.get(room)
    }

    /// All rooms, active or not, the newest first.
    pub(super) fn room_infos(&self) -> Vec<&RoomInfo> {
        self.registry.newest_first()
    }

    /// What happened since this was last called, in order.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The active rooms by id.
    pub(super) fn rooms(&self) -> &BTreeMap<String, Room> {
        &self.rooms
    }

    /// An active room.
    pub(super) fn room(&self, room: &str) -> Result<&Room, SimError> {
        self.rooms.get(room).ok_or(SimError::RoomNotActive)
    }

    /// A peer that is connected or a ghost.
    pub(super) fn peer(&self, room: &str, peer: &str) -> Result<&Peer, SimError> {
        self.room(room)?.peers.get(peer).ok_or(SimError::NoSuchPeer)
    }

    /// The peers of an active room that match, by id.
    pub(super) fn peers(&self, room: &str, filter: &Filter) -> Result<Vec<&Peer>, SimError> {
        Ok(self
            .room(room)?
            .peers
            .values()
            .filter(|peer| filter.matches(peer))
            .collect())
    }

    fn close(&mut self, now: Now, room_id: &str) {
        let Some(mut room) = self.rooms.remove(room_id) else {
            return;
        };
        room.record.session.ended_at = Some(now);
        self.events.push(room.event(now, EventKind::SessionClosed));
        self.closed.push_back(room.record);
        if self.closed.len() > MAX_CLOSED_SESSIONS {
            self.closed.pop_front();
        }
    }

    fn peer_mut(&mut self, room: &str, peer: &str) -> Result<&mut Peer, SimError> {
        self.rooms
            .get_mut(room)
            .ok_or(SimError::RoomNotActive)?
            .peers
            .get_mut(peer)
            .ok_or(SimError::NoSuchPeer)
    }

    fn ghost_reason(&self, room: &str, peer: &str) -> String {
        let ghost = self
            .peer(room, peer)
            .ok()
            .and_then(|peer| peer.ghost.as_ref());
        ghost.map(|ghost| ghost.reason.clone()).unwrap_or_default()
    }
}
