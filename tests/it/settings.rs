//! The settings: what `.env.sample` and their page say of them, and what the program says of bad ones. All of it with the real
//! program, in an environment that holds nothing else.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use crate::support::command::{binary, settings};
use crate::support::postgres::{self, Database};
use crate::support::program::{Program, Upstream};

const SAMPLE: &str = include_str!("../../.env.sample");

/// The page of settings.
const PAGE: &str = include_str!("../../docs/settings.md");

/// Stands in every secret here, and must not appear anywhere.
const SECRET: &str = "hunter2";

/// The digest of a key, as it stands in an entry.
const DIGEST: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// Settings that can be read. The database is not there.
const GOOD: [(&str, &str); 3] = [
    (
        "DATABASE_URL",
        "postgres://rejoin:hunter2@127.0.0.1:1/rejoin",
    ),
    ("HMS_ACCESS_KEY", "key"),
    ("HMS_SECRET", "hunter2"),
];

fn rejoin(args: &[&str]) -> Command {
    let mut program = binary(args);
    program.env_clear();
    program
}

/// `rejoin serve` with [`GOOD`] settings, except for these.
fn serve_with(changes: &[(&str, &str)]) -> Output {
    rejoin(&["serve"])
        .envs(GOOD)
        .envs(changes.iter().copied())
        .output()
        .unwrap()
}

/// Asserts that it stopped at its settings, and returns the one sentence that it said.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    assert!(!said.contains(SECRET), "{said}");
    let sentence = said
        .strip_prefix("error: ")
        .and_then(|said| said.strip_suffix(".\n"));
    let sentence = sentence.unwrap_or_else(|| panic!("no sentence: {said}"));
    assert!(!sentence.contains('\n'), "{said}");
    format!("{sentence}.")
}

/// Names and values of `.env.sample`.
pub(crate) fn sample() -> BTreeMap<&'static str, &'static str> {
    let lines = SAMPLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs: Vec<_> = lines
        .map(|line| line.split_once('=').expect("NAME=value"))
        .collect();
    let sample = BTreeMap::from_iter(pairs.clone());
    assert_eq!(sample.len(), pairs.len(), "a name stands there twice");
    sample
}

