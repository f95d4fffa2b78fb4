//! The alarms: they agree with the documentation, and name only metrics that exist. `.ci/alarms` checks the dashboard.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::postgres;
use crate::support::program::{Program, Upstream};
use crate::support::scrape::Scrape;

const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
const RULES_TEST: &str = include_str!("../../deploy/prometheus/rules_test.yml");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// What the documentation says of an alarm.
#[derive(Debug, PartialEq, Eq)]
struct Alarm<'a> {
    severity: &'a str,
    after: &'a str,
    summary: &'a str,
    description: &'a str,
}

fn alarms() -> BTreeMap<&'static str, Alarm<'static>> {
    let blocks = RULES.split("- alert: ").skip(1).map(|block| {
        let field = |name| {
            let mut lines = block.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(name)).unwrap_or("")
        };
        let alarm = Alarm {
            severity: field("severity: "),
            after: field("for: "),
            summary: field("summary: "),
            description: field("description: "),
        };
        (block.lines().next().expect("a name"), alarm)
    });
    blocks.collect()
}

fn documented() -> BTreeMap<&'static str, Alarm<'static>> {
    let rows = OPERATIONS
        .lines()
        .skip_while(|line| !line.starts_with("| alarm |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let alarm = Alarm {
            severity: cells[1],
            after: cells[2],
            summary: cells[3],
            description: cells[4],
        };
        (cells[0].trim_end_matches('`'), alarm)
    });
    rows.collect()
}

#[test]
fn the_documentation_has_the_alarms_of_the_rules() {
    let alarms = alarms();
    assert!(alarms.len() > 10, "{alarms:#?}");
    assert_eq!(alarms, documented());
}

#[test]
fn each_alarm_is_shown_to_fire_and_to_stay_quiet() {
    let expected: BTreeSet<&str> = alarms().into_keys().collect();
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for block in RULES_TEST.split("- alertname: ").skip(1) {
        let name = block.lines().next().expect("a name");
        if block.contains("exp_alerts: []") {
            quiet.insert(name);
        } else {
            assert!(block.contains("- exp_labels: "), "{block}");
            fires.insert(name);
        }
    }
    assert_eq!((&fires, &quiet), (&expected, &expected));
}

/// The names in a text that metrics of rejoin, or of its process, could have.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words =
        text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words
        .filter(|word| word.starts_with("rejoin_") || word.starts_with("process_"))
        .collect()
}

#[tokio::test]
async fn every_metric_and_label_that_a_rule_names_exists() {
    let (upstream, database) = (Upstream::start().await, postgres::database().await);
    let program = Program::serve(database.url(), &upstream).await;
    let scrape = Scrape::of(&program.app()).await;
    program.stop().await;
    let names = metric_names(RULES);
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(scrape.metric(name).is_some(), "{name}");
    }
}
