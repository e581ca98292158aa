//! Which region a line of an import goes to, and in which lane.
//!
//! Between the reader of a file and its batches. What always holds: a line is looked at, never
//! rewritten; events of one aggregate in one region fall into one lane, so their order is kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// `--by /eventData/origin=EWR:us-east-1,JFK:eu-west-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct By {
    pointer: Pointer,
    regions: BTreeMap<String, String>,
}

/// An RFC 6901 pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write /pointer=VALUE:REGION,VALUE:REGION";
        let (pointer, pairs) =
            text.split_once('=').ok_or_else(|| format!("there is no `=`; {form}"))?;
        let Some(path) = pointer.strip_prefix('/') else {
            return Err(format!("`{pointer}` is no JSON pointer, which begins with /; {form}"));
        };
        let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
        let steps = path.split('/').map(step).collect();
        let mut regions = BTreeMap::new();
        for pair in pairs.split(',') {
            let (value, region) =
                pair.rsplit_once(':').ok_or_else(|| format!("`{pair}` has no `:`; {form}"))?;
            if region.is_empty() {
                return Err(format!("`{pair}` names no region; {form}"));
            }
            if regions.insert(value.to_owned(), region.to_owned()).is_some() {
                return Err(format!("`{value}` stands twice"));
            }
        }
        Ok(Self { pointer: Pointer { text: pointer.to_owned(), steps }, regions })
    }
}

/// What decides the region of a line.
#[derive(Debug)]
enum Rule {
    /// All lines go to one.
    One,
    /// A value in the line decides.
    By { pointer: Pointer, regions: BTreeMap<String, usize> },
    /// The region in which the event says that it happened; without one the first.
    Event { regions: BTreeMap<String, usize> },
}

/// Chooses regions, by their place in the list of doors.
#[derive(Debug)]
pub(crate) struct Router(Rule);

/// What a line says that matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The region's place in the list of doors.
    pub(crate) region: usize,
    /// Equal for all events of an aggregate.
    pub(crate) key: u64,
    /// Without an id of its own a line needs one before it can be sent twice.
    pub(crate) has_id: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    aggregate_type: Option<&'a RawValue>,
    #[serde(borrow)]
    aggregate_id: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    region: Option<Cow<'a, str>>,
}

impl Router {
    pub(crate) fn one() -> Self {
        Self(Rule::One)
    }

    /// Fails if `by` names a region that is not among `names`.
    pub(crate) fn by(by: &By, names: &[String]) -> Result<Self, String> {
        let all = places(names);
        let mut regions = BTreeMap::new();
        for (value, region) in &by.regions {
            let place = all.get(region).ok_or_else(|| {
                format!("--by names the region `{region}`; there are {}", names.join(", "))
            })?;
            regions.insert(value.clone(), *place);
        }
        Ok(Self(Rule::By { pointer: by.pointer.clone(), regions }))
    }

    pub(crate) fn event(names: &[String]) -> Self {
        Self(Rule::Event { regions: places(names) })
    }

    /// Looks at a line; the error says why it goes nowhere.
    pub(crate) fn outline(&self, line: &[u8]) -> Result<Outline, String> {
        if line.first() != Some(&b'{') {
            return Err("the line is no JSON object: one event a line is wanted".to_owned());
        }
        let members: Members<'_> = serde_json::from_slice(line).map_err(|error| reason(&error))?;
        let region = match &self.0 {
            Rule::One => 0,
            Rule::By { pointer, regions } => {
                let value = pointer.find(line)?;
                let known = value.as_deref().and_then(|value| regions.get(value));
                *known.ok_or_else(|| match value {
                    Some(value) => format!("--by has no region for `{value}` at {}", pointer.text),
                    None => format!("there is no value at {}, which --by asks for", pointer.text),
                })?
            }
            Rule::Event { regions } => match region_of(members.metadata)? {
                None => 0,
                Some(name) => *regions.get(name.as_ref()).ok_or_else(|| {
                    format!(
                        "metadata.region is `{name}`, which is not in this fleet; name a target \
                         with --region or --by"
                    )
                })?,
            },
        };
        let mut hasher = DefaultHasher::new();
        text(members.aggregate_type).hash(&mut hasher);
        text(members.aggregate_id).hash(&mut hasher);
        Ok(Outline { region, key: hasher.finish(), has_id: members.event_id.is_some() })
    }
}

fn places(names: &[String]) -> BTreeMap<String, usize> {
    names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect()
}

fn region_of(metadata: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, String> {
    let Some(metadata) = metadata else {
        return Ok(None);
    };
    let metadata: Metadata<'_> = serde_json::from_str(metadata.get())
        .map_err(|error| format!("metadata cannot be read: {}", reason(&error)))?;
    Ok(metadata.region)
}

/// A name as it is meant: with escapes resolved, so that every spelling falls into one lane.
fn text(raw: Option<&RawValue>) -> Cow<'_, str> {
    let raw = raw.map(RawValue::get).unwrap_or_default();
    if raw.contains('\\')
        && let Ok(text) = serde_json::from_str::<String>(raw)
    {
        return Cow::Owned(text);
    }
    Cow::Borrowed(raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw))
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("no valid event: {} at column {}", &text[..end], error.column())
}

