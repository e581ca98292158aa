//! `linckia up`: from nothing to a fleet that answers, and back to nothing.
//!
//! Where it stands: the top of the local fleet; it owns everything that runs until a signal comes.
//! What always holds: signals are caught from the first moment, so that nothing is left behind;
//! everything that can be wrong is found before the first process starts; on stdout stands what
//! was asked for and nothing else.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::client::{address_of, is_ready, why_not_ready};
use super::control::{self, Control, READY_PATIENCE, READY_POLL};
use super::directory::{self, FleetDirectory};
use super::plan;
use super::ports::{Ports, PortsChoice, REGIONS_MAX, is_free, loopback, unusable};
use super::process::Launch;
use super::state::FleetState;
use super::supervisor::{Supervisor, say};
use super::table;
use super::wan::{Profile, ProfileChoice, Wan};
use crate::arguments::GlobalArguments;
use crate::command::wrong_use;
use crate::config::is_region_name;
use crate::config::units::parse_duration;

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];

/// While regions get ready, how often the operator hears which are not.
const WAITING_NOTICE: Duration = Duration::from_secs(10);

/// A longer wait is another word for `never`.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The argument of `--restart-after`: constant, never a back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartAfter(pub Option<Duration>);

impl FromStr for RestartAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        match parse_duration(text) {
            Ok(after) if after <= RESTART_AFTER_MAX => Ok(Self(Some(after))),
            Ok(_) => Err("write at most \"1h\", or `never`".to_owned()),
            Err(reason) => Err(format!("{reason}, or `never`")),
        }
    }
}

/// One setting of a region's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub section: String,
    pub name: String,
    pub value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write SECTION.NAME=VALUE, such as log.history_bytes_max=64MiB".to_owned();
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let (section, name) = place.split_once('.').ok_or_else(wrong)?;
        let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !["log", "store", "ship", "repair"].contains(&section) || name.is_empty() || !word(name)
        {
            return Err(wrong());
        }
        Ok(Self { section: section.to_owned(), name: name.to_owned(), value: value.to_owned() })
    }
}

/// `linckia up`.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArguments {
    /// The regions' names; by default those of the last start, at first us-east-1, eu-west-1 and
    /// ap-southeast-1.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', value_parser = region_name)]
    pub regions: Vec<String>,
    /// The wide area between them: `real` (measured delays), `none`, or a file with `[[link]]`
    /// entries.
    #[arg(long, value_name = "real|none|FILE", default_value = "real")]
    pub wan: ProfileChoice,
    /// The first port (7400 at first, then those of the last start), or `auto` to pick free ones.
    #[arg(long, value_name = "BASE|auto")]
    pub ports: Option<PortsChoice>,
    /// When to start a region again that ended by itself.
    #[arg(long, value_name = "TIME|never", default_value = "1s")]
    pub restart_after: RestartAfter,
    /// The collector that all regions send their spans to, by OTLP over HTTP.
    #[arg(long, value_name = "http://HOST:PORT")]
    pub otlp: Option<String>,
    /// A setting of every region's `linckia.toml`, of its sections `log`, `store`, `ship` and
    /// `repair`; may be repeated.
    #[arg(long, value_name = "SECTION.NAME=VALUE")]
    pub set: Vec<Setting>,
    /// Lets the regions begin to agree anew where all their journals were lost: fences of locks and
    /// policies start over.
    #[arg(long)]
    pub begin_agreement: bool,
}

impl UpArguments {
    /// The first words of every region's command.
    fn region_arguments(&self) -> Vec<OsString> {
        let mut words = vec!["region".into()];
        words.extend(self.begin_agreement.then(|| "--begin-agreement".into()));
        words
    }

