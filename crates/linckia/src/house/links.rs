//! Links to the peers: one dialled to each, one accepted from each, frames in both directions.
//!
//! A task dials each peer for ever; a listener takes those who dial us. Frames are coded here, off
//! the core's thread. What always holds: a link's end is told to the core once, and a new life of a
//! link is told apart from the old one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use linckia_model::RegionName;
use linckia_net::{
    FrameReceiver, FrameSender, IdentityFiles, LinkOptions, PeerLink, PeerListener, PeerTls,
    Shutdown, dial,
};
use linckia_region::Role;
use linckia_ship::{Encoder, Frame, decode};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::calls::UNDER_WAY_MAX;
use super::consult::Consults;
use super::core::{Order, Orders};
use super::forward::Forwards;
use crate::config::{Config, Peer};

/// Frames that wait for a link: a window of batches and the beats between them.
const FRAMES_MAX: usize = 512;

/// Links that wait to be taken.
const ACCEPTED_MAX: usize = 16;

/// The first and the longest pause before a peer is dialled again.
const REDIAL_FIRST: Duration = Duration::from_millis(100);
const REDIAL_LONGEST: Duration = Duration::from_secs(2);

/// Who is no member is told so within this, and so many at once.
const TURNED_AWAY: Duration = Duration::from_secs(1);
const STRANGERS_MAX: usize = 16;

