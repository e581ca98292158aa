//! Writes what fuzzing begins with: something sound for every target.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use linckia_model::{
    Dot, Event, Extras, Hlc, Identity, Key, Operation, Origin, RegionName, SessionKeys, Token,
    Transaction, Vector, encode_event,
};
use linckia_ship::{Encoder, Frame};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let dir = corpora.join(target);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(name), bytes)
    };
    for (place, frame) in frames().iter().enumerate() {
        write("frames", &format!("seed-{place}"), &Encoder::new().encode(frame))?;
    }
    let operations = [
        (Operation::Put, json!({"a": 1, "b": {"c": [1, "x", null]}})),
        (Operation::Patch, json!({"a": null})),
        (Operation::Increment, json!({"n": -7})),
        (Operation::Delete, json!({})),
    ];
    for (place, (operation, data)) in operations.into_iter().enumerate() {
        let name = format!("seed-{place}");
        write("events", &name, &encode_event(&event(operation, data.clone())))?;
        let body = json!({"eventId": "1", "eventType": "T", "aggregateType": "A",
            "aggregateId": "1", "operation": operation.name(), "eventData": data});
        write("requests", &name, body.to_string().as_bytes())?;
    }
    let cloud = r#"{"specversion":"1.0","id":"1","source":"/s","type":"T","subject":"1",
        "aggregatetype":"A","data":{}}"#;
    write("requests", "cloud", cloud.as_bytes())?;
    write("requests", "array", br#"[{"eventType":"T","eventData":{}}]"#)?;
    write("requests", "policy", br#"{"strategy":"LastWriterWins","fields":{"/c":"counter"}}"#)?;
    write("states", "seed", &[1, 0, 0])?;
    for (place, text) in
        ["a.0000000000000001:9,b-1.ffffffffffffffff:18446744073709551615", "us-east-1", "0:0"]
            .iter()
            .enumerate()
    {
        write("texts", &format!("seed-{place}"), text.as_bytes())?;
    }
    let keys = SessionKeys::of([7; 32]);
    let seen = Vector::parse("a.0000000000000001:9").unwrap_or_default();
    write("tokens", "token", &keys.sign(&Token { seen, epoch: 0 }))?;
    write("tokens", "keys", keys.to_text().as_bytes())?;
    write("segments", "seed", &[0xc0, 10, 0, 1, 0x80, 200, 1, 255, 5, 0, 2, 0])?;
    write("configuration", "seed", b"region = \"a\"\ndir = \"d\"\n[door]\nlisten = \"1.1.1.1:1\"\n")
}

fn frames() -> Vec<Frame> {
    let region = RegionName::parse("a").expect("it is a name");
    let origin = Origin::parse("a.0000000000000001").expect("it is an origin");
    vec![
        Frame::Hello {
            region: region.clone(),
            protocol_min: 6,
            protocol_max: 6,
            place: "host:/a".to_owned(),
        },
        Frame::Welcome { region, protocol: 6 },
        Frame::Refuse { reason: "no".to_owned(), elsewhere: true },
        Frame::Batch { session: 1, number: 2, origin, records: vec![0; 40], prompt: true },
        Frame::Consult { number: 1, question: vec![1, 2, 3] },
    ]
}

fn event(operation: Operation, data: Value) -> Event {
    let origin = Origin::parse("a.0000000000000001").expect("it is an origin");
    Event {
        dot: Dot::new(origin.clone(), 1),
        hlc: Hlc::from_milliseconds(1_700_000_000_000),
        deps: Vector::parse("b.0000000000000002:5").unwrap_or_default(),
        transaction: Transaction::single(1),
        key: Key::new("default", "A", "1"),
        event_type: "T".into(),
        operation,
        data,
        ctx: Some([Dot::new(origin, 1)].into()),
        identity: Identity { event_id: Arc::from("e-1"), place: 0 },
        version: 1,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras { actor: Some("ann".into()), ..Extras::default() },
    }
}
