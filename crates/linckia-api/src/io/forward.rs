//! Requests that another region answers, because this one is behind their session.
//!
//! The whole request goes over the link between the regions and the whole answer comes back, its
//! session token too. What always holds: a forwarded request is not forwarded again; streams are
//! not forwarded.

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use linckia_model::RegionName;

use super::asked::Asked;
use super::body::DoorBody;
use super::respond::Answered;
use crate::headers::BEHIND;
use crate::media;
use crate::port::{ForwardRequest, NotForwarded, Region};
use crate::problem::{Kind, Outcome, Problem};

/// What belongs to one connection, or is made anew.
const OF_THE_CONNECTION: [HeaderName; 5] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING];

/// What the other region does where it is behind as well: it is the nearest, so it waits.
const THERE: HeaderValue = HeaderValue::from_static("wait=1s");

/// Has `region` answer. Errors: 400 for a stream, 503.
pub(super) async fn to<R: Region>(
    mut asked: Asked<'_, R>,
    region: &RegionName,
) -> Outcome<Answered> {
    if is_stream(asked.headers()) {
        let detail = "`Linckia-Behind: forward`: streams and NDJSON are not forwarded; wait, or \
                      ask a region that is not behind";
        return Err(Problem::parameter(detail));
    }
    let mut headers = asked.headers().clone();
    OF_THE_CONNECTION.iter().for_each(|name| drop(headers.remove(name)));
    headers.insert(BEHIND, THERE);
    let target = asked.parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let request = ForwardRequest {
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

fn is_stream(headers: &HeaderMap) -> bool {
    let names = |name: &HeaderName, wanted: &str| {
        let values = headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).any(|value| value.contains(wanted))
    };
    names(&ACCEPT, media::EVENT_STREAM) || names(&http::header::CONTENT_TYPE, media::NDJSON)
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
