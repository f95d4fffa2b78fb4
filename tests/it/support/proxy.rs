//! A TCP proxy that can fail: between the service and its database, or anything else that speaks
//! TCP.
//!
//! Its port is its own until it is dropped, also while it refuses connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

/// What happens to what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It arrives.
    Open,
    /// It arrives this much later, each way.
    Delayed(Duration),
    /// It stays in the proxy.
    Stalled,
}

/// A proxy on a port of its own. Its connections break when it is dropped.
pub(crate) struct Proxy {
    upstream: String,
    /// Never listens, but reserves the port while nothing else does.
    _reserved: TcpSocket,
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Accepts connections; none while they are refused.
    listening: Option<JoinHandle<()>>,
    /// Changed by a cut, which ends all connections.
    open: watch::Sender<()>,
}

impl Proxy {
    /// A proxy in front of `upstream`, as `host:port`.
    pub(crate) fn to(upstream: String) -> Self {
        let reserved = socket("127.0.0.1:0".parse().unwrap());
        let address = reserved.local_addr().unwrap();
        let (mode, open) = (watch::Sender::new(Mode::Open), watch::Sender::new(()));
        let mut proxy = Self {
            upstream,
            _reserved: reserved,
            address,
            mode,
            listening: None,
            open,
        };
        proxy.listen();
        proxy
    }

    /// A proxy in front of the server that `url` names, and the URL that leads through it.
    pub(crate) fn before(url: &str) -> (Self, String) {
        let mut url = Url::parse(url).expect("a URL");
        let host = url
            .host_str()
            .expect("a server that is reached by TCP")
            .to_owned();
        let port = url.port_or_known_default().unwrap_or(5432);
        let proxy = Self::to(format!("{host}:{port}"));
        url.set_host(Some("127.0.0.1"))
            .expect("an address is a host");
        url.set_port(Some(proxy.address.port()))
            .expect("a URL with a host has a port");
        (proxy, url.into())
    }

    /// Leads new connections to another server, and leaves the others where they are.
    pub(crate) async fn lead_to(&mut self, url: &str) {
        let url = Url::parse(url).expect("a URL");
        let host = url.host_str().expect("a server that is reached by TCP");
        self.upstream = format!("{host}:{}", url.port_or_known_default().unwrap_or(5432));
        self.refuse().await;
        self.listen();
    }

    /// Refuses new connections and breaks all others. Returns once they are broken.
    pub(crate) async fn cut(&mut self) {
        self.refuse().await;
        let open = std::mem::replace(&mut self.open, watch::Sender::new(()));
        open.send_replace(());
        open.closed().await;
    }

    async fn refuse(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Accepts connections, keeps them open, and lets nothing through.
    pub(crate) fn stall(&self) {
        self.mode.send_replace(Mode::Stalled);
    }

    /// Lets everything through, this much later.
    pub(crate) fn delay(&self, by: Duration) {
        self.mode.send_replace(Mode::Delayed(by));
    }

    /// Leaves the current connections without an answer for ever, as when their packets are lost;
    /// new ones work.
    pub(crate) async fn strand(&mut self) {
        self.refuse().await;
        let stranded = std::mem::replace(&mut self.mode, watch::Sender::new(Mode::Open));
        stranded.send_replace(Mode::Stalled);
        // Never dropped, so that the old connections stay open.
        std::mem::forget((
            stranded,
            std::mem::replace(&mut self.open, watch::Sender::new(())),
        ));
        self.listen();
    }

    /// Lets everything through, first what it has held back, and accepts connections again.
    pub(crate) fn heal(&mut self) {
        self.mode.send_replace(Mode::Open);
        if self.listening.is_none() {
            self.listen();
        }
    }

    fn listen(&mut self) {
        let listener = socket(self.address).listen(1024).unwrap();
        let accepting = accept(
            listener,
            self.upstream.clone(),
            self.mode.subscribe(),
            self.open.subscribe(),
        );
        self.listening = Some(tokio::spawn(accepting));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// A socket at `address`, which others of this process may have too.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(
    listener: TcpListener,
    upstream: String,
    mode: watch::Receiver<Mode>,
    open: watch::Receiver<()>,
) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(carry(client, upstream.clone(), mode.clone(), open.clone()));
    }
}

/// Carries a connection until it ends or is cut.
async fn carry(
    client: TcpStream,
    upstream: String,
    mode: watch::Receiver<Mode>,
    mut open: watch::Receiver<()>,
) {
    let server = tokio::select! {
        server = TcpStream::connect(&upstream) => server,
        _ = open.changed() => return,
    };
    let Ok(server) = server else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let both = async {
        tokio::join!(
            one_way(from_client, to_server, mode.clone()),
            one_way(from_server, to_client, mode.clone())
        );
    };
    tokio::select! {
        () = both => {}
        _ = open.changed() => {}
    }
}

/// Carries what is sent one way until its end, and then the end.
async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut chunk = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        let Ok(now) = mode
            .wait_for(|mode| *mode != Mode::Stalled)
            .await
            .map(|mode| *mode)
        else {
            return;
        };
        if let Mode::Delayed(by) = now {
            tokio::time::sleep(by).await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            // Dropping `to` sends the end on.
            return;
        }
    }
}
