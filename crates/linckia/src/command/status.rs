//! `status`: regions and links of the whole fleet in two tables, once or every second.
//!
//! Asks every region for itself (`/v1/regions`, its own item) and for its links (`/v1/links`), so a
//! region that is down costs its own row and nothing else. What always holds: `--watch` leaves the
//! terminal as it found it.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::client::Broken;
use super::door::{Door, Failure};
use super::regions::{Lag, Region, RegionList, applied, lag_cells, milliseconds, unknown};
use super::text::{print, table};
use super::{Context, Outcome};

/// How often `--watch` draws.
const EVERY: Duration = Duration::from_secs(1);

/// A region that answers later than this is shown as not answering: the table is of now.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// The other screen, without a cursor; and back.
const SCREEN_ENTER: &str = "\x1b[?1049h\x1b[?25l";
const SCREEN_LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// To the corner, each line cleared behind its text, the rest of the screen cleared.
const CORNER: &str = "\x1b[H";
const LINE_END: &str = "\x1b[K\r\n";
const REST_CLEAR: &str = "\x1b[J";

/// Shows regions and links, how far each is behind, and what is emulated.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Draw anew every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

#[derive(Deserialize)]
struct LinkList {
    items: Vec<Link>,
}

/// One directed pair of regions, as one end sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    from: String,
    to: String,
    #[serde(default)]
    connected: Option<bool>,
    #[serde(default)]
    rtt_milliseconds: Option<f64>,
    #[serde(default)]
    lag: Option<Lag>,
    #[serde(default)]
    emulated: Option<Emulated>,
}

#[derive(Debug, Clone, Deserialize)]
struct Emulated {
    #[serde(default)]
    delay: Option<String>,
    #[serde(default)]
    cut: bool,
}

/// What one region said, or why it said nothing.
struct Said {
    label: String,
    url: String,
    answer: Result<Told, Failure>,
}

struct Told {
    regions: Vec<Region>,
    links: Vec<Link>,
    bodies: (Bytes, Bytes),
}

/// Runs `status`.
pub async fn run(context: &Context, arguments: &StatusArguments) -> anyhow::Result<Outcome> {
    let doors = context.addresses.many().await?;
    if arguments.watch {
        return watch(context, &doors).await;
    }
    let mut said = ask(&doors).await;
    if said.iter().all(|said| said.answer.is_err())
        && let Some(Said { answer: Err(failure), .. }) = said.pop()
    {
        return Err(failure.into());
    }
    print(&show(context, &said)?)?;
    Ok(Outcome::Done)
}

async fn watch(context: &Context, doors: &[Door]) -> anyhow::Result<Outcome> {
    let screen = io::stdout().is_terminal() && !context.json;
    let _screen = screen.then(Screen::enter).transpose()?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let drawing = async {
        loop {
            ticks.tick().await;
            let text = show(context, &ask(doors).await)?;
            if screen { draw(&text)? } else { print(&text)? }
        }
    };
    tokio::select! {
        ended = drawing => ended,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            Ok(Outcome::Done)
        }
    }
}

/// The terminal's other screen, until dropped.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        io::stdout().write_all(SCREEN_ENTER.as_bytes())?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let mut out = io::stdout();
        let _ = out.write_all(SCREEN_LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

fn draw(text: &str) -> io::Result<()> {
    let lines: Vec<&str> = text.lines().collect();
    let hint = "Every second; Ctrl-C ends.";
    let frame =
        format!("{CORNER}{}{LINE_END}{LINE_END}{hint}\x1b[K{REST_CLEAR}", lines.join(LINE_END));
    let mut out = io::stdout().lock();
    out.write_all(frame.as_bytes())?;
    out.flush()
}

async fn ask(doors: &[Door]) -> Vec<Said> {
    join_all(doors.iter().map(|door| async {
        let answer = timeout(ANSWER_LIMIT, tell(door))
            .await
            .unwrap_or_else(|_| Err(door.broken(Broken::Slow(ANSWER_LIMIT))));
        Said { label: door.label().to_owned(), url: door.url().to_owned(), answer }
    }))
    .await
}

async fn tell(door: &Door) -> Result<Told, Failure> {
    let regions = door.get("/v1/regions").await?;
    let links = door.get("/v1/links").await?;
    Ok(Told {
        regions: door.read::<RegionList>(&regions)?.items,
        links: door.read::<LinkList>(&links)?.items,
        bodies: (regions.body, links.body),
    })
}

fn show(context: &Context, said: &[Said]) -> anyhow::Result<String> {
    if context.json {
        return json(said);
    }
    let mut text = region_table(said);
    let links = link_rows(said);
    if !links.is_empty() {
        let header = ["FROM", "TO", "CONNECTED", "RTT MS", "BEHIND", "BEHIND MS", "EMULATED"];
        text = format!("{text}\n\n{}", table(&header, &[3, 4, 5], links));
    }
    Ok(text)
}

/// `{"items":[{"region","url","regions":<body>,"links":<body>} or {…,"problem"}]}`, on one line.
fn json(said: &[Said]) -> anyhow::Result<String> {
    let mut items = Vec::new();
    for said in said {
        let mut item = Item { region: &said.label, url: &said.url, ..Item::default() };
        match &said.answer {
            Ok(told) => {
                item.region = told.own().map_or(&said.label, |own| &own.name);
                item.regions = Some(serde_json::from_slice(&told.bodies.0)?);
                item.links = Some(serde_json::from_slice(&told.bodies.1)?);
            }
            Err(failure) => item.problem = Some(failure.to_string()),
        }
        items.push(item);
    }
    Ok(serde_json::to_string(&Items { items })?)
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<Item<'a>>,
}

/// The door's bodies stay as they are.
#[derive(Default, Serialize)]
struct Item<'a> {
    region: &'a str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Told {
    fn own(&self) -> Option<&Region> {
        self.regions.iter().find(|region| region.is_self)
    }
}

