//! Plays story after story, and says what came of them.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use embedded_postgres::{EmbeddedPostgres, Options as PostgresOptions};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::Options;
use crate::invariants::{Broken, check};
use crate::journal::{Documented, Journal, documented};
use crate::known::Known;
use crate::plan::Story;
use crate::play::play;
use crate::shrink::shrunk;
use crate::world::{Unsettled, World, execute};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");
const TEMPLATE: &str = "storm_template";

/// What all stories are played on.
pub(crate) struct Stage {
    server: Url,
    documented: Documented,
    /// Held alone by a story that crashes the server.
    alone: RwLock<()>,
    _postgres: EmbeddedPostgres,
}

impl Stage {
    async fn new() -> Self {
        let options = PostgresOptions::default().max_connections(300);
        let postgres = options.start().await.expect("a Postgres");
        let server = Url::parse(postgres.url()).expect("a URL");
        execute(server.as_str(), &format!("CREATE DATABASE {TEMPLATE}")).await;
        let mut url = server.clone();
        url.set_path(TEMPLATE);
        let mut connection = PgConnection::connect(url.as_str())
            .await
            .expect("a connection");
        MIGRATOR.run(&mut connection).await.expect("the migrations");
        connection.close().await.expect("closed");
        Self {
            server,
            documented: documented(),
            alone: RwLock::new(()),
            _postgres: postgres,
        }
    }

    /// Plays a story, and says which invariants it broke.
    pub(crate) async fn outcome(&self, story: &Story) -> Vec<Broken> {
        let (_alone, _beside);
        if story.needs_the_server_alone() {
            _alone = self.alone.write().await;
        } else {
            _beside = self.alone.read().await;
        }
        let journal = Journal::new(self.documented.clone());
        let world = World::new(story.clone(), &self.server, TEMPLATE, journal).await;
        let world = Arc::new(world);
        play(&world).await;
        let mut broken = Vec::new();
        if let Err(Unsettled(invariant, how)) = world.settle().await {
            broken.push(Broken { invariant, how });
        }
        match Known::of(&world).await {
            Ok(known) => broken.extend(check(&known)),
            Err(how) => broken.push(Broken {
                invariant: "recovers",
                how,
            }),
        }
        if let Ok(world) = Arc::try_unwrap(world) {
            world.end().await;
        }
        broken
    }
}

/// What came of the stories so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// The invariants that broke, with how often and the first seed.
    broken: BTreeMap<&'static str, (usize, u64)>,
}

pub(crate) async fn run(options: Options) -> ExitCode {
    let stage = Arc::new(Stage::new().await);
    let start = Instant::now();
    let mut seeds: Box<dyn Iterator<Item = u64> + Send> = match (options.seed, options.stories) {
        (Some(seed), _) => Box::new(std::iter::once(seed)),
        (None, Some(count)) => Box::new(options.first..options.first + count),
        (None, None) => Box::new(options.first..),
    };
    let bounded = options.seed.is_some() || options.stories.is_some();
    let (mut tally, mut playing) = (Tally::default(), JoinSet::new());
    loop {
        while playing.len() < options.parallel && (bounded || start.elapsed() < options.length) {
            let Some(seed) = seeds.next() else { break };
            let stage = Arc::clone(&stage);
            playing.spawn_local(async move { (seed, stage.outcome(&Story::of(seed)).await) });
        }
        match playing.join_next().await {
            None => break,
            Some(Ok((seed, broken))) => tally.add(&stage, &options, seed, &broken).await,
            Some(Err(error)) => {
                println!("a story could not be played: {error}");
                tally.failed += 1;
            }
        }
    }
    tally.report(start)
}

impl Tally {
    async fn add(&mut self, stage: &Stage, options: &Options, seed: u64, broken: &[Broken]) {
        for Broken { invariant, how } in broken {
            let (count, _) = self.broken.entry(invariant).or_insert((0, seed));
            *count += 1;
            println!("seed {seed}: {invariant}: {how}");
        }
        let Some(first) = broken.first() else {
            self.passed += 1;
            return;
        };
        self.failed += 1;
        let is_first = self.broken[first.invariant].1 == seed;
        if is_first && !options.shrink.is_zero() {
            let story = shrunk(stage, Story::of(seed), first.invariant, options.shrink).await;
            println!(
                "what is left of the story of seed {seed} that still breaks `{}`:",
                first.invariant
            );
            println!(
                "  {} replicas, REJOIN_AUTO_RESTORE={}",
                story.replicas, story.restore
            );
            story.steps.iter().for_each(|step| println!("  {step}"));
        }
        println!("again: cargo test --test storm -- --seed {seed}");
    }

    fn report(&self, start: Instant) -> ExitCode {
        for (invariant, (count, seed)) in &self.broken {
            println!("{invariant}: broken {count} times, first by seed {seed}");
        }
        let (word, code) = if self.failed == 0 {
            ("ok", ExitCode::SUCCESS)
        } else {
            ("FAILED", ExitCode::FAILURE)
        };
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {seconds:.2}s",
            self.passed, self.failed
        );
        code
    }
}
