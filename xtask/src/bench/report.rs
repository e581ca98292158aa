//! Figures with their aims: as a table for the terminal, as Markdown for `docs/measurements/`, as
//! JSON for programs.
//!
//! Filled by each measurement, printed by `bench.rs`. Pure. What always holds: a figure is shown
//! whether it meets its aim or not, and no aim fails the run: a measurement states what is.

use super::machine::Facts;
use super::value::quoted;

#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    aim: Option<Aim>,
}

#[derive(Debug, Clone, Copy)]
pub enum Aim {
    AtLeast(f64),
    Below(f64),
}

/// The middle one; sorts too.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Report {
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit, aim: None });
    }

    pub fn aimed(&mut self, name: impl Into<String>, value: f64, unit: &'static str, aim: Aim) {
        self.figures.push(Figure { name: name.into(), value, unit, aim: Some(aim) });
    }

    /// A sentence that a reader of the figures needs.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    pub fn table(&self) -> String {
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max();
        let width = width.unwrap_or(0);
        let mut text = String::new();
        for figure in &self.figures {
            let [value, aim, met] = figure.cells();
            let line =
                format!("{:<width$} {value:>12} {:<17} {aim:>12} {met}", figure.name, figure.unit);
            text += &format!("{}\n", line.trim_end());
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text
    }

    pub fn markdown(&self, title: &str, facts: &Facts) -> String {
        let mut text = format!("## {title}\n\n| | |\n|---|---|\n");
        for (name, value) in facts {
            text += &format!("| {name} | {value} |\n");
        }
        text += "\n| figure | value | unit | aim | met |\n|---|---:|---|---:|---|\n";
        for figure in &self.figures {
            let [value, aim, met] = figure.cells();
            text += &format!("| {} | {value} | {} | {aim} | {met} |\n", figure.name, figure.unit);
        }
        for note in &self.notes {
            text += &format!("\n- {note}");
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text
    }

    pub fn json(&self, title: &str, facts: &Facts) -> String {
        let facts: Vec<_> = facts
            .iter()
            .map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)))
            .collect();
        let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
        let notes: Vec<_> = self.notes.iter().map(|note| quoted(note)).collect();
        format!(
            "{{\"bench\":{},\"machine\":{{{}}},\"figures\":[{}],\"notes\":[{}]}}\n",
            quoted(title),
            facts.join(","),
            figures.join(","),
            notes.join(",")
        )
    }
}

impl Figure {
    /// Value, aim, whether it is met.
    fn cells(&self) -> [String; 3] {
        let (aim, met) = match self.aim {
            None => return [number(self.value), String::new(), String::new()],
            Some(Aim::AtLeast(aim)) => (format!("≥ {}", number(aim)), self.value >= aim),
            Some(Aim::Below(aim)) => (format!("< {}", number(aim)), self.value < aim),
        };
        [number(self.value), aim, if met { "yes" } else { "NO" }.to_owned()]
    }

    fn json(&self) -> String {
        let (name, unit, value) = (quoted(&self.name), quoted(self.unit), bare(self.value));
        let aim = match self.aim {
            None => String::new(),
            Some(Aim::AtLeast(aim)) => format!(",\"atLeast\":{aim}"),
            Some(Aim::Below(aim)) => format!(",\"below\":{aim}"),
        };
        format!("{{\"name\":{name},\"value\":{value},\"unit\":{unit}{aim}}}")
    }
}

/// JSON has no infinity and no not-a-number.
fn bare(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { "null".to_owned() }
}

/// With as many decimals as tell something, and commas: 1,234,567 and 45.6 and 0.789.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    let decimals = match size {
        _ if value.fract() == 0.0 || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{size:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if fraction.is_empty() { out } else { format!("{out}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        for (value, expected) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (4.567, "4.57"),
            (45.67, "45.7"),
            (-456.7, "-457"),
            (1_234_567.8, "1,234,568"),
            (30_000.0, "30,000"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_figure_says_whether_it_meets_its_aim() {
        let mut report = Report::default();
        report.aimed("rate", 31_000.0, "events/s", Aim::AtLeast(30_000.0));
        report.aimed("P99", 7.5, "ms", Aim::Below(5.0));
        report.figure("plain", 1.0, "s");
        report.note("a note");
        let facts = vec![("cpu", "fast".to_owned())];
        let markdown = report.markdown("append", &facts);
        assert!(markdown.contains("| rate | 31,000 | events/s | ≥ 30,000 | yes |"), "{markdown}");
        assert!(markdown.contains("| P99 | 7.50 | ms | < 5 | NO |"), "{markdown}");
        assert!(markdown.contains("| cpu | fast |") && markdown.ends_with("\n- a note\n"));
        assert!(report.table().contains("plain"));
        let json = report.json("append", &facts);
        assert!(json.contains("{\"name\":\"P99\",\"value\":7.5,\"unit\":\"ms\",\"below\":5}"));
        assert!(super::super::value::Value::parse(&json).is_ok(), "{json}");
    }
}
