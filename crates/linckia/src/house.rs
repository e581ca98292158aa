//! The house of one region: the one file where the rooms are connected, in reading order.
//!
//! Disk, identity and log; store; the core on its thread with its hands beside it; links to the
//! peers; the door. What always holds: nothing is bound before everything on the disk is recovered,
//! and on the way out the door closes first and the log last.

mod agreed;
mod backup;
mod calls;
mod consult;
mod core;
mod disk;
mod files;
pub(crate) mod format;
mod forward;
mod hands;
mod lapsing;
mod leaving;
mod links;
mod measures;
mod mending;
mod place;
mod planted;
mod port;
mod repairs;
mod returned;
mod sessions;
mod telemetry;
mod time;
mod witness;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use linckia_api::{ClientIdentity, DoorSettings, Limits};
use linckia_apply::ApplySettings;
use linckia_control::{Agreement, Restored};
use linckia_log::{Identity, LocalDisk, Logs, Settings};
use linckia_model::{Agreed, ClockSettings, FoldSettings, Origin, RegionName, SessionKeys};
use linckia_net::{Connection, Door, DoorOptions, DoorTls, Shutdown, Trigger};
use linckia_region::{Machine, RegionSettings};
use linckia_store::FjallStore;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

use crate::backup::read_restored;
use crate::command::Outcome;
use crate::config::{self, Config, PeerAddress};
use crate::fleet::{ENV_CONTROL, ENV_PARENT_PIPE};
use consult::{Beginning, Consults, FleetTime};
use core::Core;
use forward::Forwards;
use links::Takers;
use mending::Damage;
use place::Place;
use port::House;
use telemetry::Telemetry;
use time::Clocks;

/// What is told unless `RUST_LOG` says otherwise. Raft tells of every message that finds nobody.
const LEVELS: &str = "info,openraft=off";

/// Connections end within this on the way out.
const DRAIN: Duration = Duration::from_secs(3);

/// Threads for sockets: the core and the disk have their own.
const SOCKET_THREADS: usize = 1;

/// A new region loads the state of its peers where they have applied so many events: folding them
/// would take longer.
const CATCH_UP_EVENTS: u64 = 1_000_000;

/// Between comparing all keys with one region and with the next, in milliseconds.
const COMPARE_REST: u64 = 5_000;

/// Bytes of a page of a snapshot, about.
const PAGE_BYTES: usize = 1 << 20;

/// Time between drains of what the metrics' histograms gathered.
const UPKEEP: Duration = Duration::from_secs(5);

/// The keys of a file of session keys.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn read_session_keys(path: &Path) -> Result<SessionKeys> {
    sessions::read(path).map(|(_, keys)| keys)
}

/// What an operator says at a start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word {
    /// What was agreed is lost.
    pub begin_anew: bool,
    /// There is no other directory of this region.
    pub only_one: bool,
}

/// Runs one region until a signal, or the end of its supervisor, ends it.
///
/// # Errors
/// What kept it from starting or from ending cleanly, for the operator.
pub fn run_region(config: &Config, word: Word) -> Result<Outcome> {
    install_tracing(config.telemetry.json_lines);
    format::check(&config.dir)?;
    if config.witness {
        return witness::run(config, word.begin_anew);
    }
    let name = RegionName::parse(&config.region)?;
    let ended = run(config, &name, word);
    let Err(error) = &ended else { return ended };
    let Some(damage) = Damage::of(error, &name) else { return ended };
    tracing::error!(error = format!("{error:#}"), "this region's disk is damaged");
    match mending::mend(&config.dir, &damage, Clocks::start(0).now().wall)? {
        true => Err(mending::start_over()),
        false => ended,
    }
}

