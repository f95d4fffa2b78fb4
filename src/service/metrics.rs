//! The metrics of restores, claims and webhooks.

use super::webhook::WebhookOutcome;
use crate::domain::{
    EndKind, ForwardOutcome, GiveUpReason, LookOutcome, ProblemCode, RestoreOutcome, SkipReason,
    WatchState, named,
};
use crate::hms::HmsError;
use crate::hms::webhook::EventType;
use crate::metrics::{AGES, Counter, Gauge, Histogram, LabelValue, label, metrics};

metrics! {
    RESTORES: Counter<(Cause, RestoreOutcome)> = Counter::new(
        "rejoin_restores_total",
        "Restores of saved states to peers, by outcome and whether a join caused them.",
    );
    CLAIMS: Counter<ClaimOutcome> = Counter::new(
        "rejoin_claims_total",
        "Claims of saved states by outcome: claimed, again or already-claimed.",
    );
    DROP_TO_RESUME_SECONDS: Histogram = Histogram::new(
        "rejoin_drop_to_resume_seconds",
        "Time from a drop to the restore or the claim of the state.",
    ).with_buckets(AGES);
    WEBHOOKS: Counter<(EventType, WebhookOutcome)> = Counter::new(
        "rejoin_webhooks_total",
        "Webhook events of 100ms, by type and outcome.",
    );
    LEAVES: Counter<EndKind> = Counter::new(
        "rejoin_leaves_total",
        "Leaves of peers that webhooks reported, by kind; a repeated event counts again.",
    );
    WATCHES: Gauge<WatchState> = Gauge::new(
        "rejoin_watches",
        "Rooms that are watched, by state: waiting, looking or late. All replicas show the same.",
    );
    WATCH_LATENESS_SECONDS: Gauge = Gauge::new(
        "rejoin_watch_lateness_seconds",
        "By how much the latest look at a watched room is late. All replicas show the same.",
    );
    LOOKS: Counter<(LookKind, LookOutcome)> = Counter::new(
        "rejoin_looks_total",
        "Looks at watched rooms, and fetches of a user or a peer in them, by kind and outcome.",
    );
    FORWARDS_WAITING: Gauge = Gauge::new(
        "rejoin_forwards_waiting",
        "Events that wait to be passed on. All replicas show the same.",
    );
    FORWARD_SECONDS: Histogram = Histogram::new(
        "rejoin_forward_seconds",
        "Time from the receipt of an event until it was passed on.",
    ).with_buckets(AGES);
    FORWARDS: Counter<ForwardOutcome> = Counter::new(
        "rejoin_forwards_total",
        "Attempts to pass an event on, by outcome.",
    );
    PRESENCE_CHECKS: Counter<PresenceCheck> = Counter::new(
        "rejoin_presence_checks_total",
        "Connected peers that were not seen for long, by what their sessions at 100ms said.",
    );
    RECONCILIATIONS: Counter<ReconciliationOutcome> = Counter::new(
        "rejoin_reconciliations_total",
        "Times in which no replica could write, and that were reconciled, by outcome.",
    );
    COMPACTED_ROWS: Counter<CompactedTable> = Counter::new(
        "rejoin_compacted_rows_total",
        "Rows that were deleted since no answer needs them any more, or since history is not kept for longer, by table.",
    );
    DROPPED_PARTITIONS: Counter = Counter::new(
        "rejoin_dropped_partitions_total",
        "Partitions of history that were dropped, since history is not kept for longer.",
    );
    WEBHOOKS_ENABLED: Gauge = Gauge::new(
        "rejoin_webhooks_enabled",
        "1 if webhooks are set up, else 0.",
    );
}

named! {
    /// What caused a restore.
    pub(super) enum Cause {
        /// The join of a new peer.
        Join = "true",
        /// A request.
        Request = "false",
    }
}
label!("automatic", Cause);

named! {
    /// How a claim ended.
    pub(super) enum ClaimOutcome {
        /// The claimant has the state.
        Claimed = "claimed",
        /// The claimant had it already.
        Again = "again",
        /// Somebody else has it.
        AlreadyClaimed = "already-claimed",
    }
}
label!("outcome", ClaimOutcome);

named! {
    /// What was looked at.
    pub(super) enum LookKind {
        /// A room.
        Room = "room",
        /// The peers of a user, since they have a ghost most likely.
        User = "user",
        /// A peer whose role changed.
        Peer = "peer",
    }
}
label!("kind", LookKind);

named! {
    /// What the session of a peer said that counts as connected.
    pub(super) enum PresenceCheck {
        /// It had left, and has ended now.
        Corrected = "corrected",
        /// It is there.
        Connected = "connected",
        /// Nothing: 100ms does not know the session, or the session does not know the peer.
        Unknown = "unknown",
    }
}
label!("outcome", PresenceCheck);

named! {
    /// How a reconciliation ended.
    pub(super) enum ReconciliationOutcome {
        /// All was done.
        Done = "done",
        /// Something could not be done; its row says what.
        Incomplete = "incomplete",
    }
}
label!("outcome", ReconciliationOutcome);

named! {
    /// Where rows are deleted that no answer needs any more.
    pub(super) enum CompactedTable {
        /// The states of peers.
        Peers = "peers",
        /// The ends of sessions.
        SessionEnds = "session_ends",
        /// The log of restores and claims.
        Resumes = "resumes",
        /// What was reconciled.
        Reconciliations = "reconciliations",
        /// History that came after the partition of its time was dropped.
        Snapshots = "snapshots",
    }
}
label!("table", CompactedTable);

label!("state", WatchState);

impl LabelValue for LookOutcome {
    const NAME: &'static str = "outcome";

    fn all() -> Vec<Self> {
        let of_store = [ProblemCode::DatabaseUnavailable, ProblemCode::Internal];
        let failures = HmsError::CODES.iter().copied().chain(of_store).map(Some);
        [None].into_iter().chain(failures).map(Self).collect()
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

label!("outcome", ForwardOutcome);

label!("type", EventType);
label!("outcome", WebhookOutcome);

impl LabelValue for EndKind {
    const NAME: &'static str = "kind";

    /// All of a leave: the end of a session is another event.
    fn all() -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|kind| *kind != Self::Ended).collect()
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl LabelValue for RestoreOutcome {
    const NAME: &'static str = "outcome";

    /// All with another name, except for the one of a restore that has not ended.
    fn all() -> Vec<Self> {
        let skipped = SkipReason::ALL.iter().copied().map(Self::Skipped);
        let failed = Self::Failed(ProblemCode::Internal);
        let gave_up = Self::GaveUp(GiveUpReason::NothingSaved);
        [Self::Restored, failed, gave_up]
            .into_iter()
            .chain(skipped)
            .collect()
    }

    fn value(self) -> &'static str {
        self.as_str()
    }
}
