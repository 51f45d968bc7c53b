//! A small server that speaks the part of the hub's API that is used, and fails on request.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Connections for files end after so many bytes of the body, so many times.
    pub cut: Option<(usize, usize)>,
    /// Bytes of this file are changed.
    pub spoil: Option<&'static str>,
    /// Every request is answered with this status and `X-Error-Code`.
    pub refuse: Option<(u16, &'static str)>,
    /// The list names no lengths and checksums.
    pub bare: bool,
    /// The list says that weights have so many bytes.
    pub claimed: Option<u64>,
    /// The second half of weights comes this much later.
    pub pause: Option<Duration>,
    /// Ranges are not known.
    pub whole: bool,
    /// Written, with so many bytes, before a file's second half is sent: fills a small disk.
    pub fill: Option<(PathBuf, usize)>,
}

#[derive(Default)]
struct State {
    manner: Manner,
    /// By repository, then by path.
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    requests: Vec<String>,
    elsewhere: String,
}

/// The server; it ends with the test.
pub struct Server {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts it, with a second one that files are redirected to.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let url = listen(&state);
        let elsewhere = listen(&state);
        state.lock().unwrap().elsewhere = elsewhere;
        Server { url, state }
    }

    /// Adds the files of a folder as a repository.
    pub fn add(&self, repository: &str, folder: &Path) -> &Self {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            self.put(repository, name, std::fs::read(&path).unwrap());
        }
        self
    }

    /// Adds one file.
    pub fn put(&self, repository: &str, path: &str, bytes: Vec<u8>) -> &Self {
        self.state.lock().unwrap().files.entry(repository.into()).or_default().insert(path.into(), bytes);
        self
    }

    /// Takes one file away.
    pub fn remove(&self, repository: &str, path: &str) -> &Self {
        self.state.lock().unwrap().files.get_mut(repository).unwrap().remove(path);
        self
    }

    /// Changes its behaviour.
    pub fn behave(&self, manner: Manner) -> &Self {
        self.state.lock().unwrap().manner = manner;
        self
    }

    /// All requests since the last call, heads as they came.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

fn listen(state: &Arc<Mutex<State>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = state.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            // A client that goes away is no failure of the server.
            std::thread::spawn(move || serve(stream, &state).unwrap_or_default());
        }
    });
    url
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(stream.try_clone()?);
    while lines.read_line(&mut head)? > 2 {}
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let range = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from = range.and_then(|r| r.trim_end_matches('-').parse::<usize>().ok());
    let mut state = state.lock().unwrap();
    state.requests.push(head.clone());
    let manner = state.manner.clone();
    if let Some((status, code)) = manner.refuse {
        return answer(&mut stream, &format!("{status} No\r\nX-Error-Code: {code}"), b"", "GET");
    }
    if let Some(rest) = path.strip_prefix("/api/models/") {
        let repository = rest.split("/revision/").next().unwrap_or_default();
        return match state.files.get(repository) {
            Some(files) => answer(&mut stream, "200 OK", list(files, &manner).as_bytes(), &method),
            None => answer(&mut stream, "401 No\r\nX-Error-Code: RepoNotFound", b"", &method),
        };
    }
    let stored = path.starts_with("/stored/");
    let plain = path.trim_start_matches("/stored").trim_start_matches('/');
    let found = plain.split_once(&format!("/resolve/{COMMIT}/"));
    let Some(bytes) = found.and_then(|(repository, file)| state.files.get(repository)?.get(file)) else {
        return answer(&mut stream, "404 No\r\nX-Error-Code: EntryNotFound", b"", &method);
    };
    let large = plain.ends_with(".safetensors");
    if large && !stored {
        let head = format!(
            "302 Found\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\nLocation: {}/stored{path}",
            sha256(bytes),
            bytes.len(),
            state.elsewhere
        );
        return answer(&mut stream, &head, b"", &method);
    }
    let mut bytes = bytes.clone();
    let etag = git(&bytes);
    if manner.spoil.is_some_and(|file| plain.ends_with(file)) {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    }
    let (first, total) = (from.filter(|_| !manner.whole).unwrap_or(0), bytes.len());
    let status = if first > 0 {
        format!("206 Partial\r\nContent-Range: bytes {first}-{}/{total}", total - 1)
    } else {
        "200 OK".to_owned()
    };
    let status = format!("{status}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{etag}\"");
    let body = bytes[first..].to_vec();
    if let Some((after, times)) = manner.cut.filter(|(after, times)| large && *times > 0 && body.len() > *after) {
        state.manner.cut = Some((after, times - 1));
        drop(state);
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        return stream.write_all(&body[..after]);
    }
    drop(state);
    if let Some((file, bytes)) = manner.fill.filter(|_| large) {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        let (one, two) = body.split_at(body.len() / 2);
        stream.write_all(one)?;
        // As much as fits.
        let _ = std::fs::write(file, vec![0; bytes]);
        return stream.write_all(two);
    }
    if let Some(pause) = manner.pause.filter(|_| large && method == "GET") {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        let (one, two) = body.split_at(body.len() / 2);
        stream.write_all(one)?;
        stream.flush()?;
        std::thread::sleep(pause);
        return stream.write_all(two);
    }
    answer(&mut stream, &status, &body, &method)
}

fn answer(stream: &mut TcpStream, status: &str, body: &[u8], method: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    if method == "HEAD" { Ok(()) } else { stream.write_all(body) }
}

fn list(files: &BTreeMap<String, Vec<u8>>, manner: &Manner) -> String {
    let one = |(path, bytes): (&String, &Vec<u8>)| {
        let mut json = serde_json::json!({ "rfilename": path });
        if !manner.bare {
            let weights = path.ends_with(".safetensors");
            let size = manner.claimed.filter(|_| weights).unwrap_or(bytes.len() as u64);
            json["size"] = size.into();
            json["blobId"] = git(bytes).into();
            if weights {
                json["lfs"] = serde_json::json!({ "sha256": sha256(bytes), "size": size, "pointerSize": 134 });
            }
        }
        json
    };
    serde_json::json!({ "sha": COMMIT, "siblings": files.iter().map(one).collect::<Vec<_>>() }).to_string()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn git(bytes: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}
