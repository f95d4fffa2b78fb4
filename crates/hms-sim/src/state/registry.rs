//! The rooms that exist, active or not, and their settings.
//!
//! A join makes the room it names, since the control API needs no call of the REST API first.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Now;
use super::room::{hex_id, uuid};
use crate::model::SimError;
use crate::room_settings::{RoomSettings, WebhookChange};
use crate::webhooks::RoomWebhook;

/// The template that rooms are made from unless they name another.
const TEMPLATE_ID: &str = "66112497abcd52312556c4aa";
/// How many rooms can be created.
const MAX_CREATED: usize = 10_000;
/// How many rooms made by a join are remembered beside those that are active.
const MAX_JOINED: usize = 10_000;

/// A room and its settings.
#[derive(Debug, Clone)]
pub(crate) struct RoomInfo {
    /// Counts from 1, in the order of creation.
    number: u64,
    /// Whether a call of the REST API made or changed it.
    is_created: bool,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) description: String,
    pub(crate) template_id: String,
    pub(crate) region: String,
    pub(crate) recording_info: Option<Value>,
    pub(crate) large_room: Option<bool>,
    pub(crate) size: Option<u32>,
    pub(crate) max_duration_seconds: Option<u32>,
    pub(crate) polls: Option<Vec<String>>,
    pub(crate) webhook: Option<RoomWebhook>,
    pub(crate) created_at: Now,
    pub(crate) updated_at: Now,
}

impl RoomInfo {
    fn new(number: u64, id: String, name: String, now: Now) -> Self {
        Self {
            number,
            is_created: false,
            id,
            name,
            enabled: true,
            description: String::new(),
            template_id: TEMPLATE_ID.to_owned(),
            region: RoomSettings::default_region(),
            recording_info: None,
            large_room: None,
            size: None,
            max_duration_seconds: None,
            polls: None,
            webhook: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Takes the settings that are given.
    fn apply(&mut self, settings: RoomSettings, now: Now) {
        fn set<T>(field: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *field = given;
            }
        }
        let region = settings.region();
        set(&mut self.region, region);
        set(&mut self.name, settings.name);
        set(&mut self.enabled, settings.enabled);
        set(&mut self.description, settings.description);
        set(&mut self.template_id, settings.template_id);
        match settings.webhook {
            WebhookChange::None => {}
            WebhookChange::Remove => self.webhook = None,
            WebhookChange::Set(webhook) => self.webhook = Some(webhook),
        }
        self.recording_info = settings.recording_info.or(self.recording_info.take());
        self.large_room = settings.large_room.or(self.large_room);
        self.size = settings.size.or(self.size);
        self.max_duration_seconds = settings.max_duration_seconds.or(self.max_duration_seconds);
        self.polls = settings.polls.or(self.polls.take());
        self.updated_at = now;
        self.is_created = true;
    }
}

/// All rooms by id.
#[derive(Default)]
pub(super) struct Registry {
    rooms: BTreeMap<String, RoomInfo>,
    /// The number of the last room.
    numbers: u64,
}

impl Registry {
    pub(super) fn get(&self, id: &str) -> Option<&RoomInfo> {
        self.rooms.get(id)
    }

    /// All rooms, the newest first.
    pub(super) fn newest_first(&self) -> Vec<&RoomInfo> {
        let mut rooms: Vec<&RoomInfo> = self.rooms.values().collect();
        rooms.sort_by_key(|room| std::cmp::Reverse(room.number));
        rooms
    }

    /// The room that is joined; made if there is none.
    pub(super) fn joined(
        &mut self,
        id: &str,
        name: Option<&str>,
        now: Now,
        is_active: impl Fn(&str) -> bool,
    ) -> &RoomInfo {
        if !self.rooms.contains_key(id) {
            self.forget_one(is_active);
            self.numbers += 1;
            let name = name.unwrap_or(id).to_owned();
            let room = RoomInfo::new(self.numbers, id.to_owned(), name, now);
            self.rooms.insert(id.to_owned(), room);
        }
        &self.rooms[id]
    }

    /// Creates a room, or changes the one that has this name.
    pub(super) fn create(
        &mut self,
        settings: RoomSettings,
        now: Now,
    ) -> Result<&RoomInfo, SimError> {
        let name = settings.name.clone().unwrap_or_else(uuid);
        let id = match self.of_name(&name) {
            Some(room) => room.id.clone(),
            None => self.add(name, now)?,
        };
        self.update(&id, settings, now)
    }

    /// Changes a room. A name that another room has changes nothing, and returns that room.
    pub(super) fn update(
        &mut self,
        id: &str,
        settings: RoomSettings,
        now: Now,
    ) -> Result<&RoomInfo, SimError> {
        let namesake = settings.name.as_deref().and_then(|name| self.of_name(name));
        if let Some(other) = namesake.map(|room| room.id.clone())
            && other != id
            && self.rooms.contains_key(id)
        {
            return Ok(&self.rooms[&other]);
        }
        let room = self.rooms.get_mut(id).ok_or(SimError::NoSuchRoom)?;
        room.apply(settings, now);
        Ok(room)
    }

    /// Keeps everybody out of a room from now on.
    pub(super) fn disable(&mut self, id: &str, now: Now) {
        if let Some(room) = self.rooms.get_mut(id) {
            room.enabled = false;
            room.updated_at = now;
        }
    }

    fn add(&mut self, name: String, now: Now) -> Result<String, SimError> {
        if self.rooms.values().filter(|room| room.is_created).count() >= MAX_CREATED {
            return Err(SimError::Invalid("too many rooms".to_owned()));
        }
        self.numbers += 1;
        let room = RoomInfo::new(self.numbers, hex_id(), name, now);
        let id = room.id.clone();
        self.rooms.insert(id.clone(), room);
        Ok(id)
    }

    fn of_name(&self, name: &str) -> Option<&RoomInfo> {
        self.rooms
            .values()
            .find(|room| room.name.eq_ignore_ascii_case(name))
    }

    /// Makes place for a room that is joined.
    fn forget_one(&mut self, is_active: impl Fn(&str) -> bool) {
        if self.rooms.len() < MAX_CREATED + MAX_JOINED {
            return;
        }
        let oldest = self
            .rooms
            .values()
            .filter(|room| !room.is_created && !is_active(&room.id))
            .min_by_key(|room| room.number)
            .map(|room| room.id.clone());
        if let Some(id) = oldest {
            self.rooms.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    #[test]
    fn rooms_that_were_joined_are_forgotten_the_oldest_first_unless_active_or_created() {
        let (mut registry, now) = (Registry::default(), Utc::now());
        let created = registry.create(RoomSettings::default(), now).unwrap();
        let created = created.id.clone();
        for number in 0..MAX_CREATED + MAX_JOINED + 10 {
            registry.joined(&number.to_string(), None, now, |id| id == "3");
        }
        assert_eq!(registry.rooms.len(), MAX_CREATED + MAX_JOINED);
        let oldest = registry.newest_first().into_iter().rev().take(3);
        let oldest: Vec<&str> = oldest.map(|room| room.id.as_str()).collect();
        assert_eq!(oldest, [created.as_str(), "3", "12"]);
    }
}
