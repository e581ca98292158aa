//! What a long command tells on stderr while it works: a bar on a terminal, a line now and then
//! elsewhere.
//!
//! `import` and `export` start one with a closure that reads their counters; this side only
//! looks. What always holds: stdout is never touched, and a bar is gone when `finish` returns.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::text::{count, number, remark};

/// Fast enough to look alive, slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(200);

/// In a log file, this often a line is progress and not noise.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The rate shown is that of the last few seconds: 25 readings, one a tick.
const WINDOW: usize = 25;

/// One look at a command's counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Where it stands, in the unit of the total.
    pub(crate) position: u64,
    /// Events done.
    pub(crate) events: u64,
    /// What else the user should know now, e.g. who does not answer.
    pub(crate) note: String,
}

/// A running display.
pub(crate) struct Progress {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Shows `read` against `total` (unknown: no bar, no remaining time) until finished.
    pub(crate) fn start(
        total: Option<u64>,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shown = run(total, &read);
            tokio::select! {
                () = shown => {}
                _ = stopped => {}
            }
        });
        Self { stop, task }
    }

    /// Takes the display away.
    pub(crate) async fn finish(self) {
        let _ = self.stop.send(());
        // The display cannot fail; if its task was lost with the runtime, nothing is shown either.
        let _ = self.task.await;
    }
}

/// Clears the bar even if the task that draws it is dropped in the middle.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn run(total: Option<u64>, read: &(impl Fn() -> Reading + Sync)) {
    let bar = io::stderr().is_terminal().then(|| Bar(bar(total)));
    let mut pace = Pace::new(Instant::now());
    let mut said = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let reading = read();
        let line = pace.line(Instant::now(), total, &reading);
        match &bar {
            Some(bar) => {
                bar.0.set_position(reading.position);
                bar.0.set_message(line);
            }
            None if said.elapsed() >= LINE_EVERY => {
                said = Instant::now();
                remark(&line);
            }
            None => {}
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:28} {percent:>3}%  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner}  {msg}"),
    };
    // The templates are constants: a wrong one shows at the first run.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    bar
}

/// How fast it went lately, and how long it will take.
struct Pace {
    start: Instant,
    recent: VecDeque<(Instant, u64)>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { start: now, recent: VecDeque::from([(now, 0)]) }
    }

    fn line(&mut self, now: Instant, total: Option<u64>, reading: &Reading) -> String {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((now, reading.events));
        let (since, before) = self.recent.front().copied().unwrap_or((now, 0));
        let seconds = now.saturating_duration_since(since).as_secs_f64().max(0.001);
        let rate = reading.events.saturating_sub(before) as f64 / seconds;
        let mut line = format!("{}, {}/s", count(reading.events, "event"), number(rate as u64));
        if let Some(left) = self.left(now, total, reading.position) {
            line = format!("{line}, {left} left");
        }
        if !reading.note.is_empty() {
            line = format!("{line}; {}", reading.note);
        }
        line
    }

    fn left(&self, now: Instant, total: Option<u64>, position: u64) -> Option<String> {
        let total = total.filter(|total| *total > 0 && position > 0)?;
        let gone = now.saturating_duration_since(self.start).as_secs_f64();
        let seconds = gone * (total.saturating_sub(position)) as f64 / position as f64;
        let seconds = seconds.ceil() as u64;
        Some(match seconds {
            0..60 => format!("{seconds} s"),
            60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
            _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_rate_and_remaining_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let reading = Reading { position: 250, events: 10_000, note: String::new() };
        let line = pace.line(start + Duration::from_secs(2), Some(1_000), &reading);
        assert_eq!(line, "10,000 events, 5,000/s, 6 s left");
        let reading = Reading { position: 250, events: 10_000, note: "waiting".into() };
        let line = pace.line(start + Duration::from_secs(4), None, &reading);
        assert_eq!(line, "10,000 events, 2,500/s; waiting");
    }
}
