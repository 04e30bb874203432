//! The node that replays the history.
//!
//! It shows the chain up to the end of the first fork, with that fork. Once the last block of it was read, the newest
//! block is the end of the next fork, and what the first had is replaced; and so on to the end of the history.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use axum::{Router, body::Bytes, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::post};
use serde_json::{Value, json};

use crate::{
    history::{FIRST, History, Shape},
    render::{self, CONTRACTS, Rendered},
};

#[derive(Debug)]
struct Replay {
    blocks: Vec<Rendered>,
    forks: Vec<Vec<Rendered>>,
    /// The fork that is shown; as many as there are when the history is shown as it is in the end.
    phase: AtomicUsize,
    /// Whether the newest block of this phase was read.
    was_read: AtomicBool,
}

/// Serves until it is killed, after printing where.
///
/// # Errors
/// Fails where it cannot listen.
pub(crate) async fn run(shape: Shape) -> Result<bool> {
    let history = History::new(shape);
    let blocks = history.blocks.iter().map(render::block).collect::<Result<Vec<_>>>()?;
    let forks =
        history.forks.iter().map(|fork| fork.blocks.iter().map(render::block).collect()).collect::<Result<_>>()?;
    drop(history);
    let replay = Arc::new(Replay { blocks, forks, phase: AtomicUsize::new(0), was_read: AtomicBool::new(false) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("listening")?;
    println!("http://{}/rpc", listener.local_addr()?);
    std::io::stdout().flush()?;
    axum::serve(listener, Router::new().route("/rpc", post(answer)).with_state(replay)).await?;
    Ok(true)
}

async fn answer(State(replay): State<Arc<Replay>>, body: Bytes) -> impl IntoResponse {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = replay.result(&request["method"], &request["params"]);
    let id = &request["id"];
    let text = match result {
        Some(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        None => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": 24, "message": "Block not found" } }).to_string()
        }
    };
    ([(CONTENT_TYPE, "application/json")], text)
}

/// A parameter, by its name or its place.
fn parameter<'a>(params: &'a Value, name: &str, place: usize) -> &'a Value {
    if params.is_array() { &params[place] } else { &params[name] }
}

impl Replay {
    /// The result, as JSON; `None` where there is no such block.
    fn result(&self, method: &Value, params: &Value) -> Option<String> {
        match method.as_str()? {
            "starknet_specVersion" => Some(r#""0.9.0""#.to_owned()),
            "starknet_chainId" => Some(r#""0x534e5f5345504f4c4941""#.to_owned()),
            "starknet_blockNumber" => Some(self.newest()?.number.to_string()),
            "starknet_getBlockWithTxHashes" => {
                self.block(parameter(params, "block_id", 0)).map(|block| block.header.clone())
            }
            "starknet_getBlockWithReceipts" => {
                self.block(parameter(params, "block_id", 0)).map(|block| block.receipts.clone())
            }
            "starknet_getEvents" => self.events(parameter(params, "filter", 0)),
            _ => None,
        }
    }

    fn block(&self, id: &Value) -> Option<&Rendered> {
        if id == "latest" {
            // What was read to its end changes.
            if self.was_read.swap(false, Ordering::Relaxed) && self.phase.load(Ordering::Relaxed) < self.forks.len() {
                self.phase.fetch_add(1, Ordering::Relaxed);
            }
            return self.newest();
        }
        let number = id["block_number"].as_u64()?;
        let newest = self.newest()?.number;
        if number == newest {
            self.was_read.store(true, Ordering::Relaxed);
        }
        self.at(number)
    }

    fn newest(&self) -> Option<&Rendered> {
        match self.forks.get(self.phase.load(Ordering::Relaxed)) {
            Some(fork) => fork.last(),
            None => self.blocks.last(),
        }
    }

    /// The block of this height, as it is shown.
    fn at(&self, number: u64) -> Option<&Rendered> {
        if let Some(fork) = self.forks.get(self.phase.load(Ordering::Relaxed)) {
            let first = fork.first()?.number;
            if number >= first {
                return fork.get(usize::try_from(number - first).ok()?);
            }
        }
        self.blocks.get(usize::try_from(number.checked_sub(FIRST)?).ok()?)
    }

    /// A page of events; the token says at which event of which block the next begins.
    fn events(&self, filter: &Value) -> Option<String> {
        let address = filter["address"].as_str()?;
        let contract = CONTRACTS.iter().position(|contract| format!("{contract:#x}") == address)?;
        let last = filter["to_block"]["block_number"].as_u64()?;
        let most = usize::try_from(filter["chunk_size"].as_u64()?).ok()?;
        let (mut number, mut index) = match filter["continuation_token"].as_str() {
            Some(token) => {
                let (block, index) = token.split_once('-')?;
                (block.parse().ok()?, index.parse().ok()?)
            }
            None => (filter["from_block"]["block_number"].as_u64()?, 0_usize),
        };
        self.at(last)?;
        let mut page = String::from(r#"{"events":["#);
        let mut count = 0;
        while number <= last {
            for event in self.at(number)?.events[contract].iter().skip(index) {
                if count == most {
                    page += &format!(r#"],"continuation_token":"{number}-{index}"}}"#);
                    return Some(page);
                }
                if count > 0 {
                    page.push(',');
                }
                page += event;
                (count, index) = (count + 1, index + 1);
            }
            (number, index) = (number + 1, 0);
        }
        page += "]}";
        Some(page)
    }
}