/// A region that is silent for so long may live elsewhere; one that lives pulls twice a second.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// Dropping it ends every link.
pub(super) struct Links(#[expect(dead_code, reason = "held for its drop")] JoinSet<()>);

/// Who takes what comes over the links.
#[derive(Clone)]
pub(super) struct Takers {
    /// The core; a witness has none.
    pub(super) orders: Option<Orders>,
    pub(super) forwards: Arc<Forwards>,
    pub(super) consults: Arc<Consults>,
}

/// What every link needs.
#[derive(Clone)]
struct Way {
    takers: Takers,
    /// Members that hold no data: of what comes over their links only the agreement is heard.
    witnesses: Arc<Vec<String>>,
    lives: Arc<AtomicU64>,
    places: Arc<Places>,
    shutdown: Shutdown,
}

/// The places from which regions pull.
#[derive(Default)]
struct Places(Mutex<BTreeMap<RegionName, Pulls>>);

/// A region pulls from there.
struct Pulls {
    place: String,
    life: u64,
    heard: Instant,
}

impl Places {
    fn all(&self) -> MutexGuard<'_, BTreeMap<RegionName, Pulls>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes this link for the region's. Errors: the other place where the region is alive.
    fn admit(&self, region: &RegionName, place: &str, life: u64) -> Result<(), String> {
        let mut all = self.all();
        if let Some(known) = all.get(region)
            && known.life != life
            && known.place != place
            && known.heard.elapsed() < GONE_AFTER
        {
            return Err(known.place.clone());
        }
        let pulls = Pulls { place: place.to_owned(), life, heard: Instant::now() };
        all.insert(region.clone(), pulls);
        Ok(())
    }

    fn heard(&self, region: &RegionName, life: u64) {
        if let Some(known) = self.all().get_mut(region).filter(|known| known.life == life) {
            known.heard = Instant::now();
        }
    }

    fn left(&self, region: &RegionName, life: u64) {
        let mut all = self.all();
        if all.get(region).is_some_and(|known| known.life == life) {
            all.remove(region);
        }
    }
}

impl Way {
    /// The core, for a link that leads to another one.
    fn core_for(&self, peer: &RegionName) -> Option<&Orders> {
        let witness = self.witnesses.iter().any(|name| name == peer.as_str());
        self.takers.orders.as_ref().filter(|_| !witness)
    }
}

/// Binds the listener and starts dialling.
pub(super) async fn start(config: &Config, takers: Takers, shutdown: Shutdown) -> Result<Links> {
    let mut tasks = JoinSet::new();
    let Some(peer) = &config.peer else { return Ok(Links(tasks)) };
    let tls = identity(peer)?;
    let lives = Arc::new(AtomicU64::new(1));
    let witnesses = config.peers.iter().filter(|peer| peer.witness);
    let witnesses = Arc::new(witnesses.map(|peer| peer.region.clone()).collect());
    let places = Arc::default();
    let way = Way { takers, witnesses, lives, places, shutdown: shutdown.clone() };
    let listener = PeerListener::bind(peer.listen, &tls, LinkOptions::for_listener())?;
    tracing::info!(address = %listener.local_address(), "listening for peers");
    let (links, accepted) = mpsc::channel(ACCEPTED_MAX);
    tasks.spawn(listener.serve(links, shutdown));
    let members = config.peers.iter().map(|peer| peer.region.clone()).collect();
    let own = RegionName::parse(&config.region)?;
    tasks.spawn(accept(accepted, (own, members), way.clone()));
    for peer in &config.peers {
        let region = RegionName::parse(&peer.region)?;
        tasks.spawn(dial_for_ever(peer.address.clone(), region, tls.clone(), way.clone()));
    }
    Ok(Links(tasks))
}

fn identity(peer: &Peer) -> Result<PeerTls> {
    let files = IdentityFiles {
        certificate: peer.certificate.clone(),
        key: peer.key.clone(),
        authority: peer.ca.clone(),
    };
    Ok(files.load(SystemTime::now())?.peer_tls()?)
}

/// Only members of the fleet are carried: who is none has a certificate and nothing to say here.
async fn accept(
    mut accepted: mpsc::Receiver<PeerLink>,
    (own, members): (RegionName, Vec<String>),
    way: Way,
) {
    let (mut tasks, mut strangers) = (JoinSet::new(), JoinSet::new());
    while let Some(link) = accepted.recv().await {
        while tasks.try_join_next().is_some() {}
        while strangers.try_join_next().is_some() {}
        let Ok(peer) = RegionName::parse(&link.peer) else { continue };
        if !members.contains(&link.peer) {
            tracing::warn!(%peer, address = %link.address, "it is no member of the fleet: refused");
            if strangers.len() < STRANGERS_MAX {
                strangers.spawn(turn_away(peer, link, own.clone()));
            }
            continue;
        }
        tracing::info!(%peer, address = %link.address, "a peer pulls from here");
        tasks.spawn(carry(peer, Role::Serve, link, way.clone()));
    }
}

/// Says why, and gives it a moment to hear.
async fn turn_away(peer: RegionName, link: PeerLink, own: RegionName) {
    let reason =
        format!("{peer} is no member of the fleet that {own} knows: it has to be in its [[peers]]");
    let mut encoder = Encoder::new();
    let PeerLink { sender, mut receiver, .. } = link;
    let refused = sender.send(encoder.encode(&Frame::Refuse { reason, elsewhere: false })).await;
    if refused.is_ok() {
        let closed = async { while let Ok(Some(_)) = receiver.recv().await {} };
        let _ = tokio::time::timeout(TURNED_AWAY, closed).await;
    }
}

async fn dial_for_ever(address: String, region: RegionName, tls: PeerTls, way: Way) {
    let mut pause = REDIAL_FIRST;
    let mut told = false;
    let options = LinkOptions::default();
    while !way.shutdown.is_triggered() {
        match dial(&address, region.as_str(), &tls, &options).await {
            Ok(link) => {
                tracing::info!(peer = %region, "pulling");
                (pause, told) = (REDIAL_FIRST, false);
                carry(region.clone(), Role::Pull, link, way.clone()).await;
                tracing::info!(peer = %region, "the link ended");
            }
            Err(error) => {
                // Said once per silence: a peer that is down for a night is one line.
                if !std::mem::replace(&mut told, true) {
                    let error = linckia_model::with_causes(&error);
                    tracing::warn!(peer = %region, error, "cannot be reached; trying on");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(REDIAL_LONGEST),
            () = way.shutdown.wait() => return,
        }
    }
}

/// Carries frames both ways until the link ends.
async fn carry(peer: RegionName, role: Role, link: PeerLink, way: Way) {
    let life = way.lives.fetch_add(1, Ordering::Relaxed);
    let (frames, queue) = mpsc::channel(FRAMES_MAX);
    let inner = frames.downgrade();
    let Takers { forwards, consults, .. } = &way.takers;
    if role == Role::Pull {
        forwards.calls.opened(&peer, life, &inner);
        consults.calls.opened(&peer, life, &inner);
    }
    // Whoever keeps the sender keeps the link: the core, or, where it has no part in it yet, this
    // task.
    let mut kept = Some(frames);
    if role == Role::Pull && !open(&peer, role, life, &mut kept, &way).await {
        return;
    }
    let PeerLink { sender, receiver, .. } = link;
    let inward = read(receiver, (&peer, role, life), &inner, &mut kept, &way);
    tokio::select! {
        reason = inward => tracing::debug!(%peer, reason, "the link ended"),
        () = write(sender, queue) => {}
        () = way.shutdown.wait() => {}
    }
    way.places.left(&peer, life);
    if role == Role::Pull {
        forwards.calls.closed(&peer, life);
        consults.calls.closed(&peer, life);
    }
    if let Some(orders) = way.core_for(&peer).filter(|_| kept.is_none()) {
        orders.send(Order::Closed { peer, role, life }).await;
    }
}

/// Gives the link to the core, where that has a part in it. False if the core has ended.
async fn open(
    peer: &RegionName,
    role: Role,
    life: u64,
    kept: &mut Option<mpsc::Sender<Frame>>,
    way: &Way,
) -> bool {
    let Some(orders) = way.core_for(peer) else { return true };
    let Some(frames) = kept.take() else { return true };
    orders.send(Order::Opened { peer: peer.clone(), role, life, frames }).await
}

async fn write(sender: FrameSender, mut queue: mpsc::Receiver<Frame>) {
    let mut encoder = Encoder::new();
    while let Some(frame) = queue.recv().await {
        if sender.send(encoder.encode(&frame)).await.is_err() {
            return;
        }
    }
}

async fn read(
    mut receiver: FrameReceiver,
    (peer, role, life): (&RegionName, Role, u64),
    frames: &mpsc::WeakSender<Frame>,
    kept: &mut Option<mpsc::Sender<Frame>>,
    way: &Way,
) -> String {
    let Takers { forwards, consults, .. } = &way.takers;
    let rooms = [(); 2].map(|()| Arc::new(Semaphore::new(UNDER_WAY_MAX)));
    loop {
        let bytes = match receiver.recv().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return "the other end closed it".to_owned(),
            Err(error) => return error.to_string(),
        };
        match decode(&bytes) {
            Ok(Frame::Forward { number, forward }) => {
                if role == Role::Serve && way.core_for(peer).is_some() {
                    forwards.answer(number, forward, frames, &rooms[0]);
                }
            }
            Ok(Frame::Forwarded { number, forwarded }) => {
                forwards.calls.answered(peer, number, forwarded);
            }
            Ok(Frame::Consult { number, question }) => {
                if role == Role::Serve {
                    consults.answer(peer, number, question, frames, &rooms[1]);
                }
            }
            Ok(Frame::Consulted { number, answer }) => {
                consults.calls.answered(peer, number, answer);
            }
            Ok(frame) => {
                let Some(orders) = way.core_for(peer) else { continue };
                if let (Role::Serve, Frame::Hello { place, .. }) = (role, &frame) {
                    if let Err(other) = way.places.admit(peer, place, life) {
                        refuse(peer, place, &other, frames);
                        continue;
                    }
                    if !open(peer, role, life, kept, way).await {
                        return "the core ended".to_owned();
                    }
                }
                if kept.is_some() {
                    // It has not been welcomed.
                    continue;
                }
                way.places.heard(peer, life);
                let peer = peer.clone();
                if !orders.send(Order::Received { peer, role, life, frame }).await {
                    return "the core ended".to_owned();
                }
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "a frame is not understood; the link ends");
                return error.to_string();
            }
        }
    }
}

/// Tells a second directory of a region that there is another one.
fn refuse(peer: &RegionName, place: &str, other: &str, frames: &mpsc::WeakSender<Frame>) {
    tracing::warn!(%peer, place, other, "a second directory of this region is refused");
    let reason = format!(
        "{peer} is alive at {other}, and is not let in from {place}: stop one of them; of a \
         directory that was copied only one may be started"
    );
    if let Some(frames) = frames.upgrade() {
        // Where there is no room it asks again.
        let _ = frames.try_send(Frame::Refuse { reason, elsewhere: true });
    }
}
