//! The JSON schemas of what comes in and goes out, as `/openapi.json` gives them.
//!
//! Beside `render` and `event`, which say the same in code; the integration tests hold the door's
//! real answers against these. What always holds: every name that the table uses stands here.

use serde_json::{Map, Value};

/// Name and JSON text.
const SCHEMAS: &[(&str, &str)] = &[
    ("Problem", include_str!("schema/problem.json")),
    ("NewEvent", include_str!("schema/new_event.json")),
    (
        "NewEventOrEvents",
        r##"{"oneOf":[{"$ref":"#/components/schemas/NewEvent"},
            {"type":"array","maxItems":10000,"items":{"$ref":"#/components/schemas/NewEvent"}}]}"##,
    ),
    ("NewEventOfAggregate", include_str!("schema/new_event_of_aggregate.json")),
    ("NewCloudEvent", include_str!("schema/new_cloud_event.json")),
    (
        "NewCloudEvents",
        r##"{"type":"array","maxItems":10000,
            "items":{"$ref":"#/components/schemas/NewCloudEvent"}}"##,
    ),
    ("Document", r#"{"type":"object","description":"A document, or an RFC 7396 merge patch."}"#),
    ("Answer", include_str!("schema/answer.json")),
    (
        "AnswerOrAnswers",
        r##"{"oneOf":[{"$ref":"#/components/schemas/Answer"},
            {"type":"array","items":{"$ref":"#/components/schemas/Answer"}}]}"##,
    ),
    (
        "MixedAnswers",
        r##"{"type":"array","items":{"oneOf":[{"$ref":"#/components/schemas/Answer"},
            {"$ref":"#/components/schemas/Problem"}]}}"##,
    ),
    ("LineAnswer", include_str!("schema/line_answer.json")),
    ("Event", include_str!("schema/event.json")),
    (
        "EventPage",
        r##"{"type":"object","required":["items","next"],"additionalProperties":false,
        "properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/Event"}},
        "next":{"type":["string","null"]}}}"##,
    ),
    ("CloudEvents", r##"{"type":"array","items":{"$ref":"#/components/schemas/CloudEvent"}}"##),
    ("CloudEvent", include_str!("schema/cloud_event.json")),
    ("Aggregate", include_str!("schema/aggregate.json")),
    (
        "AggregatePage",
        r##"{"type":"object","required":["items","next"],
        "additionalProperties":false,
        "properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/Aggregate"}},
        "next":{"type":["string","null"]}}}"##,
    ),
    ("Conflict", include_str!("schema/conflict.json")),
    (
        "ConflictPage",
        r##"{"type":"object","required":["items","next"],
        "additionalProperties":false,
        "properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/Conflict"}},
        "next":{"type":["string","null"]}}}"##,
    ),
    (
        "Vector",
        r#"{"type":"object","description":"Per origin its highest gapless sequence.",
        "additionalProperties":{"type":"integer","minimum":1}}"#,
    ),
    (
        "Lag",
        r#"{"type":"object","description":"Per origin how far behind.",
        "additionalProperties":{"type":"object","required":["events","milliseconds"],
        "additionalProperties":false,
        "properties":{"events":{"type":"integer"},"milliseconds":{"type":"integer"}}}}"#,
    ),
    ("Regions", include_str!("schema/regions.json")),
    (
        "Lapsed",
        r##"{"type":"object","additionalProperties":false,"required":["at","reason"],
            "properties":{"at":{"type":"string"},"reason":{"type":"string"}}}"##,
    ),
    (
        "Lapse",
        r##"{"type":"object","additionalProperties":false,"properties":{
            "reason":{"type":"string","minLength":1,"maxLength":500}}}"##,
    ),
    ("Repairs", include_str!("schema/repairs.json")),
    ("RepairOrder", include_str!("schema/repair_order.json")),
    ("Links", include_str!("schema/links.json")),
    ("Holders", include_str!("schema/holders.json")),
    ("Digests", include_str!("schema/digests.json")),
    (
        "VectorNow",
        r##"{"type":"object","required":["region","vector","text"],
        "additionalProperties":false,
        "properties":{"region":{"type":"string"},
        "vector":{"$ref":"#/components/schemas/Vector"},"text":{"type":"string"}}}"##,
    ),
    (
        "VectorWait",
        r##"{"type":"object","required":["vector"],"additionalProperties":false,
        "properties":{"vector":{"oneOf":[{"$ref":"#/components/schemas/Vector"},
        {"type":"string"}]},"timeout":{"type":"string","default":"1s"}}}"##,
    ),
    ("NewPolicy", include_str!("schema/new_policy.json")),
    ("Policy", include_str!("schema/policy.json")),
    (
        "Policies",
        r##"{"type":"object","required":["items","next"],"additionalProperties":false,
        "properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/Policy"}},
        "next":{"type":["string","null"]}}}"##,
    ),
    (
        "Resolve",
        r#"{"type":"object","additionalProperties":false,"description":"Either of the two.",
        "properties":{"choose":{"type":"string","description":"An event of the conflict."},
        "data":{"type":"object","description":"What shall be: a document or a merge patch."}}}"#,
    ),
    ("Trial", include_str!("schema/trial.json")),
    ("DryRun", include_str!("schema/dry_run.json")),
    (
        "ReturnedPage",
        r##"{"type":"object","required":["items","next"],"additionalProperties":false,
        "properties":{"items":{"type":"array","items":{"type":"object",
        "required":["state","dot","dataSet","transaction","event"],
        "properties":{"state":{"enum":["returned","admitted","discarded"]},
        "dot":{"type":"string"},"dataSet":{"type":"string"},"transaction":{"type":"integer"},
        "admitted":{"$ref":"#/components/schemas/ReturnNote"},
        "discarded":{"$ref":"#/components/schemas/ReturnNote"},
        "event":{"$ref":"#/components/schemas/Event"}}}},
        "next":{"type":["string","null"]}}}"##,
    ),
    (
        "ReturnNote",
        r#"{"type":"object","required":["note"],"description":"Who said so, and in which event.",
        "properties":{"note":{"type":"string"},"by":{"type":"string"}}}"#,
    ),
    ("ReturnDecision", include_str!("schema/return_decision.json")),
    ("ReturnsDecided", include_str!("schema/returns_decided.json")),
    ("Undo", include_str!("schema/undo.json")),
    ("Undone", include_str!("schema/undone.json")),
    ("AcquireLock", include_str!("schema/acquire_lock.json")),
    (
        "RenewLock",
        r#"{"type":"object","required":["owner","fence"],"additionalProperties":false,
        "properties":{"owner":{"type":"string"},"fence":{"type":"integer","minimum":1},
        "ttl":{"type":"string","description":"Another time; absent: as it was acquired."}}}"#,
    ),
    (
        "ReleaseLock",
        r#"{"type":"object","required":["owner","fence"],"additionalProperties":false,
        "properties":{"owner":{"type":"string"},"fence":{"type":"integer","minimum":1}}}"#,
    ),
    (
        "Lease",
        r#"{"type":"object","required":["name","owner","fence","expiresAt"],
        "additionalProperties":false,"properties":{"name":{"type":"string"},
        "owner":{"type":"string"},"fence":{"type":"integer","minimum":1},
        "expiresAt":{"type":"string","format":"date-time"}}}"#,
    ),
    (
        "Released",
        r#"{"type":"object","required":["name","released"],"additionalProperties":false,
        "properties":{"name":{"type":"string"},"released":{"type":"boolean"}}}"#,
    ),
    (
        "Health",
        r#"{"type":"object","required":["status"],"additionalProperties":false,
        "properties":{"status":{"type":"string"}}}"#,
    ),
    ("OpenApi", r#"{"type":"object"}"#),
    (
        "Root",
        r#"{"type":"object","required":["product","region","version","openapi"],
        "properties":{"product":{"type":"string"},"region":{"type":"string"},
        "version":{"type":"string"},"openapi":{"type":"string"}}}"#,
    ),
];

/// All of them, parsed.
pub(crate) fn all() -> Map<String, Value> {
    let parse = |text: &str| serde_json::from_str(text).expect("a schema of this crate is JSON");
    SCHEMAS.iter().map(|(name, text)| ((*name).to_owned(), parse(text))).collect()
}
