//! What operators deploy passes every setting, and nothing that is none.

use std::collections::BTreeMap;

use crate::settings::sample;

const COMPOSE: &str = include_str!("../../docker-compose.yml");

/// What the compose file itself decides, so that its default is another than that of the sample.
const DECIDED_BY_COMPOSE: [&str; 3] = ["DATABASE_URL", "REJOIN_LISTEN", "REJOIN_API_KEYS"];

/// The variables of the service `rejoin` in the compose file, with their values.
fn compose_environment() -> BTreeMap<&'static str, &'static str> {
    let service = COMPOSE
        .split_once("\n  rejoin:\n")
        .expect("the service rejoin")
        .1;
    let environment = service
        .split_once("\n    environment:\n")
        .expect("its environment")
        .1;
    let lines = environment
        .lines()
        .map_while(|line| line.strip_prefix("      "));
    let variables: Vec<_> = lines
        .map(|line| line.split_once(": ").expect("NAME: value"))
        .collect();
    let environment = BTreeMap::from_iter(variables.clone());
    assert_eq!(
        environment.len(),
        variables.len(),
        "a name stands there twice"
    );
    environment
}

#[test]
fn the_compose_file_passes_every_setting_with_its_default() {
    let (sample, compose) = (sample(), compose_environment());
    assert!(sample.keys().eq(compose.keys()), "{sample:?}\n{compose:?}");
    for (name, value) in compose {
        if !DECIDED_BY_COMPOSE.contains(&name) {
            let default = sample[name];
            let expected = format!("${{{name}:-{default}}}");
            assert_eq!(value.trim_matches('"'), expected, "{name}");
        }
    }
}
