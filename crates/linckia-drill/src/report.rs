//! What a drill came to: as JSON for programs, as one page of HTML for people.
//!
//! Pure. What always holds: the page needs nothing from elsewhere, and says what was promised
//! beside what was found.

mod drill;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::absent::Absent;
use crate::account::{Level, Receipt, Written};
pub use drill::Drill;

use crate::full::Full;
use crate::io::{Absence, DiskFull, Mode, Plan, Restore, Soak};
use crate::restored::Restored;

/// The width of a bar of the timeline, in milliseconds.
const STEP: u64 = 250;

/// The timeline's size on the page.
const WIDTH: u64 = 900;
const HEIGHT: u64 = 160;

/// Colours of regions, told apart by everybody (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"];

/// A failure on the timeline, in milliseconds from the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Band {
    pub from: u64,
    pub until: u64,
    pub what: String,
}

/// Acknowledged writes over time, by level and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    regions: Vec<String>,
    bands: Vec<Band>,
    /// By level: by step, by region.
    levels: Vec<Vec<Vec<u64>>>,
}

impl Timeline {
    /// Of what clients wrote while that failed.
    pub fn of(
        regions: Vec<String>,
        written: &[Written],
        bands: Vec<Band>,
        levels: &[String],
    ) -> Self {
        let last = written.iter().filter_map(|write| write.acknowledged.as_ref());
        let steps = last.map(|receipt| receipt.when / STEP + 1).max().unwrap_or(1) as usize;
        let mut counts = vec![vec![vec![0; regions.len()]; steps]; levels.len()];
        for write in written {
            let Some(Receipt { when, region, .. }) = &write.acknowledged else { continue };
            if let Some(place) = regions.iter().position(|known| known == region) {
                counts[write.level][(when / STEP) as usize][place] += 1;
            }
        }
        Self { regions, bands, levels: counts }
    }
}

/// What a drill found, of whatever kind it is.
pub struct Outcome {
    pub levels: Vec<Level>,
    pub digests_equal: bool,
    /// The first session guarantee that was broken.
    pub broken: Option<String>,
    /// Answers that no client should have got, the first few.
    pub surprises: Vec<String>,
    pub timeline: Timeline,
}

/// What a restore took, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The moment that was restored.
    #[serde(rename = "moment")]
    pub time: String,
    #[serde(rename = "backupMilliseconds")]
    pub backup: u64,
    #[serde(rename = "verifyMilliseconds")]
    pub verify: u64,
    /// From an empty directory to a fleet whose regions are all ready.
    #[serde(rename = "rtoMilliseconds")]
    pub restore: u64,
    /// How old the moment was when restoring began.
    #[serde(rename = "rpoMilliseconds")]
    pub age: u64,
}

/// A drill's outcome, judged.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(flatten)]
    pub drill: Drill,
    pub levels: Vec<Level>,
    pub digests_equal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_guarantee: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub surprises: Vec<String>,
    pub passed: bool,
    /// Where the page is, if one was asked for.
    pub report: Option<String>,
    /// The observer's record of acknowledged ids.
    pub ledger: String,
    #[serde(skip)]
    timeline: Timeline,
}

impl Report {
    pub(crate) fn of_region_loss(plan: &Plan, outcome: Outcome) -> Self {
        let drill = Drill::RegionLoss { region: plan.region.clone(), mode: plan.mode.name() };
        Self::new(drill, plan.mode == Mode::Destroy, &plan.ledger, outcome)
    }

    pub(crate) fn of_soak(
        plan: &Soak,
        outcome: Outcome,
        deletions: u64,
        sessions_given_up: u64,
    ) -> Self {
        let acknowledged: u64 = outcome.levels.iter().map(|level| level.acknowledged).sum();
        let drill = Drill::Soak {
            seed: plan.seed,
            rate: acknowledged / plan.span.as_secs().max(1),
            failures: outcome.timeline.bands.clone(),
            deletions,
            sessions_given_up,
        };
        Self::new(drill, plan.destroys, &plan.ledger, outcome)
    }

