//! Tests of generated inputs (proptest) that need a runtime and something that all cases share.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

/// Runs `case` for generated inputs, on one runtime, with one `shared` value.
pub(crate) fn for_generated<S: Strategy, Shared>(
    cases: u32,
    strategy: &S,
    shared: impl Future<Output = Shared>,
    case: &impl AsyncFn(&Shared, S::Value),
) {
    let runtime = Runtime::new().expect("a runtime can be made");
    let shared = runtime.block_on(shared);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(strategy, |value| {
        runtime.block_on(case(&shared, value));
        Ok(())
    });
    // Within the runtime, on which what is shared may have tasks.
    runtime.block_on(async { drop(shared) });
    outcome.unwrap();
}
