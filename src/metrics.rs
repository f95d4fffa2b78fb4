//! What a metric is, and that it exists from the start.
//!
//! A counter that is first seen at 1 has no `rate`, and what is not there cannot alarm. So a metric
//! has a type for its labels, which lists all values that are known, and [`Metric::create`] makes a
//! series of each. Metrics are declared where they are counted, with [`metrics`], which lists what
//! it declares; `app` has the list of the lists.

use std::marker::PhantomData;

pub(crate) use ::metrics::Label;

/// A metric of kind `K` with the labels `L`.
pub(crate) struct Metric<K, L> {
    name: &'static str,
    description: &'static str,
    /// The upper bounds of a histogram's buckets.
    buckets: &'static [f64],
    /// What a gauge shows until it is set.
    start: f64,
    types: PhantomData<fn(L) -> K>,
}

/// One series of a counter.
pub(crate) type CounterSeries = ::metrics::Counter;
/// One series of a gauge.
pub(crate) type GaugeSeries = ::metrics::Gauge;
/// One series of a histogram.
pub(crate) type HistogramSeries = ::metrics::Histogram;

/// How often something happened.
pub(crate) type Counter<L = ()> = Metric<CounterSeries, L>;
/// How much there is now.
pub(crate) type Gauge<L = ()> = Metric<GaugeSeries, L>;
/// How values are distributed over buckets.
pub(crate) type Histogram<L = ()> = Metric<HistogramSeries, L>;

impl<K: Kind, L: Labels> Metric<K, L> {
    pub(crate) const fn new(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            description,
            buckets: &[],
            start: 0.0,
            types: PhantomData,
        }
    }

    /// The series with these labels.
    pub(crate) fn of(&self, labels: &L) -> K {
        K::series(self.name, labels.pairs())
    }
}

impl<L: Labels> Counter<L> {
    /// Counts one.
    pub(crate) fn count(&self, labels: &L) {
        self.of(labels).increment(1);
    }
}

impl<L> Gauge<L> {
    /// The same metric with another value until it is set; not a number where there is none to tell.
    pub(crate) const fn starting_at(self, start: f64) -> Self {
        Self { start, ..self }
    }
}

impl<L> Histogram<L> {
    /// The same metric with these buckets.
    pub(crate) const fn with_buckets(self, buckets: &'static [f64]) -> Self {
        Self { buckets, ..self }
    }
}

/// A metric of any kind, with any labels.
pub(crate) trait AnyMetric: Sync {
    fn name(&self) -> &'static str;

    fn buckets(&self) -> &'static [f64];

    /// Describes it, and creates a series of each value of its labels that is known.
    fn create(&self);
}

impl<K: Kind, L: Labels> AnyMetric for Metric<K, L> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn buckets(&self) -> &'static [f64] {
        self.buckets
    }

    fn create(&self) {
        K::describe(self.name, self.description);
        for labels in L::known() {
            self.of(&labels).start_at(self.start);
        }
    }
}

/// The kinds of metrics.
pub(crate) trait Kind: 'static {
    fn describe(name: &'static str, description: &'static str);

    fn series(name: &'static str, labels: Vec<Label>) -> Self;

    fn start_at(&self, _value: f64) {}
}

impl Kind for CounterSeries {
    fn describe(name: &'static str, description: &'static str) {
        ::metrics::describe_counter!(name, description);
    }

    fn series(name: &'static str, labels: Vec<Label>) -> Self {
        ::metrics::counter!(name, labels)
    }
}

impl Kind for GaugeSeries {
    fn describe(name: &'static str, description: &'static str) {
        ::metrics::describe_gauge!(name, description);
    }

    fn series(name: &'static str, labels: Vec<Label>) -> Self {
        ::metrics::gauge!(name, labels)
    }

    fn start_at(&self, value: f64) {
        self.set(value);
    }
}

impl Kind for HistogramSeries {
    fn describe(name: &'static str, description: &'static str) {
        ::metrics::describe_histogram!(name, description);
    }

    fn series(name: &'static str, labels: Vec<Label>) -> Self {
        ::metrics::histogram!(name, labels)
    }
}

/// The labels of a metric.
pub(crate) trait Labels: Sized + 'static {
    /// All that can be known before something happens.
    fn known() -> Vec<Self>;

    /// Their names and values.
    fn pairs(&self) -> Vec<Label>;
}

/// One label.
pub(crate) trait LabelValue: Copy + 'static {
    /// Its name.
    const NAME: &'static str;

    /// All values.
    fn all() -> Vec<Self>;

    fn value(self) -> &'static str;
}

/// Makes an enum that [`named`](crate::domain::named) declares the value of a label.
macro_rules! label {
    ($name:literal, $enum:ty) => {
        impl crate::metrics::LabelValue for $enum {
            const NAME: &'static str = $name;

            fn all() -> Vec<Self> {
                Self::ALL.to_vec()
            }

            fn value(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

fn pair<A: LabelValue>(value: A) -> Label {
    Label::from_static_parts(A::NAME, value.value())
}

impl Labels for () {
    fn known() -> Vec<Self> {
        vec![()]
    }

    fn pairs(&self) -> Vec<Label> {
        Vec::new()
    }
}

impl<A: LabelValue> Labels for A {
    fn known() -> Vec<Self> {
        A::all()
    }

    fn pairs(&self) -> Vec<Label> {
        vec![pair(*self)]
    }
}

impl<A: LabelValue, B: LabelValue> Labels for (A, B) {
    fn known() -> Vec<Self> {
        let with_every_b = |a| B::all().into_iter().map(move |b| (a, b));
        A::all().into_iter().flat_map(with_every_b).collect()
    }

    fn pairs(&self) -> Vec<Label> {
        vec![pair(self.0), pair(self.1)]
    }
}

/// Declares metrics, and `METRICS`, the list of them.
macro_rules! metrics {
    ($($metric:ident: $type:ty = $value:expr;)+) => {
        $(pub(crate) const $metric: $type = $value;)+

        /// The metrics of this module.
        pub(crate) const METRICS: &[&dyn crate::metrics::AnyMetric] = &[$(&$metric,)+];
    };
}

pub(crate) use {label, metrics};

/// Seconds, from a resume out of memory to an upstream budget used up.
pub(crate) const DURATIONS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// Seconds, from a reconnect to a month.
pub(crate) const AGES: &[f64] = &[
    1.0,
    2.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];
