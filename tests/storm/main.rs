//! Generated stories with faults, over the real parts: the simulator, replicas of the real program, and a real Postgres.
//!
//! One seed makes one story (`plan`). It is played (`world`, `play`, `dispatcher`); then the faults end, everything
//! outstanding is delivered, and the `invariants` must hold of all that is `known`. Time is real, so a seed gives the same
//! story, but not the same interleaving. `cargo test --test storm` plays stories for a minute; see [`Options`].

#![allow(
    clippy::disallowed_methods,
    reason = "it calls the service with a client of its own, and reads the machine's clock"
)]

mod client;
mod dispatcher;
mod invariants;
mod journal;
mod known;
mod plan;
mod play;
#[expect(dead_code, reason = "no story leads to another server")]
#[path = "../it/support/proxy.rs"]
mod proxy;
mod reference;
mod replica;
mod rng;
mod run;
mod shrink;
mod world;

use std::process::ExitCode;
use std::time::Duration;

/// What is asked for on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `--minutes N`: for how long stories are played; one by default.
    length: Duration,
    /// `--seed N`: this story alone.
    seed: Option<u64>,
    /// `--stories N`: so many, however long they take.
    stories: Option<u64>,
    /// `--first N`: the seed of the first.
    first: u64,
    /// `--parallel N`: how many at a time.
    parallel: usize,
    /// `--shrink N`: for how many seconds a failing story is shortened.
    shrink: Duration,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self {
            length: Duration::from_mins(1),
            seed: None,
            stories: None,
            first: 1,
            parallel: 6,
            shrink: Duration::from_mins(1),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
                value.ok_or_else(|| format!("{name} needs a number"))
            };
            match name.as_str() {
                "--minutes" => options.length = Duration::from_mins(number()?),
                "--seed" => options.seed = Some(number()?),
                "--stories" => options.stories = Some(number()?),
                "--first" => options.first = number()?,
                "--parallel" => options.parallel = usize::try_from(number()?).unwrap_or(1).max(1),
                "--shrink" => options.shrink = Duration::from_secs(number()?),
                // What `cargo test` passes to every test binary.
                _ => {}
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(sentence) => {
            eprintln!("{sentence}");
            return ExitCode::from(2);
        }
    };
    // Cargo lists the tests of a binary this way.
    if std::env::args().any(|argument| argument == "--list") {
        println!("storm: test");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let stories = tokio::task::LocalSet::new();
    stories.block_on(&runtime.expect("a runtime"), run::run(options))
}
