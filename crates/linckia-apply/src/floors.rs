//! From where on events may have to be read again: logs may let go of what is older and stable.
//!
//! A key's row says where its base stands, and events above it are read again where a late one
//! falls among them, unless all of them are stable by then. What always holds: an event at
//! or below [`Floors::floor`] is never read again to fold a key.

use linckia_model::{Error, Hlc, Reader, Writer};

/// Floors kept apart; beyond it two become one, which only makes logs longer.
const FLOORS_MAX: usize = 1_024;

/// Until stable time has reached `until`, what lies above `floor` is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Floor {
    floor: Hlc,
    until: Hlc,
}

/// What holds the logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floors(Vec<Floor>);

impl Floors {
    /// Until stable time has reached `until`, events from `needed` on may be read.
    pub(crate) fn hold(&mut self, needed: Hlc, until: Hlc) {
        let floor = Hlc::from_bits(needed.bits().saturating_sub(1));
        if self.0.len() == FLOORS_MAX
            && let Some(last) = self.0.last_mut()
        {
            *last = Floor { floor: last.floor.min(floor), until: last.until.max(until) };
        } else {
            self.0.push(Floor { floor, until });
        }
    }

    /// The time up to which no event is read again, now that stable time is there.
    pub(crate) fn floor(&mut self, stable: Hlc) -> Hlc {
        self.0.retain(|floor| floor.until > stable);
        self.0.iter().map(|floor| floor.floor).fold(stable, Hlc::min)
    }

    /// The last time that anything is held until.
    pub(crate) fn until(&self) -> Hlc {
        self.0.iter().map(|floor| floor.until).max().unwrap_or(Hlc::ZERO)
    }

    /// All of them as one row.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        if let Some(floor) = self.0.iter().map(|floor| floor.floor).min() {
            out.fixed(floor.bits());
            out.fixed(self.0.iter().map(|floor| floor.until.bits()).max().unwrap_or(0));
        }
        out.0
    }

    /// The inverse of [`Floors::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let floor = Hlc::from_bits(reader.fixed("floor")?);
        Ok(Self(vec![Floor { floor, until: Hlc::from_bits(reader.fixed("floor")?) }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bits: u64) -> Hlc {
        Hlc::from_bits(bits)
    }

    #[test]
    fn what_a_row_needs_is_kept_until_all_of_it_is_stable() {
        let mut floors = Floors::default();
        assert_eq!(floors.floor(at(5)), at(5));
        floors.hold(at(8), at(20));
        floors.hold(at(12), at(30));
        assert_eq!(floors.floor(at(10)), at(7));
        assert_eq!(floors.floor(at(19)), at(7));
        assert_eq!(floors.floor(at(20)), at(11));
        assert_eq!(floors.floor(at(30)), at(30));
    }

    #[test]
    fn they_survive_a_restart_and_their_bound() {
        let mut floors = Floors::default();
        for bits in 1..5_000 {
            floors.hold(at(10_000 + bits), at(20_000 + bits));
        }
        let mut again = Floors::decode(&floors.encode()).unwrap();
        assert_eq!(floors.0.len(), FLOORS_MAX);
        for floors in [&mut floors, &mut again] {
            assert_eq!(floors.floor(at(15_000)), at(10_000));
            assert!(floors.floor(at(24_998)) < at(15_000));
            assert_eq!(floors.floor(at(24_999)), at(24_999));
        }
        assert_eq!(Floors::decode(&Floors::default().encode()).unwrap().floor(at(3)), at(3));
        assert!(Floors::decode(&[1]).is_err());
    }
}
