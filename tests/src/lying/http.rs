//! As much of HTTP/1.1 as a JSON-RPC client needs, by hand, so that it can be done wrongly.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The longest head of a request that is read.
const LONGEST_HEAD: usize = 64 << 10;
/// Bytes, and the pause after them, of an answer that trickles.
const DROP: (usize, Duration) = (8, Duration::from_millis(40));

/// What is done to a client.
#[derive(Debug)]
pub(super) enum Deed {
    /// It is answered.
    Answer { status: u16, headers: String, body: Vec<u8> },
    /// It is never answered.
    Silence,
    /// The connection is closed in the middle of this.
    Cut(Vec<u8>),
    /// It is answered, a few bytes at a time.
    Trickle(Vec<u8>),
}

/// Reads a request; returns its body, or nothing where the client is gone.
pub(super) async fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() > LONGEST_HEAD || client.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    while read.len() < end + length {
        if client.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some(read[end..end + length].to_vec())
}

/// Does it; returns whether the connection can go on.
pub(super) async fn act(client: &mut TcpStream, deed: Deed) -> bool {
    match deed {
        Deed::Answer { status, headers, body } => {
            let head = head(status, &headers, body.len());
            client.write_all(&[head.as_bytes(), &body].concat()).await.is_ok()
        }
        Deed::Silence => {
            // Until the client has had enough.
            client.read_u8().await.ok();
            false
        }
        Deed::Cut(body) => {
            let head = head(200, "", body.len());
            client.write_all(&[head.as_bytes(), &body[..body.len() / 2]].concat()).await.ok();
            false
        }
        Deed::Trickle(body) => {
            if client.write_all(head(200, "", body.len()).as_bytes()).await.is_err() {
                return false;
            }
            for drop in body.chunks(DROP.0) {
                if client.write_all(drop).await.is_err() {
                    return false;
                }
                tokio::time::sleep(DROP.1).await;
            }
            true
        }
    }
}

fn head(status: u16, headers: &str, length: usize) -> String {
    format!("HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n")
}