    pub(crate) fn of_restore(
        plan: &Restore,
        outcome: Outcome,
        times: Times,
        restored: Restored,
        restored_equal: bool,
    ) -> Self {
        let right = restored.is_right() && restored_equal;
        let region = plan.region.clone();
        let drill = Drill::Restore { region, times, restored, restored_equal };
        let report = Self::new(drill, false, &plan.ledger, outcome);
        Self { passed: report.passed && right, ..report }
    }

    pub(crate) fn of_absence(plan: &Absence, outcome: Outcome, absent: Absent) -> Self {
        let right = absent.is_right() && absent.lapsed.is_some() >= plan.lapse;
        let drill = Drill::Absence { region: plan.region.clone(), absent };
        let report = Self::new(drill, false, &plan.ledger, outcome);
        Self { passed: report.passed && right, ..report }
    }

    pub(crate) fn of_disk_full(plan: &DiskFull, outcome: Outcome, full: Full) -> Self {
        let right = full.is_right();
        let drill = Drill::DiskFull { region: plan.region.clone(), full };
        let report = Self::new(drill, false, &plan.ledger, outcome);
        Self { passed: report.passed && right, ..report }
    }

    fn new(drill: Drill, disks_lost: bool, ledger: &Path, outcome: Outcome) -> Self {
        let Outcome { levels, digests_equal, broken, surprises, timeline } = outcome;
        let kept = levels.iter().all(|level| keeps(disks_lost, level));
        let passed = kept && digests_equal && broken.is_none() && surprises.is_empty();
        Self {
            drill,
            levels,
            digests_equal,
            broken_guarantee: broken,
            surprises,
            passed,
            report: None,
            ledger: ledger.display().to_string(),
            timeline,
        }
    }

    /// The page.
    pub fn html(&self) -> String {
        let mut page = String::from(HEAD);
        let (class, verdict) =
            if self.passed { ("passed", "Passed") } else { ("failed", "Failed") };
        let (title, story) = self.drill.story();
        let _ = write!(
            page,
            "<h1>{title} <span class=\"{class}\">{verdict}</span></h1>\n<p>{story} {}</p>\n",
            self.sentence()
        );
        self.table(&mut page);
        for (place, level) in self.levels.iter().enumerate() {
            self.chart(&mut page, place, &level.ack);
        }
        self.details(&mut page);
        page.push_str("</body></html>\n");
        page
    }

    fn sentence(&self) -> String {
        let lost: u64 = self.levels.iter().map(|level| level.lost).sum();
        let all: u64 = self.levels.iter().map(|level| level.acknowledged).sum();
        let mut text = match lost {
            0 => format!("Of {all} acknowledged writes none was lost."),
            _ => format!("Of {all} acknowledged writes {lost} were lost; they are listed below."),
        };
        text.push_str(match self.digests_equal {
            true => " In the end all regions held the same.",
            false => " In the end the regions did not hold the same.",
        });
        text
    }

