//! Sessions: what a client has seen, signed, so that any region can tell whether it is behind.
//!
//! A client carries a token; a region joins into it the dots that an answer shows or wrote, but for
//! those that every member has; which regions these are goes by the lapses that it knows of. What
//! always holds: a token that verifies was signed by a region of the fleet and says what it said
//! then; keys come and go without a client noticing.

use std::fmt;

use crate::codec::{Reader, Writer};
use crate::vector::Vector;

/// The only token format so far.
const FORMAT: u8 = 1;

/// Of the signature: 128 bits are beyond guessing.
const MAC_BYTES: usize = 16;

/// Bytes of a key.
pub const SESSION_KEY_BYTES: usize = 32;

/// Keys of a fleet at once: the one that signs, the one to come, and those not yet forgotten.
const KEYS_MAX: usize = 16;

/// Separates these signatures from every other use of a key (BLAKE3's key derivation).
const CONTEXT: &str = "linckia session token format 1";

/// Why a key file or a token is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("line {line}: a key is a number from 1 and 64 hex digits, with a space between them")]
    Key { line: usize },
    #[error("line {line}: key {id} stands here a second time")]
    Twice { line: usize, id: u32 },
    #[error("there is no key in it")]
    Empty,
    #[error("there are more than {KEYS_MAX} keys in it")]
    Many,
    #[error("it is no session token")]
    Token,
    #[error("it was signed with key {0}, which this region does not have")]
    UnknownKey(u32),
    #[error("its signature is wrong")]
    Signature,
}

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// What its client has seen, but for what every member has that has not lapsed.
    pub seen: Vector,
    /// The last lapse or return that the region knew of: one that knows of less may lack what was
    /// left out.
    pub epoch: u64,
}

struct Key {
    id: u32,
    secret: [u8; SESSION_KEY_BYTES],
    /// Derived from the secret, for signing.
    signing: [u8; SESSION_KEY_BYTES],
}

/// The keys that a fleet shares: the first signs, all verify.
pub struct SessionKeys(Vec<Key>);

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.id)).finish()
    }
}

impl SessionKeys {
    /// Reads a key file: a key a line, `<number> <64 hex digits>`; `#` begins a comment.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, SessionError> {
        let mut keys: Vec<Key> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let key = parse_key(text).ok_or(SessionError::Key { line })?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(SessionError::Twice { line, id: key.id });
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err(SessionError::Empty),
            count if count > KEYS_MAX => Err(SessionError::Many),
            _ => Ok(Self(keys)),
        }
    }

    /// One key that signs, with the number 1.
    pub fn of(secret: [u8; SESSION_KEY_BYTES]) -> Self {
        Self(vec![Key::new(1, secret)])
    }

    /// The numbers of the keys, the one that signs first.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|key| key.id)
    }

    /// Adds a key that verifies and does not sign yet; it gets the next number, which is returned.
    /// None if there are too many.
    pub fn add(&mut self, secret: [u8; SESSION_KEY_BYTES]) -> Option<u32> {
        let id = self.ids().max()?.checked_add(1).filter(|_| self.0.len() < KEYS_MAX)?;
        self.0.push(Key::new(id, secret));
        Some(id)
    }

    /// The key added last signs from now on; its number.
    pub fn promote(&mut self) -> u32 {
        let newest = self.0.iter().enumerate().max_by_key(|(_, key)| key.id);
        let place = newest.map_or(0, |(place, _)| place);
        self.0[..=place].rotate_right(1);
        self.0[0].id
    }

    /// Forgets every key but the one that signs: tokens signed with the others are refused.
    pub fn retire(&mut self) {
        self.0.truncate(1);
    }

    /// The text of a key file.
    pub fn to_text(&self) -> String {
        let mut text = "# Keys of session tokens, the same in every region. The first signs, all \
                        verify.\n"
            .to_owned();
        for Key { id, secret, .. } in &self.0 {
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("{id} {hex}\n"));
        }
        text
    }

    /// A token's bytes: format, number of the key, vector, epoch unless it is 0, signature.
    pub fn sign(&self, token: &Token) -> Vec<u8> {
        let key = &self.0[0];
        let mut out = Writer::default();
        out.byte(FORMAT);
        out.number(u64::from(key.id));
        out.vector(&token.seen);
        if token.epoch > 0 {
            out.number(token.epoch);
        }
        let mac = key.mac(&out.0);
        out.0.extend_from_slice(&mac);
        out.0
    }

    /// What a token says; origins that stand in `known` share its names.
    ///
    /// # Errors
    /// Bytes that are no token of this fleet.
    pub fn verify(&self, token: &[u8], known: &Vector) -> Result<Token, SessionError> {
        let length = token.len().checked_sub(MAC_BYTES).ok_or(SessionError::Token)?;
        let (signed, mac) = token.split_at(length);
        let mut reader = Reader(signed);
        let broken = |_| SessionError::Token;
        if reader.byte("format").map_err(broken)? != FORMAT {
            return Err(SessionError::Token);
        }
        let id = reader.number("key").map_err(broken)?;
        let id = u32::try_from(id).map_err(|_| SessionError::Token)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or(SessionError::UnknownKey(id))?;
        // Every byte is looked at, so that time tells nothing.
        let differ = key.mac(signed).iter().zip(mac).fold(0, |sum, (a, b)| sum | (a ^ b));
        if differ != 0 {
            return Err(SessionError::Signature);
        }
        let seen = reader.vector(known).map_err(broken)?;
        let epoch = match reader.0.is_empty() {
            true => 0,
            false => reader.number("epoch").map_err(broken)?,
        };
        if reader.0.is_empty() { Ok(Token { seen, epoch }) } else { Err(SessionError::Token) }
    }
}