/// Runs one region until its end.
fn run(config: &Config, name: &RegionName, word: Word) -> Result<Outcome> {
    let prometheus = install_metrics()?;
    let offset = config.clock.offset_milliseconds;
    if offset != 0 {
        tracing::warn!(
            milliseconds = offset,
            "REHEARSAL: clock.offset is set, so this region's clock is wrong on purpose"
        );
    }
    let clocks = Clocks::start(offset);
    mending::begin(&config.dir)?;
    let mut logs = open_logs(config)?;
    format::keep(&config.dir)?;
    mending::go_on(config, &mut logs)?;
    let mut logs = leaving::leave(config, name, clocks.now().wall, logs)?;
    let identity = identity(&mut logs, name, &clocks)?;
    let origin = Origin::new(name, identity.incarnation, 0);
    let runtime = runtime()?;
    let (consults, time) = (Arc::new(Consults::default()), FleetTime::new(clocks));
    let restored = read_restored(&config.dir)?.map(Box::new);
    // What was restored is no history of an agreement: the one that begins takes it over.
    let begun = |origin: &str| {
        let known = restored.as_ref().and_then(|it| it.ends.get(origin)).copied();
        logs.tail(origin).is_ok_and(|it| it.sequence > known.unwrap_or(0))
    };
    let beginning = Beginning {
        name: name.clone(),
        members: members(config, name, |_| true)?,
        has_history: logs.origins().any(begun),
        begin_anew: word.begin_anew,
        restored: restored.is_some(),
        asleep: true,
    };
    let held = logs.origins().filter_map(|origin| Origin::parse(origin).ok()).collect();
    let begun = consults.begin(&config.dir, beginning, time.clone());
    let agreement = runtime.block_on(begun)?;
    let regions = members(config, name, |peer| !peer.witness)?;
    let agreed = agreement.roster().borrow().agreed(&regions);
    let place = Place::find(&config.dir)?;
    let mut settings = region_settings(config, name, origin.clone(), agreed, &clocks)?;
    settings.place = place.words();
    settings.moved &= place.moved_from.is_some() && !word.only_one;
    let store = open_store(&config.dir.join("store"), config.store.cache_bytes)?;
    let segment_bytes = config.log.segment_bytes_max;
    let machine = Machine::open(settings, logs, Arc::new(store), segment_bytes, clocks.now())?;
    tracing::info!(
        region = %name,
        applied = machine.region().applied().total(),
        "recovered"
    );
    let telemetry = {
        let _entered = runtime.enter();
        Telemetry::start(&config.telemetry, &config.region, clocks)?
    };
    let core = Core::start(machine, clocks, time.clone(), &config.dir, telemetry.clone())?;
    let members = Members { consults, agreement, time, origin, held, restored, place };
    let served = runtime.block_on(serve(config, name, &core, members, telemetry, prometheus));
    let closed = core.stop();
    runtime.shutdown_timeout(DRAIN);
    closed?;
    served?;
    tracing::info!(region = %name, "stopped");
    Ok(Outcome::Done)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SOCKET_THREADS)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

fn install_tracing(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LEVELS));
    // A second subscriber in one process is a test's: the first one stays.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let _ = match json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.try_init(),
    };
}

fn install_metrics() -> Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets(measures::SECONDS)
        .context("the buckets of the histograms are not usable")?
        .install_recorder()
        .context("the metrics recorder cannot be installed")
}

/// The logs of the configured directory, recovered; while they are open, no other process has the
/// region.
fn open_logs(config: &Config) -> Result<Logs> {
    std::fs::create_dir_all(&config.dir)
        .with_context(|| format!("{} cannot be created", config.dir.display()))?;
    let disk = LocalDisk::open(config.dir.join("log"))?;
    let settings = Settings {
        segment_bytes_first: config.log.segment_bytes_first,
        segment_bytes_max: config.log.segment_bytes_max,
        bytes_max: config.log.bytes_max,
        ..Settings::default()
    };
    let mut random = Ok(());
    let mut fresh = || {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            random = Err(error);
        }
        bytes
    };
    let (logs, recovery) = Logs::open(Arc::new(disk), settings, &mut fresh)?;
    random.map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    for recovered in recovery.origins.iter().filter(|recovered| recovered.torn.is_some()) {
        tracing::info!(
            origin = recovered.origin,
            sequence = recovered.tail,
            "cut off what a crash left half written; nobody was told it was durable"
        );
    }
    Ok(logs)
}

fn open_store(path: &Path, cache_bytes: u64) -> Result<FjallStore> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("{} cannot be created", path.display()))?;
    Ok(FjallStore::open(path, cache_bytes)?)
}