    /// Runs a fleet until a signal ends it.
    pub async fn run(&self, global: &GlobalArguments) -> anyhow::Result<ExitCode> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut signals = Signals::catch().context("cannot catch signals")?;
        let starting = self.prepare(global);
        let prepared = tokio::select! {
            prepared = starting => prepared?,
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        let launch = Launch {
            program,
            arguments: self.region_arguments(),
            control: prepared.state.control.clone(),
        };
        let running = Running::start(prepared, launch, self.restart_after.0);
        let ready = tokio::select! {
            () = wait_ready(running.fleet.clone()) => true,
            () = signals.next() => false,
        };
        if ready {
            let state = running.fleet.borrow().clone();
            // Whoever closed stdout does not want to read it; the fleet runs all the same.
            let _ = show(&state, global);
            signals.next().await;
        }
        say("stopping the regions");
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Everything up to the first process.
    async fn prepare(&self, global: &GlobalArguments) -> anyhow::Result<Prepared> {
        check_names(&self.regions)?;
        let directory = directory::hold(&global.dir)?;
        let remembered = Ports::read(&directory.path)?;
        let regions = self.names(remembered.as_ref());
        let profile = Profile::load(&self.wan, &regions)?;
        directory::settle(&directory).await?;
        let ports = Ports::choose(self.ports, remembered.as_ref(), &regions, is_free)?;
        ports.check_free()?;
        let control = control::listen(ports.control)
            .map_err(|error| anyhow::anyhow!(unusable(ports.control, "the supervisor", &error)))?;
        if remembered.as_ref().is_some_and(|before| *before != ports && ports.base.is_none()) {
            say("a port of the last start is taken or was not given: some URLs are new");
        }
        ports.write(&directory.path)?;
        let peers: Vec<(String, SocketAddr)> = ports
            .regions
            .iter()
            .map(|region| (region.name.clone(), loopback(region.peer)))
            .collect();
        let wan = Wan::start(&peers, profile).await.context("cannot open the emulated links")?;
        let plans = plan::plan(&directory.path, &ports, &wan, self.otlp.as_deref(), &self.set)?;
        for plan in &plans {
            // A rehearsal ends with its fleet.
            plan::leave_free(&plan.dir, None)
                .with_context(|| format!("cannot remove {}", plan::disk_of(&plan.dir).display()))?;
        }
        let state = FleetState {
            dir: directory.path.clone(),
            control: format!("http://{}", loopback(ports.control)),
            regions: plans.iter().map(plan::RegionPlan::state).collect(),
        };
        Ok(Prepared { directory, control, wan, plans, state })
    }

    fn names(&self, remembered: Option<&Ports>) -> Vec<String> {
        if !self.regions.is_empty() {
            return self.regions.clone();
        }
        match remembered {
            Some(ports) => ports.regions.iter().map(|region| region.name.clone()).collect(),
            None => REGIONS.map(str::to_owned).to_vec(),
        }
    }
}

fn region_name(text: &str) -> Result<String, String> {
    if is_region_name(text) {
        return Ok(text.to_owned());
    }
    Err("a region's name is 1 to 32 of a-z, 0-9 and -".to_owned())
}

fn check_names(regions: &[String]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for name in regions {
        if !seen.insert(name) {
            return Err(wrong_use(format!(
                "\"{name}\" stands twice in --regions: each region has its own name"
            )));
        }
    }
    if regions.len() > REGIONS_MAX {
        let count = regions.len();
        return Err(wrong_use(format!(
            "{count} regions are too many: a local fleet has at most {REGIONS_MAX}"
        )));
    }
    Ok(())
}

struct Prepared {
    directory: FleetDirectory,
    control: TcpListener,
    wan: Wan,
    plans: Vec<plan::RegionPlan>,
    state: FleetState,
}

/// A fleet that runs.
struct Running {
    fleet: watch::Receiver<FleetState>,
    stop: oneshot::Sender<()>,
    supervisor: JoinHandle<()>,
    server: JoinHandle<()>,
    /// Held until the last process is gone.
    _directory: FleetDirectory,
}

impl Running {
    fn start(prepared: Prepared, launch: Launch, restart_after: Option<Duration>) -> Self {
        let Prepared { directory, control, wan, plans, state } = prepared;
        let (supervisor, orders, fleet) = Supervisor::new(plans, launch, restart_after, state);
        let handle = Arc::new(Control { wan, orders, fleet: fleet.clone() });
        let server = tokio::spawn(control::serve(control, handle));
        let (stop, stopping) = oneshot::channel();
        let supervisor = tokio::spawn(supervisor.run(stopping));
        Self { fleet, stop, supervisor, server, _directory: directory }
    }

    /// Stops every region; returns when they are gone.
    async fn stop(self) {
        let _ = self.stop.send(());
        // It ends by itself; a panic in it has been printed.
        let _ = self.supervisor.await;
        self.server.abort();
    }
}

/// Returns when every region has answered that it is ready.
async fn wait_ready(mut fleet: watch::Receiver<FleetState>) {
    let regions = fleet.borrow_and_update().regions.clone();
    let mut left: Vec<(String, SocketAddr)> = regions
        .into_iter()
        .filter_map(|region| Some((region.name, address_of(&region.url)?)))
        .collect();
    let mut told = Instant::now();
    while !left.is_empty() {
        let mut waiting = Vec::with_capacity(left.len());
        for (name, address) in left {
            if !is_ready(address, READY_PATIENCE).await {
                waiting.push((name, address));
            }
        }
        left = waiting;
        if told.elapsed() > WAITING_NOTICE && !left.is_empty() {
            told = Instant::now();
            for (name, address) in &left {
                let why = why_not_ready(*address, READY_PATIENCE).await;
                let why = why.unwrap_or_else(|| "see its region.log".to_owned());
                say(&format!("still waiting for {name}: {why}"));
            }
        }
        if !left.is_empty() {
            sleep(READY_POLL).await;
        }
    }
}

fn show(state: &FleetState, global: &GlobalArguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if global.json {
        writeln!(out, "{}", serde_json::to_string(&state.ready_line())?)?;
    } else {
        out.write_all(table::fleet(state, global).as_bytes())?;
    }
    out.flush()
}

/// The signals that end a fleet. Caught for as long as the process lives: repeating one changes
/// nothing.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_made() {
        let check = |names: &[&str], reason: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let error = check_names(&names).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        assert!(region_name("B").is_err() && region_name("").is_err());
        check(&["a", "a"], "stands twice");
        check(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], "at most 10");
    }

    #[test]
    fn restart_after_is_a_time_or_never() {
        assert_eq!("1s".parse(), Ok(RestartAfter(Some(Duration::from_secs(1)))));
        assert_eq!("never".parse(), Ok(RestartAfter(None)));
        assert!("1".parse::<RestartAfter>().unwrap_err().contains("never"));
    }
}
