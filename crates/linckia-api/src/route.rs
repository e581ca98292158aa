//! Which request means which call: one table that dispatches and that `/openapi.json` is made of.
//!
//! First in the flow of a request. What always holds: what is in `table` and `unbuilt` is served
//! and described, what is not is neither; of two templates that fit, the earlier one is meant.

pub(crate) mod table;
pub(crate) mod unbuilt;

use std::borrow::Cow;

use http::Method;

use crate::percent;
use crate::problem::{Kind, Outcome, Problem};

/// The prefix under which other data sets than `default` have the same resources.
const DATA_SETS: &str = "/v1/data-sets/";

/// The prefix that a resource of a data set has otherwise.
const VERSION: &str = "/v1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::PATCH => Some(Self::Patch),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    AppendEvents,
    ReadEvents,
    AppendToAggregate,
    History,
    GetAggregate,
    PutAggregate,
    PatchAggregate,
    DeleteAggregate,
    ListAggregates,
    Conflicts,
    Conflict,
    Regions,
    LapseRegion,
    Returned,
    DecideReturned,
    Links,
    Digests,
    Acks,
    Vector,
    VectorWait,
    ResolveConflict,
    Policies,
    GetPolicy,
    PutPolicy,
    DryRunPolicy,
    Undo,
    Backup,
    Repairs,
    Repair,
    AcquireLock,
    RenewLock,
    ReleaseLock,
    Live,
    Ready,
    Metrics,
    OpenApi,
    ProblemPage,
    Root,
    /// On the page, not built: 501.
    Unbuilt,
}

/// A parameter of a query, or a header, with its JSON type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) text: &'static str,
}

impl Parameter {
    pub(crate) const fn new(name: &'static str, kind: &'static str, text: &'static str) -> Self {
        Self { name, kind, text }
    }
}

/// A form in which a body comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) media: &'static str,
    pub(crate) schema: &'static str,
}

/// A successful answer; without a schema it has no JSON body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: &'static str,
    pub(crate) media: &'static str,
    pub(crate) schema: &'static str,
}

/// A method of a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// A template: `{…}` stands for a segment.
    pub(crate) path: &'static str,
    /// Also there for other data sets.
    pub(crate) data_sets: bool,
    pub(crate) call: Call,
    /// The `operationId`.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [Parameter],
    pub(crate) headers: &'static [Parameter],
    pub(crate) bodies: &'static [Body],
    pub(crate) replies: &'static [Reply],
    /// Beside those that every call can meet.
    pub(crate) problems: &'static [Kind],
}

impl Route {
    pub(crate) const fn new(
        verb: Verb,
        path: &'static str,
        call: Call,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            verb,
            path,
            data_sets: false,
            call,
            id,
            summary,
            query: &[],
            headers: &[],
            bodies: &[],
            replies: &[],
            problems: &[],
        }
    }

    pub(crate) const fn in_data_sets(mut self) -> Self {
        self.data_sets = true;
        self
    }

    pub(crate) const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    pub(crate) const fn headers(mut self, headers: &'static [Parameter]) -> Self {
        self.headers = headers;
        self
    }

    pub(crate) const fn bodies(mut self, bodies: &'static [Body]) -> Self {
        self.bodies = bodies;
        self
    }

    pub(crate) const fn replies(mut self, replies: &'static [Reply]) -> Self {
        self.replies = replies;
        self
    }

    pub(crate) const fn problems(mut self, problems: &'static [Kind]) -> Self {
        self.problems = problems;
        self
    }

    /// The path under `/v1/data-sets/{dataSet}`, for the resources that are there.
    pub(crate) fn path_in_data_set(&self) -> Option<&'static str> {
        self.path.strip_prefix(VERSION).filter(|_| self.data_sets)
    }
}

/// All methods of all resources, the busiest first.
pub(crate) fn routes() -> impl Iterator<Item = &'static Route> {
    table::BUILT.iter().chain(unbuilt::UNBUILT)
}

/// Verb and template of a route, by its place.
pub(crate) fn named(index: usize) -> Option<(&'static str, &'static str)> {
    routes().nth(index).map(|route| (route.verb.name(), route.path))
}

/// A request's place in the table.
#[derive(Debug)]
pub(crate) struct Matched<'a> {
    pub(crate) route: &'static Route,
    /// Its place among [`routes`].
    pub(crate) index: usize,
    /// Absent: the data set `default`.
    pub(crate) data_set: Option<Cow<'a, str>>,
    /// What stands for the template's segments, decoded.
    pub(crate) segments: [Cow<'a, str>; 2],
}

