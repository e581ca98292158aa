//! Just enough JSON to read what our own programs print, since automation has no dependencies.
//!
//! Used by everything in `bench` that asks a process or a door. Pure. What always holds: nesting is
//! bounded, and what is not JSON is an error, never a guess.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// Deeper than anything that is asked for here.
const DEPTH_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip();
        anyhow::ensure!(reader.at == text.len(), "something follows the JSON: {text:?}");
        Ok(value)
    }

    pub fn get(&self, name: &str) -> anyhow::Result<&Self> {
        match self {
            Self::Map(members) => {
                members.get(name).with_context(|| format!("no {name:?} in {self:?}"))
            }
            _ => bail!("no object with {name:?}: {self:?}"),
        }
    }

    pub fn number(&self, name: &str) -> anyhow::Result<f64> {
        match self.get(name)? {
            Self::Number(number) => Ok(*number),
            other => bail!("{name:?} is no number: {other:?}"),
        }
    }

    pub fn text(&self, name: &str) -> anyhow::Result<&str> {
        match self.get(name)? {
            Self::Text(text) => Ok(text),
            other => bail!("{name:?} is no text: {other:?}"),
        }
    }

    pub fn list(&self, name: &str) -> anyhow::Result<&[Self]> {
        match self.get(name)? {
            Self::List(items) => Ok(items),
            other => bail!("{name:?} is no list: {other:?}"),
        }
    }

    pub fn map(&self, name: &str) -> anyhow::Result<&BTreeMap<String, Self>> {
        match self.get(name)? {
            Self::Map(members) => Ok(members),
            other => bail!("{name:?} is no object: {other:?}"),
        }
    }
}

/// A text as it stands in JSON.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            letter if letter < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Whether `word` is next; if so, it is taken.
    fn takes(&mut self, word: &str) -> bool {
        self.skip();
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn expect(&mut self, word: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.takes(word),
            "{word:?} expected at byte {} of {:?}",
            self.at,
            self.text
        );
        Ok(())
    }

    fn value(&mut self, depth: usize) -> anyhow::Result<Value> {
        anyhow::ensure!(depth < DEPTH_MAX, "JSON nested deeper than {DEPTH_MAX}");
        for (word, value) in
            [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
        {
            if self.takes(word) {
                return Ok(value);
            }
        }
        if self.takes("{") {
            return self.members(depth);
        }
        if self.takes("[") {
            return self.items(depth);
        }
        if self.rest().starts_with('"') {
            return Ok(Value::Text(self.string()?));
        }
        let length = self
            .rest()
            .find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter))
            .unwrap_or(self.rest().len());
        let number = self.rest()[..length].parse();
        let number = number.with_context(|| format!("no JSON: {:?}", self.text))?;
        self.at += length;
        Ok(Value::Number(number))
    }

    fn members(&mut self, depth: usize) -> anyhow::Result<Value> {
        let mut members = BTreeMap::new();
        while !self.takes("}") {
            if !members.is_empty() {
                self.expect(",")?;
            }
            self.skip();
            let name = self.string()?;
            self.expect(":")?;
            members.insert(name, self.value(depth + 1)?);
        }
        Ok(Value::Map(members))
    }

    fn items(&mut self, depth: usize) -> anyhow::Result<Value> {
        let mut items = Vec::new();
        while !self.takes("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn string(&mut self) -> anyhow::Result<String> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut letters = self.text[self.at..].char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += at + 1;
                    return Ok(out);
                }
                '\\' => match letters.next().map(|(_, letter)| letter) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(letter @ ('"' | '\\' | '/')) => out.push(letter),
                    Some('u') => {
                        let digits: String =
                            letters.by_ref().take(4).map(|(_, digit)| digit).collect();
                        let code = u32::from_str_radix(&digits, 16)?;
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    other => bail!("an escape that JSON does not have: {other:?}"),
                },
                letter => out.push(letter),
            }
        }
        bail!("a string without an end: {:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print_is_read() {
        let text = r#" {"a":[1,-2.5e3,{"b":"x\"\u00e9\n"}], "c":null,"d":true,"e":{},"f":[]} "#;
        let value = Value::parse(text).unwrap();
        let items = value.list("a").unwrap();
        assert_eq!(items[1], Value::Number(-2500.0));
        assert_eq!(items[2].text("b").unwrap(), "x\"é\n");
        assert_eq!(value.get("c").unwrap(), &Value::Null);
        assert!(value.map("e").unwrap().is_empty() && value.list("f").unwrap().is_empty());
        assert!(value.number("c").is_err() && value.get("g").is_err());
        assert_eq!(
            Value::parse(&quoted("a\"\\\n\u{1}")).unwrap(),
            Value::Text("a\"\\\n\u{1}".into())
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["", "{", "[1,", "[1 2]", "{\"a\" 1}", "\"x", "1 2", "nul", "\"\\q\"", "{a:1}"] {
            assert!(Value::parse(bad).is_err(), "{bad}");
        }
        assert!(Value::parse(&"[".repeat(1_000)).is_err());
    }
}
