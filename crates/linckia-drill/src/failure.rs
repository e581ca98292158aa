//! What fails in a drill, and comes back.
//!
//! Pure: values that an operator carries out by his own means. What always holds: a failure can be
//! healed, and healing one does not heal another.

use std::fmt::{self, Display, Formatter};

/// One failure, by the names of the regions that it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its process is killed and started again.
    Stop { region: String },
    /// Its process is asked to end, and started again.
    Restart { region: String },
    /// Its process dies by itself; whoever keeps it starts it again.
    Die { region: String },
    /// Its process is killed, and its directory removed; `cut_off` from all others a moment before.
    Destroy { region: String, cut_off: bool },
    /// Its process is killed and started with a wall clock that is wrong by so much, in
    /// milliseconds; healed, it is killed and started with the right one.
    Clock { region: String, offset: i64 },
    /// It is cut off, so that it holds what nobody else has, then killed, and stays away; healed,
    /// it is started, as often as it takes.
    Leave { region: String },
    /// Its disk has no room left.
    Fill { region: String },
    /// What one region sends to another is swallowed, or what it sends and is sent by all.
    Cut { from: String, to: Option<String>, one_way: bool },
}

impl Failure {
    /// What strikes the links, not a process.
    pub const fn is_of_links(&self) -> bool {
        matches!(self, Self::Cut { .. })
    }

    /// The region whose disk is lost.
    pub fn destroyed(&self) -> Option<&str> {
        match self {
            Self::Destroy { region, .. } => Some(region),
            _ => None,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop { region } => write!(f, "{region} is killed"),
            Self::Restart { region } => write!(f, "{region} is stopped in order"),
            Self::Die { region } => write!(f, "{region} dies by itself"),
            Self::Destroy { region, cut_off: false } => {
                write!(f, "{region} is killed and its disk destroyed")
            }
            Self::Destroy { region, cut_off: true } => {
                write!(f, "{region} is cut off, killed, and its disk destroyed")
            }
            Self::Clock { region, offset } => {
                write!(f, "{region} is started with its clock {offset:+} ms off")
            }
            Self::Leave { region } => write!(f, "{region} is away"),
            Self::Fill { region } => write!(f, "{region}'s disk is full"),
            Self::Cut { from, to: None, one_way: false } => write!(f, "{from} is cut off"),
            Self::Cut { from, to: None, one_way: true } => {
                write!(f, "what {from} sends is swallowed")
            }
            Self::Cut { from, to: Some(to), one_way: false } => {
                write!(f, "{from} and {to} are cut from each other")
            }
            Self::Cut { from, to: Some(to), one_way: true } => {
                write!(f, "what {from} sends to {to} is swallowed")
            }
        }
    }
}