/// Finds what a request means. Errors: 404, 405 with what is allowed, 400 if a segment is broken.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Outcome<Matched<'a>> {
    let verb = Verb::of(method);
    let in_data_set = path
        .strip_prefix(DATA_SETS)
        .and_then(|rest| rest.find('/').map(|slash| rest.split_at(slash)));
    let mut allowed: Vec<&'static str> = Vec::new();
    for (index, route) in routes().enumerate() {
        let (template, path) = match in_data_set {
            Some((_, rest)) => match route.path_in_data_set() {
                Some(template) => (template, rest),
                None => continue,
            },
            None => (route.path, path),
        };
        let Some(raw) = fit(template, path) else { continue };
        if verb != Some(route.verb) {
            if !allowed.contains(&route.verb.name()) {
                allowed.push(route.verb.name());
            }
            continue;
        }
        let data_set = in_data_set.map(|(name, _)| segment(name)).transpose()?;
        let segments = [segment(raw[0])?, segment(raw[1])?];
        return Ok(Matched { route, index, data_set, segments });
    }
    if allowed.is_empty() {
        let detail = format!("there is no `{path}` here; /openapi.json lists what there is");
        return Err(Problem::new(Kind::NotFound, detail));
    }
    let allow = allowed.join(", ");
    let detail = format!("`{path}` takes {allow}, not {method}");
    let mut problem = Problem::new(Kind::MethodNotAllowed, detail);
    problem.allow = Some(allow);
    Err(problem)
}

/// What stands in the path for the template's `{…}`, if the path fits it.
fn fit<'a>(template: &str, path: &'a str) -> Option<[&'a str; 2]> {
    if template == path {
        return (!template.contains('{')).then_some(["", ""]);
    }
    if !template.contains('{') {
        return None;
    }
    let mut raw = ["", ""];
    let mut place = 0;
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let segment = segments.next()?;
        if wanted.starts_with('{') {
            *raw.get_mut(place)? = segment;
            place += 1;
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(raw)
}

fn segment(raw: &str) -> Outcome<Cow<'_, str>> {
    percent::decode(raw).ok_or_else(|| {
        Problem::parameter(format!("`{raw}` in the path is not percent-encoded UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, call: Call, data_set: Option<&str>, segments: [&str; 2]) {
        let found = find(&method, path).expect(path);
        assert_eq!(found.route.call, call);
        assert_eq!(found.data_set.as_deref(), data_set);
        assert_eq!([found.segments[0].as_ref(), found.segments[1].as_ref()], segments);
    }

    #[test]
    fn requests_find_their_call() {
        check(Method::POST, "/v1/events", Call::AppendEvents, None, ["", ""]);
        check(Method::GET, "/v1/data-sets/a%20b/events", Call::ReadEvents, Some("a b"), ["", ""]);
        check(Method::GET, "/v1/aggregates/T", Call::ListAggregates, None, ["T", ""]);
        check(Method::PUT, "/v1/aggregates/T/a%2Fb", Call::PutAggregate, None, ["T", "a/b"]);
        check(
            Method::POST,
            "/v1/data-sets/d/aggregates/T/+/events",
            Call::AppendToAggregate,
            Some("d"),
            ["T", "+"],
        );
        check(Method::GET, "/v1/policies/dry-run", Call::GetPolicy, None, ["dry-run", ""]);
        check(Method::POST, "/v1/policies/dry-run", Call::DryRunPolicy, None, ["", ""]);
        check(Method::GET, "/", Call::Root, None, ["", ""]);
    }

    #[test]
    fn everything_else_is_refused() {
        let check = |method: Method, path: &str, kind: Kind, allow: Option<&str>| {
            let problem = find(&method, path).expect_err(path);
            assert_eq!((problem.kind, problem.allow.as_deref()), (kind, allow), "{path}");
        };
        for path in ["", "/v1", "/v1/", "/v1/event", "/v1/events/", "/v2/events", "/v1/data-sets/x"]
        {
            check(Method::GET, path, Kind::NotFound, None);
        }
        check(Method::GET, "/v1/data-sets/d/regions", Kind::NotFound, None);
        check(Method::DELETE, "/v1/events", Kind::MethodNotAllowed, Some("POST, GET"));
        check(Method::OPTIONS, "/livez", Kind::MethodNotAllowed, Some("GET"));
        check(
            Method::POST,
            "/v1/aggregates/T/1",
            Kind::MethodNotAllowed,
            Some("GET, PUT, PATCH, DELETE"),
        );
        check(Method::GET, "/v1/aggregates/%ff/1", Kind::InvalidParameter, None);
    }

    #[test]
    fn every_entry_is_found_by_its_own_path() {
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for (index, route) in routes().enumerate() {
            assert!(ids.insert(route.id), "{} twice", route.id);
            assert!(places.insert((route.path, route.verb.name())), "{} twice", route.path);
            let method: Method = route.verb.name().parse().unwrap();
            let path = route.path.replace(['{', '}'], "");
            assert_eq!(find(&method, &path).expect(&path).index, index, "{path}");
            if let Some(rest) = route.path_in_data_set() {
                let path = format!("{DATA_SETS}d{}", rest.replace(['{', '}'], ""));
                assert_eq!(find(&method, &path).expect(&path).index, index, "{path}");
            }
        }
    }
}
