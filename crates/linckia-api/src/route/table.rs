//! The table: every resource that is built, with what it takes and what it answers.
//!
//! The first half of the table of `route`, the busiest entry first. What always holds: a handler
//! reads only parameters that stand here, so that the document and the door cannot part.

use super::{Body, Call, Parameter, Reply, Route, Verb};
use crate::media::{
    BACKUP, BATCH, CLOUD_EVENT, EVENT_STREAM, JSON, MARKDOWN, MERGE_PATCH, NDJSON, TEXT,
};
use crate::problem::Kind;

const LIMIT: Parameter = Parameter::new("limit", "integer", "Items of a page, 1 to 1000; 100.");
const CURSOR: Parameter = Parameter::new("cursor", "string", "The `next` of the page before.");
const BY_TYPE: Parameter = Parameter::new("aggregateType", "string", "Only this aggregate type.");
const BY_ID: Parameter = Parameter::new("aggregateId", "string", "Only this aggregate.");
const AT: Parameter = Parameter::new("at", "string", "As it was at a time, or at a vector.");
const STATES: &str = "Only those that are `returned`, `admitted` or `discarded`.";
const LIST_AT: Parameter = Parameter::new("at", "string", "A moment in the past: not built.");

const ACK: Parameter = Parameter::new(
    "Linckia-Ack",
    "string",
    "Where it must be durable: `local` (the default), `any`, `quorum`, `all` or region names \
     joined by commas; `;timeout=2s` behind it (5s).",
);
const KEY: Parameter = Parameter::new(
    "Idempotency-Key",
    "string",
    "The event's id where the body names none; with one event only.",
);
const IF_MATCH: Parameter =
    Parameter::new("If-Match", "string", "An entity tag or `*`: only if it still holds.");
const IF_NONE_MATCH: Parameter =
    Parameter::new("If-None-Match", "string", "`*`: only if there is none yet.");
const IF_CHANGED: Parameter =
    Parameter::new("If-None-Match", "string", "An entity tag: 304 if it still holds.");
const LAST_EVENT_ID: Parameter =
    Parameter::new("Last-Event-ID", "string", "Goes on behind this `id` of a stream.");
const TRACE: Parameter = Parameter::new("traceparent", "string", "W3C trace context.");

const SESSION: Parameter = Parameter::new(
    "Linckia-Session",
    "string",
    "The token of what the client has seen; empty: asks for one. Comes back with the answer.",
);
const BEHIND: Parameter = Parameter::new(
    "Linckia-Behind",
    "string",
    "Where this region has not applied what the client has seen: `wait=500ms` (1s), `forward`, \
     `stale` (reads) or `fail`.",
);

const WRITE: &[Parameter] = &[ACK, KEY, TRACE, SESSION, BEHIND];
const GUARDED_WRITE: &[Parameter] = &[ACK, KEY, TRACE, SESSION, BEHIND, IF_MATCH, IF_NONE_MATCH];
const READ: &[Parameter] = &[SESSION, BEHIND];

const EVENT_PROBLEMS: &[Kind] = &[
    Kind::InvalidEvent,
    Kind::IdReused,
    Kind::PayloadTooLarge,
    Kind::UnsupportedMediaType,
    Kind::Unsupported,
    Kind::LogFull,
    Kind::DiskFull,
    Kind::AckTimeout,
    Kind::Behind,
];
const GUARDED_PROBLEMS: &[Kind] = &[
    Kind::InvalidEvent,
    Kind::NotFound,
    Kind::IdReused,
    Kind::VersionConflict,
    Kind::PayloadTooLarge,
    Kind::UnsupportedMediaType,
    Kind::Unsupported,
    Kind::LogFull,
    Kind::DiskFull,
    Kind::AckTimeout,
    Kind::Behind,
];
const READ_PROBLEMS: &[Kind] = &[Kind::Unsupported];
const STATE_PROBLEMS: &[Kind] = &[
    Kind::NotFound,
    Kind::PositionExpired,
    Kind::VersionConflict,
    Kind::Unsupported,
    Kind::Behind,
];
const LIST_PROBLEMS: &[Kind] = &[Kind::PositionExpired, Kind::Unsupported, Kind::Behind];

