//! How a row of CSV becomes an event: the file of `--map`.
//!
//! Read once, bound to each file's header before anything is sent, then applied row by row. What
//! always holds: a row becomes one line of JSON or a reason why not; no column is guessed.
//!
//! ```toml
//! eventId = "{carrier}-{flight}-{date}"           # left out: made from file, line and content
//! eventType = "FlightDeparted"
//! aggregateType = "Aircraft"
//! aggregateId = ["{tailnum}", "{carrier}{flight}"] # the first whose columns all hold something
//! operation = "patch"
//! absent = ["", "NA"]
//! [eventData]
//! carrier = "text"
//! delay = { column = "dep_delay", type = "integer", absent = "null" }
//! ```

use std::collections::BTreeMap;

use csv::StringRecord;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The file's words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mapping {
    #[serde(default = "comma")]
    delimiter: char,
    #[serde(default = "nothing")]
    absent: Vec<String>,
    event_id: Option<Templates>,
    event_type: Templates,
    aggregate_type: Templates,
    aggregate_id: Templates,
    operation: Option<Templates>,
    region: Option<Templates>,
    correlation_id: Option<Templates>,
    causation_id: Option<Templates>,
    #[serde(default)]
    event_data: BTreeMap<String, FieldWords>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text with {columns}, or a list of them")]
enum Templates {
    One(String),
    FirstOf(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "text, integer, number, boolean or json, or a table of column, type and absent"
)]
enum FieldWords {
    Kind(Kind),
    Full(FullField),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FullField {
    column: Option<String>,
    #[serde(default)]
    r#type: Kind,
    #[serde(default)]
    absent: Absent,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Text,
    Integer,
    Number,
    Boolean,
    Json,
}

/// What becomes of a field whose cell holds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Absent {
    #[default]
    Omit,
    Null,
}

fn comma() -> char {
    ','
}

fn nothing() -> Vec<String> {
    vec![String::new()]
}

/// A mapping bound to one file's header.
#[derive(Debug)]
pub(crate) struct Shape {
    columns: usize,
    absent: Vec<String>,
    members: Vec<(&'static str, Choice)>,
    metadata: Vec<(&'static str, Choice)>,
    data: Vec<Field>,
}

#[derive(Debug)]
struct Choice(Vec<Vec<Part>>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(usize),
}

#[derive(Debug)]
struct Field {
    name: String,
    column: usize,
    kind: Kind,
    absent: Absent,
}

impl Mapping {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mapping: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if !mapping.delimiter.is_ascii() {
            return Err(format!("the delimiter `{}` is not ASCII", mapping.delimiter));
        }
        Ok(mapping)
    }

    pub(crate) fn delimiter(&self) -> u8 {
        // Checked when parsed; any other would split nothing.
        u8::try_from(self.delimiter).unwrap_or(b',')
    }

    /// Fails if a column is named that the header does not have.
    pub(crate) fn bind(&self, header: &StringRecord) -> Result<Shape, String> {
        let column = |name: &str| {
            header.iter().position(|column| column.trim() == name).ok_or_else(|| {
                let columns: Vec<&str> = header.iter().collect();
                format!("there is no column `{name}`; there are {}", columns.join(", "))
            })
        };
        let given = |member: &'static str, templates: &Option<Templates>| match templates {
            None => Ok(None),
            Some(templates) => Choice::bind(templates, &column)
                .map(|choice| Some((member, choice)))
                .map_err(|why| format!("{member}: {why}")),
        };
        let needed = |member: &'static str, templates: &Templates| {
            let choice = Choice::bind(templates, &column);
            choice.map(|choice| (member, choice)).map_err(|why| format!("{member}: {why}"))
        };
        let mut members = vec![
            needed("eventType", &self.event_type)?,
            needed("aggregateType", &self.aggregate_type)?,
            needed("aggregateId", &self.aggregate_id)?,
        ];
        members.extend(given("eventId", &self.event_id)?);
        members.extend(given("operation", &self.operation)?);
        let metadata = [
            given("region", &self.region)?,
            given("correlationId", &self.correlation_id)?,
            given("causationId", &self.causation_id)?,
        ];
        let mut data = Vec::new();
        for (name, words) in &self.event_data {
            let (source, kind, absent) = match words {
                FieldWords::Kind(kind) => (name, *kind, Absent::default()),
                FieldWords::Full(full) => {
                    (full.column.as_ref().unwrap_or(name), full.r#type, full.absent)
                }
            };
            let column = column(source).map_err(|why| format!("eventData.{name}: {why}"))?;
            data.push(Field { name: name.clone(), column, kind, absent });
        }
        let metadata = metadata.into_iter().flatten().collect();
        Ok(Shape { columns: header.len(), absent: self.absent.clone(), members, metadata, data })
    }
}

