//! What `/metrics` shows.

use std::collections::{BTreeMap, BTreeSet};

use super::replica::Replica;

/// The metrics of a replica at one time.
pub(crate) struct Scrape {
    /// The kind of each metric.
    pub(crate) kinds: BTreeMap<String, String>,
    /// The value of each series, which is named as Prometheus writes it, with its labels in order.
    pub(crate) series: BTreeMap<String, String>,
}

impl Scrape {
    pub(crate) async fn of(replica: &Replica) -> Self {
        let text = replica.get("/metrics").await.expect(200).text;
        let (mut kinds, mut series) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                series.insert(in_order(name), value.to_owned());
            }
        }
        Self { kinds, series }
    }

    /// The metric that a name in a query stands for, such as a histogram for that of its buckets.
    pub(crate) fn metric(&self, name: &str) -> Option<&str> {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .into_iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|name| {
                self.kinds
                    .get(*name)
                    .is_some_and(|kind| kind == "histogram")
            });
        let (name, _) = self.kinds.get_key_value(of_histogram.unwrap_or(name))?;
        Some(name)
    }

    /// The names of a metric's labels.
    pub(crate) fn labels(&self, metric: &str) -> BTreeSet<&str> {
        let labels = self.series.keys().filter_map(|series| {
            let (name, labels) = series.split_once('{')?;
            (self.metric(name)? == metric).then_some(labels)
        });
        labels
            .flat_map(|labels| {
                labels
                    .split("\",")
                    .filter_map(|label| label.split_once('='))
            })
            .map(|(name, _)| name)
            .filter(|name| *name != "le")
            .collect()
    }
}

/// The same series with its labels in order.
fn in_order(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else {
        return series.to_owned();
    };
    let labels = labels.trim_end_matches("\"}");
    let mut labels: Vec<&str> = labels.split("\",").collect();
    labels.sort_unstable();
    format!("{name}{{{}\"}}", labels.join("\","))
}