impl Key {
    fn new(id: u32, secret: [u8; SESSION_KEY_BYTES]) -> Self {
        Self { id, secret, signing: blake3::derive_key(CONTEXT, &secret) }
    }

    fn mac(&self, bytes: &[u8]) -> [u8; MAC_BYTES] {
        let whole = blake3::keyed_hash(&self.signing, bytes);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&whole.as_bytes()[..MAC_BYTES]);
        mac
    }
}

fn parse_key(text: &str) -> Option<Key> {
    let (id, hex) = text.split_once(char::is_whitespace)?;
    let id = id.parse().ok().filter(|id| *id > 0)?;
    let hex = hex.trim();
    if hex.len() != 2 * SESSION_KEY_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut secret = [0; SESSION_KEY_BYTES];
    for (place, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(Key::new(id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Token {
        let seen = "eu-west-1.0000000000000001:7,us-east-1.7f3a9c01d2e4b5a6:42";
        Token { seen: Vector::parse(seen).unwrap(), epoch: 0 }
    }

    #[test]
    fn what_is_signed_is_read_again_and_nothing_else() {
        let keys = SessionKeys::of([7; 32]);
        let token = keys.sign(&seen());
        assert_eq!(keys.verify(&token, &Vector::new()), Ok(seen()));
        for other in [Token::default(), Token { epoch: 300, ..seen() }] {
            assert_eq!(keys.verify(&keys.sign(&other), &Vector::new()), Ok(other));
        }
        for place in 0..token.len() {
            let mut other = token.clone();
            other[place] ^= 1;
            assert!(keys.verify(&other, &Vector::new()).is_err(), "byte {place}");
            assert!(keys.verify(&token[..place], &Vector::new()).is_err(), "length {place}");
        }
        let stranger = SessionKeys::of([8; 32]);
        assert_eq!(stranger.verify(&token, &Vector::new()), Err(SessionError::Signature));
    }

    #[test]
    fn keys_rotate_under_the_tokens_that_clients_hold() {
        let mut keys = SessionKeys::of([1; 32]);
        let old = keys.sign(&seen());
        assert_eq!(keys.add([2; 32]), Some(2));
        assert_eq!(keys.sign(&seen()), old, "a key that was added does not sign yet");
        // A region that has not promoted yet understands one that has.
        let before = SessionKeys::parse(&keys.to_text()).unwrap();
        assert_eq!(keys.promote(), 2);
        let new = keys.sign(&seen());
        assert_ne!(new, old);
        for keys in [&keys, &before] {
            assert_eq!(keys.verify(&new, &Vector::new()), Ok(seen()));
            assert_eq!(keys.verify(&old, &Vector::new()), Ok(seen()));
        }
        keys.retire();
        assert_eq!(keys.ids().collect::<Vec<_>>(), [2]);
        assert_eq!(keys.verify(&old, &Vector::new()), Err(SessionError::UnknownKey(1)));
        assert_eq!(keys.promote(), 2, "nothing newer: nothing changes");
    }

    #[test]
    fn a_key_file_says_which_line_is_wrong() {
        let hex = "ab".repeat(32);
        let parse =
            |text: &str| SessionKeys::parse(text).map(|keys| keys.ids().collect::<Vec<_>>());
        assert_eq!(parse(&format!("# ours\n\n2 {hex} # new\n1 {hex}\n")), Ok(vec![2, 1]));
        assert_eq!(parse(""), Err(SessionError::Empty));
        assert_eq!(
            parse(&format!("1 {hex}\n1 {hex}")),
            Err(SessionError::Twice { line: 2, id: 1 })
        );
        for bad in ["x", "1", "0 aa", &format!("0 {hex}"), &format!("1 {hex}0"), "1 zz"] {
            assert_eq!(parse(bad), Err(SessionError::Key { line: 1 }), "{bad}");
        }
    }
}
