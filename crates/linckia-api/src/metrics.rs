//! What the door tells of itself: requests by route and status, and how long they took.
//!
//! Counted at the end of every request. What always holds: handles are made once for each route and
//! status, so that counting allocates nothing; a route is its template, never a client's path.

use std::sync::OnceLock;

use metrics::{Counter, Histogram};

use crate::route::{Route, routes};

const REQUESTS: &str = "linckia_api_requests_total";
const BEHIND: &str = "linckia_api_sessions_behind_total";
const SECONDS: &str = "linckia_api_request_seconds";

/// Statuses that this door answers; any other counts as the last.
const STATUSES: [u16; 23] = [
    200, 201, 207, 304, 400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 429, 451, 500, 501, 503,
    504, 408, 431, 0,
];

struct Handles {
    route: String,
    requests: [OnceLock<Counter>; STATUSES.len()],
    seconds: OnceLock<Histogram>,
}

impl Handles {
    fn new(route: String) -> Self {
        Self { route, requests: [const { OnceLock::new() }; _], seconds: OnceLock::new() }
    }
}

/// Handles of all routes, and one more for requests that found none.
pub(crate) struct Metrics {
    handles: Vec<Handles>,
    behind: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!(REQUESTS, "Requests answered, by route and status.");
        metrics::describe_histogram!(SECONDS, "Seconds from a request's head to its answer's.");
        let name = |route: &Route| format!("{} {}", route.verb.name(), route.path);
        let names = routes().map(name).chain(["none".to_owned()]);
        metrics::describe_counter!(BEHIND, "Requests refused: their session saw what lacks here.");
        Self { handles: names.map(Handles::new).collect(), behind: metrics::counter!(BEHIND) }
    }

    /// Counts a session that was refused.
    pub(crate) fn behind(&self) {
        self.behind.increment(1);
    }

    /// Counts a request; no index stands for a path that is none.
    pub(crate) fn count(&self, route: Option<usize>, status: u16, seconds: f64) {
        let index = route.unwrap_or(self.handles.len() - 1);
        let Some(handles) = self.handles.get(index) else { return };
        let place = STATUSES.iter().position(|known| *known == status);
        let place = place.unwrap_or(STATUSES.len() - 1);
        let requests = handles.requests[place].get_or_init(|| {
            let status = STATUSES[place].to_string();
            metrics::counter!(REQUESTS, "route" => handles.route.clone(), "status" => status)
        });
        requests.increment(1);
        let seconds_of = handles
            .seconds
            .get_or_init(|| metrics::histogram!(SECONDS, "route" => handles.route.clone()));
        seconds_of.record(seconds);
    }
}
