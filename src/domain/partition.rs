//! The partitions of history: what time each of them is of.

use super::named;

named! {
    /// What time a partition of history is of, in UTC. Weeks begin on Monday.
    pub enum PartitionPeriod {
        /// A day.
        Day = "day",
        /// A week.
        Week = "week",
        /// A month.
        Month = "month",
    }
}

impl PartitionPeriod {
    /// How many partitions there are ahead of the present one: enough to outlast any restart, and
    /// few enough for statements that go through all of them.
    pub fn ahead(self) -> u8 {
        match self {
            Self::Day => 14,
            Self::Week => 4,
            Self::Month => 2,
        }
    }
}
