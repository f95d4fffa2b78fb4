//! The metrics of connections.

use crate::metrics::{Counter, Gauge, metrics};

metrics! {
    CONNECTIONS: Gauge = Gauge::new(
        "rejoin_connections",
        "Connections of clients that are open.",
    );
    CONNECTIONS_REFUSED: Counter = Counter::new(
        "rejoin_connections_refused_total",
        "Connections of clients beyond the limit.",
    );
}
