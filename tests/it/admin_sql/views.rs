//! The views against the store, with generated observations, some of them out of order.

use chrono::{DateTime, TimeDelta, Utc};
use rejoin::domain::{Timestamp, UserId};
use rejoin::store::{Span, Store};
use sqlx::PgPool;
use uuid::Uuid;

use super::odd_rows;
use crate::support::generated::for_generated;
use crate::support::postgres::{self, Database};
use crate::support::store::{
    at, history_within, make_partitions, new_user, sample_observations, saved_state, store,
};

/// Every field that `resume_state` and resume share.
type State = (
    String,
    String,
    Option<String>,
    Option<String>,
    Option<Vec<u8>>,
    Option<DateTime<Utc>>,
    DateTime<Utc>,
    DateTime<Utc>,
    Uuid,
);

async fn in_view(pool: &PgPool, user: &UserId) -> Option<State> {
    let sql = "SELECT room_id, peer_id, name, role, metadata_raw, joined_at, changed_at, last_observed_at, snapshot_id
               FROM resume_state WHERE user_id = $1";
    sqlx::query_as(sql)
        .bind(user.as_str())
        .fetch_optional(pool)
        .await
        .unwrap()
}

async fn resumed(store: &Store, user: &UserId) -> Option<State> {
    // As in the service: empty metadata is nothing to resume.
    let state = saved_state(store, user)
        .await
        .filter(|state| !state.metadata.is_empty())?;
    Some((
        state.key.room_id.to_string(),
        state.key.peer_id.to_string(),
        state.name.map(|name| name.as_str().to_owned()),
        state.role.map(|role| role.as_str().to_owned()),
        state.metadata.raw().map(|text| text.as_bytes().to_vec()),
        state.joined_at.map(Timestamp::to_utc),
        state.changed_at.to_utc(),
        state.last_observed_at.to_utc(),
        state.snapshot_id,
    ))
}

#[test]
fn resume_state_is_exactly_what_resume_returns() {
    for_generated(
        60,
        &sample_observations(),
        postgres::database(),
        &async |database: &Database, observations| {
            let (store, pool, user) = (store(database.url()), database.pool().await, new_user());
            for observation in &observations {
                store.save(observation.of(&user)).await.unwrap();
                assert_eq!(in_view(&pool, &user).await, resumed(&store, &user).await);
            }
            pool.close().await;
        },
    );
}

#[tokio::test]
async fn resume_state_has_every_user_once() {
    let database = postgres::database().await;
    let (store, pool) = (store(database.url()), database.pool().await);
    odd_rows::save(&store).await;
    let users: Vec<String> = sqlx::query_scalar("SELECT DISTINCT user_id FROM peers")
        .fetch_all(&pool)
        .await
        .unwrap();
    let mut expected = Vec::new();
    for user in users {
        if resumed(&store, &UserId::parse(&user).unwrap())
            .await
            .is_some()
        {
            expected.push(user);
        }
    }
    expected.sort_unstable();
    let sql = "SELECT user_id FROM resume_state ORDER BY user_id";
    assert_eq!(
        sqlx::query_scalar::<_, String>(sql)
            .fetch_all(&pool)
            .await
            .unwrap(),
        expected
    );
}

