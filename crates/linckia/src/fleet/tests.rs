//! Supervisor, emulator and control server together, with shell scripts in the place of regions.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::Fleet;
use super::control::{self, Control};
use super::directory::process_of;
use super::plan::RegionPlan;
use super::ports::loopback;
use super::process::Launch;
use super::state::{FLEET_FILE, FleetState, RegionState};
use super::supervisor::Supervisor;
use super::wan::{Profile, Wan};

const PATIENCE: Duration = Duration::from_secs(20);

/// Lives until its supervisor ends, as a region does.
const LIVES: &str = "cat > /dev/null";
/// Ends at once, with its reason.
const DIES: &str = "echo the segment is damaged; exit 1";

struct Trial {
    dir: tempfile::TempDir,
    fleet: watch::Receiver<FleetState>,
    stop: Option<oneshot::Sender<()>>,
    supervisor: JoinHandle<()>,
    control: std::net::SocketAddr,
}

/// A door that is always ready, in this process.
async fn ready_door() -> String {
    let listener = TcpListener::bind(loopback(0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ok =
                service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), ok));
        }
    });
    format!("http://{address}")
}

async fn start(script: &str, restart_after: Option<Duration>) -> Trial {
    let url = ready_door().await;
    start_with_door(script, restart_after, &url).await
}

async fn start_with_door(script: &str, restart_after: Option<Duration>, url: &str) -> Trial {
    let dir = tempfile::tempdir().unwrap();
    let names = ["a".to_owned(), "b".to_owned()];
    let plans: Vec<_> =
        names.iter().map(|name| RegionPlan::for_tests(&dir.path().join(name), name, url)).collect();
    let listener = control::listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let state = FleetState {
        dir: dir.path().to_owned(),
        control: format!("http://{address}"),
        regions: plans.iter().map(RegionPlan::state).collect(),
    };
    let launch = Launch {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        control: state.control.clone(),
    };
    let profile = Profile::load(&"real".parse().unwrap(), &names).unwrap();
    let peers = names.map(|name| (name, loopback(1)));
    let wan = Wan::start(&peers, profile).await.unwrap();
    let (supervisor, orders, mut fleet) = Supervisor::new(plans, launch, restart_after, state);
    let (stop, stopping) = oneshot::channel();
    let supervisor = tokio::spawn(supervisor.run(stopping));
    timeout(PATIENCE, fleet.changed()).await.expect("started in time").unwrap();
    let control = Control { wan, orders, fleet: fleet.clone() };
    tokio::spawn(control::serve(listener, Arc::new(control)));
    Trial { dir, fleet, stop: Some(stop), supervisor, control: address }
}

impl Trial {
    /// The state of region `a` once it is as wanted.
    async fn until(&mut self, wanted: impl Fn(&RegionState) -> bool) -> RegionState {
        let seen = self.fleet.wait_for(|state| wanted(&state.regions[0]));
        timeout(PATIENCE, seen).await.expect("in time").unwrap().regions[0].clone()
    }

    async fn ask(&self, method: Method, path: &str, order: Value) -> Result<Value, String> {
        let fleet = Fleet::find(self.dir.path()).map_err(|error| error.to_string())?;
        let answer = fleet.ask(method, path, Some(&order)).await;
        answer.map_err(|error| error.to_string())
    }

    async fn post(&self, path: &str, order: Value) -> Result<Value, String> {
        self.ask(Method::POST, path, order).await
    }

    async fn end(mut self) {
        let _ = self.stop.take().unwrap().send(());
        timeout(PATIENCE, self.supervisor).await.expect("gone in time").unwrap();
        assert!(!self.dir.path().join(FLEET_FILE).exists());
        for region in &self.fleet.borrow().regions {
            assert_eq!(region.pid, None);
        }
    }
}

