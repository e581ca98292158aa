//! One word of the configuration at a time: present, of the right form, within its range.
//!
//! Where it stands: under `rules.rs`, which says what each word is. What always holds: a fault
//! carries the word's own line, or its section's where the word is missing.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::error::ConfigError;
use super::files::NamedFile;
use super::raw::{Count, Word};
use super::units::{bytes_text, duration_text, parse_bytes, parse_duration};

/// A region's name is part of every origin, address and metric; 32 bytes keep those short.
const REGION_BYTES_MAX: usize = 32;

pub(super) type Checked<T> = Result<T, ConfigError>;

/// Whether `name` may name a region.
#[must_use]
pub(crate) fn is_region_name(name: &str) -> bool {
    (1..=REGION_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The file that is being read, and the files it has named so far.
pub(super) struct Words<'a> {
    path: &'a Path,
    text: &'a str,
    pub(super) named: Vec<NamedFile>,
}

impl<'a> Words<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, named: Vec::new() }
    }

    pub(super) fn region(
        &self,
        word: Option<&Spanned<String>>,
        section: &Range<usize>,
        name: &str,
    ) -> Checked<String> {
        let region = self.required(word, section, name, "region = \"us-east-1\"")?;
        if is_region_name(&region) {
            return Ok(region);
        }
        Err(self.fault(
            &word.map_or(section.clone(), Spanned::span),
            format!("\"{region}\" is not a region's name"),
            "use 1 to 32 of a-z, 0-9 and -, such as \"us-east-1\"",
        ))
    }

    pub(super) fn listen(
        &self,
        word: Option<&Spanned<String>>,
        section: &Range<usize>,
        name: &str,
        example: &str,
    ) -> Checked<SocketAddr> {
        let text = self.required(word, section, name, &format!("listen = \"{example}\""))?;
        text.parse::<SocketAddr>().map_err(|_| {
            self.fault(
                &word.map_or(section.clone(), Spanned::span),
                format!("{name}: \"{text}\" is not an IP address with a port"),
                format!("write \"{example}\", or \"[::1]:7401\" for IPv6"),
            )
        })
    }

    pub(super) fn required(
        &self,
        word: Option<&Spanned<String>>,
        section: &Range<usize>,
        name: &str,
        example: &str,
    ) -> Checked<String> {
        match word {
            Some(word) if !word.get_ref().trim().is_empty() => Ok(word.get_ref().clone()),
            Some(word) => Err(self.fault(
                &word.span(),
                format!("{name} is empty"),
                format!("write for example {example}"),
            )),
            None => Err(self.fault(
                section,
                format!("{name} is missing"),
                format!("add for example {example}"),
            )),
        }
    }

    /// The path that a word names, remembered so that the file is looked at before the start.
    pub(super) fn file(&mut self, word: Option<&Spanned<String>>, what: &str) -> Option<PathBuf> {
        let word = word?;
        let path = self.path_of(word.get_ref());
        let fault = self.fault(
            &word.span(),
            format!("cannot read {what},"),
            "put the file there, or correct the path (relative paths start at this file's folder)",
        );
        self.named.push(NamedFile { path: path.clone(), fault });
        Some(path)
    }

    pub(super) fn path_of(&self, text: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(text)
    }

    pub(super) fn bytes(
        &self,
        word: &Word,
        default: &str,
        range: RangeInclusive<u64>,
    ) -> Checked<u64> {
        self.measured(word, default, &range, parse_bytes, |bytes| bytes_text(*bytes))
    }

    pub(super) fn duration(
        &self,
        word: &Word,
        default: &str,
        range: RangeInclusive<Duration>,
    ) -> Checked<Duration> {
        self.measured(word, default, &range, parse_duration, |time| duration_text(*time))
    }

    /// A number with a unit within its range; the default is written as a person would write it.
    pub(super) fn measured<T: PartialOrd>(
        &self,
        word: &Word,
        default: &str,
        range: &RangeInclusive<T>,
        parse: fn(&str) -> Result<T, String>,
        show: fn(&T) -> String,
    ) -> Checked<T> {
        let (text, span) = match word {
            Some(word) => (word.get_ref().as_str(), word.span()),
            None => (default, 0..0),
        };
        let value = parse(text).map_err(|reason| self.fault(&span, reason, ""))?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.fault(
            &span,
            format!("\"{text}\" is out of range"),
            format!("write {} to {}", show(range.start()), show(range.end())),
        ))
    }

    pub(super) fn count(
        &self,
        word: &Count,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Checked<u32> {
        let Some(word) = word else { return Ok(default) };
        match u32::try_from(*word.get_ref()) {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(self.fault(
                &word.span(),
                format!("{} is out of range", word.get_ref()),
                format!("write {} to {}", range.start(), range.end()),
            )),
        }
    }

    pub(super) fn fault(
        &self,
        span: &Range<usize>,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> ConfigError {
        ConfigError::at(self.path, self.text, span.clone(), reason.into(), advice.into())
    }
}