    fn table(&self, page: &mut String) {
        page.push_str(
            "<table><tr><th>Acknowledged by</th><th>Writes</th><th>Lost</th><th>Declared lost\
             </th><th>Counted twice</th><th>Interrupted</th><th>Without service, P50</th>\
             <th>P99</th><th>Stale reads</th></tr>\n",
        );
        for level in &self.levels {
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{} ms</td><td>{} ms</td><td>{}</td></tr>",
                escape(&level.ack),
                level.acknowledged,
                level.lost,
                level.declared_lost,
                level.duplicated,
                level.interrupted,
                level.rto_milliseconds.p50,
                level.rto_milliseconds.p99,
                level.stale_reads
            );
        }
        page.push_str("</table>\n");
    }

    fn chart(&self, page: &mut String, place: usize, ack: &str) {
        let Timeline { regions, bands, levels } = &self.timeline;
        let steps = &levels[place];
        let highest = steps.iter().map(|step| step.iter().sum::<u64>()).max().unwrap_or(0).max(1);
        let span = (steps.len() as u64 * STEP).max(1);
        let x = |milliseconds: u64| milliseconds.min(span) * WIDTH / span;
        let _ = write!(
            page,
            "<h2>Writes acknowledged by <code>{}</code>, a second</h2>\n<svg viewBox=\"0 0 {} {}\" \
             role=\"img\">\n",
            escape(ack),
            WIDTH + 60,
            HEIGHT + 24,
        );
        for Band { from, until, what } in bands {
            let _ = writeln!(
                page,
                "<rect x=\"{}\" y=\"0\" width=\"{}\" height=\"{HEIGHT}\" class=\"gone\"><title>{}\
                 </title></rect>",
                x(*from),
                (x(*until) - x(*from)).max(1),
                escape(what)
            );
        }
        for (number, step) in steps.iter().enumerate() {
            let (left, right) = (x(number as u64 * STEP), x((number as u64 + 1) * STEP));
            let mut base = HEIGHT;
            for (region, count) in step.iter().enumerate().filter(|(_, count)| **count > 0) {
                let height = count * HEIGHT / highest;
                base -= height.min(base);
                let colour = COLOURS[region % COLOURS.len()];
                let _ = writeln!(
                    page,
                    "<rect x=\"{left}\" y=\"{base}\" width=\"{}\" height=\"{height}\" \
                     fill=\"{colour}\"/>",
                    (right - left).max(1)
                );
            }
        }
        let per_second = highest * 1_000 / STEP;
        let _ = writeln!(
            page,
            "<text x=\"{}\" y=\"12\">{per_second}</text><text x=\"{}\" y=\"{HEIGHT}\">0</text>",
            WIDTH + 6,
            WIDTH + 6,
        );
        if let ([Band { from, until, .. }], Some(words)) = (&bands[..], self.drill.words()) {
            for (at, what) in [from, until].into_iter().zip(words) {
                let (x, y) = (x(*at), HEIGHT + 18);
                let _ = writeln!(page, "<text x=\"{x}\" y=\"{y}\">{what}</text>");
            }
        }
        page.push_str("</svg>\n<p>");
        for (number, region) in regions.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let region = escape(region);
            let _ = write!(page, "<span style=\"color:{colour}\">&#9632;</span> {region} &nbsp; ");
        }
        page.push_str("</p>\n");
    }

    fn details(&self, page: &mut String) {
        page.push_str(
            "<h2>How to read this</h2>\n<ul><li>A write is <b>lost</b> if it was acknowledged and \
             some region does not show it at the end; the ids were kept by the observer, not by \
             the regions.</li><li><b>Counted twice</b>: a write that was tried again in another \
             region and counts there a second time.</li><li><b>Interrupted</b> writes needed more \
             than one attempt; <b>without service</b> is how long those took, by the clients' \
             clocks.</li><li><b>Stale reads</b> did not show a client its own acknowledged \
             write.</li><li>Writes acknowledged as <code>local</code> may be lost with the disk \
             of the region that took them; all others must not be.</li><li><b>Declared lost</b> \
             are those of which the fleet itself says so, to every client that has seen them: \
             losing any other one in silence fails the drill.</li></ul>\n",
        );
        if let Drill::Soak { failures, .. } = &self.drill {
            page.push_str("<h2>What failed</h2>\n<ul>\n");
            for Band { from, until, what } in failures {
                let [from, until] = [from, until].map(|at| *at as f64 / 1_000.0);
                let what = escape(what);
                let _ = writeln!(page, "<li>{from:.1} to {until:.1} s: {what}</li>");
            }
            page.push_str("</ul>\n");
        }
        if let Some(broken) = &self.broken_guarantee {
            let _ = writeln!(page, "<p class=\"failed\">Broken: {}</p>", escape(broken));
        }
        for surprise in &self.surprises {
            let _ = writeln!(page, "<p class=\"failed\">Not expected: {}</p>", escape(surprise));
        }
        if let Drill::Restore { restored, .. } = &self.drill {
            let lists = [("Missing", &restored.missing_ids), ("Too late", &restored.too_late_ids)];
            for (what, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
                let ids = escape(&ids.join("\n"));
                let _ = writeln!(page, "<h2>{what} in the restored fleet</h2><pre>{ids}</pre>");
            }
        }
        if let Drill::Absence { absent: Absent { unrecorded_ids, .. }, .. } = &self.drill
            && !unrecorded_ids.is_empty()
        {
            let ids = escape(&unrecorded_ids.join("\n"));
            let _ = writeln!(page, "<h2>Neither in all regions nor on record</h2><pre>{ids}</pre>");
        }
        for level in self.levels.iter().filter(|level| level.lost > 0) {
            let ids = escape(&level.lost_ids.join("\n"));
            let _ = writeln!(
                page,
                "<h2>Lost of <code>{}</code></h2><pre>{ids}</pre>",
                escape(&level.ack)
            );
        }
    }
}