impl Pointer {
    /// The scalar at this place, as text; nothing if there is none or it is no scalar.
    fn find(&self, line: &[u8]) -> Result<Option<String>, String> {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        Step(&self.steps).deserialize(&mut deserializer).map_err(|error| reason(&error))
    }
}

/// Walks down a document along the remaining steps; what lies beside is skipped unread.
struct Step<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Step<'_> {
    fn scalar<E>(&self, value: impl fmt::Display) -> Result<Option<String>, E> {
        Ok(self.0.is_empty().then(|| value.to_string()))
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        self.scalar(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        self.scalar(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        self.scalar(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        self.scalar(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        self.scalar(value)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.0.split_first() {
                Some((first, rest)) if *first == key => found = map.next_value_seed(Step(rest))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted = self
            .0
            .split_first()
            .and_then(|(first, rest)| first.parse::<usize>().ok().map(|place| (place, rest)));
        let mut found = None;
        let mut place = 0;
        loop {
            let more = match wanted {
                Some((wanted, rest)) if wanted == place => {
                    items.next_element_seed(Step(rest))?.map(|value| found = value).is_some()
                }
                _ => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(found);
            }
            place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["us-east-1", "eu-west-1"].map(str::to_owned).to_vec()
    }

    #[test]
    fn by_is_a_pointer_and_pairs() {
        let by: By = "/eventData/a~1b=EWR:us-east-1,a:b:eu-west-1,:us-east-1".parse().unwrap();
        assert_eq!(by.pointer.steps, ["eventData", "a/b"]);
        assert_eq!(by.regions["EWR"], "us-east-1");
        assert_eq!(by.regions["a:b"], "eu-west-1");
        assert_eq!(by.regions[""], "us-east-1");
        for wrong in ["", "/a", "a=b:c", "/a=b", "/a=b:", "/a=b:c,b:d", "/a=b:c,"] {
            assert!(wrong.parse::<By>().is_err(), "{wrong}");
        }
        let by: By = "/a=x:mars".parse().unwrap();
        assert!(Router::by(&by, &names()).unwrap_err().contains("us-east-1, eu-west-1"));
    }

    #[test]
    fn a_value_in_the_line_decides() {
        let check = |pointer: &str, line: &str, expected: Result<usize, &str>| {
            let by: By =
                format!("{pointer}=EWR:eu-west-1,7:eu-west-1,true:us-east-1").parse().unwrap();
            let router = Router::by(&by, &names()).unwrap();
            match (router.outline(line.as_bytes()), expected) {
                (Ok(outline), Ok(region)) => assert_eq!(outline.region, region, "{line}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, _) => panic!("{line}: {found:?}"),
            }
        };
        check("/eventData/o", r#"{"eventData":{"x":[{}],"o":"EWR"}}"#, Ok(1));
        check("/eventData/o", r#"{"eventData":{"o":"\u0045WR"}}"#, Ok(1));
        check("/eventData/o", r#"{"eventData":{"o":7}}"#, Ok(1));
        check("/o", r#"{"eventData":{},"o":true}"#, Ok(0));
        check("/a/1", r#"{"a":["x","EWR","y"],"b":1}"#, Ok(1));
        check("/a/5", r#"{"a":["x","EWR","y"],"b":1}"#, Err("no value"));
        check("/eventData/o", r#"{"eventData":{"o":"LGA"}}"#, Err("`LGA`"));
        check("/eventData/o", r#"{"eventData":{"o":{"EWR":1}}}"#, Err("no value"));
        check("/eventData/o", r#"{"eventData":null}"#, Err("no value"));
        check("/eventData/o", r#"{"eventData":{"#, Err("no valid event"));
    }

    #[test]
    fn the_event_decides_or_the_first_region() {
        let router = Router::event(&names());
        let region = |line: &str| router.outline(line.as_bytes()).map(|outline| outline.region);
        assert_eq!(region(r#"{"metadata":{"region":"eu-west-1"}}"#), Ok(1));
        assert_eq!(region(r#"{"metadata":{}}"#), Ok(0));
        assert_eq!(region("{}"), Ok(0));
        assert!(region(r#"{"metadata":{"region":"mars"}}"#).unwrap_err().contains("mars"));
        assert!(region(r#"{"metadata":7}"#).is_err());
        assert!(region("[1]").unwrap_err().contains("no JSON object"));
        assert!(region(r#"{"a":1} x"#).unwrap_err().contains("column"));
    }

    #[test]
    fn one_aggregate_falls_into_one_lane() {
        let router = Router::one();
        let key = |line: &str| router.outline(line.as_bytes()).unwrap().key;
        let plain = key(r#"{"aggregateType":"A","aggregateId":"x/1","eventId":"1"}"#);
        assert_eq!(plain, key(r#"{"aggregateId":"x\/1", "aggregateType" : "A"}"#));
        assert_ne!(plain, key(r#"{"aggregateType":"A","aggregateId":"x/2"}"#));
        assert!(router.outline(br#"{"eventId":"1"}"#).unwrap().has_id);
        assert!(!router.outline(br#"{"a":{"eventId":"1"}}"#).unwrap().has_id);
    }
}