/// The view shows JSON where Postgres can hold it, and the text as a JSON string where not.
#[tokio::test]
async fn metadata_is_jsonb_where_postgres_can_hold_it() {
    let database = postgres::database().await;
    let pool = database.pool().await;
    odd_rows::save(&store(database.url())).await;
    for (user, raw) in odd_rows::odd() {
        let sql = "SELECT metadata::text, metadata_text, metadata_raw FROM resume_state WHERE user_id = $1";
        let (shown, text, bytes): (Option<String>, Option<String>, Vec<u8>) = sqlx::query_as(sql)
            .bind(user)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(bytes, raw.as_bytes(), "{user}");
        let nul = raw.contains('\0');
        assert_eq!(text, (!nul).then(|| raw.clone()), "{user}");
        let refused = [
            "odd-bell",
            "odd-deep",
            "odd-escaped-nul",
            "odd-exponent",
            "odd-half-pair",
            "odd-text",
        ];
        match shown {
            None => assert!(nul, "{user}"),
            Some(shown) if refused.contains(&user) => {
                assert_eq!(
                    serde_json::from_str::<String>(&shown).unwrap(),
                    raw,
                    "{user}"
                );
            }
            Some(shown) if user == "odd-repeated" => assert_eq!(shown, r#"{"hp": 200}"#),
            Some(shown) if user == "odd-digits" => assert_eq!(shown, raw),
            Some(shown) => {
                let (shown, expected): (serde_json::Value, serde_json::Value) = (
                    serde_json::from_str(&shown).unwrap(),
                    serde_json::from_str(&raw).unwrap(),
                );
                assert_eq!(shown, expected, "{user}");
            }
        }
    }
}

/// A row of `snapshot_history`.
#[derive(Debug, sqlx::FromRow)]
struct HistoryRow {
    id: Uuid,
    room_id: String,
    peer_id: String,
    valid_from: DateTime<Utc>,
    valid_to: Option<DateTime<Utc>>,
    first_observed_at: DateTime<Utc>,
    last_observed_at: DateTime<Utc>,
}

impl HistoryRow {
    fn holds(&self, instant: DateTime<Utc>) -> bool {
        self.valid_from <= instant && self.valid_to.is_none_or(|end| end > instant)
    }
}

async fn history_rows(pool: &PgPool, user: &UserId) -> Vec<HistoryRow> {
    let sql = "SELECT id, room_id, peer_id, valid_from, valid_to, first_observed_at, last_observed_at
               FROM snapshot_history WHERE user_id = $1 ORDER BY room_id, peer_id, valid_from, valid_to";
    sqlx::query_as(sql)
        .bind(user.as_str())
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn current_at(store: &Store, user: &UserId, at: DateTime<Utc>) -> Vec<Uuid> {
    let rows = history_within(store, user, Span::At(at.into())).await;
    let mut ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn snapshot_history_says_what_was_current_at_every_instant() {
    for_generated(
        60,
        &sample_observations(),
        postgres::database(),
        &async |database: &Database, observations| {
            let (store, pool, user) = (store(database.url()), database.pool().await, new_user());
            for observation in &observations {
                store.save(observation.of(&user)).await.unwrap();
            }
            let rows = history_rows(&pool, &user).await;
            for half_second in -2..28 {
                let instant = at(0).to_utc() + TimeDelta::milliseconds(500 * half_second);
                let mut held: Vec<Uuid> = rows
                    .iter()
                    .filter(|row| row.holds(instant))
                    .map(|row| row.id)
                    .collect();
                held.sort_unstable();
                assert_eq!(
                    held,
                    current_at(&store, &user, instant).await,
                    "at {instant}: {rows:#?}"
                );
            }
            for row in &rows {
                assert_eq!(row.valid_from, row.first_observed_at);
                if row.valid_to == Some(row.valid_from) {
                    assert_eq!(
                        row.last_observed_at, row.first_observed_at,
                        "only an out-of-order observation is within another row"
                    );
                }
            }
            // The current rows of a peer follow each other without a gap.
            // The last one is still current.
            let lasting: Vec<&HistoryRow> = rows
                .iter()
                .filter(|row| row.valid_to != Some(row.valid_from))
                .collect();
            for pair in lasting.windows(2) {
                let same_peer =
                    (&pair[0].room_id, &pair[0].peer_id) == (&pair[1].room_id, &pair[1].peer_id);
                assert_eq!(pair[0].valid_to, same_peer.then_some(pair[1].valid_from));
            }
            assert_eq!(lasting.last().unwrap().valid_to, None);
            pool.close().await;
        },
    );
}

#[tokio::test]
async fn an_out_of_order_observation_splits_the_row_it_lies_in() {
    let database = postgres::database().await;
    let (store, pool) = (store(database.url()), database.pool().await);
    let user = odd_rows::save(&store).await;
    let of_old: Vec<HistoryRow> = history_rows(&pool, &user)
        .await
        .into_iter()
        .filter(|row| row.peer_id == "old-7")
        .collect();
    let times: Vec<(Timestamp, Option<Timestamp>)> = of_old
        .iter()
        .map(|row| (row.valid_from.into(), row.valid_to.map(Into::into)))
        .collect();
    assert_eq!(
        times,
        [
            (odd_rows::at("14:00:00"), Some(odd_rows::at("14:01:30"))),
            (odd_rows::at("14:01:30"), Some(odd_rows::at("14:01:45"))),
            (odd_rows::at("14:01:45"), Some(odd_rows::at("14:01:50"))),
            (odd_rows::at("14:01:50"), Some(odd_rows::at("14:02:00"))),
            (odd_rows::at("14:02:00"), None),
        ]
    );
}

#[tokio::test]
async fn every_table_view_column_and_function_is_explained() {
    let database = postgres::database().await;
    let (store, pool) = (store(database.url()), database.pool().await);
    make_partitions(&store, odd_rows::at("00:00:00")).await;
    let missing: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname || coalesce('.' || a.attname, '')
         FROM pg_class c
         CROSS JOIN LATERAL (SELECT NULL::name AS attname, 0 AS attnum UNION ALL
                             SELECT attname, attnum FROM pg_attribute
                             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS a
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
           AND c.relname <> '_sqlx_migrations'
           AND coalesce(col_description(c.oid, a.attnum), CASE a.attnum WHEN 0 THEN obj_description(c.oid, 'pg_class') END) IS NULL
         UNION ALL
         SELECT p.proname || '()' FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(missing, Vec::<String>::new());
}