impl Choice {
    fn bind(
        templates: &Templates,
        column: &impl Fn(&str) -> Result<usize, String>,
    ) -> Result<Self, String> {
        let texts = match templates {
            Templates::One(text) => std::slice::from_ref(text),
            Templates::FirstOf(texts) => texts.as_slice(),
        };
        texts.iter().map(|text| parts(text, column)).collect::<Result<_, _>>().map(Self)
    }
}

/// `{column}` stands for a cell, `{{` and `}}` for the braces.
fn parts(text: &str, column: &impl Fn(&str) -> Result<usize, String>) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        literal.push_str(&rest[..brace]);
        let at_brace = &rest[brace..];
        if at_brace.starts_with("{{") || at_brace.starts_with("}}") {
            literal.push_str(&at_brace[..1]);
            rest = &at_brace[2..];
            continue;
        }
        let inside = at_brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let (name, after) = inside.ok_or_else(|| format!("`{text}` has a brace without a pair"))?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Column(column(name.trim())?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

impl Shape {
    /// Writes a row as one line of JSON, without a line end.
    pub(crate) fn event(&self, row: &StringRecord, out: &mut Vec<u8>) -> Result<(), String> {
        if row.len() != self.columns {
            return Err(format!("the row has {} cells, the header {}", row.len(), self.columns));
        }
        out.push(b'{');
        for (name, choice) in &self.members {
            let Some(value) = self.choose(choice, row) else {
                return Err(format!("{name} is empty: its columns hold nothing"));
            };
            member(out, name, |out| string(out, &value));
        }
        member(out, "eventData", |out| out.push(b'{'));
        for field in &self.data {
            let cell = row.get(field.column).unwrap_or_default();
            if !self.absent.iter().any(|absent| absent == cell) {
                let json = field
                    .json(cell)
                    .map_err(|wanted| format!("eventData.{}: `{cell}` is {wanted}", field.name))?;
                member(out, &field.name, |out| out.extend_from_slice(json.as_bytes()));
            } else if field.absent == Absent::Null {
                member(out, &field.name, |out| out.extend_from_slice(b"null"));
            }
        }
        out.push(b'}');
        let metadata: Vec<(&str, String)> = self
            .metadata
            .iter()
            .filter_map(|(name, choice)| self.choose(choice, row).map(|value| (*name, value)))
            .collect();
        if !metadata.is_empty() {
            member(out, "metadata", |out| out.push(b'{'));
            for (name, value) in metadata {
                member(out, name, |out| string(out, &value));
            }
            out.push(b'}');
        }
        out.push(b'}');
        Ok(())
    }

    /// The first template whose columns all hold something.
    fn choose(&self, choice: &Choice, row: &StringRecord) -> Option<String> {
        choice.0.iter().find_map(|parts| {
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text(literal) => text.push_str(literal),
                    Part::Column(column) => {
                        let cell = row.get(*column)?;
                        if self.absent.iter().any(|absent| absent == cell) {
                            return None;
                        }
                        text.push_str(cell);
                    }
                }
            }
            Some(text)
        })
    }
}

