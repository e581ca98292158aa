//! Traces: what becomes of a sampled request, from the door to every region, as spans.
//!
//! The door begins and ends the span of a request; the core says when its events came, became
//! durable and were applied; `otlp.rs` writes spans as OTLP has them and `export.rs` sends them.
//! What always holds: nobody waits for a span; where there is no room it is dropped and counted;
//! an event carries the context of its append, so whatever any region does with it is a child of
//! that.

mod export;
mod otlp;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use linckia_api::RequestSpan;
use linckia_region::Traced;
use metrics::{Counter, counter};
use tokio::sync::mpsc;

use super::time::Clocks;
use crate::config;
use otlp::{Kind, Said, Span};

/// Spans that wait to be sent: some seconds of a busy region in which everything is sampled.
const SPANS_MAX: usize = 8_192;

/// Requests whose append is not over yet.
const BEGUN_MAX: usize = 8_192;

const MILLION: u32 = 1_000_000;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

pub(super) const DROPPED: &str = "linckia_telemetry_spans_dropped_total";
pub(super) const SENT: &str = "linckia_telemetry_spans_sent_total";

/// The way in for spans; clones are the same way.
#[derive(Clone)]
pub(super) struct Telemetry(Arc<Inner>);

struct Inner {
    region: String,
    clocks: Clocks,
    sampled_per_million: u32,
    spans: mpsc::Sender<Span>,
    begun: Mutex<Begun>,
    dropped: Counter,
}

/// The request of each append that a door here began, by the append's span; the oldest goes first.
#[derive(Default)]
struct Begun {
    requests: BTreeMap<[u8; 8], [u8; 8]>,
    order: VecDeque<[u8; 8]>,
}

impl Telemetry {
    /// Starts to send, if a collector is configured; on the runtime that is entered.
    ///
    /// # Errors
    /// The collector's address is none.
    pub(super) fn start(
        config: &config::Telemetry,
        region: &str,
        clocks: Clocks,
    ) -> anyhow::Result<Option<Self>> {
        let Some(address) = &config.otlp else { return Ok(None) };
        let (spans, queue) = mpsc::channel(SPANS_MAX);
        export::start(address, region, queue)?;
        Ok(Some(Self(Arc::new(Inner {
            region: region.to_owned(),
            clocks,
            sampled_per_million: config.sampled_per_million,
            spans,
            begun: Mutex::default(),
            dropped: counter!(DROPPED),
        }))))
    }

    pub(super) fn begin(&self, parent: Option<&str>) -> Option<RequestSpan> {
        let (trace, parent) = match parent {
            Some(text) => {
                let context = Context::parse(text).filter(|context| context.sampled)?;
                (context.trace, Some(context.span))
            }
            None => {
                let drawn = match self.0.sampled_per_million {
                    0 => return None,
                    _ => u32::from_be_bytes(random()?) % MILLION,
                };
                if drawn >= self.0.sampled_per_million {
                    return None;
                }
                (random()?, None)
            }
        };
        let (id, append) = (random()?, random()?);
        let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.order.len() >= BEGUN_MAX
            && let Some(oldest) = begun.order.pop_front()
        {
            begun.requests.remove(&oldest);
        }
        begun.order.push_back(append);
        begun.requests.insert(append, id);
        let events = Context { trace, span: append, sampled: true }.to_string();
        Some(RequestSpan { events, trace, id, parent, began: self.0.clocks.nanoseconds() })
    }

    pub(super) fn end(&self, span: RequestSpan, verb: &str, path: &str, status: u16) {
        let RequestSpan { trace, id, parent, began, .. } = span;
        let attributes = vec![
            ("http.request.method", Said::Text(verb.to_owned())),
            ("http.route", Said::Text(path.to_owned())),
            ("http.response.status_code", Said::Number(status.into())),
        ];
        self.send(Span {
            trace,
            id,
            parent,
            name: "linckia.request",
            kind: Kind::Server,
            began,
            ended: self.0.clocks.nanoseconds().max(began),
            attributes,
            failed: status >= 500,
        });
    }

    /// Makes spans of what happened to events here.
    pub(super) fn traced(&self, all: Vec<Traced>) {
        for traced in all {
            if self.spans_of(&traced).is_none() {
                self.0.dropped.increment(1);
            }
        }
    }