const LEASE_PROBLEMS: &[Kind] =
    &[Kind::LeaseLost, Kind::PayloadTooLarge, Kind::UnsupportedMediaType];

const fn body(media: &'static str, schema: &'static str) -> Body {
    Body { media, schema }
}

const fn reply(
    status: u16,
    media: &'static str,
    schema: &'static str,
    text: &'static str,
) -> Reply {
    Reply { status, text, media, schema }
}

const EVENT_BODIES: &[Body] = &[
    body(JSON, "NewEventOrEvents"),
    body(NDJSON, "NewEvent"),
    body(CLOUD_EVENT, "NewCloudEvent"),
    body(BATCH, "NewCloudEvents"),
];
const ONE_EVENT_BODIES: &[Body] =
    &[body(JSON, "NewEventOfAggregate"), body(CLOUD_EVENT, "NewCloudEvent")];

const EVENT_REPLIES: &[Reply] = &[
    reply(201, JSON, "AnswerOrAnswers", "Written; of an array at least one was."),
    reply(200, JSON, "AnswerOrAnswers", "It was written before, all of it."),
    reply(200, NDJSON, "LineAnswer", "For NDJSON: an answer for each line, in order."),
    reply(207, JSON, "MixedAnswers", "Some events of an array were refused."),
];
const WRITTEN: &[Reply] = &[
    reply(201, JSON, "Answer", "Written, and created by it."),
    reply(200, JSON, "Answer", "Written, or it was before."),
];
const EVENT_PAGE: &[Reply] = &[
    reply(200, JSON, "EventPage", "A page."),
    reply(200, NDJSON, "Event", "The page's events, a line each; `Link` names the next page."),
    reply(200, BATCH, "CloudEvents", "The page as CloudEvents; `Link` names the next page."),
];
const EVENT_PAGE_OR_STREAM: &[Reply] = &[
    EVENT_PAGE[0],
    EVENT_PAGE[1],
    EVENT_PAGE[2],
    reply(200, EVENT_STREAM, "Event", "What was, then what happens, as it happens."),
];

use Verb::{Delete, Get, Patch, Post, Put};

const EVENTS: &str = "/v1/events";
const AGGREGATE: &str = "/v1/aggregates/{aggregateType}/{aggregateId}";
const HISTORY: &str = "/v1/aggregates/{aggregateType}/{aggregateId}/events";