impl Field {
    /// The cell as JSON, or what it should have been.
    fn json(&self, cell: &str) -> Result<String, &'static str> {
        let text = cell.trim();
        match self.kind {
            Kind::Text => Ok(serde_json::Value::from(cell).to_string()),
            Kind::Integer => {
                let signed = text.parse::<i64>().map(|number| number.to_string());
                let number = signed.or_else(|_| text.parse::<u64>().map(|n| n.to_string()));
                number.map_err(|_| "no integer")
            }
            Kind::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(serde_json::from_str::<&RawValue>(text)
                    .map_or_else(|_| number.to_string(), |number| number.get().to_owned())),
                _ => Err("no number"),
            },
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "1" => Ok("true".to_owned()),
                "false" | "f" | "no" | "0" => Ok("false".to_owned()),
                _ => Err("neither true nor false"),
            },
            // Through a value, so that line ends between its tokens do not end the line.
            Kind::Json => serde_json::from_str::<serde_json::Value>(text)
                .map(|value| value.to_string())
                .map_err(|_| "no JSON"),
        }
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    string(out, name);
    out.push(b':');
    value(out);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r#"
        absent = ["", "NA"]
        eventId = "{carrier}-{flight}"
        eventType = "Departed"
        aggregateType = "Aircraft"
        aggregateId = ["{tail}", "{carrier}{flight}"]
        region = "{at}"
        [eventData]
        carrier = "text"
        late = { column = "delay", type = "integer", absent = "null" }
        miles = "number"
        wet = { type = "boolean" }
        more = "json"
    "#;

    const HEADER: [&str; 8] = ["carrier", "flight", "tail", "delay", "miles", "wet", "more", "at"];

    fn event(row: [&str; 8]) -> Result<String, String> {
        let mapping = Mapping::parse(WORDS).unwrap();
        let shape = mapping.bind(&StringRecord::from(HEADER.to_vec())).unwrap();
        let mut out = Vec::new();
        shape.event(&StringRecord::from(row.to_vec()), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn rows_become_events() {
        assert_eq!(
            event(["UA", "7", "N1", "-3", "1.50", "yes", "[1,\n2]", "eu-west-1"]).unwrap(),
            concat!(
                r#"{"eventType":"Departed","aggregateType":"Aircraft","aggregateId":"N1","#,
                r#""eventId":"UA-7","eventData":{"carrier":"UA","late":-3,"miles":1.50,"#,
                r#""more":[1,2],"wet":true},"metadata":{"region":"eu-west-1"}}"#
            )
        );
        assert_eq!(
            event(["U\"A", "7", "NA", "NA", "", "", "", ""]).unwrap(),
            concat!(
                r#"{"eventType":"Departed","aggregateType":"Aircraft","aggregateId":"U\"A7","#,
                r#""eventId":"U\"A-7","eventData":{"carrier":"U\"A","late":null}}"#
            )
        );
    }

    #[test]
    fn bad_cells_are_named() {
        let check = |row: [&str; 8], part: &str| {
            let why = event(row).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        check(["UA", "7", "N1", "x", "", "", "", ""], "eventData.late: `x` is no integer");
        check(["UA", "7", "N1", "", "inf", "", "", ""], "no number");
        check(["UA", "7", "N1", "", "", "2", "", ""], "neither true nor false");
        check(["UA", "7", "N1", "", "", "", "{", ""], "no JSON");
        check(["UA", "", "N1", "", "", "", "", ""], "eventId is empty");
    }

    #[test]
    fn words_and_columns_are_checked() {
        let bind = |words: &str| {
            let base = "eventType = 'E'\naggregateType = 'A'\naggregateId = '{id}'\n";
            let mapping = Mapping::parse(&format!("{base}{words}"))?;
            mapping.bind(&StringRecord::from(vec!["id", "n"])).map(|_| ())
        };
        assert_eq!(bind("eventId = '{{{n}}}'"), Ok(()));
        assert!(bind("eventId = '{m}'").unwrap_err().contains("no column `m`; there are id, n"));
        assert!(bind("eventId = '{n'").unwrap_err().contains("without a pair"));
        assert!(bind("eventid = '{n}'").unwrap_err().contains("eventid"));
        assert!(bind("[eventData]\nn = 'date'").unwrap_err().contains("text, integer"));
        assert!(bind("[eventData]\nm = 'text'").unwrap_err().contains("eventData.m"));
        assert!(bind("delimiter = 'ä'").unwrap_err().contains("not ASCII"));
    }

    #[test]
    fn templates_are_split() {
        let column = |name: &str| name.parse::<usize>().map_err(|error| error.to_string());
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(
            parts("a{1}b{ 2 }", &column).unwrap()[..],
            [text("a"), Part::Column(1), text("b"), Part::Column(2)]
        );
        assert_eq!(parts("{{{1}}}", &column).unwrap()[..], [text("{"), Part::Column(1), text("}")]);
        assert_eq!(parts("plain", &column).unwrap()[..], [text("plain")]);
    }
}
