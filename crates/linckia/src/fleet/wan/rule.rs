//! What one directed link does to bytes: delay, jitter, loss, bandwidth, cut.
//!
//! Where it stands: written by profiles and operators, obeyed by `pump.rs`. What always holds: a
//! rule is a value; its words are the ones that `linckia wan` takes and shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::units::{
    bandwidth_text, duration_text, parse_bandwidth, parse_duration, parse_share, share_text,
};

/// The longest delay: further than any place on Earth over any satellite; it bounds what a link
/// holds in flight.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The highest loss: above it no stream makes progress, and that is what a cut is for.
const LOSS_MAX: u32 = 900_000;

/// Bytes in flight on one connection are at most this: 6 Gbit/s at 85 ms. Beyond, the emulator
/// stops reading, and the sender feels it as it would feel a full path.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What a router before a narrow link holds, on top of what is on the way.
const ROUTER_BYTES: usize = 256 << 10;

/// How one link treats the bytes that enter it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rule {
    pub delay: Duration,
    /// The delay varies by at most this, up and down; order within a connection is kept.
    pub jitter: Duration,
    /// Parts per million of packets that are lost.
    pub loss: u32,
    /// Bits a second over all connections of the link.
    pub bandwidth: Option<u64>,
    /// Bytes vanish, and nothing else happens.
    pub cut: bool,
}

impl Rule {
    /// Whether bytes leave at the moment they come in.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.delay.is_zero() && self.jitter.is_zero() && self.loss == 0 && self.bandwidth.is_none()
    }

    /// How many bytes of one connection may be on the way: at least bandwidth times delay.
    #[must_use]
    pub fn queue_bytes_max(&self) -> usize {
        let Some(bits) = self.bandwidth else {
            return QUEUE_BYTES_MAX;
        };
        let flying = (bits as f64 / 8.0 * (self.delay + self.jitter).as_secs_f64()) as usize;
        flying.saturating_add(ROUTER_BYTES).min(QUEUE_BYTES_MAX)
    }
}

/// What `linckia wan set` changes; what is absent stays as it is. In the words people write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// `none` takes the limit away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<String>,
}

impl RuleChange {
    /// `rule` with the change made.
    pub fn applied_to(&self, mut rule: Rule) -> Result<Rule, String> {
        if let Some(delay) = &self.delay {
            rule.delay = bounded_delay(delay)?;
        }
        if let Some(jitter) = &self.jitter {
            rule.jitter = bounded_delay(jitter)?;
        }
        if let Some(loss) = &self.loss {
            rule.loss = parse_share(loss)?;
            if rule.loss > LOSS_MAX {
                let most = share_text(LOSS_MAX);
                return Err(format!(
                    "a loss of {loss} is more than {most}: to stop a link use `linckia wan cut`"
                ));
            }
        }
        match self.bandwidth.as_deref() {
            None => {}
            Some("none") => rule.bandwidth = None,
            Some(bandwidth) => rule.bandwidth = Some(parse_bandwidth(bandwidth)?),
        }
        Ok(rule)
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn bounded_delay(text: &str) -> Result<Duration, String> {
    let delay = parse_duration(text)?;
    if delay > DELAY_MAX {
        return Err(format!("\"{text}\" is more than {}", duration_text(DELAY_MAX)));
    }
    Ok(delay)
}

/// One directed link as `linckia wan show --json` and the regions' `/v1/links` give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkItem {
    pub from: String,
    pub to: String,
    pub delay: String,
    pub jitter: String,
    pub loss: String,
    pub bandwidth: Option<String>,
    pub cut: bool,
}

impl LinkItem {
    #[must_use]
    pub fn new(from: &str, to: &str, rule: &Rule) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            delay: duration_text(rule.delay),
            jitter: duration_text(rule.jitter),
            loss: share_text(rule.loss),
            bandwidth: rule.bandwidth.map(bandwidth_text),
            cut: rule.cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(words: [&str; 4]) -> Result<Rule, String> {
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let [delay, jitter, loss, bandwidth] = words.map(word);
        RuleChange { delay, jitter, loss, bandwidth }.applied_to(Rule {
            bandwidth: Some(1_000),
            cut: true,
            ..Rule::default()
        })
    }

    #[test]
    fn a_change_touches_what_it_names() {
        let rule = change(["200ms", "", "2%", ""]).unwrap();
        assert_eq!((rule.delay, rule.loss), (Duration::from_millis(200), 20_000));
        assert_eq!((rule.bandwidth, rule.cut, rule.jitter), (Some(1_000), true, Duration::ZERO));
        assert_eq!(change(["", "", "", "none"]).unwrap().bandwidth, None);
        for bad in [["2min", "", "", ""], ["", "5", "", ""], ["", "", "95%", ""]] {
            assert!(change(bad).is_err(), "{bad:?}");
        }
        assert!(change(["", "", "100%", ""]).unwrap_err().contains("wan cut"));
    }

    #[test]
    fn the_queue_holds_bandwidth_times_delay() {
        let delay = Duration::from_millis(100);
        let narrow = Rule { delay, bandwidth: Some(80_000_000), ..Rule::default() };
        assert_eq!(narrow.queue_bytes_max(), 1_000_000 + ROUTER_BYTES);
        assert_eq!(Rule { delay, ..Rule::default() }.queue_bytes_max(), QUEUE_BYTES_MAX);
    }
}