    fn spans_of(&self, traced: &Traced) -> Option<()> {
        let Context { trace, span, .. } = Context::parse(&traced.traceparent)?;
        let Traced { dot, born, arrived, durable, applied, .. } = traced;
        let is_own = dot.origin.region() == self.0.region;
        let (name, kind, from, id, parent) = if is_own {
            let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
            match begun.requests.remove(&span) {
                Some(request) => ("linckia.append", Kind::Internal, *arrived, span, request),
                // Its writer gave the event a context of its own, or it is one of several.
                None => ("linckia.append", Kind::Internal, *arrived, random()?, span),
            }
        } else {
            ("linckia.ship", Kind::Consumer, *born, random()?, span)
        };
        let attributes = || {
            vec![
                ("linckia.origin", Said::Text(dot.origin.to_string())),
                ("linckia.sequence", Said::Number(dot.sequence)),
            ]
        };
        // Clocks of two regions differ: no span ends before it began.
        let of = |name, kind, id, parent, from: u64, until: u64| Span {
            trace,
            id,
            parent: Some(parent),
            name,
            kind,
            began: from.min(until) * MILLISECOND,
            ended: until * MILLISECOND,
            attributes: attributes(),
            failed: false,
        };
        self.send(of(name, kind, id, parent, from, *durable));
        self.send(of("linckia.apply", Kind::Internal, random()?, span, *durable, *applied));
        Some(())
    }

    fn send(&self, span: Span) {
        if self.0.spans.try_send(span).is_err() {
            self.0.dropped.increment(1);
        }
    }
}

/// A W3C trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Context {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl Context {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').skip(1);
        let trace = bytes(parts.next()?)?;
        let span = bytes(parts.next()?)?;
        let [flags] = bytes(parts.next()?)?;
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

impl std::fmt::Display for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{}-{}-{flags:02x}", otlp::hex(&self.trace), otlp::hex(&self.span))
    }
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (hex.len() == 2 * N).then_some(bytes)
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn contexts_are_read_as_they_are_written() {
        let context = Context::parse(CLIENT).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), CLIENT);
        assert!(!Context::parse(&CLIENT.replace("-01", "-00")).unwrap().sampled);
        assert_eq!(Context::parse("00-0af7-b7ad-01"), None);
    }

    fn telemetry(sampled_per_million: u32) -> (Telemetry, mpsc::Receiver<Span>) {
        let (spans, queue) = mpsc::channel(4);
        let (region, clocks) = ("a".to_owned(), Clocks::start(0));
        let (begun, dropped) = (Mutex::default(), Counter::noop());
        let inner = Inner { region, clocks, sampled_per_million, spans, begun, dropped };
        (Telemetry(Arc::new(inner)), queue)
    }

    #[test]
    fn who_asks_for_a_trace_gets_one_and_others_by_their_share() {
        let (telemetry, _queue) = telemetry(0);
        assert!(telemetry.begin(None).is_none());
        assert!(telemetry.begin(Some(&CLIENT.replace("-01", "-00"))).is_none());
        let span = telemetry.begin(Some(CLIENT)).unwrap();
        let (client, events) = (Context::parse(CLIENT).unwrap(), Context::parse(&span.events));
        assert_eq!((span.trace, span.parent), (client.trace, Some(client.span)));
        assert_eq!(events.unwrap().trace, client.trace);
        assert_ne!(events.unwrap().span, client.span);
        let (all, _queue) = self::telemetry(MILLION);
        assert_eq!(all.begin(None).unwrap().parent, None);
    }

    #[test]
    fn an_append_is_a_child_of_its_request_and_all_else_of_the_append() {
        let (telemetry, mut queue) = telemetry(0);
        let request = telemetry.begin(Some(CLIENT)).unwrap();
        let append = Context::parse(&request.events).unwrap().span;
        let traced = |origin: &str| Traced {
            dot: linckia_model::Dot::new(linckia_model::Origin::parse(origin).unwrap(), 7),
            traceparent: request.events.clone().into(),
            born: 10,
            arrived: 20,
            durable: 30,
            applied: 40,
        };
        telemetry.traced(vec![traced("a.0000000000000001"), traced("b.0000000000000001")]);
        let mut next = || {
            let span = queue.try_recv().unwrap();
            (span.name, span.parent, span.began / MILLISECOND, span.ended / MILLISECOND, span.id)
        };
        assert_eq!(next(), ("linckia.append", Some(request.id), 20, 30, append));
        let apply = next();
        assert_eq!((apply.0, apply.1, apply.2, apply.3), ("linckia.apply", Some(append), 30, 40));
        let ship = next();
        assert_eq!((ship.0, ship.1, ship.2, ship.3), ("linckia.ship", Some(append), 10, 30));
    }
}
