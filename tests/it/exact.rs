//! Metadata comes back byte for byte: from 100ms's wire through the client and Postgres to every
//! answer.

use std::time::Duration;

use hms_sim::WireMetadata;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::command::rejoin;
use crate::support::generated::for_generated;
use crate::support::world::{Answer, ROOM, Replica, World};

/// The metadata in an answer; `metadata` byte for byte as in the body.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
    metadata_raw: Option<String>,
}

impl Row<'_> {
    #[track_caller]
    fn check(&self, raw: Option<&str>, json: &str) {
        assert!(
            self.metadata_raw.as_deref() == raw,
            "{:.300?} is not {raw:.300?}",
            self.metadata_raw
        );
        assert!(
            self.metadata.get() == json,
            "{:.300} is not {json:.300}",
            self.metadata.get()
        );
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    snapshots: Vec<Row<'a>>,
}

/// One peer of `player-7`, whose metadata is changed again and again.
struct ChangingPeer {
    world: World,
    app: Replica,
}

impl ChangingPeer {
    async fn new() -> Self {
        let (world, app) = World::with_app().await;
        world.join("player-7", "peer-1", "");
        Self { world, app }
    }

    async fn set(&self, wire: WireMetadata) -> Answer {
        self.world.clock.advance(Duration::from_secs(1));
        self.world.sim.set_metadata(ROOM, "peer-1", wire).unwrap();
        self.app.snapshot("peer-1").await
    }

    /// Sets metadata that the peer has not had before, and checks every answer that contains it.
    async fn check(&self, wire: WireMetadata, raw: Option<&str>, json: &str) {
        let snapshot = self.set(wire).await;
        assert!(snapshot.status.is_success(), "{}", snapshot.text);
        serde_json::from_str::<Row>(&snapshot.text)
            .unwrap()
            .check(raw, json);
        let history = self
            .app
            .get("/v1/users/player-7/snapshots?limit=1")
            .await
            .expect(200);
        serde_json::from_str::<Page>(&history.text)
            .unwrap()
            .snapshots[0]
            .check(raw, json);
        let resumed = self.app.resume("player-7").await;
        if raw.is_none_or(str::is_empty) {
            assert_eq!(resumed.expect(404).code(), "no-saved-metadata");
        } else {
            serde_json::from_str::<Row>(&resumed.expect(200).text)
                .unwrap()
                .check(raw, json);
        }
    }

    /// The output of `rejoin history`, newest first.
    async fn printed(&self, format: &str) -> String {
        let database = [("DATABASE_URL", self.world.database.url())];
        rejoin(&["history", "player-7", "--format", format], &database)
            .await
            .expect(0)
            .out
    }
}

fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[tokio::test]
async fn every_form_on_the_wire_has_its_exact_text() {
    let peer = ChangingPeer::new().await;
    let digits = "7".repeat(400);
    let cases: &[(&str, &str)] = &[
        (
            r#"{ "b": 1,  "a":2, "b" : 3 }"#,
            r#"{ "b": 1,  "a":2, "b" : 3 }"#,
        ),
        ("[1, 2.50, -0, 1E+2]", "[1, 2.50, -0, 1E+2]"),
        ("[\n\t1\r\n]", "[\n\t1\r\n]"),
        (&digits, &digits),
        ("1e400", "1e400"),
        ("-1.000", "-1.000"),
        ("true", "true"),
        ("false", "false"),
        ("{}", "{}"),
        ("[]", "[]"),
        (
            r#"{"a":"\u0000\/\ud83d\ude00"}"#,
            r#"{"a":"\u0000\/\ud83d\ude00"}"#,
        ),
        // Of a string, its content is stored, however it is escaped.
        (r#""\u0041\/\ud83d\ude00\u0000\n""#, "A/😀\0\n"),
        (r#""{\"a\":1}""#, r#"{"a":1}"#),
        (r#""\\ud800""#, r"\ud800"),
        (r#""null""#, "null"),
        (r#"" ""#, " "),
    ];
    for (wire, raw) in cases {
        let json = if serde_json::from_str::<&RawValue>(raw).is_ok() {
            (*raw).to_owned()
        } else {
            string(raw)
        };
        peer.check(WireMetadata::json(wire).unwrap(), Some(raw), &json)
            .await;
    }
    for (wire, raw) in [
        (WireMetadata::json("null").unwrap(), None),
        (WireMetadata::text(""), Some("")),
        (WireMetadata::absent(), None),
    ] {
        peer.check(wire, raw, "null").await;
    }
}

#[tokio::test]
async fn texts_that_databases_and_parsers_get_wrong() {
    let peer = ChangingPeer::new().await;
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let nested_objects = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
    let as_json = [
        r#"{"a":"\u0000"}"#.to_owned(),
        r#"{"z":1,"a":2,"z":3}"#.to_owned(),
        "9".repeat(400),
        format!("0.{}1", "0".repeat(400)),
        "1e400".to_owned(),
        "-0".to_owned(),
        r#""just a string""#.to_owned(),
        "null".to_owned(),
        nested(100),
        nested_objects(100),
    ];
    // JSON with space around it: the value is shown without the space, the text with it.
    let mut cases = vec![(
        " \r\n\t{ \"a\" : 1 } ".to_owned(),
        "{ \"a\" : 1 }".to_owned(),
    )];
    cases.extend(as_json.map(|text| (text.clone(), text)));
    let as_string = [
        "a\0b",
        "\0",
        "hp=71; at=3,4",
        "{\"a\":1",
        "{'a':1}",
        "NaN",
        "01",
        "{} {}",
        "\u{feff}{}",
        "😀\u{200d}ünï\u{301}",
        "\u{1}\u{7f}\u{85}\u{2028}\u{ffff}\u{10ffff}",
        "\\x00",
        "line\nline\r\n\"quoted\", and more",
        "\"\\ud800\"",
        r#"{"a":["\udc00"]}"#,
        &nested(101),
        &nested_objects(101),
        &nested(100_000),
    ];
    cases.extend(as_string.map(|text| (text.to_owned(), string(text))));
    for (text, json) in &cases {
        peer.check(WireMetadata::text(text), Some(text), json).await;
    }
    // The commands print the same.
    let printed = peer.printed("json").await;
    let rows: Vec<Row> = serde_json::from_str(&printed).unwrap();
    assert_eq!(rows.len(), cases.len());
    for (row, (text, json)) in rows.iter().rev().zip(&cases) {
        row.check(Some(text), json);
    }
    let csv = peer.printed("csv").await;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let column = reader
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "metadata_raw")
        .unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(
        rows.iter()
            .rev()
            .map(|row| &row[column])
            .eq(cases.iter().map(|(text, _)| text.as_str()))
    );
}

#[tokio::test]
async fn metadata_that_no_text_can_represent_is_refused_and_changes_nothing() {
    let peer = ChangingPeer::new().await;
    peer.check(WireMetadata::text("before"), Some("before"), "\"before\"")
        .await;
    for lone in [r#""\ud800""#, r#""a\udc00b""#, r#""\ude00\ud83d""#] {
        let refused = peer
            .set(WireMetadata::json(lone).unwrap())
            .await
            .expect(422);
        assert_eq!(refused.code(), "metadata-not-representable");
    }
    let resumed = peer.app.resume("player-7").await.expect(200);
    serde_json::from_str::<Row>(&resumed.text)
        .unwrap()
        .check(Some("before"), "\"before\"");
}

#[tokio::test]
async fn the_largest_metadata_is_262144_bytes() {
    let peer = ChangingPeer::new().await;
    // Bytes, not characters; and of the text, not of its escapes on the wire.
    for character in ["x", "😀", "\0"] {
        let largest = character.repeat(262_144 / character.len());
        peer.check(
            WireMetadata::text(&largest),
            Some(&largest),
            &string(&largest),
        )
        .await;
        let refused = peer
            .set(WireMetadata::text(&format!("{largest}x")))
            .await
            .expect(422);
        assert_eq!(refused.code(), "metadata-too-large");
        assert!(
            refused.text.contains("262145") && refused.text.contains("262144"),
            "{}",
            refused.text
        );
    }
}

#[test]
fn any_text_comes_back() {
    let odd = prop::sample::select(vec![
        '\0', '"', '\\', '\n', '\u{7f}', '{', '}', '[', ']', ',', ':', '\u{fffd}', '😀',
    ]);
    let text = prop::collection::vec(prop_oneof![2 => odd, 1 => any::<char>()], 1..40);
    for_generated(
        60,
        &text,
        ChangingPeer::new(),
        &async |peer: &ChangingPeer, characters| {
            let text: String = characters.into_iter().collect();
            let json = serde_json::from_str::<&RawValue>(&text)
                .map_or_else(|_| string(&text), |json| json.get().to_owned());
            peer.check(WireMetadata::text(&text), Some(&text), &json)
                .await;
        },
    );
}

/// JSON texts with odd spaces, numbers of any size, and keys that repeat.
fn json_text() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?";
    let text = prop_oneof!["[a-c]{0,3}", ".{0,8}"].prop_map(|text: String| string(&text));
    let escapes = prop::sample::select(vec![r#""\u0000""#, r#""\/\b\u00e9""#, r#""\ud83d\ude00""#]);
    let scalar = prop_oneof![
        number.prop_map(|number| number),
        text.clone(),
        escapes.prop_map(str::to_owned),
        prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    scalar.prop_recursive(4, 24, 5, move |inner| {
        let entry = (text.clone(), "[ \n\t]{0,2}", inner.clone())
            .prop_map(|(key, space, value)| format!("{key}{space}:{value}"));
        let space = "[ \r\n\t]{0,2}";
        prop_oneof![
            (prop::collection::vec(inner, 0..5), space)
                .prop_map(|(items, space)| format!("[{space}{}]", items.join(","))),
            (prop::collection::vec(entry, 0..5), space)
                .prop_map(|(items, space)| format!("{{{}{space}}}", items.join(","))),
        ]
    })
}

/// As an object, array, number or literal on the wire, and as a string that holds it.
#[test]
fn any_json_comes_back_untouched() {
    for_generated(
        40,
        &json_text(),
        ChangingPeer::new(),
        &async |peer: &ChangingPeer, json| {
            peer.check(WireMetadata::text(&json), Some(&json), &json)
                .await;
            if !json.starts_with('"') && json != "null" {
                peer.check(
                    WireMetadata::text("between"),
                    Some("between"),
                    "\"between\"",
                )
                .await;
                peer.check(WireMetadata::json(&json).unwrap(), Some(&json), &json)
                    .await;
            }
        },
    );
}
