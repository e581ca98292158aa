//! What the wide area looks like before anyone changes it, and what `heal` goes back to.
//!
//! Where it stands: chosen by `linckia up --wan`, read once at the start. What always holds: every
//! pair of regions has a rule, the same one at every start, and none of them is cut.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::rule::{Rule, RuleChange};
use crate::config::ConfigError;

/// One-way times between well-known regions, in milliseconds.
const REAL: [(&str, &str, u64); 3] = [
    ("us-east-1", "eu-west-1", 40),
    ("us-east-1", "ap-southeast-1", 110),
    ("ap-southeast-1", "eu-west-1", 85),
];

/// One way between regions that the table does not know: an ocean's width.
const REAL_OTHERWISE: u64 = 60;

/// Jitter is one part in this many of the delay: 2 %, what leased lines show.
const JITTER_SHARE: u32 = 50;

/// The argument of `--wan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileChoice {
    Real,
    None,
    File(PathBuf),
}

impl FromStr for ProfileChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "real" => Self::Real,
            "none" => Self::None,
            path => Self::File(PathBuf::from(path)),
        })
    }
}

/// A rule for every directed pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    rules: BTreeMap<(String, String), Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(default)]
    link: Vec<Spanned<LinkEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkEntry {
    from: String,
    to: String,
    delay: Option<String>,
    jitter: Option<String>,
    loss: Option<String>,
    bandwidth: Option<String>,
    #[serde(default)]
    one_way: bool,
}

impl Profile {
    /// The profile of a choice; a file is read here.
    pub fn load(choice: &ProfileChoice, regions: &[String]) -> Result<Self, ConfigError> {
        match choice {
            ProfileChoice::Real => Ok(Self::of(regions, real)),
            ProfileChoice::None => Ok(Self::of(regions, |_, _| Rule::default())),
            ProfileChoice::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError::of_file(
                        path,
                        format!("cannot be read: {error}"),
                        "--wan takes `real`, `none` or the path of a profile".to_owned(),
                    )
                })?;
                Self::parse(path, &text, regions)
            }
        }
    }

    /// A profile from a file's text: `[[link]]` entries, both ways unless `one_way`, later ones
    /// over earlier ones; what is not named has no delay.
    pub fn parse(path: &Path, text: &str, regions: &[String]) -> Result<Self, ConfigError> {
        let file = toml::from_str::<ProfileFile>(text).map_err(|error| {
            let reason = error.message().trim_end().replace('\n', ", ");
            let advice =
                "entries are [[link]] with from, to, delay, jitter, loss, bandwidth, one_way";
            ConfigError::at(path, text, error.span().unwrap_or(0..0), reason, advice.to_owned())
        })?;
        let mut profile = Self::of(regions, |_, _| Rule::default());
        for entry in file.link {
            let span = entry.span();
            let fault = |reason: String, advice: String| {
                ConfigError::at(path, text, span.clone(), reason, advice)
            };
            let LinkEntry { from, to, delay, jitter, loss, bandwidth, one_way } =
                entry.into_inner();
            let change = RuleChange { delay, jitter, loss, bandwidth };
            let mut pairs = vec![(from.clone(), to.clone())];
            if !one_way {
                pairs.push((to.clone(), from.clone()));
            }
            for pair in pairs {
                let Some(rule) = profile.rules.get_mut(&pair) else {
                    return Err(fault(
                        format!("there is no link from {from} to {to} in this fleet"),
                        format!("its regions are {}", regions.join(", ")),
                    ));
                };
                *rule = change.applied_to(*rule).map_err(|reason| fault(reason, String::new()))?;
            }
        }
        Ok(profile)
    }

    /// The rule from one region to another.
    #[must_use]
    pub fn rule(&self, from: &str, to: &str) -> Rule {
        let pair = (from.to_owned(), to.to_owned());
        self.rules.get(&pair).copied().unwrap_or_default()
    }

    fn of(regions: &[String], rule: impl Fn(&str, &str) -> Rule) -> Self {
        let mut rules = BTreeMap::new();
        for from in regions {
            for to in regions.iter().filter(|to| *to != from) {
                rules.insert((from.clone(), to.clone()), rule(from, to));
            }
        }
        Self { rules }
    }
}

fn real(from: &str, to: &str) -> Rule {
    let known = REAL
        .iter()
        .find(|(one, other, _)| (*one, *other) == (from, to) || (*other, *one) == (from, to));
    let delay = Duration::from_millis(known.map_or(REAL_OTHERWISE, |(_, _, time)| *time));
    Rule { delay, jitter: delay / JITTER_SHARE, ..Rule::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_real_profile_knows_the_first_three_and_any_other() {
        let names = regions(&["us-east-1", "eu-west-1", "ap-southeast-1", "mars"]);
        let profile = Profile::load(&ProfileChoice::Real, &names).unwrap();
        let check = |from: &str, to: &str, milliseconds: u64| {
            let rule = profile.rule(from, to);
            assert_eq!(rule.delay, Duration::from_millis(milliseconds), "{from} {to}");
            assert_eq!(rule.jitter, rule.delay / 50);
            assert_eq!(rule, profile.rule(to, from));
        };
        check("us-east-1", "eu-west-1", 40);
        check("us-east-1", "ap-southeast-1", 110);
        check("eu-west-1", "ap-southeast-1", 85);
        check("eu-west-1", "mars", 60);
    }

    #[test]
    fn a_file_names_links_both_ways_or_one() {
        let names = regions(&["a", "b", "c"]);
        let text = "[[link]]\nfrom = \"a\"\nto = \"b\"\ndelay = \"10ms\"\n\
                    [[link]]\nfrom = \"b\"\nto = \"a\"\nloss = \"1%\"\none_way = true\n";
        let profile = Profile::parse(Path::new("wan.toml"), text, &names).unwrap();
        let ten = Rule { delay: Duration::from_millis(10), ..Rule::default() };
        assert_eq!(profile.rule("a", "b"), ten);
        assert_eq!(profile.rule("b", "a"), Rule { loss: 10_000, ..ten });
        assert_eq!(profile.rule("a", "c"), Rule::default());
    }

    #[test]
    fn a_bad_file_says_line_and_reason() {
        let check = |text: &str, line: usize, reason: &str| {
            let error = Profile::parse(Path::new("w"), text, &regions(&["a", "b"])).unwrap_err();
            assert_eq!(error.line, Some(line), "{error}");
            assert!(error.reason.contains(reason), "{error}");
        };
        check("[[link]]\nfrom = \"a\"\nto = \"x\"\n", 1, "no link from a to x");
        check("\n[[link]]\nfrom = \"a\"\nto = \"b\"\ndelay = \"5\"\n", 2, "not a duration");
        check("[[link]]\nfrom = \"a\"\nto = \"b\"\ncut = true\n", 4, "unknown field `cut`");
        let absent = ProfileChoice::File(PathBuf::from("/nowhere/wan.toml"));
        assert!(Profile::load(&absent, &regions(&["a"])).is_err());
    }
}