pub(crate) static BUILT: &[Route] = &[
    Route::new(Post, EVENTS, Call::AppendEvents, "appendEvents", "Write events")
        .in_data_sets()
        .query(&[Parameter::new("atomic", "boolean", "All or nothing; not with NDJSON.")])
        .headers(WRITE)
        .bodies(EVENT_BODIES)
        .replies(EVENT_REPLIES)
        .problems(EVENT_PROBLEMS),
    Route::new(Get, EVENTS, Call::ReadEvents, "readEvents", "The logs as applied here")
        .in_data_sets()
        .query(&[
            Parameter::new("after", "string", "Behind this vector; `now`; absent: from the start."),
            LIMIT,
            Parameter::new("type", "string", "Only this event type."),
            BY_TYPE,
            BY_ID,
            Parameter::new("region", "string", "Only events born in this region."),
            Parameter::new("pattern", "string", "An EventBridge pattern: not built."),
        ])
        .headers(&[LAST_EVENT_ID, SESSION, BEHIND])
        .replies(EVENT_PAGE_OR_STREAM)
        .problems(LIST_PROBLEMS),
    Route::new(Get, AGGREGATE, Call::GetAggregate, "getAggregate", "An aggregate as it holds here")
        .in_data_sets()
        .query(&[AT])
        .headers(&[IF_CHANGED, IF_MATCH, SESSION, BEHIND])
        .replies(&[
            reply(200, JSON, "Aggregate", "The aggregate."),
            reply(304, "", "", "The entity tag still holds."),
        ])
        .problems(STATE_PROBLEMS),
    Route::new(Put, AGGREGATE, Call::PutAggregate, "putAggregate", "Replace the document")
        .in_data_sets()
        .headers(GUARDED_WRITE)
        .bodies(&[body(JSON, "Document")])
        .replies(WRITTEN)
        .problems(GUARDED_PROBLEMS),
    Route::new(Patch, AGGREGATE, Call::PatchAggregate, "patchAggregate", "Merge into the document")
        .in_data_sets()
        .headers(GUARDED_WRITE)
        .bodies(&[body(MERGE_PATCH, "Document"), body(JSON, "Document")])
        .replies(WRITTEN)
        .problems(GUARDED_PROBLEMS),
    Route::new(Delete, AGGREGATE, Call::DeleteAggregate, "deleteAggregate", "Delete the aggregate")
        .in_data_sets()
        .headers(&[ACK, KEY, TRACE, SESSION, BEHIND, IF_MATCH])
        .replies(&[reply(200, JSON, "Answer", "Deleted.")])
        .problems(GUARDED_PROBLEMS),
    Route::new(Get, HISTORY, Call::History, "readHistory", "An aggregate's events in order")
        .in_data_sets()
        .query(&[
            LIMIT,
            CURSOR,
            Parameter::new("direction", "string", "`forward` (oldest first) or `backward`."),
        ])
        .headers(READ)
        .replies(EVENT_PAGE)
        .problems(LIST_PROBLEMS),
    Route::new(Post, HISTORY, Call::AppendToAggregate, "appendToAggregate", "Write one event")
        .in_data_sets()
        .headers(GUARDED_WRITE)
        .bodies(ONE_EVENT_BODIES)
        .replies(&[
            reply(201, JSON, "Answer", "Written."),
            reply(200, JSON, "Answer", "It was written before."),
        ])
        .problems(GUARDED_PROBLEMS),
    Route::new(
        Get,
        "/v1/aggregates/{aggregateType}",
        Call::ListAggregates,
        "listAggregates",
        "Aggregates of a type, by id",
    )
    .in_data_sets()
    .query(&[
        LIMIT,
        CURSOR,
        Parameter::new("prefix", "string", "Only ids that begin with it."),
        LIST_AT,
    ])
    .headers(READ)
    .replies(&[reply(200, JSON, "AggregatePage", "A page.")])
    .problems(LIST_PROBLEMS),
    Route::new(Get, "/v1/conflicts", Call::Conflicts, "listConflicts", "Conflicts on record")
        .in_data_sets()
        .query(&[
            Parameter::new("status", "string", "`open` or `settled`; absent: both."),
            BY_TYPE,
            BY_ID,
            LIMIT,
            CURSOR,
        ])
        .headers(READ)
        .replies(&[reply(200, JSON, "ConflictPage", "A page.")])
        .problems(LIST_PROBLEMS),
    Route::new(Get, "/v1/conflicts/{id}", Call::Conflict, "getConflict", "One conflict on record")
        .in_data_sets()
        .headers(READ)
        .replies(&[reply(200, JSON, "Conflict", "The record.")])
        .problems(&[Kind::NotFound, Kind::Unsupported]),
    Route::new(
        Post,
        "/v1/conflicts/{id}/resolve",
        Call::ResolveConflict,
        "resolveConflict",
        "Flip or settle a conflict",
    )
    .in_data_sets()
    .headers(WRITE)
    .bodies(&[body(JSON, "Resolve")])
    .replies(&[
        reply(201, JSON, "Answer", "The event that settles it."),
        reply(200, JSON, "Answer", "It was written before."),
    ])
    .problems(GUARDED_PROBLEMS),
    Route::new(Get, "/v1/policies", Call::Policies, "listPolicies", "Policies by aggregate type")
        .in_data_sets()
        .replies(&[reply(200, JSON, "Policies", "Those that were agreed.")]),
    Route::new(
        Get,
        "/v1/policies/{aggregateType}",
        Call::GetPolicy,
        "getPolicy",
        "A type's policy",
    )
    .in_data_sets()
    .replies(&[reply(200, JSON, "Policy", "What holds; epoch 0 is the default.")]),
    Route::new(
        Put,
        "/v1/policies/{aggregateType}",
        Call::PutPolicy,
        "putPolicy",
        "Set a type's policy",
    )
    .in_data_sets()
    .bodies(&[body(JSON, "NewPolicy")])
    .replies(&[reply(200, JSON, "Policy", "It holds: its epoch is open.")])
    .problems(&[
        Kind::VersionConflict,
        Kind::PayloadTooLarge,
        Kind::UnsupportedMediaType,
        Kind::RateLimited,
    ]),
    Route::new(
        Post,
        "/v1/policies/dry-run",
        Call::DryRunPolicy,
        "dryRunPolicy",
        "Another policy on recorded history",
    )
    .in_data_sets()
    .query(&[LIMIT])
    .bodies(&[body(JSON, "Trial")])
    .replies(&[reply(200, JSON, "DryRun", "What would have come out otherwise.")])
    .problems(&[Kind::PayloadTooLarge, Kind::UnsupportedMediaType]),
    Route::new(Post, "/v1/undo", Call::Undo, "undo", "Compensate what events still show")
        .in_data_sets()
        .query(&[LIMIT, CURSOR])
        .headers(WRITE)
        .bodies(&[body(JSON, "Undo")])
        .replies(&[reply(200, JSON, "Undone", "What was written, or would be, by aggregate.")])
        .problems(GUARDED_PROBLEMS),
    Route::new(Get, "/v1/regions", Call::Regions, "listRegions", "The fleet as seen from here")
        .replies(&[reply(200, JSON, "Regions", "All regions.")]),
    Route::new(
        Post,
        "/v1/regions/{name}/lapse",
        Call::LapseRegion,
        "lapseRegion",
        "Wait for a region no more",
    )
    .bodies(&[body(JSON, "Lapse")])
    .replies(&[reply(200, JSON, "Lapsed", "The others close its log; it may come back.")])
    .problems(&[
        Kind::NotFound,
        Kind::PayloadTooLarge,
        Kind::UnsupportedMediaType,
        Kind::RateLimited,
    ]),
    Route::new(
        Get,
        "/v1/returned",
        Call::Returned,
        "listReturned",
        "Events that regions brought back from beyond the ends of closed logs",
    )
    .query(&[LIMIT, CURSOR, Parameter::new("state", "string", STATES)])
    .headers(READ)
    .replies(&[reply(200, JSON, "ReturnedPage", "A page.")])
    .problems(LIST_PROBLEMS),
    Route::new(
        Post,
        "/v1/returned",
        Call::DecideReturned,
        "decideReturned",
        "Write returned events again, or leave them",
    )
    .query(&[LIMIT, CURSOR])
    .headers(WRITE)
    .bodies(&[body(JSON, "ReturnDecision")])
    .replies(&[reply(200, JSON, "ReturnsDecided", "What was written, or would be.")])
    .problems(GUARDED_PROBLEMS),
    Route::new(Get, "/v1/links", Call::Links, "listLinks", "This region's links")
        .replies(&[reply(200, JSON, "Links", "All links, both directions.")]),
    Route::new(Get, "/v1/digests", Call::Digests, "getDigests", "Digests of the state, by range")
        .replies(&[reply(200, JSON, "Digests", "Taken at exactly that vector.")])
        .problems(READ_PROBLEMS),
    Route::new(Get, "/v1/backup", Call::Backup, "backup", "State and logs, for `linckia backup`")
        .query(&[Parameter::new(
            "after",
            "string",
            "Only what the logs have behind this vector; absent: the state, and all of the logs.",
        )])
        .replies(&[reply(200, BACKUP, "", "Frames; without the last one it is not whole.")])
        .problems(&[Kind::InvalidParameter, Kind::PositionExpired, Kind::Behind]),
    Route::new(Get, "/v1/repairs", Call::Repairs, "listRepairs", "What comparing has found")
        .replies(&[reply(200, JSON, "Repairs", "The latest, and where it stands.")]),
    Route::new(Post, "/v1/repairs", Call::Repair, "repair", "Compare with the other regions now")
        .bodies(&[body(JSON, "RepairOrder")])
        .replies(&[reply(202, JSON, "Repairs", "It has begun; this resource shows how far.")])
        .problems(&[Kind::PayloadTooLarge, Kind::UnsupportedMediaType]),
    Route::new(Get, "/v1/acks/{dot}", Call::Acks, "getAck", "Where an event is durable")
        .in_data_sets()
        .replies(&[reply(200, JSON, "Holders", "As far as is known here.")])
        .problems(&[Kind::InvalidParameter, Kind::NotFound, Kind::Unsupported]),
    Route::new(Get, "/v1/vector", Call::Vector, "getVector", "What is applied here")
        .replies(&[reply(200, JSON, "VectorNow", "The applied vector.")])
        .problems(READ_PROBLEMS),
    Route::new(Post, "/v1/vector/wait", Call::VectorWait, "waitForVector", "Wait for a vector")
        .bodies(&[body(JSON, "VectorWait")])
        .replies(&[reply(200, JSON, "VectorNow", "It is covered.")])
        .problems(&[Kind::Behind, Kind::PayloadTooLarge, Kind::UnsupportedMediaType]),
    Route::new(Post, "/v1/locks/{name}/acquire", Call::AcquireLock, "acquireLock", "Take a lease")
        .bodies(&[body(JSON, "AcquireLock")])
        .replies(&[reply(200, JSON, "Lease", "It is the owner's.")])
        .problems(&[
            Kind::LockHeld,
            Kind::PayloadTooLarge,
            Kind::UnsupportedMediaType,
            Kind::RateLimited,
        ]),
    Route::new(Post, "/v1/locks/{name}/renew", Call::RenewLock, "renewLock", "Keep a lease")
        .bodies(&[body(JSON, "RenewLock")])
        .replies(&[reply(200, JSON, "Lease", "Its time begins anew.")])
        .problems(LEASE_PROBLEMS),
    Route::new(
        Post,
        "/v1/locks/{name}/release",
        Call::ReleaseLock,
        "releaseLock",
        "Give a lease back",
    )
    .bodies(&[body(JSON, "ReleaseLock")])
    .replies(&[reply(200, JSON, "Released", "Anybody may take it.")])
    .problems(LEASE_PROBLEMS),
    Route::new(Get, "/livez", Call::Live, "live", "The process answers")
        .replies(&[reply(200, JSON, "Health", "It does.")]),
    Route::new(Get, "/readyz", Call::Ready, "ready", "The region takes writes")
        .replies(&[reply(200, JSON, "Health", "It does.")]),
    Route::new(Get, "/metrics", Call::Metrics, "metrics", "Metrics for Prometheus")
        .replies(&[reply(200, TEXT, "", "Prometheus text.")]),
    Route::new(Get, "/openapi.json", Call::OpenApi, "openapi", "This description")
        .replies(&[reply(200, JSON, "OpenApi", "OpenAPI 3.1.")]),
    Route::new(Get, "/problems/{name}", Call::ProblemPage, "problem", "What a problem type means")
        .replies(&[reply(200, MARKDOWN, "", "Its page.")])
        .problems(&[Kind::NotFound]),
    Route::new(Get, "/", Call::Root, "root", "Where to begin")
        .replies(&[reply(200, JSON, "Root", "Links.")]),
];
