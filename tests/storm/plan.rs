//! A story: what happens, and when. A function of its seed.

use std::fmt;

use crate::rng::Rng;

/// How long a ghost stays, and what `REJOIN_GHOST` says of it.
pub(crate) const GHOST_MS: u64 = 400;
/// How long what happens takes, before the faults end.
const LENGTH_MS: u64 = 1_500;
const USERS: usize = 3;
const ROOMS: usize = 2;

/// What happens in one run of the world.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) seed: u64,
    /// `REJOIN_AUTO_RESTORE`.
    pub(crate) restore: &'static str,
    pub(crate) replicas: usize,
    /// In the order of their times.
    pub(crate) steps: Vec<Step>,
}

/// Something that happens so many milliseconds after the beginning.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    pub(crate) action: Action,
}

/// A connection of a user: everything is named for its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerName {
    pub(crate) user: usize,
    pub(crate) room: usize,
    pub(crate) number: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Join(PeerName, String),
    Set(PeerName, String),
    Role(PeerName, &'static str),
    /// The connection is lost; the leave is reported at once, or as the ghost ends.
    Drop(PeerName, &'static str, bool),
    Reconnect(PeerName),
    Leave(PeerName),
    Kick(PeerName),
    EndRoom(usize),
    SnapshotPeer(PeerName, usize),
    SnapshotRoom(usize, usize),
    Resume(usize, usize),
    Claim(usize, &'static str, usize),
    /// A game server restores the state to a peer, and may insist, or claim it too.
    Restore(PeerName, bool, Option<&'static str>, usize),
    Hms(HmsFault),
    DatabaseCut(u64),
    DatabaseStall(u64),
    DatabaseSlow(u64, u64),
    /// Its connections hang for ever, new ones work.
    DatabaseStrand,
    /// Every backend has to go, as in a restart; nobody gets in meanwhile.
    DatabaseRestart(u64),
    /// A backend is killed: the server recovers from the log.
    DatabaseCrash,
    /// Another session locks the rows of a user.
    Lock(usize, u64),
    Kill(usize),
    Start(usize),
    Erase(usize),
    Scrape(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum HmsFault {
    RateLimited,
    Failing,
    Hanging,
    Cutting,
    Slow,
    Garbage,
    /// Updates are applied, and their answers are lost.
    LosingAnswers,
    Well,
}

impl PeerName {
    pub(crate) fn user_id(self) -> String {
        user_id(self.user)
    }

    pub(crate) fn room_id(self) -> String {
        room_id(self.room)
    }

    pub(crate) fn peer_id(self) -> String {
        format!("p{}", self.number)
    }
}

pub(crate) fn user_id(user: usize) -> String {
    format!("user-{user}")
}

pub(crate) fn room_id(room: usize) -> String {
    format!("room-{room}")
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.user_id(),
            self.room_id(),
            self.peer_id()
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} ms  {}", self.at_ms, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(peer, metadata) => write!(f, "{peer} joins with {metadata:?}"),
            Self::Set(peer, metadata) => write!(f, "{peer} sets {metadata:?}"),
            Self::Drop(peer, reason, at_once) => {
                let when = if *at_once {
                    "at once"
                } else {
                    "as the ghost ends"
                };
                write!(f, "{peer} drops ({reason}), reported {when}")
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// The players of a story as it is made up.
struct Cast {
    rng: Rng,
    steps: Vec<Step>,
    /// The peers of each user of which no end was reported, the newest last.
    present: Vec<Vec<PeerName>>,
    numbers: usize,
    values: usize,
    replicas: usize,
}

impl Story {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let restore = *rng.pick(&["dropped", "dropped", "always", "off"]);
        let replicas = 2 + rng.below(2);
        let mut cast = Cast {
            rng,
            steps: Vec::new(),
            present: vec![Vec::new(); USERS],
            numbers: 0,
            values: 0,
            replicas,
        };
        cast.play();
        cast.go_wrong();
        cast.steps.sort_by_key(|step| step.at_ms);
        Self {
            seed,
            restore,
            replicas,
            steps: cast.steps,
        }
    }

    /// Whether it disturbs the databases of other stories.
    pub(crate) fn needs_the_server_alone(&self) -> bool {
        let crash = |step: &Step| matches!(step.action, Action::DatabaseCrash);
        self.steps.iter().any(crash)
    }

    /// The peers that ever join.
    pub(crate) fn peers(&self) -> Vec<PeerName> {
        let joins = self.steps.iter().filter_map(|step| match step.action {
            Action::Join(peer, _) => Some(peer),
            _ => None,
        });
        joins.collect()
    }
}

impl Cast {
    fn add(&mut self, at_ms: u64, action: Action) {
        self.steps.push(Step { at_ms, action });
    }

    fn replica(&mut self) -> usize {
        self.rng.below(self.replicas)
    }

    fn value(&mut self, peer: PeerName) -> String {
        self.values += 1;
        format!("{{\"by\":\"{}\",\"n\":{}}}", peer.peer_id(), self.values)
    }

    fn play(&mut self) {
        let mut now = 0;
        while now < LENGTH_MS {
            now += self.rng.between(1, 60);
            let user = self.rng.below(USERS);
            self.one_move(now, user);
        }
    }

    fn one_move(&mut self, now: u64, user: usize) {
        let count = self.present[user].len();
        let current = self.present[user].last().copied();
        match (current, self.rng.below(100)) {
            (None, _) => self.join(now, user),
            // A second device.
            (Some(_), 0..6) if count < 3 => self.join(now, user),
            (Some(peer), 0..30) => {
                let value = if self.rng.percent(4) {
                    String::new()
                } else {
                    self.value(peer)
                };
                self.add(now, Action::Set(peer, value));
            }
            (Some(peer), 30..42) => self.drop_and_come_back(now, peer),
            (Some(peer), 42..46) => {
                self.add(now, Action::Leave(peer));
                self.gone(peer);
            }
            (Some(peer), 46..48) => {
                self.add(now, Action::Kick(peer));
                self.gone(peer);
            }
            (Some(peer), 48..51) => {
                let role = *self.rng.pick(&["judge", "player"]);
                self.add(now, Action::Role(peer, role));
            }
            (Some(_), 51..53) => {
                let room = self.rng.below(ROOMS);
                self.add(now, Action::EndRoom(room));
                self.present
                    .iter_mut()
                    .for_each(|peers| peers.retain(|peer| peer.room != room));
            }
            (Some(peer), 53..64) => {
                let replica = self.replica();
                self.add(now, Action::SnapshotPeer(peer, replica));
            }
            (Some(_), 64..74) => {
                let (room, replica) = (self.rng.below(ROOMS), self.replica());
                self.add(now, Action::SnapshotRoom(room, replica));
            }
            (Some(_), 74..80) => {
                let replica = self.replica();
                self.add(now, Action::Resume(user, replica));
            }
            (Some(_), 80..88) => {
                for claimant in ["server-1", "server-2"] {
                    let replica = self.replica();
                    self.add(now, Action::Claim(user, claimant, replica));
                }
            }
            (Some(peer), 88..95) => {
                let (overwrite, replica) = (self.rng.percent(30), self.replica());
                let claimant = self.rng.percent(40).then_some("server-3");
                self.add(now, Action::Restore(peer, overwrite, claimant, replica));
            }
            (Some(_), _) => {
                let replica = self.replica();
                self.add(now, Action::Scrape(replica));
            }
        }
    }

    fn join(&mut self, now: u64, user: usize) {
        let room = usize::from(self.rng.percent(15));
        let peer = PeerName {
            user,
            room,
            number: self.numbers,
        };
        self.numbers += 1;
        let metadata = if self.rng.percent(25) {
            self.value(peer)
        } else {
            String::new()
        };
        self.add(now, Action::Join(peer, metadata));
        self.present[user].push(peer);
    }

    fn drop_and_come_back(&mut self, now: u64, peer: PeerName) {
        let reasons = [
            "websocket closed",
            "ice connection state closed",
            "server removed peer",
        ];
        let (reason, at_once) = (*self.rng.pick(&reasons), self.rng.percent(30));
        self.add(now, Action::Drop(peer, reason, at_once));
        let again = now + self.rng.between(5, GHOST_MS);
        if self.rng.percent(12) {
            self.add(again.min(now + GHOST_MS / 2), Action::Reconnect(peer));
            return;
        }
        self.gone(peer);
        if self.rng.percent(80) {
            let number = self.numbers;
            self.numbers += 1;
            let back = PeerName { number, ..peer };
            let metadata = if self.rng.percent(15) {
                self.value(back)
            } else {
                String::new()
            };
            self.add(again, Action::Join(back, metadata));
            self.present[peer.user].push(back);
        }
    }

    fn gone(&mut self, peer: PeerName) {
        self.present[peer.user].retain(|present| *present != peer);
    }

    fn go_wrong(&mut self) {
        // Some stories have no faults but those of the webhooks.
        for _ in 0..self.rng.below(5) {
            let at = self.rng.between(0, LENGTH_MS);
            self.one_fault(at);
        }
        if self.rng.percent(15) {
            let (at, user) = (
                self.rng.between(LENGTH_MS / 2, LENGTH_MS),
                self.rng.below(USERS),
            );
            self.add(at, Action::Erase(user));
        }
    }

    fn one_fault(&mut self, at: u64) {
        use HmsFault::{
            Cutting, Failing, Garbage, Hanging, LosingAnswers, RateLimited, Slow, Well,
        };
        let span = self.rng.between(30, 600);
        match self.rng.below(100) {
            0..40 => {
                let kinds = [
                    RateLimited,
                    Failing,
                    Hanging,
                    Cutting,
                    Slow,
                    Garbage,
                    LosingAnswers,
                ];
                let fault = *self.rng.pick(&kinds);
                self.add(at, Action::Hms(fault));
                self.add(at + span, Action::Hms(Well));
            }
            40..48 => self.add(at, Action::DatabaseCut(span)),
            48..54 => self.add(at, Action::DatabaseStall(span)),
            54..60 => self.add(
                at,
                Action::DatabaseSlow(self.rng.clone().between(1, 30), span),
            ),
            60..63 => self.add(at, Action::DatabaseStrand),
            63..69 => self.add(at, Action::DatabaseRestart(span)),
            69..71 => self.add(at, Action::DatabaseCrash),
            71..83 => {
                let user = self.rng.below(USERS);
                self.add(at, Action::Lock(user, span));
            }
            _ => {
                let replica = self.replica();
                self.add(at, Action::Kill(replica));
                self.add(at + span, Action::Start(replica));
            }
        }
    }
}
