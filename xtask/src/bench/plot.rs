//! A line over a logarithmic axis, as SVG: what a table of a dozen rows does not show at a glance.
//!
//! Used by measurements that grow something. Pure. What always holds: the vertical axis begins at
//! zero, so that flat looks flat.

use std::fmt::Write as _;

/// Of the picture and of what it is drawn in, in units of the SVG.
const SIZE: (f64, f64) = (600.0, 300.0);
const LEFT: f64 = 60.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 250.0;

/// Lines across.
const STEPS: u32 = 5;

/// What its axes are called.
pub struct Axes<'a> {
    pub across: &'a str,
    pub up: &'a str,
}

/// Points in the order of their first members, which are above zero.
pub fn svg(axes: &Axes<'_>, points: &[(f64, f64)]) -> String {
    let first = points.first().map_or(1.0, |point| point.0).log10().floor();
    let last = points.last().map_or(10.0, |point| point.0).log10().ceil().max(first + 1.0);
    let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let top = nice(highest);
    let x = |value: f64| LEFT + (value.log10() - first) / (last - first) * (RIGHT - LEFT);
    let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
    let (width, height) = SIZE;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for exponent in first as i32..=last as i32 {
        let value = 10_f64.powi(exponent);
        let (at, label) = (x(value), grouped(value));
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"270\" text-anchor=\"middle\">{label}</text>\
             <line x1=\"{at:.1}\" y1=\"{BOTTOM}\" x2=\"{at:.1}\" y2=\"{TOP}\" stroke=\"#ddd\"/>"
        );
    }
    for step in 0..=STEPS {
        let value = top * f64::from(step) / f64::from(STEPS);
        let at = y(value);
        let _ = writeln!(
            out,
            "<text x=\"50\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\
             <line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
            at + 4.0
        );
    }
    let line: Vec<String> =
        points.iter().map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up))).collect();
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"2\" points=\"{}\"/>\n\
         <text x=\"310\" y=\"290\" text-anchor=\"middle\">{}</text>\
         <text x=\"{LEFT}\" y=\"25\">{}</text></svg>",
        line.join(" "),
        axes.across,
        axes.up
    );
    out
}

/// The next of 1, 2 and 5 times a power of ten.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

/// With commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_line_is_flat_and_begins_at_zero() {
        let axes = Axes { across: "events", up: "µs" };
        let drawn = svg(&axes, &[(10_000.0, 5.0), (100_000.0, 5.0), (10_000_000.0, 5.0)]);
        let line = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let heights: Vec<&str> =
            line.split(' ').map(|point| point.split(',').nth(1).unwrap()).collect();
        assert_eq!(heights, ["40.0"; 3]);
        assert!(drawn.contains(">10,000,000<") && drawn.contains(">0<"), "{drawn}");
        assert_eq!([nice(0.0), nice(3.1), nice(20.0), nice(51.0)], [1.0, 5.0, 20.0, 100.0]);
    }
}
