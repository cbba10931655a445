//! A small HTTP server that hands requests to `git http-backend`, with a login if wanted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) struct HttpGit {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Requests that carried a login.
    pub(crate) logins: Arc<AtomicUsize>,
}

impl HttpGit {
    /// Serves the repositories below `root`; `login` is the value of the Authorization header that is asked for.
    pub(crate) fn serve(root: &Path, login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let logins = Arc::new(AtomicUsize::new(0));
        let (stopped, counted, root) = (stop.clone(), logins.clone(), root.to_path_buf());
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (root, counted) = (root.clone(), counted.clone());
                let connection = connection.unwrap();
                std::thread::spawn(move || answer(&connection, &root, login, &counted));
            }
        });
        Self { address, stop, thread: Some(thread), logins }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for HttpGit {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Answers one request and closes the connection.
fn answer(connection: &TcpStream, root: &PathBuf, login: Option<&str>, logins: &AtomicUsize) {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| {
        headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    };
    let mut out = connection;
    if header("expect").is_some() {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    let mut body = Vec::new();
    if header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = u64::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = Vec::new();
            reader.by_ref().take(size + 2).read_to_end(&mut chunk).unwrap();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size as usize]);
        }
    } else if let Some(length) = header("content-length") {
        reader.by_ref().take(length.parse().unwrap()).read_to_end(&mut body).unwrap();
    }
    if header("authorization").is_some() {
        logins.fetch_add(1, Ordering::SeqCst);
    }
    if login.is_some() && header("authorization") != login {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\
                       Connection: close\r\n\r\n";
        let _ = out.write_all(refusal.as_bytes());
        return;
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut backend = Command::new("git");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "someone")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &method)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(encoding) = header("content-encoding") {
        backend.env("HTTP_CONTENT_ENCODING", encoding);
    }
    if let Some(protocol) = header("git-protocol") {
        backend.env("GIT_PROTOCOL", protocol);
    }
    let mut child = backend.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().unwrap().stdout;
    let _ = writer.join();
    let split = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| output.len().saturating_sub(4));
    let (head, body) = output.split_at((split + 4).min(output.len()));
    let head = String::from_utf8_lossy(head);
    let status =
        head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let rest: String = head
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Status: "))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let _ = out.write_all(
        format!(
            "HTTP/1.1 {status}\r\n{rest}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    let _ = out.write_all(body);
}
