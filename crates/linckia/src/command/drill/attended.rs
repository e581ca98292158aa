//! An operator who puts back what was broken, also where a drill fails or is given up by Ctrl-C.
//!
//! Around `means.rs`. What always holds: what was struck and not healed is known before it is
//! struck; a drill does not end with its error before all of that was healed, or somebody said
//! twice that it should end.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use linckia_drill::Operator;
use linckia_drill::failure::Failure;
use linckia_drill::report::Report;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command::text::remark;

/// So often what is broken is put back.
const ROUNDS: usize = 2;

/// An operator, and what is broken.
pub(super) struct Attended<O> {
    means: O,
    broken: Mutex<Vec<Failure>>,
}

impl<O: Operator> Attended<O> {
    pub(super) fn by(means: O) -> Self {
        Self { means, broken: Mutex::default() }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Vec<Failure>) -> R) -> R {
        act(&mut self.broken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a drill that this operator serves to its end, or until a signal.
    ///
    /// # Errors
    /// The drill's; or that it was given up.
    pub(super) async fn attend(
        &self,
        drill: impl Future<Output = anyhow::Result<Report>>,
    ) -> anyhow::Result<Report> {
        let mut signals = Signals::catch()?;
        let ended = tokio::select! {
            ended = drill => ended,
            () = signals.next() => Err(anyhow!("the drill was given up")),
        };
        let Err(error) = ended else { return ended };
        tokio::select! {
            () = self.put_back() => {}
            () = signals.next() => remark("given up twice: the drill puts nothing more back"),
        }
        let left = self.with(|broken| broken.iter().map(ToString::to_string).collect::<Vec<_>>());
        if !left.is_empty() {
            bail!("{error:#}; and not everything was put back: {}", left.join(", "));
        }
        Err(error)
    }

    /// What was broken last comes first; what is in the way of another, behind it once more.
    async fn put_back(&self) {
        let mut left = self.with(|broken| broken.clone());
        for _ in 0..ROUNDS {
            let mut failed = Vec::new();
            while let Some(failure) = left.pop() {
                remark(&format!("putting back what the drill broke: {failure}"));
                match self.means.heal(&failure).await {
                    Ok(()) => self.forget(&failure),
                    Err(error) => {
                        remark(&format!("that did not succeed: {error:#}"));
                        failed.insert(0, failure);
                    }
                }
            }
            left = failed;
        }
    }

    fn forget(&self, failure: &Failure) {
        self.with(|broken| {
            if let Some(place) = broken.iter().position(|known| known == failure) {
                broken.remove(place);
            }
        });
    }
}

impl<O: Operator> Operator for Attended<O> {
    async fn strike(&self, failure: &Failure) -> anyhow::Result<()> {
        self.with(|broken| broken.push(failure.clone()));
        self.means.strike(failure).await
    }

    async fn heal(&self, failure: &Failure) -> anyhow::Result<()> {
        self.means.heal(failure).await?;
        // One that left may be ready, hear that it has lapsed, and end once more.
        if !matches!(failure, Failure::Leave { .. }) {
            self.forget(failure);
        }
        Ok(())
    }
}

/// The signals that give a drill up.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn catch() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was asked for.
    #[derive(Default)]
    struct Telling(Mutex<Vec<String>>, Option<&'static str>);

    impl Telling {
        fn tell(&self, what: &str, failure: &Failure) {
            self.0.lock().unwrap().push(format!("{what}: {failure}"));
        }
    }

    impl Operator for Telling {
        async fn strike(&self, failure: &Failure) -> anyhow::Result<()> {
            self.tell("strike", failure);
            Ok(())
        }

        async fn heal(&self, failure: &Failure) -> anyhow::Result<()> {
            self.tell("heal", failure);
            let (told, never) = (self.0.lock().unwrap(), self.1);
            let first = told.iter().filter(|line| line.contains("heal: c")).count() == 1;
            let of = |region: &str| failure.to_string().starts_with(region);
            if (of("c") && first) || never.is_some_and(of) {
                bail!("it does not start")
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_a_drill_leaves_broken_is_put_back_in_reverse() {
        let attended = Attended::by(Telling::default());
        let of = |region: &str| Failure::Stop { region: region.to_owned() };
        let failed = attended.attend(async {
            for region in ["a", "b", "c"] {
                attended.strike(&of(region)).await?;
            }
            attended.heal(&of("b")).await?;
            bail!("no more")
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "no more");
        let told = attended.means.0.into_inner().unwrap();
        let healed: Vec<&String> = told.iter().filter(|line| line.starts_with("heal")).collect();
        let wanted = ["b", "c", "a", "c"].map(|region| format!("heal: {region} is killed"));
        assert_eq!(healed, wanted.iter().collect::<Vec<_>>(), "c is tried again behind a");
    }

    #[tokio::test]
    async fn what_cannot_be_put_back_is_said_and_nothing_else_is_left() {
        let attended = Attended::by(Telling(Mutex::default(), Some("b")));
        let of = |region: &str| Failure::Stop { region: region.to_owned() };
        let failed = attended.attend(async {
            for region in ["a", "b"] {
                attended.strike(&of(region)).await?;
            }
            bail!("no more")
        });
        let said = failed.await.unwrap_err().to_string();
        assert_eq!(said, "no more; and not everything was put back: b is killed");
        let told = attended.means.0.into_inner().unwrap();
        assert!(told.contains(&"heal: a is killed".to_owned()), "{told:?}");
    }
}