/// Whose directory this is; a new one gets an incarnation.
fn identity(logs: &mut Logs, name: &RegionName, clocks: &Clocks) -> Result<Identity> {
    if let Some(identity) = logs.identity()? {
        anyhow::ensure!(
            identity.region == name.as_str(),
            "the directory belongs to region {}, the configuration names {name}: give each region \
             a directory of its own",
            identity.region
        );
        return Ok(identity);
    }
    anyhow::ensure!(
        logs.origins().next().is_none(),
        "the directory holds logs and no identity: restore its small/identity file, or start in an \
         empty directory"
    );
    let identity = Identity {
        region: name.to_string(),
        incarnation: random()?,
        created_ms: clocks.now().wall,
    };
    logs.write_identity(&identity)?;
    Ok(identity)
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn region_settings(
    config: &Config,
    name: &RegionName,
    origin: Origin,
    agreed: Agreed,
    clocks: &Clocks,
) -> Result<RegionSettings> {
    let members = members(config, name, |peer| !peer.witness)?;
    let milliseconds = |duration: Duration| duration.as_millis() as u64;
    let fault = planted::fault()?;
    let alone = members.len() < 2;
    Ok(RegionSettings {
        name: name.clone(),
        origin,
        members,
        clock: ClockSettings {
            epsilon_milliseconds: milliseconds(config.clock.epsilon),
            ..ClockSettings::default()
        },
        agreed,
        apply: ApplySettings {
            seed: random()?,
            fold: FoldSettings { fault, ..FoldSettings::default() },
            ..ApplySettings::default()
        },
        heartbeat_milliseconds: milliseconds(config.ship.heartbeat),
        gather_milliseconds: milliseconds(config.ship.gather),
        linger_milliseconds: milliseconds(config.ship.linger),
        // Alone there is nobody from whom the state could come again.
        history_bytes: if alone { u64::MAX } else { config.log.history_bytes_max },
        disk_reserve_bytes: config.log.disk_reserve_bytes,
        catch_up_events: CATCH_UP_EVENTS,
        compared_per_second: u64::from(config.repair.keys_per_second),
        compare_rest_milliseconds: COMPARE_REST,
        page_bytes: PAGE_BYTES,
        place: String::new(),
        // Alone there is nobody who could know of another one.
        moved: !alone,
        seed: clocks.now().wall,
        fault,
    })
}

/// This region's part in what the members agree on.
struct Members {
    consults: Arc<Consults>,
    agreement: Agreement<Consults>,
    time: FleetTime,
    origin: Origin,
    /// The logs that its directory held when it started.
    held: Vec<Origin>,
    /// What it was restored with.
    restored: Option<Box<Restored>>,
    place: Place,
}

/// This region and those of its peers that are wanted.
fn members(
    config: &Config,
    name: &RegionName,
    wanted: impl Fn(&PeerAddress) -> bool,
) -> Result<Vec<RegionName>> {
    let peers = config.peers.iter().filter(|peer| wanted(peer));
    let peers = peers.map(|peer| Ok(RegionName::parse(&peer.region)?));
    [Ok(name.clone())].into_iter().chain(peers).collect()
}

/// What follows the agreement in this region's name.
fn own(
    config: &Config,
    name: &RegionName,
    regions: Vec<RegionName>,
    (origin, held, restored, place): (Origin, Vec<Origin>, Option<Box<Restored>>, Place),
) -> agreed::Own {
    agreed::Own {
        name: name.clone(),
        origin,
        regions,
        held,
        dir: config.dir.clone(),
        place: Some(place),
        restored,
        lapse_after: config.ship.lapse_after,
        lapse_at: config.ship.lapse_at_per_million,
    }
}

/// The door's socket, with room for as many connections as it takes.
fn bind(settings: &config::Door) -> Result<Door> {
    let tls = match &settings.tls {
        Some(files) => {
            Some(DoorTls::load(&files.certificate, &files.key, settings.client_ca.as_deref())?)
        }
        None => None,
    };
    let connections_max = settings.connections_max as usize;
    files::make_room(connections_max);
    let options = DoorOptions {
        connections_max,
        idle_longest: settings.idle_timeout,
        ..DoorOptions::default()
    };
    Ok(Door::bind(settings.listen, tls.as_ref(), options)?)
}

/// Links and door, until it is time to go.
async fn serve(
    config: &Config,
    name: &RegionName,
    core: &Core,
    Members { consults, agreement, time, origin, held, restored, place }: Members,
    telemetry: Option<Telemetry>,
    prometheus: PrometheusHandle,
) -> Result<()> {
    let (trigger, shutdown) = Shutdown::new();
    let settings = config.door.as_ref().context("the configuration has no [door]")?;
    let forwards = Arc::new(Forwards::default());
    let takers = Takers { orders: Some(core.orders()), forwards: Arc::clone(&forwards), consults };
    let links = links::start(config, takers, shutdown.clone()).await?;
    let listener = bind(settings)?;
    tracing::info!(region = %name, address = %listener.local_address(), "the door is open");
    let control = std::env::var(ENV_CONTROL).ok();
    let regions = members(config, name, |peer| !peer.witness)?;
    let moved_from = place.moved_from.clone();
    let (enters, entered) = watch::channel(false);
    let (lives, incarnations) = watch::channel(Arc::default());
    let own = own(config, name, regions.clone(), (origin.clone(), held, restored, place));
    let told = agreed::Told { entered: enters, incarnations: lives };
    let (orders, said) = (core.orders(), core.said());
    let following = agreed::follow(own, agreement.clone(), orders, said, time, core.stands(), told);
    let following = tokio::spawn(following);
    let agreed = port::Agreed {
        agreement: agreement.clone(),
        entered,
        incarnations,
        origin,
        regions,
        moved_from,
    };
    let forwarding = Arc::clone(&forwards);
    let house = House::new(name.clone(), core, forwarding, agreed, control, telemetry);
    let house = Arc::new(house);
    let returned = tokio::spawn(returned::follow(config.dir.clone(), Arc::clone(&house)));
    let (stop_streams, stopping) = watch::channel(false);
    let door = linckia_api::Door::new(
        house,
        door_settings(config, settings)?,
        prometheus.clone(),
        stopping,
    );
    forwards.open(door.clone());
    let service = move |connection: Connection| {
        let door = door.clone();
        let client = match connection.client_subject() {
            Some(subject) => ClientIdentity::of_certificate(subject),
            None => ClientIdentity::ANONYMOUS,
        };
        hyper::service::service_fn(move |request| {
            let (door, client) = (door.clone(), client.clone());
            async move { Ok::<_, std::convert::Infallible>(door.handle(request, client).await) }
        })
    };
    tokio::spawn(upkeep(prometheus.clone()));
    let serving = listener.serve(service, shutdown.clone());
    let mut serving = std::pin::pin!(serving);
    let reason = tokio::select! {
        () = &mut serving => "the door closed",
        reason = leave(core.ended()) => reason,
    };
    tracing::info!(region = %name, reason, "stopping");
    let _ = stop_streams.send(true);
    let done = drain(&trigger, serving).await;
    if !done {
        tracing::info!(region = %name, "some connections did not end in time");
    }
    following.abort();
    returned.abort();
    agreement.close().await;
    drop(links);
    core.failure().map_or(Ok(()), |reason| Err(anyhow::anyhow!(reason)))
}

/// Without it a histogram that nobody scrapes grows.
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        prometheus.run_upkeep();
    }
}