/// True if a level kept what it promises: only `local` may lose, only with the disk, and only what
/// the fleet itself says is lost.
fn keeps(disks_lost: bool, level: &Level) -> bool {
    let may_lose = disks_lost && level.ack == "local" && level.lost == level.declared_lost;
    (level.lost == 0 || may_lose) && level.duplicated == 0 && level.acknowledged > 0
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>Drill</title><style>\n\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#222}\n\
table{border-collapse:collapse;margin:1rem 0}th,td{text-align:right;padding:.3rem .8rem;\
border-bottom:1px solid #ddd}td{white-space:nowrap}th:first-child,td:first-child{text-align:left}\n\
.passed{background:#009e73;color:#fff;padding:0 .5rem;border-radius:.3rem}\n\
.failed{background:#d55e00;color:#fff;padding:0 .5rem;border-radius:.3rem}\n\
h2{font-size:1.1rem;margin-top:2rem}svg{width:100%}\n\
svg text{font:12px system-ui,sans-serif;fill:#555}\n\
.gone{fill:#f3d9d0}pre{background:#f6f6f6;padding:.5rem;overflow:auto}\n\
</style></head><body>\n";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Percentiles;

    fn level(ack: &str, lost: u64) -> Level {
        Level {
            ack: ack.to_owned(),
            acknowledged: 10,
            lost,
            declared_lost: lost,
            lost_ids: (0..lost).map(|number| format!("<{number}>")).collect(),
            duplicated: 0,
            rto_milliseconds: Percentiles { p50: 5, p99: 9 },
            interrupted: 2,
            stale_reads: 0,
            unanswered: 0,
        }
    }

    fn report(mode: Mode, levels: Vec<Level>) -> Report {
        let names: Vec<String> = levels.iter().map(|level| level.ack.clone()).collect();
        let plan = Plan {
            region: "a".to_owned(),
            mode,
            levels: names.clone(),
            span: Duration::from_secs(1),
            run: "D1".to_owned(),
            ledger: "ledger.txt".into(),
        };
        let written = Written {
            level: 0,
            key: "k".to_owned(),
            id: "i".to_owned(),
            begun: 0,
            acknowledged: Some(Receipt {
                when: 700,
                region: "b".to_owned(),
                origin: "b.1".to_owned(),
                sequence: 1,
            }),
            attempts: 1,
        };
        let regions = vec!["a".to_owned(), "b".to_owned()];
        let bands = vec![Band { from: 300, until: 700, what: "a is lost".to_owned() }];
        let timeline = Timeline::of(regions, &[written], bands, &names);
        assert_eq!(timeline.levels[0], [[0, 0], [0, 0], [0, 1]]);
        let (broken, surprises) = (None, Vec::new());
        let outcome = Outcome { levels, digests_equal: true, broken, surprises, timeline };
        Report::of_region_loss(&plan, outcome)
    }

    #[test]
    fn only_local_may_lose_and_only_with_the_disk() {
        assert!(report(Mode::Destroy, vec![level("local", 3), level("any", 0)]).passed);
        assert!(!report(Mode::Destroy, vec![level("local", 3), level("any", 1)]).passed);
        assert!(!report(Mode::Stop, vec![level("local", 1)]).passed);
        let silent = Level { declared_lost: 2, ..level("local", 3) };
        assert!(!report(Mode::Destroy, vec![silent]).passed);
        assert!(report(Mode::Cut, vec![level("local", 0)]).passed);
    }

    #[test]
    fn the_page_says_what_was_lost_and_trusts_no_text() {
        let page = report(Mode::Destroy, vec![level("local", 2)]).html();
        assert!(page.contains("Of 10 acknowledged writes 2 were lost"), "{page}");
        assert!(page.contains("&lt;1&gt;") && !page.contains("<1>"));
        assert!(page.contains("class=\"passed\""));
    }
}
