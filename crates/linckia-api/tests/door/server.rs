//! A door on a free port, for one test.
//!
//! Every test has its own. What always holds: it ends with the test.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use linckia_api::{ClientIdentity, Door, DoorSettings};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Client;
use super::fake::Fake;

pub struct Server {
    pub region: Arc<Fake>,
    pub address: SocketAddr,
    pub stopping: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

fn prometheus() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).clone()
}

impl Server {
    pub async fn start() -> Self {
        let server = Self::with(DoorSettings::default(), ClientIdentity::ANONYMOUS).await;
        super::schema::load(&server).await;
        server
    }

    pub async fn with(settings: DoorSettings, client: ClientIdentity) -> Self {
        let region = Arc::new(Fake::new());
        let (stopping, stop) = watch::channel(false);
        let door = Door::new(Arc::clone(&region), settings, prometheus(), stop);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (door, client) = (door.clone(), client.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let (door, client) = (door.clone(), client.clone());
                        async move {
                            Ok::<_, std::convert::Infallible>(door.handle(request, client).await)
                        }
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http1().pipeline_flush(true);
                    // How a connection ends is for the client to judge.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { region, address, stopping, _accepting: accepting }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}