/// The variables of `rejoin serve`, with the default that its help names. The log's are no flags.
fn known() -> BTreeMap<String, Option<String>> {
    let help = String::from_utf8(rejoin(&["serve", "--help"]).output().unwrap().stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<_> = help.split("[env: ").collect();
    let flags = parts.windows(2).map(|pair| {
        let name = pair[1].split(['=', ']']).next().unwrap();
        let default = pair[0]
            .rsplit_once("[default: ")
            .and_then(|(_, rest)| rest.split(']').next());
        (
            name.to_owned(),
            default.map(|text| text.trim_matches(['<', '>']).to_owned()),
        )
    });
    flags.chain(telemetry()).collect()
}

/// The variables that are no flags, with their defaults.
fn telemetry() -> [(String, Option<String>); 4] {
    [
        ("REJOIN_LOG", Some("text")),
        ("RUST_LOG", Some("info")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", None),
        ("OTEL_EXPORTER_OTLP_HEADERS", None),
    ]
    .map(|(name, default)| (name.to_owned(), default.map(ToOwned::to_owned)))
}

/// A running `rejoin serve`; it ends with this value.
struct Serving {
    program: Child,
    log: BufReader<ChildStderr>,
    said: String,
    /// Goes last.
    database: Option<Database>,
}

impl Serving {
    /// Starts it, on a free port of the loopback interface, and waits until it listens.
    async fn start(changes: &[(&str, &str)]) -> Self {
        let database = postgres::database().await;
        let mut program = rejoin(&["serve"]);
        program
            .envs(GOOD)
            .env("REJOIN_LISTEN", "127.0.0.1:0")
            .envs(changes.iter().copied());
        let mut program = program
            .env("DATABASE_URL", database.url())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(program.stderr.take().unwrap());
        let mut serving = Self {
            program,
            log,
            said: String::new(),
            database: Some(database),
        };
        while !serving.said.contains("listening on http://") {
            let read = serving.log.read_line(&mut serving.said).unwrap();
            assert!(read > 0, "it ended: {}", serving.said);
        }
        serving
    }

    fn address(&self) -> &str {
        let (_, rest) = self.said.split_once("listening on http://").unwrap();
        rest.split(|sign: char| sign.is_whitespace() || sign == '"')
            .next()
            .unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

#[test]
fn the_sample_has_every_setting_with_its_default() {
    let (sample, known) = (sample(), known());
    assert!(
        sample.keys().copied().eq(known.keys().map(String::as_str)),
        "{sample:?}\n{known:?}"
    );
    for (name, default) in &known {
        let sampled = sample[name.as_str()];
        match default {
            Some(default) => assert_eq!(sampled, default, "{name}"),
            None => assert!(
                sampled.is_empty() || name == "DATABASE_URL",
                "{name} has no default"
            ),
        }
    }
}

#[test]
fn the_page_has_every_setting_with_its_default() {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: BTreeMap<_, _> = rows
        .map(|row| row.split_once("` | ").expect("`NAME` | default"))
        .collect();
    let sample = sample();
    assert!(rows.keys().eq(sample.keys()), "{rows:?}");
    for (name, row) in rows {
        let default = row.split(" | ").next().unwrap();
        match default.strip_prefix('`') {
            Some(default) => assert_eq!(default.trim_end_matches('`'), sample[name], "{name}"),
            None => assert!(
                sample[name].is_empty() || (name, default) == ("DATABASE_URL", "none"),
                "{name} has a default"
            ),
        }
    }
}

#[test]
fn a_flag_is_called_like_its_variable() {
    let help = String::from_utf8(rejoin(&["serve", "--help"]).output().unwrap().stdout).unwrap();
    for name in known().keys() {
        let flag = name.strip_prefix("REJOIN_").unwrap_or(name);
        let flag = format!("--{} <", flag.to_lowercase().replace('_', "-"));
        let is_no_flag = telemetry().iter().any(|(telemetry, _)| telemetry == name);
        assert!(help.contains(&flag) != is_no_flag, "{flag}");
    }
}

#[test]
fn a_shell_reads_the_sample_as_it_stands() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.sample");
    let shell = Command::new("/bin/sh")
        .args(["-euc", r#"set -a; . "$1"; /usr/bin/env"#, "sh", path])
        .output()
        .unwrap();
    let read = String::from_utf8(shell.stdout).unwrap();
    for (name, value) in sample() {
        assert!(
            read.lines().any(|line| line == format!("{name}={value}")),
            "{name} in {read}"
        );
    }
}

#[tokio::test]
async fn the_sample_lacks_the_credentials_alone() {
    let untouched = rejoin(&["serve"]).envs(sample()).output().unwrap();
    assert!(
        complaint(&untouched)
            .starts_with("HMS_ACCESS_KEY and HMS_SECRET should be the app's credentials")
    );

    let mut filled_in = Vec::from_iter(sample());
    filled_in.extend([
        ("HMS_ACCESS_KEY", "key"),
        ("HMS_SECRET", SECRET),
        ("REJOIN_LISTEN", "127.0.0.1:0"),
    ]);
    Serving::start(&filled_in).await;
}

/// What is changed in [`GOOD`] settings, and the sentence that it leads to.
const BAD: &[(&[(&str, &str)], &str)] = &[
    (&[("REJOIN_WEBHOOK_SECRETS", " , ")], WEBHOOK_SECRETS),
    (
        &[("REJOIN_WEBHOOK_SECRETS", "a,hunter2-and-the-rest")],
        WEBHOOK_SECRETS,
    ),
    (
        &[("DATABASE_URL", "postgres://u:12?hunter2@localhost/rejoin")],
        "DATABASE_URL has an unknown parameter after its `?`; in a user name or a password, write %3F for ?.",
    ),
    // What looks like the name of a parameter is a part of the password too, if an `@` follows.
    (
        &[(
            "DATABASE_URL",
            "postgres://u:12?hunter&two@localhost/rejoin",
        )],
        "DATABASE_URL has an unknown parameter after its `?`; in a user name or a password, write %3F for ?.",
    ),
    (
        &[(
            "DATABASE_URL",
            "postgres://u:12?hunter=two@localhost/rejoin",
        )],
        "DATABASE_URL has an unknown parameter after its `?`; in a user name or a password, write %3F for ?.",
    ),
    (
        &[("DATABASE_URL", "postgres:///rejoin?host=a,b")],
        "DATABASE_URL should be the URL of one host, that of the primary (a name or a proxy that follows it).",
    ),
    (
        &[(
            "REJOIN_WEBHOOK_SECRETS",
            "\"short\",\"hunter2-and-the-rest\"",
        )],
        WEBHOOK_SECRETS,
    ),
    (
        &[("DATABASE_URL", "postgres://u:12/hunter@localhost/rejoin")],
        NOT_ENCODED,
    ),
    (
        &[("DATABASE_URL", "postgres://u:12#hunter@localhost/rejoin")],
        NOT_ENCODED,
    ),
    (
        &[(
            "DATABASE_URL",
            "postgres://localhost/rejoin?sslpassword=hunter2",
        )],
        "DATABASE_URL has the unknown parameter sslpassword.",
    ),
    (
        &[("DATABASE_URL", "postgres://a:5432,b:5432/rejoin")],
        "DATABASE_URL should be the URL of one host, that of the primary (a name or a proxy that follows it).",
    ),
    (
        &[(
            "DATABASE_URL",
            "postgres://localhost/rejoin?target_session_attrs=primary",
        )],
        "DATABASE_URL should be without target_session_attrs, since rejoin itself uses a primary only.",
    ),
    (
        &[("REJOIN_WEBHOOK_HEADER", "x secret")],
        "REJOIN_WEBHOOK_HEADER should be the name of a header such as x-rejoin-secret.",
    ),
    (
        &[("REJOIN_DROP_REASONS", ",")],
        "REJOIN_DROP_REASONS should be leave reasons, separated by commas.",
    ),
    (
        &[("REJOIN_AUTO_RESTORE", "yes")],
        "REJOIN_AUTO_RESTORE should be off, dropped or always.",
    ),
    (
        &[("REJOIN_AUTO_RESTORE", "dropped")],
        "REJOIN_WEBHOOK_SECRETS should be set unless REJOIN_AUTO_RESTORE is off, since webhooks report the joins.",
    ),
    (&[("REJOIN_RESTORE_WINDOW", "10")], WINDOW),
    (&[("REJOIN_RESTORE_WINDOW", "0s")], WINDOW),
    (
        &[("REJOIN_RESTORE_SCOPE", "lobby")],
        "REJOIN_RESTORE_SCOPE should be room or any.",
    ),
    (&[("REJOIN_GHOST", "61m")], GHOST),
    (&[("REJOIN_GHOST", "60")], GHOST),
    (
        &[("REJOIN_LEAVE_METADATA", "never")],
        "REJOIN_LEAVE_METADATA should be cautious or trust.",
    ),
    (
        &[("REJOIN_EMPTY_METADATA", "{")],
        "REJOIN_EMPTY_METADATA should be JSON texts, separated by commas, such as {},null.",
    ),
    (&[("REJOIN_MAX_CONNECTIONS", "0")], MAX_CONNECTIONS),
    (&[("REJOIN_MAX_CONNECTIONS", "many")], MAX_CONNECTIONS),
    (&[("DATABASE_URL", "")], DATABASE),
    (&[("DATABASE_URL", "hunter2")], DATABASE),
    (
        &[("DATABASE_URL", "mysql://rejoin:hunter2@localhost/rejoin")],
        DATABASE,
    ),
    (
        &[(
            "DATABASE_URL",
            "postgres://rejoin:hunter2@localhost:port/rejoin",
        )],
        DATABASE,
    ),
    (
        &[(
            "DATABASE_URL",
            "postgres://rejoin:hunter2@localhost/rejoin?sslmode=hunter2",
        )],
        DATABASE,
    ),
    (
        &[("HMS_ACCESS_KEY", ""), ("HMS_SECRET", " ")],
        "HMS_ACCESS_KEY and HMS_SECRET should be the app's credentials from 100ms's dashboard \
         (or HMS_MANAGEMENT_TOKEN a management token).",
    ),
    (
        &[("HMS_ACCESS_KEY", "")],
        "HMS_ACCESS_KEY should be set together with HMS_SECRET.",
    ),
    (
        &[("HMS_SECRET", "")],
        "HMS_SECRET should be set together with HMS_ACCESS_KEY.",
    ),
    (
        &[("HMS_MANAGEMENT_TOKEN", "hunter2")],
        "HMS_MANAGEMENT_TOKEN should be left unset where HMS_ACCESS_KEY or HMS_SECRET is set.",
    ),
    (
        &[
            ("HMS_ACCESS_KEY", ""),
            ("HMS_SECRET", ""),
            ("HMS_MANAGEMENT_TOKEN", "hunter2\nhunter2"),
        ],
        "HMS_MANAGEMENT_TOKEN should be a token as 100ms's dashboard shows it.",
    ),
    (&[("HMS_BASE_URL", "api.100ms.live/v2")], BASE),
    (&[("HMS_BASE_URL", "ftp://api.100ms.live/v2")], BASE),
    (
        &[("HMS_BASE_URL", "https://me:hunter2@api.100ms.live/v2")],
        BASE,
    ),
    (
        &[("HMS_BASE_URL", "https://api.100ms.live/v2?token=hunter2")],
        BASE,
    ),
    (&[("REJOIN_LISTEN", "8080")], LISTEN),
    (&[("REJOIN_LISTEN", "localhost:8080")], LISTEN),
    (&[("REJOIN_LISTEN", "127.0.0.1:80800")], LISTEN),
    (&[("REJOIN_LISTEN", "0.0.0.0:0")], WITHOUT_KEYS),
    (&[("REJOIN_LISTEN", "[::]:0")], WITHOUT_KEYS),
    (
        &[("REJOIN_LISTEN", "0.0.0.0:0"), ("REJOIN_API_KEYS", " , ")],
        WITHOUT_KEYS,
    ),
    (
        &[("REJOIN_API_KEYS", "hunter2")],
        "REJOIN_API_KEYS should hold entries of the form name:scope+scope:sha256-hex-of-key, but \
         entry 1 is not of the form name:scope+scope:sha256-hex-of-key.",
    ),
    (
        &[("REJOIN_API_KEYS", "game:resume:hunter2")],
        "REJOIN_API_KEYS should hold entries of the form name:scope+scope:sha256-hex-of-key, but \
         the last part of entry 1 should be the SHA-256 of the key in 64 hex digits (`rejoin key new` prints it).",
    ),
    (
        &[("REJOIN_API_KEYS_FILE", "/hunter2")],
        "REJOIN_API_KEYS_FILE should name a file that can be read, but: No such file or directory (os error 2).",
    ),
    (
        &[("REJOIN_API_KEYS_FILE", "/dev/null")],
        "REJOIN_API_KEYS_FILE should hold entries of the form name:scope+scope:sha256-hex-of-key, but \
         the file holds none.",
    ),
    (&[("REJOIN_UPSTREAM_TIMEOUT", "5")], TIMEOUT),
    (&[("REJOIN_UPSTREAM_TIMEOUT", "0s")], TIMEOUT),
    (&[("REJOIN_UPSTREAM_TIMEOUT", "1h")], TIMEOUT),
    (&[("REJOIN_UPSTREAM_TIMEOUT", "soon")], TIMEOUT),
    (
        &[("REJOIN_WATCH", "on")],
        "REJOIN_WATCH should be off or active.",
    ),
    (&[("REJOIN_WATCH_EVERY", "4s")], WATCH_EVERY),
    (&[("REJOIN_WATCH_EVERY", "30")], WATCH_EVERY),
    (&[("REJOIN_UPSTREAM_RATE", "10")], RATE),
    (&[("REJOIN_UPSTREAM_RATE", "0/s")], RATE),
    (&[("REJOIN_KEEP_PEERS", "29days")], KEEP_PEERS),
    (&[("REJOIN_KEEP_PEERS", "200years")], KEEP_PEERS),
    (&[("REJOIN_KEEP_PEERS", "never")], KEEP_PEERS),
    (&[("REJOIN_KEEP_HISTORY", "23h")], KEEP_HISTORY),
    (&[("REJOIN_KEEP_HISTORY", "never")], KEEP_HISTORY),
    (&[("REJOIN_HISTORY_PARTITION", "year")], HISTORY_PARTITION),
    (&[("REJOIN_PRESENCE_TIMEOUT", "9s")], PRESENCE_TIMEOUT),
    (&[("REJOIN_PRESENCE_TIMEOUT", "2days")], PRESENCE_TIMEOUT),
    (
        &[
            ("REJOIN_WEBHOOK_SECRETS", "a-secret"),
            ("REJOIN_FORWARD_URL", "http://hunter2.example/"),
        ],
        FORWARD_URL,
    ),
    (
        &[
            ("REJOIN_WEBHOOK_SECRETS", "a-secret"),
            ("REJOIN_FORWARD_URL", "https://me:hunter2@game.example/"),
        ],
        FORWARD_URL,
    ),
    (
        &[("REJOIN_FORWARD_URL", "https://game.example/")],
        "REJOIN_FORWARD_URL should be set together with REJOIN_WEBHOOK_SECRETS or REJOIN_FORWARD_EVENTS=true, since only events are passed on.",
    ),
    (
        &[("REJOIN_FORWARD_EVENTS", "true")],
        "REJOIN_FORWARD_EVENTS should be set together with REJOIN_FORWARD_URL.",
    ),
    (
        &[("REJOIN_FORWARD_EVENTS", "yes")],
        "REJOIN_FORWARD_EVENTS should be true or false.",
    ),
    (
        &[
            ("REJOIN_WEBHOOK_SECRETS", "a-secret"),
            ("REJOIN_FORWARD_URL", "https://game.example/"),
            ("REJOIN_FORWARD_METADATA", "true"),
        ],
        "REJOIN_FORWARD_METADATA should be set together with REJOIN_FORWARD_EVENTS=true.",
    ),
    (
        &[("REJOIN_FORWARD_METADATA", "1")],
        "REJOIN_FORWARD_METADATA should be true or false.",
    ),
    (
        &[
            ("REJOIN_WEBHOOK_SECRETS", "a-secret"),
            ("REJOIN_FORWARD_URL", "https://game.example/"),
            ("REJOIN_FORWARD_SECRET", "whsec_hunter2"),
        ],
        "REJOIN_FORWARD_SECRET should be whsec_ and 24 to 64 bytes in base64.",
    ),
    (
        &[
            ("REJOIN_WEBHOOK_SECRETS", "a-secret"),
            ("REJOIN_FORWARD_URL", "https://game.example/"),
            ("REJOIN_FORWARD_HEADERS", "hunter2"),
        ],
        "REJOIN_FORWARD_HEADERS should be headers such as `x-token: secret`, one a line, or in one line with commas in between.",
    ),
    (
        &[("REJOIN_FORWARD_SECRET", "hunter2")],
        "REJOIN_FORWARD_SECRET should be set together with REJOIN_FORWARD_URL.",
    ),
    (&[("REJOIN_MAX_METADATA_BYTES", "0")], BYTES),
    (&[("REJOIN_MAX_METADATA_BYTES", "256k")], BYTES),
    (&[("REJOIN_MAX_METADATA_BYTES", "-1")], BYTES),
    (&[("REJOIN_MAX_METADATA_BYTES", "2097153")], BYTES),
    (
        &[("REJOIN_STORE_NAMES", "yes")],
        "REJOIN_STORE_NAMES should be true or false.",
    ),
    (
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
        "OTEL_EXPORTER_OTLP_ENDPOINT should be an http or https URL such as http://localhost:4318.",
    ),
    (
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ],
        "OTEL_EXPORTER_OTLP_HEADERS should be headers of the form name=value, separated by commas.",
    ),
    (
        &[("REJOIN_LOG", "yaml")],
        "REJOIN_LOG should be text or json.",
    ),
    (
        &[("RUST_LOG", "rejoin=loud")],
        "RUST_LOG should be a filter such as info or rejoin=debug,info.",
    ),
];
const DATABASE: &str =
    "DATABASE_URL should be a Postgres URL such as postgres://user:password@localhost:5432/rejoin.";
const BASE: &str = "HMS_BASE_URL should be an http or https URL without a user name and a query, such as https://api.100ms.live/v2.";
const LISTEN: &str = "REJOIN_LISTEN should be an address and a port such as 127.0.0.1:8080.";
const MAX_CONNECTIONS: &str = "REJOIN_MAX_CONNECTIONS should be a number from 1 to 1000000.";
const TIMEOUT: &str = "REJOIN_UPSTREAM_TIMEOUT should be a duration from 1ms to 5min such as 5s.";
const FORWARD_URL: &str = "REJOIN_FORWARD_URL should be an https URL without a user name, or an http one of this machine.";
const WATCH_EVERY: &str = "REJOIN_WATCH_EVERY should be a duration from 5s to 1h such as 30s.";
const PRESENCE_TIMEOUT: &str =
    "REJOIN_PRESENCE_TIMEOUT should be a duration from 10s to 24h such as 10m.";
const KEEP_PEERS: &str =
    "REJOIN_KEEP_PEERS should be off, or a duration from 30days to 100years such as 90days.";
const KEEP_HISTORY: &str =
    "REJOIN_KEEP_HISTORY should be off, or a duration from 1day to 100years such as 90days.";
const HISTORY_PARTITION: &str = "REJOIN_HISTORY_PARTITION should be day, week or month.";
const RATE: &str = "REJOIN_UPSTREAM_RATE should be from 1/m to 1000/s, such as 10/s.";
const BYTES: &str = "REJOIN_MAX_METADATA_BYTES should be a number of bytes from 1 to 2097152.";
const WEBHOOK_SECRETS: &str = "REJOIN_WEBHOOK_SECRETS should be secrets of at least 8 characters without commas, separated by commas.";
const NOT_ENCODED: &str =
    "DATABASE_URL should have its user name and password encoded: write %2F for / and %23 for #.";
const GHOST: &str = "REJOIN_GHOST should be a duration from 0s to 1h such as 60s.";
const WINDOW: &str = "REJOIN_RESTORE_WINDOW should be a duration from 1s to 30days such as 10m.";
const WITHOUT_KEYS: &str = "REJOIN_API_KEYS or REJOIN_API_KEYS_FILE should hold at least one key \
    (`rejoin key new` makes one), since REJOIN_LISTEN is not a loopback address.";

#[test]
fn a_bad_or_missing_setting_stops_the_start_with_one_sentence() {
    for (changes, sentence) in BAD {
        assert_eq!(complaint(&serve_with(changes)), *sentence, "{changes:?}");
    }
}

#[test]
fn each_setting_has_a_bad_value_in_the_table() {
    for name in known().keys() {
        assert!(
            BAD.iter()
                .any(|(changes, _)| changes.iter().any(|(changed, _)| changed == name)),
            "{name}"
        );
    }
}

#[test]
fn a_setting_that_is_no_text_is_named() {
    for name in known().keys() {
        let output = rejoin(&["serve"])
            .envs(GOOD)
            .env(name, OsStr::from_bytes(b"hunter2\xff"))
            .output()
            .unwrap();
        assert_eq!(
            complaint(&output),
            format!("{name} should be text in UTF-8.")
        );
    }
}

#[test]
fn a_database_of_its_own_and_one_that_is_named_are_too_many() {
    let output = rejoin(&["serve", "--embedded-postgres"])
        .envs(GOOD)
        .output()
        .unwrap();
    assert_eq!(
        complaint(&output),
        "DATABASE_URL should be left unset where --embedded-postgres is given."
    );
}

#[test]
fn a_database_that_is_not_there_has_a_code_of_its_own() {
    let output = serve_with(&[("RUST_LOG", "trace")]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[tokio::test]
async fn without_keys_a_loopback_address_is_served_and_a_warning_given() {
    let serving = Serving::start(&[("REJOIN_LOG", "json")]).await;
    let warned = serving
        .said
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let warned: Vec<_> = warned
        .filter(|line| line["level"] == "WARN")
        .map(|line| line["message"].clone())
        .collect();
    assert_eq!(
        warned,
        ["no API keys are set: whoever reaches this loopback address may call everything"]
    );
}

#[tokio::test]
async fn with_keys_any_address_is_served_and_no_secret_is_logged() {
    let keys = format!("game:snapshot+resume:{DIGEST}");
    let changes = [
        ("REJOIN_LISTEN", "0.0.0.0:0"),
        ("REJOIN_API_KEYS", keys.as_str()),
        ("RUST_LOG", "trace"),
    ];
    let serving = Serving::start(&changes).await;
    for secret in [SECRET, DIGEST, "no API keys"] {
        assert!(
            !serving.said.contains(secret),
            "{secret} in {}",
            serving.said
        );
    }
}

#[tokio::test]
async fn the_limit_of_open_files_follows_the_limit_of_connections() {
    let (database, upstream) = (postgres::database().await, Upstream::start().await);
    let serve = async |soft: u32, hard: u32| {
        let limits = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
        let mut variables = settings(database.url(), &upstream);
        variables.push(("REJOIN_MAX_CONNECTIONS", "2000"));
        Program::start_in_shell(&limits, &variables).await
    };
    let program = serve(64, 4096).await;
    assert_eq!(program.max_open_files(), 2512);
    let (_, said) = program.stop().await;
    assert!(!said.contains("open files"), "{said}");
    let program = serve(64, 128).await;
    assert_eq!(program.max_open_files(), 128);
    let (_, said) = program.stop().await;
    assert!(
        said.contains("the limit of open files is too low"),
        "{said}"
    );
}

#[tokio::test]
async fn the_healthcheck_asks_whether_the_service_is_live_or_ready() {
    let mut serving = Serving::start(&[]).await;
    let ask = |arguments: &[&str], address: &str| {
        rejoin(&[&["healthcheck"], arguments].concat())
            .env("REJOIN_LISTEN", address)
            .output()
            .unwrap()
    };
    let said = |output: Output| String::from_utf8(output.stderr).unwrap();
    for arguments in [&[][..], &["--ready"]] {
        let healthy = ask(arguments, serving.address());
        assert_eq!(healthy.status.code(), Some(0), "{}", said(healthy));
    }
    let nobody = ask(&[], "127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(
        said(nobody),
        "error: the service on 127.0.0.1:1 does not answer: Connection refused (os error 111)\n"
    );
    // Without its database the service is live: another process would not be ready either.
    drop(serving.database.take());
    assert_eq!(ask(&[], serving.address()).status.code(), Some(0));
    let unready = ask(&["--ready"], serving.address());
    assert_eq!(unready.status.code(), Some(1));
    let said = said(unready);
    assert!(said.contains("is not ready (503"), "{said}");
}