async fn drain(trigger: &Trigger, serving: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    trigger.trigger();
    let ended = tokio::time::timeout(DRAIN, serving).await.is_ok();
    trigger.drain(DRAIN).await && ended
}

fn door_settings(config: &Config, door: &config::Door) -> Result<DoorSettings> {
    let token = match &door.token_file {
        Some(path) => {
            let text = std::fs::read(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            let token = text.trim_ascii().to_vec();
            anyhow::ensure!(!token.is_empty(), "{} holds no token", path.display());
            Some(token)
        }
        None => None,
    };
    let limits = Limits {
        body_bytes: door.body_bytes_max as usize,
        array_events: door.events_per_array_max as usize,
        depth: door.depth_max as usize,
        name_bytes: door.name_bytes_max as usize,
        ..Limits::default()
    };
    let require_auth = !door.listen.ip().is_loopback();
    let session_keys = config.session.keys.clone().map(sessions::follow).transpose()?;
    Ok(DoorSettings { token, require_auth, limits, session_keys })
}

/// Resolves with the reason to leave.
async fn leave(ended: impl Future<Output = ()>) -> &'static str {
    let parent = std::env::var(ENV_PARENT_PIPE).is_ok();
    let mut terminate = match signal() {
        Ok(signal) => signal,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be listened to");
            return "SIGTERM cannot be listened to";
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        () = parent_gone(), if parent => "the supervisor is gone",
        () = ended => "the core ended",
    }
}

fn signal() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
}

/// Standard input is a pipe of the supervisor's that carries nothing: its end is the supervisor's.
async fn parent_gone() {
    let (told, gone) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut byte = [0; 64];
        while std::io::Read::read(&mut std::io::stdin(), &mut byte).is_ok_and(|count| count > 0) {}
        drop(told);
    });
    let _ = gone.await;
}
