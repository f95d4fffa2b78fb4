use super::*;

fn outbox() -> Outbox {
    Outbox::new(
        Some(WebhookTarget::new("http://127.0.0.1/", "x-secret", "s".into()).unwrap()),
        SimClock::system(),
    )
}

fn answer(status: u16) -> Attempt {
    Attempt {
        at: String::new(),
        status: Some(status),
        error: None,
    }
}

#[test]
fn retries_are_due_1_3_and_10_seconds_after_one_another() {
    for scale in [1.0, 0.5] {
        let mut outbox = outbox();
        outbox.set_settings(WebhookSettings {
            time_scale: scale,
            ..WebhookSettings::default()
        });
        outbox.send_raw("{}");
        let start = Instant::now();
        for due in [0, 1, 4, 14] {
            let at = start + Duration::from_secs(due).mul_f64(scale);
            assert!(due == 0 || outbox.next_due() == Some(at), "{due} s");
            let (delivery, _) = outbox.take_due(at).unwrap();
            assert_eq!((outbox.pending(), outbox.next_due()), (1, None));
            outbox.settle(delivery, answer(204));
        }
        assert_eq!((outbox.pending(), outbox.next_due()), (0, None));
        assert_eq!(outbox.deliveries()[0].state, DeliveryState::Dropped);
    }
}

#[test]
fn what_comes_without_a_target_is_lost() {
    let mut outbox = Outbox::new(None, SimClock::system());
    outbox.send_raw("{}");
    assert!(outbox.take_due(Instant::now()).is_none());
    assert_eq!(
        (outbox.pending(), outbox.deliveries()[0].state),
        (0, DeliveryState::Lost)
    );
}
