//! throw-away
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use linckia_api::*;
use linckia_apply::{Query, Reading};
use linckia_model::{Answer, Dot, Hlc, Origin, RegionName, Vector, Write};
use tokio::sync::watch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
struct Null { name: RegionName, origin: Origin, n: AtomicU64, tx: watch::Sender<Arc<Vector>> }
impl Region for Null {
    fn name(&self) -> &RegionName { &self.name }
    async fn write(&self, write: Write) -> Result<Answers, Unavailable> {
        Ok(write.events.iter().map(|e| { let n = self.n.fetch_add(1, Ordering::Relaxed)+1; Ok(Answer { event_id: e.event_id.clone(), dot: Dot::new(self.origin.clone(), n), hlc: Hlc::from_bits(n), version: n, duplicate: false, created: true, entity_tag: None }) }).collect())
    }
    async fn read(&self, _q: Query) -> Result<Reading, Unavailable> { Err(Unavailable::Busy) }
    fn applied(&self) -> watch::Receiver<Arc<Vector>> { self.tx.subscribe() }
    async fn regions(&self) -> Result<Vec<RegionView>, Unavailable> { Ok(vec![]) }
    async fn links(&self) -> Result<Vec<LinkView>, Unavailable> { Ok(vec![]) }
    async fn emulated(&self) -> Option<serde_json::Value> { None }
    fn ready(&self) -> Result<(), String> { Ok(()) }
}
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    rt.block_on(async move {
        if mode == "serve" {
            let handle = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
            let (_stop, stop) = watch::channel(false);
            let region = Arc::new(Null { name: RegionName::parse("us-east-1").unwrap(), origin: Origin::parse("us-east-1.7f3a9c01d2e4b5a6").unwrap(), n: AtomicU64::new(0), tx: watch::channel(Arc::default()).0 });
            let door = Door::new(region.clone(), DoorSettings::default(), handle.clone(), stop);
            let l = tokio::net::TcpListener::bind("127.0.0.1:7999").await.unwrap();
            tokio::spawn(async move {
                let (mut c, mut n) = (cpu(), 0);
                loop {
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                    handle.run_upkeep();
                    let (c2, n2) = (cpu(), region.n.load(Ordering::Relaxed));
                    if n2 > n { println!("{:.0} events/s, {:.0} per CPU-second", (n2-n) as f64/2.0, (n2-n) as f64/(c2-c)); }
                    (c, n) = (c2, n2);
                }
            });
            loop {
                let (s, _) = l.accept().await.unwrap();
                s.set_nodelay(true).unwrap();
                let door = door.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |r| { let door = door.clone(); async move { Ok::<_, std::convert::Infallible>(door.handle(r, ClientIdentity::ANONYMOUS).await) } });
                    let mut b = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                    b.http1().pipeline_flush(true);
                    let _ = b.serve_connection(hyper_util::rt::TokioIo::new(s), service).await;
                });
            }
        } else {
            let batch: usize = std::env::args().nth(2).map_or(1, |b| b.parse().unwrap());
            let mut tasks = vec![];
            for c in 0..64 {
                tasks.push(tokio::spawn(async move {
                    let mut s = tokio::net::TcpStream::connect("127.0.0.1:7999").await.unwrap();
                    s.set_nodelay(true).unwrap();
                    let one = format!("{{\"eventId\":\"0190a5b0-7b3c-7def-8123-45678{c:07}\",\"eventType\":\"CustomerPatched\",\"aggregateType\":\"Customer\",\"aggregateId\":\"customer-{c}\",\"operation\":\"patch\",\"eventData\":{{\"name\":\"John Doe\",\"age\":42,\"city\":\"Somewhere\",\"pad\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}}}}");
                    let body = if batch == 1 { one } else { format!("[{}]", vec![one; batch].join(",")) };
                    let req = format!("POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1:7999\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let mut buf = vec![0; 65536];
                    let end = std::time::Instant::now() + std::time::Duration::from_secs(11);
                    while std::time::Instant::now() < end {
                        s.write_all(req.as_bytes()).await.unwrap();
                        let mut have = 0;
                        loop {
                            have += s.read(&mut buf[have..]).await.unwrap();
                            let text = std::str::from_utf8(&buf[..have]).unwrap();
                            if let Some(h) = text.find("\r\n\r\n") {
                                assert!(text.starts_with("HTTP/1.1 201"), "{text}");
                                let p = text.find("content-length: ").unwrap() + 16;
                                let n: usize = text[p..].split("\r\n").next().unwrap().parse().unwrap();
                                if have == h + 4 + n { break; }
                            }
                        }
                    }
                }));
            }
            for t in tasks { t.await.unwrap(); }
        }
    });
}
