//! What the settings do to an event on its way.

use std::time::Duration;

use super::delivery::DeliveryState;
use super::settings::{Effect, WebhookSettings};

/// What happens to an event.
pub(super) struct Treatment {
    is_lost: bool,
    pub(super) copies: u32,
    pub(super) delay: Duration,
    /// The size of the group it is held back for; 0 when it is not.
    pub(super) group: usize,
}

impl Treatment {
    /// Applies the rules to an event of this type, and counts it in them.
    pub(super) fn of(settings: &mut WebhookSettings, kind: &str) -> Self {
        let mut treatment = Self {
            is_lost: settings.lose_all,
            copies: 1,
            delay: Duration::ZERO,
            group: 0,
        };
        for rule in &mut settings.rules {
            match rule.takes(kind).then_some(rule.effect) {
                None => {}
                Some(Effect::Lose) => treatment.is_lost = true,
                Some(Effect::Duplicate(more)) => treatment.copies += more,
                Some(Effect::DelayMs(ms)) => treatment.delay += Duration::from_millis(ms),
                Some(Effect::Reorder(group)) => treatment.group = group,
            }
        }
        if treatment.is_lost {
            treatment.lost()
        } else {
            treatment
        }
    }

    /// The same for an event that is never sent.
    pub(super) fn lost(self) -> Self {
        Self {
            is_lost: true,
            copies: 1,
            group: 0,
            ..self
        }
    }

    /// How its copies start.
    pub(super) fn state(&self) -> DeliveryState {
        match self {
            Self { is_lost: true, .. } => DeliveryState::Lost,
            Self { group: 0, .. } => DeliveryState::Pending,
            _ => DeliveryState::Held,
        }
    }
}
