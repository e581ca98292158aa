//! One request as its resource sees it: matched, admitted, its query read, its body still outside.
//!
//! Made by `service`, taken by every resource. What always holds: whoever gets one may answer it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use hyper::body::Body;
use linckia_apply::{Found, Query, Reading};
use linckia_model::{Ack, Key, Vector};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::{self, RequestBody};
use super::respond::Answered;
use super::service::House;
use super::sessions::Seen;
use crate::event::{Context, Members, check, explain};
use crate::media::{self, Form};
use crate::port::Region;
use crate::problem::{Outcome, Problem};
use crate::query::QueryString;
use crate::route::Matched;

pub(super) struct Asked<'a, R> {
    pub(super) house: &'a Arc<House<R>>,
    pub(super) parts: &'a Parts,
    pub(super) matched: Matched<'a>,
    pub(super) query: QueryString<'a>,
    pub(super) actor: Option<&'a str>,
    pub(super) ack: Ack,
    /// The client carries a session.
    pub(super) in_session: bool,
    pub(super) body: &'a mut Option<RequestBody>,
}

impl<'a, R: Region> Asked<'a, R> {
    pub(super) fn headers(&self) -> &'a HeaderMap {
        &self.parts.headers
    }

    pub(super) fn region(&self) -> &R {
        &self.house.region
    }

    /// The data set of the path. Errors: 400 for a name that is none.
    pub(super) fn data_set(&self) -> Outcome<Arc<str>> {
        match &self.matched.data_set {
            None => Ok(Arc::clone(&self.house.data_set)),
            Some(name) => self.checked("data set", name).map(Arc::from),
        }
    }

    /// The aggregate type of the path. Errors: 400.
    pub(super) fn aggregate_type(&self) -> Outcome<&str> {
        self.checked("aggregate type", &self.matched.segments[0])
    }

    /// The aggregate of the path. Errors: 400.
    pub(super) fn key(&self) -> Outcome<Key> {
        let aggregate_type = self.aggregate_type()?.into();
        let aggregate_id = self.checked("aggregate id", &self.matched.segments[1])?.into();
        Ok(Key { data_set: self.data_set()?, aggregate_type, aggregate_id })
    }

    /// A parameter that is a name. Errors: 400.
    pub(super) fn name(&self, parameter: &'static str) -> Outcome<Option<String>> {
        let name = self.query.get(parameter);
        name.map(|name| self.checked(parameter, name).map(str::to_owned)).transpose()
    }

    /// The lock of the path. Errors: 400.
    pub(super) fn lock_name(&self) -> Outcome<String> {
        self.checked("lock", &self.matched.segments[0]).map(str::to_owned)
    }

    pub(super) fn checked<'n>(&self, what: &str, name: &'n str) -> Outcome<&'n str> {
        match check::check_name(name, &self.house.settings.limits) {
            Ok(()) => Ok(name),
            Err(detail) => Err(Problem::parameter(format!("the {what}: {detail}"))),
        }
    }

    /// What all events of this request share.
    pub(super) fn context<'c>(
        &'c self,
        data_set: &'c Arc<str>,
        traceparent: Option<&'c str>,
    ) -> Context<'c> {
        Context {
            limits: &self.house.settings.limits,
            data_set,
            aggregate: None,
            actor: self.actor,
            traceparent,
        }
    }

    /// Notes for the session what an answer shows, where that is less than all that is applied.
    pub(super) fn showing(&self, mut response: Answered, seen: impl FnOnce() -> Seen) -> Answered {
        if self.in_session {
            response.extensions_mut().insert(seen());
        }
        response
    }

    /// The body, whole. Errors: 413, 400.
    pub(super) async fn read_body(&mut self) -> Outcome<Bytes> {
        let bytes_max = self.house.settings.limits.body_bytes;
        match self.body.as_mut() {
            Some(incoming) => body::read(incoming, bytes_max).await,
            None => Ok(Bytes::new()),
        }
    }

    /// The body as JSON of that shape, an example of which `shape` is. Errors: 415, 413, 400.
    pub(super) async fn read_json<T: DeserializeOwned>(&mut self, shape: &str) -> Outcome<T> {
        media::form(self.headers(), &[Form::Json])?;
        let body = self.read_body().await?;
        let Members(value) = serde_json::from_slice::<Members<T>>(&body).map_err(|error| {
            if error.is_data() {
                Problem::parameter(format!("`{shape}` is expected: {error}"))
            } else {
                explain::not_json(&error)
            }
        })?;
        Ok(value)
    }

    /// The body as JSON of any shape. Errors: 415, 413, 400.
    pub(super) async fn read_value(&mut self) -> Outcome<Value> {
        media::form(self.headers(), &[Form::Json])?;
        let body = self.read_body().await?;
        serde_json::from_slice(&body).map_err(|error| explain::not_json(&error))
    }

    /// Refuses a body where none has a meaning. Errors: 400.
    pub(super) fn no_body(&self) -> Outcome<()> {
        match &*self.body {
            Some(body) if !body.is_end_stream() => {
                Err(Problem::parameter("this call takes no body; leave it away"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a look into the past. Errors: 501.
    pub(super) fn now_only(&self) -> Outcome<()> {
        match self.query.get("at") {
            None => Ok(()),
            Some(_) => {
                let detail = "`at` is built for one aggregate only: a list answers what holds now";
                Err(Problem::unsupported(detail))
            }
        }
    }

    /// Asks the region. Errors: 503.
    pub(super) async fn read(&self, query: Query) -> Outcome<(Vector, Found)> {
        let Reading { vector, found } = self.region().read(query).await?;
        Ok((vector, found))
    }
}
