//! Git repositories over smart HTTP, by git's own backend, for demos and tests.
//!
//! Serves every bare repository below a directory, for reading and pushing, to anyone who can reach
//! the address: bind it to loopback or to a network of containers only.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

/// Header lines of a CGI answer are bounded: more is a broken backend.
const HEADER_LINES_MAX: usize = 100;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl GitServer {
    /// Serves the bare repositories below `root` on `address`.
    pub async fn start(root: &Path, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let root: Arc<Path> = root.canonicalize()?.into();
        let app = Router::new().fallback(serve).with_state(root);
        let task = tokio::spawn(async move {
            // The server has no end of its own: it goes with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a repository, as git takes it.
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes a bare repository that accepts pushes over HTTP.
pub async fn create_repository(path: &Path, branch: &str) -> io::Result<()> {
    git(
        path.parent().unwrap_or(path),
        &["init", "--quiet", "--bare", "-b", branch, "--"],
        Some(path),
    )
    .await?;
    git(path, &["config", "http.receivepack", "true"], None).await
}

async fn git(dir: &Path, arguments: &[&str], last: Option<&Path>) -> io::Result<()> {
    let mut command = Command::new("git");
    command.args(arguments).args(last).current_dir(dir);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("git {}: {}", arguments.join(" "), complaint.trim())))
}

async fn serve(State(root): State<Arc<Path>>, request: Request) -> Response {
    match backend(&root, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("git http-backend: {error}\n"))
            .into_response(),
    }
}

async fn backend(root: &Path, request: Request) -> io::Result<Response> {
    let (head, body) = request.into_parts();
    let mut child = spawn(root, &head.method, &head.uri, &head.headers)?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("no stdin"))?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
    tokio::spawn(feed(stdin, body));
    let mut stdout = BufReader::new(stdout);
    let (status, headers) = cgi_head(&mut stdout).await?;
    // The child is reaped when its output was read to the end.
    let tail = futures_util::stream::once(async move { child.wait().await.map(|_| Bytes::new()) });
    let mut response = Response::new(Body::from_stream(ReaderStream::new(stdout).chain(tail)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn spawn(
    root: &Path,
    method: &axum::http::Method,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
) -> io::Result<Child> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "anonymous")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", text("content-type"))
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

async fn feed(mut stdin: tokio::process::ChildStdin, body: Body) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        // A backend that stopped reading has said why in its answer.
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

async fn cgi_head(
    stdout: &mut BufReader<impl AsyncRead + Unpin>,
) -> io::Result<(StatusCode, HeaderMap)> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    for _ in 0..HEADER_LINES_MAX {
        let mut line = String::new();
        stdout.read_line(&mut line).await?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.get(..3).and_then(|code| code.parse().ok());
            status = code.and_then(|code: u16| StatusCode::from_u16(code).ok()).unwrap_or(status);
        } else if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            && name != header::CONTENT_LENGTH
        {
            headers.insert(name, value);
        }
    }
    Err(io::Error::other("too many header lines"))
}

/// A clone to commit in, with an author of its own.
#[derive(Debug)]
pub struct Clone {
    dir: PathBuf,
}

impl Clone {
    /// Clones `url` into `dir`; an empty repository is fine.
    pub async fn of(url: &str, dir: &Path) -> io::Result<Self> {
        let parent = dir.parent().unwrap_or(dir);
        git(parent, &["clone", "--quiet", "--", url], Some(dir)).await?;
        for (key, value) in [("user.name", "JetBridge"), ("user.email", "jetbridge@localhost")] {
            git(dir, &["config", key, value], None).await?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Writes one file, commits it and pushes the branch.
    pub async fn commit(&self, file: &str, content: &str, message: &str) -> io::Result<()> {
        let path = self.dir.join(file);
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::write(path, content).await?;
        git(&self.dir, &["add", "--all"], None).await?;
        git(&self.dir, &["commit", "--quiet", "-m", message], None).await?;
        git(&self.dir, &["push", "--quiet", "origin", "HEAD"], None).await
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
