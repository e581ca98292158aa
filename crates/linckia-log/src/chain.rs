//! The cryptographic spine: what commits an event, and how one event holds the one before. Used by
//! every append and by every check of a foreign record. What always holds: the chain after an event
//! depends on its origin and on kind, flags, sequence, salt and payload of it and of every event
//! before; and it can be continued over an event whose payload is withheld, because only the
//! commitment enters it, and the commitment tells nothing about the payload without its salt.
//!
//! commitment = BLAKE3 keyed by (tag, kind, flags, sequence, salt) of the payload, 32 bytes;
//! chain(n) = BLAKE3 of chain(n − 1) and commitment(n), cut to 16 bytes: a second history for a
//! given chain value costs 2^128, and two histories made to collide by the origin itself 2^64.

/// Sixteen random bytes that hide a payload behind its commitment. They travel with the event.
pub type Salt = [u8; 16];
/// What an event and everything before it in its log amounts to.
pub type Chain = [u8; 16];
/// What stands for an event in the chain, also where the event itself is withheld.
pub type Commitment = [u8; 32];

const CHAIN_KEY: &[u8; 32] = b"linckia log: chain, version 1\0\0\0";
const GENESIS_KEY: &[u8; 32] = b"linckia log: genesis, version 1\0";
const COMMITMENT_TAG: &[u8; 6] = b"lnkc-1";

/// The chain before an origin's first event.
#[must_use]
pub fn genesis(origin: &str) -> Chain {
    cut(&blake3::keyed_hash(GENESIS_KEY, origin.as_bytes()))
}

/// The chain after an event with this commitment.
#[must_use]
pub fn chain_after(before: &Chain, commitment: &Commitment) -> Chain {
    let mut input = [0; 48];
    input[..16].copy_from_slice(before);
    input[16..].copy_from_slice(commitment);
    cut(&blake3::keyed_hash(CHAIN_KEY, &input))
}

pub(crate) fn commitment(
    kind: u8,
    flags: u8,
    sequence: u64,
    salt: &Salt,
    payload: &[u8],
) -> Commitment {
    let mut key = [0; 32];
    key[..6].copy_from_slice(COMMITMENT_TAG);
    key[6] = kind;
    key[7] = flags;
    key[8..16].copy_from_slice(&sequence.to_le_bytes());
    key[16..].copy_from_slice(salt);
    *blake3::keyed_hash(&key, payload).as_bytes()
}

fn cut(hash: &blake3::Hash) -> [u8; 16] {
    let mut cut = [0; 16];
    cut.copy_from_slice(&hash.as_bytes()[..16]);
    cut
}

/// Where the salts of one opening come from. It is never stored: each salt travels with its record,
/// and a new opening draws a new secret, so no (secret, sequence) pair is used for two payloads.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) fn draw(fresh_salt: &mut dyn FnMut() -> [u8; 16]) -> Self {
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&fresh_salt());
        secret[16..].copy_from_slice(&fresh_salt());
        Secret(secret)
    }

    /// A secret for one use among several; `number` tells uses of the same label apart.
    pub(crate) fn branch(&self, label: &str, number: u64) -> Secret {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&number.to_le_bytes());
        hasher.update(label.as_bytes());
        Secret(*hasher.finalize().as_bytes())
    }

    pub(crate) fn salt(&self, sequence: u64) -> Salt {
        cut(&blake3::keyed_hash(&self.0, &sequence.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_identifies_an_event_enters_its_commitment() {
        let base = commitment(1, 0, 7, &[1; 16], b"payload");
        let others = [
            commitment(2, 0, 7, &[1; 16], b"payload"),
            commitment(1, 1, 7, &[1; 16], b"payload"),
            commitment(1, 0, 8, &[1; 16], b"payload"),
            commitment(1, 0, 7, &[2; 16], b"payload"),
            commitment(1, 0, 7, &[1; 16], b"payloae"),
        ];
        for other in others {
            assert_ne!(base, other);
        }
        assert_eq!(base, commitment(1, 0, 7, &[1; 16], b"payload"));
    }

    #[test]
    fn chains_differ_by_origin_and_history() {
        assert_ne!(genesis("a"), genesis("b"));
        let (first, second) = ([1; 32], [2; 32]);
        let start = genesis("a");
        let forth = chain_after(&chain_after(&start, &first), &second);
        let back = chain_after(&chain_after(&start, &second), &first);
        assert_ne!(forth, back);
    }

    #[test]
    fn salts_differ_by_sequence_label_and_secret() {
        let secret = Secret([3; 32]);
        let branch = secret.branch("origin", 0);
        assert_ne!(branch.salt(1), branch.salt(2));
        assert_ne!(branch.salt(1), secret.branch("other", 0).salt(1));
        assert_ne!(branch.salt(1), secret.branch("origin", 1).salt(1));
    }
}
