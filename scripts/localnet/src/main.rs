//! A real local Starknet, for the demo and the end-to-end tests.
//!
//! It serves starknet-devnet's library (blockifier executes every transaction) over JSON-RPC, at `/` and
//! `/rpc`. Each transaction gets a block of its own unless `--block-time` is given. The chain id is Sepolia's,
//! so that the code paths of a public network are the ones that run.
//!
//! The process prints one line of JSON, with its address and its accounts, once it accepts requests. It stops
//! on SIGINT or SIGTERM, or when its standard input closes and `--stop-with-stdin` was given: a test that dies
//! takes its chain with it.

mod mempool;

use std::{
    future::IntoFuture as _,
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    routing::{get, post},
};
use clap::Parser;
use starknet_devnet_core::{
    account::Account,
    starknet::{
        Starknet,
        starknet_config::{BlockGenerationOn, StarknetConfig, StateArchiveCapacity},
    },
};
use starknet_devnet_server::{
    ServerConfig,
    api::{Api, JsonRpcHandler},
    rpc_handler::{RpcHandler, handle, handle_socket},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tower_http::{
    cors::{Any, CorsLayer},
    timeout::TimeoutLayer,
};
use tracing_subscriber::EnvFilter;

use self::mempool::Mempool;

/// How long one request may take, in seconds. Declaring a large class is the slowest of them.
const REQUEST_TIMEOUT_S: u16 = 300;

/// A real local Starknet.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port on the loopback interface; 0 takes a free one
    #[arg(long, default_value_t = 5050)]
    port: u16,
    /// Seed of the predeployed accounts' keys
    #[arg(long, default_value_t = 42)]
    seed: u32,
    /// Number of predeployed accounts, each holding 1,000 STRK unless --balance says otherwise
    #[arg(long, default_value_t = 20)]
    accounts: u8,
    /// Balance of each predeployed account, in fri
    #[arg(long, default_value_t = 1_000_000_000_000_000_000_000)]
    balance: u128,
    /// Make a block every so many seconds, in place of one for each transaction
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    block_time: Option<u64>,
    /// Make blocks only when asked to (devnet_createBlock)
    #[arg(long, conflicts_with = "block_time")]
    blocks_on_demand: bool,
    /// Keep every block's state, which reorganisations (devnet_abortBlocks) need
    #[arg(long)]
    archive: bool,
    /// Stop when standard input closes
    #[arg(long)]
    stop_with_stdin: bool,
}

impl Args {
    fn config(&self) -> StarknetConfig {
        StarknetConfig {
            seed: self.seed,
            total_accounts: self.accounts,
            predeployed_accounts_initial_balance: self.balance.into(),
            state_archive: if self.archive { StateArchiveCapacity::Full } else { StateArchiveCapacity::None },
            block_generation_on: match self.block_time {
                Some(seconds) => BlockGenerationOn::Interval(seconds),
                None if self.blocks_on_demand => BlockGenerationOn::Demand,
                None => BlockGenerationOn::Transaction,
            },
            ..StarknetConfig::default()
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<()> {
    // The virtual machine logs every reverted call as an error; the caller learns of it from the receipt.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,cairo_vm=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let args = Args::parse();
    let starknet = Starknet::new(&args.config()).context("starting the chain")?;
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listener = TcpListener::bind((host, args.port)).await.with_context(|| {
        format!("binding 127.0.0.1:{} (is another chain running? choose another --port)", args.port)
    })?;
    let port = listener.local_addr()?.port();
    let server_config = ServerConfig {
        host,
        port,
        timeout: REQUEST_TIMEOUT_S,
        log_request: false,
        log_response: false,
        restricted_methods: None,
        ui_enabled: false,
    };
    let accounts = accounts(&starknet);
    let api = Api::new(starknet, server_config);
    let chain = JsonRpcHandler::new(api.clone());
    // Where each transaction makes a block, one that comes too early is refused.
    let routes =
        if args.block_time.is_some() || args.blocks_on_demand { routes(Mempool::before(chain)) } else { routes(chain) };

    let rpc_url = format!("http://127.0.0.1:{port}/rpc");
    println!("{}", serde_json::json!({ "rpc_url": rpc_url, "seed": args.seed, "accounts": accounts }));
    tokio::select! {
        served = axum::serve(listener, routes).into_future() => served.context("serving JSON-RPC"),
        () = make_blocks(&api, args.block_time) => Ok(()),
        () = stop_requested(args.stop_with_stdin) => Ok(()),
    }
}

/// What the library's own server answers, by any handler.
fn routes<H: RpcHandler>(handler: H) -> Router {
    let cors =
        CorsLayer::new().allow_origin(Any).allow_headers([CONTENT_TYPE]).allow_methods([Method::GET, Method::POST]);
    Router::new()
        .route("/is_alive", get(|| async { "Alive!!!" }))
        .route("/", post(handle::<H>))
        .route("/rpc", post(handle::<H>))
        .route("/ws", get(handle_socket::<H>))
        .with_state(handler)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_secs(REQUEST_TIMEOUT_S.into()),
        ))
        .layer(DefaultBodyLimit::disable())
        .layer(cors)
}

/// The predeployed accounts, in the order of devnet_getPredeployedAccounts. Their keys follow from the seed and
/// protect nothing.
fn accounts(starknet: &Starknet) -> Vec<serde_json::Value> {
    let account = |account: Account| {
        serde_json::json!({
            "address": format!("{:#x}", account.account_address),
            "class_hash": account.class_hash.to_hex_string(),
            "public_key": account.keys.public_key.to_hex_string(),
            "private_key": account.keys.private_key.to_hex_string(),
        })
    };
    starknet.get_predeployed_accounts().into_iter().map(account).collect()
}

/// Closes a block every `block_time` seconds; never returns. Unlike devnet_createBlock it does not notify
/// WebSocket subscribers: who follows this chain polls.
async fn make_blocks(api: &Api, block_time: Option<u64>) {
    let Some(seconds) = block_time else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        api.starknet.lock().await.create_block();
    }
}

/// Returns on SIGINT, SIGTERM or, where that was asked for, at the end of standard input.
async fn stop_requested(with_stdin: bool) {
    let interrupted = async {
        let mut terminate = signal(SignalKind::terminate()).expect("a runtime with signal handling is running");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let stdin_closed = async {
        if !with_stdin {
            return std::future::pending().await;
        }
        // A thread of its own: a blocked read must not hold up the runtime's end.
        let (closed, seen) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 64];
            while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
            closed.send(()).ok();
        });
        seen.await.ok();
    };
    tokio::select! {
        () = interrupted => {}
        () = stdin_closed => {}
    }
}