fn region_table(said: &[Said]) -> String {
    let mut rows = Vec::new();
    for one in said {
        let own = one.answer.as_ref().ok().and_then(Told::own);
        let name = own.map_or(one.label.as_str(), |own| own.name.as_str());
        let [events, time] = lag_cells(own.and_then(|own| own.lag.as_ref()));
        let verdict = match &one.answer {
            Ok(_) => verdict(name, own, said),
            Err(_) => "does not answer".to_owned(),
        };
        rows.push(vec![
            name.to_owned(),
            verdict,
            applied(own.and_then(|own| own.vector.as_ref())),
            events,
            time,
            one.url.clone(),
        ]);
    }
    table(&["REGION", "VERDICT", "APPLIED", "BEHIND", "BEHIND MS", "URL"], &[2, 3, 4], rows)
}

/// What the region says of itself, and what others say where that differs.
fn verdict(name: &str, own: Option<&Region>, said: &[Said]) -> String {
    let own = own.and_then(|own| own.verdict.clone()).unwrap_or_else(unknown);
    let mut others = BTreeMap::new();
    for told in said.iter().filter_map(|said| said.answer.as_ref().ok()) {
        let speaker = told.own().map_or("?", |own| own.name.as_str());
        for region in told.regions.iter().filter(|region| region.name == name && !region.is_self) {
            if let Some(verdict) = region.verdict.as_deref().filter(|verdict| *verdict != own) {
                others.entry(verdict.to_owned()).or_insert_with(Vec::new).push(speaker);
            }
        }
    }
    let others: Vec<String> = others
        .iter()
        .map(|(verdict, speakers)| format!("{verdict} says {}", speakers.join(", ")))
        .collect();
    if others.is_empty() { own } else { format!("{own} ({})", others.join("; ")) }
}

/// Every link once; the end that receives knows its lag, so its word is preferred.
fn link_rows(said: &[Said]) -> Vec<Vec<String>> {
    let mut links: BTreeMap<(String, String), (bool, Link)> = BTreeMap::new();
    for told in said.iter().filter_map(|said| said.answer.as_ref().ok()) {
        let speaker = told.own().map(|own| own.name.clone());
        for link in &told.links {
            let receives = speaker.as_deref() == Some(link.to.as_str());
            let known = links.entry((link.from.clone(), link.to.clone()));
            let entry = known.or_insert_with(|| (receives, link.clone()));
            if receives && !entry.0 {
                *entry = (true, link.clone());
            }
        }
    }
    links.values().map(|(_, link)| link_row(link)).collect()
}

fn link_row(link: &Link) -> Vec<String> {
    let [events, time] = lag_cells(link.lag.as_ref());
    let connected = match link.connected {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => unknown(),
    };
    let emulated = match &link.emulated {
        None => String::new(),
        Some(Emulated { cut: true, .. }) => "CUT".to_owned(),
        Some(Emulated { delay, .. }) => delay.clone().unwrap_or_default(),
    };
    let rtt = link.rtt_milliseconds.map_or_else(unknown, milliseconds);
    vec![link.from.clone(), link.to.clone(), connected, rtt, events, time, emulated]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, links: &str) -> Said {
        let other = if name == "a" { "down" } else { "healthy" };
        let regions = format!(
            r#"{{"items":[{{"name":"{name}","self":true,"verdict":"healthy","vector":{{"a.1":7}},
                "lag":{{"b.1":{{"events":3,"milliseconds":12}}}}}},
                {{"name":"b","verdict":"{other}","saidBy":["{name}"]}}]}}"#
        );
        let bodies = (Bytes::from(regions.clone()), Bytes::from(links.to_owned()));
        let told = Told {
            regions: serde_json::from_str::<RegionList>(&regions).unwrap().items,
            links: serde_json::from_str::<LinkList>(links).unwrap().items,
            bodies,
        };
        Said { label: name.to_owned(), url: "http://x".to_owned(), answer: Ok(told) }
    }

    #[test]
    fn each_region_speaks_for_itself() {
        let all = [said("a", r#"{"items":[]}"#), said("b", r#"{"items":[]}"#)];
        let expected = "\
REGION  VERDICT                APPLIED  BEHIND  BEHIND MS  URL
a       healthy                      7       3         12  http://x
b       healthy (down says a)        7       3         12  http://x";
        assert_eq!(region_table(&all), expected);
        let parsed: serde_json::Value = serde_json::from_str(&json(&all).unwrap()).unwrap();
        assert_eq!(parsed["items"][1]["regions"]["items"][0]["name"], "b");
    }

    #[test]
    fn the_receiver_knows_the_link() {
        let link = |lag: u64| {
            format!(
                r#"{{"items":[{{"from":"a","to":"b","connected":true,"rttMilliseconds":80.4,
                    "lag":{{"events":{lag},"milliseconds":5}},
                    "emulated":{{"delay":"40ms","cut":false}}}}]}}"#
            )
        };
        let expected =
            vec![["a", "b", "yes", "80", "2", "5.0", "40ms"].map(str::to_owned).to_vec()];
        assert_eq!(link_rows(&[said("a", &link(1)), said("b", &link(2))]), expected);
        assert_eq!(link_rows(&[said("b", &link(2)), said("a", &link(1))]), expected);
    }
}