/// Asks for the links, and keeps the connection as long as the other end does.
async fn ask_and_stay(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /links HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn those_who_have_asked_leave_room_for_others() {
    let trial = start(LIVES, None).await;
    let mut asked = Vec::new();
    // More than the control server has room for at a time.
    for _ in 0..100 {
        asked.push(ask_and_stay(trial.control).await);
    }
    trial.end().await;
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn what_dies_by_itself_is_started_again_and_what_is_stopped_is_not() {
    let mut trial = start(LIVES, Some(Duration::from_millis(1))).await;
    let first = trial.until(|region| region.pid.is_some()).await.pid.unwrap();
    kill_process(process_of(first).unwrap(), Signal::KILL).unwrap();
    let second = trial.until(|region| region.restarts == 1 && region.pid.is_some()).await;
    assert_ne!(second.pid, Some(first));
    let file = FleetState::read(trial.dir.path()).unwrap().unwrap();
    assert_eq!(file.regions[0], second);

    let stopped = trial.post("/regions/a/stop", json!({"kill": true})).await.unwrap();
    assert_eq!((&stopped["name"], &stopped["pid"]), (&json!("a"), &Value::Null));
    assert!(!runs(second.pid.unwrap()));
    let again = trial.post("/regions/a/stop", json!({})).await.unwrap();
    assert_eq!(again, stopped, "stopping twice is stopping");
    let started = trial.post("/regions/a/start", json!({})).await.unwrap();
    assert_eq!(started["restarts"], 1, "an operator's start is no restart");
    let twice = trial.post("/regions/a/start", json!({})).await.unwrap();
    assert_eq!(twice, started, "starting twice is starting");
    trial.end().await;
}

#[tokio::test]
async fn a_region_that_does_not_come_up_says_why() {
    // Nothing listens on this port.
    let trial = start_with_door(DIES, None, "http://127.0.0.1:1").await;
    let error = trial.post("/regions/b/start", json!({})).await.unwrap_err();
    assert!(error.contains("b ended before it was ready"), "{error}");
    assert!(error.contains("the segment is damaged"), "{error}");
    trial.end().await;
}

#[tokio::test]
async fn links_are_changed_through_the_control_server() {
    let trial = start(LIVES, None).await;
    let items = |answer: Value| answer["items"].as_array().unwrap().clone();
    let all = items(trial.ask(Method::GET, "/links", Value::Null).await.unwrap());
    let (delay, jitter) = ("60ms", "1.2ms");
    let shown = json!({"from": "a", "to": "b", "delay": delay, "jitter": jitter, "loss": "0%",
        "bandwidth": null, "cut": false});
    assert_eq!((all.len(), &all[0]), (2, &shown));
    let change = json!({"from": "a", "to": "b", "oneWay": true, "change": {"loss": "2%"}});
    assert_eq!(items(trial.post("/links/set", change).await.unwrap())[0]["loss"], "2%");
    let cut = json!({"from": "a", "to": null});
    assert_eq!(items(trial.post("/links/cut", cut).await.unwrap()).len(), 2);
    let healed = items(trial.post("/links/heal", json!({"from": null, "to": null})).await.unwrap());
    assert_eq!(healed, all);
    trial.end().await;
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let trial = start(LIVES, None).await;
    let check = async |path: &str, order: Value, reason: &str| {
        let error = trial.post(path, order).await.unwrap_err();
        assert!(error.contains(reason), "{path}: {error}");
    };
    check("/regions/mars/stop", json!({}), "its regions are a, b").await;
    check("/regions/mars/start", json!({}), "its regions are a, b").await;
    check("/regions/a/stop", json!({"force": 1}), "unknown field `force`").await;
    check("/links/cut", json!({"from": "mars"}), "its regions are a, b").await;
    check("/links/set", json!({"from": "a"}), "missing field").await;
    check("/links", json!({}), "POST is not answered").await;
    check("/nothing", json!({}), "nothing at /nothing").await;
    trial.end().await;
}

#[tokio::test]
async fn web_pages_may_not_come_in() {
    let trial = start(LIVES, None).await;
    let check = async |host: &str, origin: Option<&str>, expected: StatusCode| {
        let stream = TcpStream::connect(trial.control).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().uri("/links").header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let status = sender.send_request(request).await.unwrap().status();
        assert_eq!(status, expected, "{host} {origin:?}");
    };
    check("127.0.0.1:7400", None, StatusCode::OK).await;
    check("localhost", None, StatusCode::OK).await;
    check("[::1]:7400", None, StatusCode::OK).await;
    check("127.0.0.1:7400", Some("https://example.com"), StatusCode::FORBIDDEN).await;
    check("evil.example.com:7400", None, StatusCode::FORBIDDEN).await;
    trial.end().await;
}
