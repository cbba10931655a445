//! What lies between a server and a cluster's API server, when something goes wrong there: only for the server that goes
//! through it.

use std::path::Path;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// There is nobody.
    Refusing,
}

/// Carries connections to the API server as they are, encrypted, until it is told otherwise.
pub struct Proxy {
    mode: watch::Sender<Mode>,
    /// All connections end when this changes.
    cuts: watch::Sender<u64>,
    /// Nothing passes on the connections there are when this changes, and nobody is told.
    silences: watch::Sender<u64>,
    /// Attempts to connect while there was nobody.
    refused: watch::Receiver<u64>,
    accepting: JoinHandle<()>,
    kubeconfig: tempfile::NamedTempFile,
}

impl Proxy {
    pub async fn start(cluster: &Cluster) -> Self {
        Self::start_as(cluster, None).await
    }

    /// For somebody who has this token, else for the one whom the tests are.
    pub async fn start_as(cluster: &Cluster, token: Option<&str>) -> Self {
        let mut config = cluster.access();
        if let Some(token) = token {
            config["users"][0]["user"] = serde_json::json!({"token": token});
        }
        let server = &mut config["clusters"][0]["cluster"];
        let url = reqwest::Url::parse(server["server"].as_str().unwrap()).unwrap();
        let (host, port) =
            (url.host_str().unwrap().to_owned(), url.port_or_known_default().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        server["server"] = format!("https://{}", listener.local_addr().unwrap()).into();
        // The certificate is the API server's.
        server["tls-server-name"] = host.as_str().into();
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), config.to_string()).unwrap();

        let mode = watch::Sender::new(Mode::Open);
        let (cuts, silences) = (watch::Sender::new(0), watch::Sender::new(0));
        let (count, refused) = watch::channel(0);
        let (seen, cut, silence) = (mode.subscribe(), cuts.subscribe(), silences.subscribe());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() == Mode::Refusing {
                    count.send_modify(|count| *count += 1);
                    continue;
                }
                let (host, mut cut, mut silence) = (host.clone(), cut.clone(), silence.clone());
                cut.mark_unchanged();
                silence.mark_unchanged();
                tokio::spawn(async move {
                    let mut client = client;
                    let Ok(mut server) = TcpStream::connect((host.as_str(), port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                        _ = silence.changed() => drop(cut.changed().await),
                    }
                });
            }
        });
        Self { mode, cuts, silences, refused, accepting, kubeconfig }
    }

    /// Access to the cluster through this.
    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.path()
    }

    /// Ends all connections there are.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// All connections there are stay, and carry nothing any more.
    pub fn silence(&self) {
        self.silences.send_modify(|count| *count += 1);
    }

    /// Nobody is there any more.
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refusing);
        self.cut();
    }

    /// Returns when the server has come in vain this many times.
    pub async fn refused(&mut self, times: u64) {
        let until = *self.refused.borrow() + times;
        self.refused.wait_for(|count| *count >= until).await.unwrap();
    }

    pub fn open(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
