//! Requests that another region answers, because this one is behind their session.
//!
//! The whole request goes over the link between the regions and the whole answer comes back, its
//! session token too. What always holds: a forwarded request is not forwarded again; streams are
//! not forwarded.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use linckia_model::RegionName;

use super::asked::Asked;
use super::body::DoorBody;
use super::events;
use super::respond::Answered;
use crate::headers::BEHIND;
use crate::media::{self, Form};
use crate::port::{ForwardRequest, NotForwarded, Region};
use crate::problem::{Kind, Outcome, Problem};
use crate::route::Call;

/// What belongs to one connection, is made anew, or is for this door alone.
const OF_THE_CONNECTION: [HeaderName; 6] =
    [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING];

/// Headers that are forwarded: far more than any client sends, and within what a link takes.
const HEADERS_MAX: usize = 256;
const HEADER_NAME_BYTES_MAX: usize = 1_024;
const HEADER_BYTES_MAX: usize = 64 << 10;

/// The way there and back, and the wait there, beside the time that the write itself may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the other region does where it is behind as well: it is the nearest, so it waits.
const THERE: HeaderValue = HeaderValue::from_static("wait=1s");

/// Has `region` answer. Errors: 400 for a stream, 503.
pub(super) async fn to<R: Region>(
    mut asked: Asked<'_, R>,
    region: &RegionName,
) -> Outcome<Answered> {
    let lines = media::form(asked.headers(), &[Form::Ndjson]).is_ok();
    if lines || (asked.matched.route.call == Call::ReadEvents && events::wants_stream(&asked)) {
        return Err(no_streams());
    }
    let mut headers = asked.headers().clone();
    OF_THE_CONNECTION.iter().for_each(|name| drop(headers.remove(name)));
    headers.insert(BEHIND, THERE);
    let target = asked.parts.uri.path_and_query().map_or("/", |target| target.as_str());
    bounded(&headers, target)?;
    let ack = asked.ack.timeout_milliseconds.map_or(Duration::ZERO, Duration::from_millis);
    let request = ForwardRequest {
        longest: PATIENCE + ack,
        method: asked.parts.method.clone(),
        target: target.to_owned(),
        headers,
        body: asked.read_body().await?,
        actor: asked.actor.map(str::to_owned),
    };
    match asked.region().forward(region, request).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            OF_THE_CONNECTION.iter().for_each(|name| drop(parts.headers.remove(name)));
            Ok(http::Response::from_parts(parts, DoorBody::whole(body)))
        }
        Err(reason) => Err(not_forwarded(region, reason)),
    }
}

/// Errors: 400.
pub(super) fn no_streams() -> Box<Problem> {
    let detail = "`Linckia-Behind: forward`: streams and NDJSON are not forwarded; wait, or ask a \
                  region that is not behind";
    Problem::parameter(detail)
}

/// Errors: 400 for headers that no other region would take.
fn bounded(headers: &HeaderMap, target: &str) -> Outcome<()> {
    let large = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() > HEADER_NAME_BYTES_MAX || value.len() > HEADER_BYTES_MAX
    };
    if headers.len() > HEADERS_MAX || headers.iter().any(large) || target.len() > HEADER_BYTES_MAX {
        let detail = "`Linckia-Behind: forward`: the request's headers are too large to be \
                      forwarded; send fewer or smaller ones";
        return Err(Problem::parameter(detail));
    }
    Ok(())
}

fn not_forwarded(region: &RegionName, reason: NotForwarded) -> Box<Problem> {
    let detail = match reason {
        NotForwarded::Unreachable => {
            format!("this region is behind, and {region}, which is not, cannot be reached now")
        }
        NotForwarded::Unanswered => format!(
            "the request was forwarded to {region} and no answer came: a write may have been \
             done; a retry with the same `eventId` is safe"
        ),
    };
    Problem::new(Kind::Unavailable, detail).retry_after(1)
}
