//! What `api.md` lists and this region does not do yet: known paths that answer 501.
//!
//! The second half of the table of `route`. What always holds: a client learns the difference
//! between what will come and what never was.

use super::{Call, Route, Verb};
use crate::problem::Kind;

const fn unbuilt(verb: Verb, path: &'static str, id: &'static str, what: &'static str) -> Route {
    Route::new(verb, path, Call::Unbuilt, id, what).problems(&[Kind::Unsupported])
}

use Verb::{Delete, Get, Post, Put};

pub(crate) static UNBUILT: &[Route] = &[
    unbuilt(Get, "/v1/dead-letters", "listDeadLetters", "Events set aside").in_data_sets(),
    unbuilt(Post, "/v1/dead-letters/retry", "retryDeadLetters", "Retry many").in_data_sets(),
    unbuilt(Post, "/v1/dead-letters/{id}/retry", "retryDeadLetter", "Retry one").in_data_sets(),
    unbuilt(Delete, "/v1/dead-letters/{id}", "deleteDeadLetter", "Discard one").in_data_sets(),
    unbuilt(Post, "/v1/replays", "startReplay", "Apply again").in_data_sets(),
    unbuilt(Get, "/v1/replays/{id}", "getReplay", "A replay's progress").in_data_sets(),
    unbuilt(Delete, "/v1/replays/{id}", "stopReplay", "Stop a replay").in_data_sets(),
    unbuilt(Post, "/v1/subscriptions", "createSubscription", "Subscribe").in_data_sets(),
    unbuilt(Get, "/v1/subscriptions", "listSubscriptions", "Subscriptions").in_data_sets(),
    unbuilt(Get, "/v1/subscriptions/{name}", "getSubscription", "One").in_data_sets(),
    unbuilt(Put, "/v1/subscriptions/{name}", "putSubscription", "Change one").in_data_sets(),
    unbuilt(Delete, "/v1/subscriptions/{name}", "deleteSubscription", "End one").in_data_sets(),
    unbuilt(Post, "/v1/subscriptions/{name}/{action}", "actOnSubscription", "Pause, seek, pull …")
        .in_data_sets(),
    unbuilt(Post, "/v1/patterns/test", "testPattern", "Why an event does or does not match"),
    unbuilt(Get, "/v1/health-checks", "listHealthChecks", "Probes and their verdicts"),
    unbuilt(Post, "/v1/regions/{region}/drain", "drainRegion", "Move traffic away"),
    unbuilt(Post, "/v1/regions/{region}/undrain", "undrainRegion", "Let traffic come back"),
    unbuilt(Get, "/v1/routing-controls", "getRoutingControls", "Traffic by hand"),
    unbuilt(Put, "/v1/routing-controls", "putRoutingControls", "Set traffic by hand"),
    unbuilt(Get, "/v1/drills", "listDrills", "Rehearsed failures"),
    unbuilt(Post, "/v1/drills", "startDrill", "Rehearse a failure"),
    unbuilt(Get, "/v1/audit", "readAudit", "Who did what"),
];
