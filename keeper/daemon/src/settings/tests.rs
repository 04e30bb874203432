use super::*;

fn global(config: Option<PathBuf>) -> Global {
    Global { config, data_dir: Some("data".into()), ..Global::default() }
}

fn resolve(config: &str) -> Result<Settings> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keeper.toml");
    std::fs::write(&path, config).unwrap();
    Settings::resolve(&global(Some(path)), &RunArgs::default())
}

/// Where the nodes are.
fn shown(settings: &Settings) -> Vec<&str> {
    settings.rpc_urls.iter().map(Url::as_str).collect()
}

#[test]
fn several_nodes_are_a_list_and_their_keys_are_not_shown() {
    let settings = resolve(
        "[chain]\nnetwork = \"sepolia\"\nrpc_url = [\"https://one.example/rpc\", \"https://two.example/v2/abcdefghijklmnopqrstuv\"]\n\
         [chain.rpc]\nagreement = 3\ntimeout_ms = 5000\nrate = 20\n",
    )
    .unwrap();
    assert_eq!(settings.rpc_urls.len(), 2);
    assert_eq!((settings.pool.agreement, settings.pool.rate), (3, Some(20)));
    assert_eq!(settings.pool.timeout, std::time::Duration::from_secs(5));
    let toml = settings.to_toml().unwrap();
    assert!(toml.contains("rpc_url = [\"https://one.example/rpc\", \"https://two.example/...\"]"), "{toml}");
    assert!(toml.contains("agreement = 3") && !toml.contains("abcdef"), "{toml}");
    let json = serde_json::to_string(&settings).unwrap();
    assert!(json.contains("two.example/...") && !json.contains("abcdef"), "{json}");
}

#[test]
fn the_node_that_tells_of_new_blocks_is_shown_without_its_key_and_a_flag_wins() {
    let settings = resolve(
        "[chain]\nnetwork = \"sepolia\"\nrpc_url = \"https://one.example/rpc\"\nws_url = \"wss://one.example/v2/abcdefghijklmnopqrstuv\"\n",
    )
    .unwrap();
    let toml = settings.to_toml().unwrap();
    assert!(toml.contains("ws_url = \"wss://one.example/...\"") && !toml.contains("abcdef"), "{toml}");
    let json = serde_json::to_string(&settings).unwrap();
    assert!(json.contains("wss://one.example/...") && !json.contains("abcdef"), "{json}");
    let flag = Global { ws_url: Some("ws://127.0.0.1:1/ws".parse().unwrap()), ..global(None) };
    let settings = Settings::resolve(&flag, &RunArgs::default()).unwrap();
    assert_eq!(settings.ws_url.unwrap().as_str(), "ws://127.0.0.1:1/ws");
}

#[test]
fn without_a_file_the_defaults_hold() {
    let settings = Settings::resolve(&global(None), &RunArgs::default()).unwrap();
    assert_eq!(settings.network, Network::Devnet);
    assert_eq!(shown(&settings), ["http://127.0.0.1:5050/rpc"]);
    assert_eq!(settings.deployment, PathBuf::from("deployments/devnet.json"));
    assert_eq!(settings.listen.to_string(), DEFAULT_LISTEN);
    assert_eq!(settings.policy.max_items, DEFAULT_MAX_BATCH);
    assert!(settings.exits);
}

#[test]
fn an_empty_file_changes_nothing_and_what_is_shown_reads_back() {
    let defaults = Settings::resolve(&global(None), &RunArgs::default()).unwrap();
    let shown = defaults.to_toml().unwrap();
    assert_eq!(resolve("").unwrap().to_toml().unwrap(), shown);
    assert_eq!(resolve(&shown).unwrap().to_toml().unwrap(), shown);
}

#[test]
fn a_policy_that_says_nothing_of_its_items_has_as_many_as_none() {
    let items = |config: &str| resolve(config).unwrap().policy.max_items;
    assert_eq!(items("[policy]\nordering = \"fifo\"\n"), DEFAULT_MAX_BATCH);
    assert_eq!(items("[policy]\nmax_items = 50\n"), 50);
    assert_eq!(items("[keeper]\nmax_batch = 20\n[policy]\nmax_items = 50\n"), 20);
}

#[test]
fn finality_in_part_is_refused() {
    let refused = resolve("[finality]\nblocks = 2\n").unwrap_err();
    assert!(format!("{refused:#}").contains("medium_seconds"), "{refused:#}");
    resolve("[finality]\nblocks = 2\nmedium_seconds = 60\n").unwrap();
}

#[test]
fn the_example_file_is_right() {
    let example = include_str!("../../../../docs/keeper.example.toml");
    resolve(example).unwrap();
}

#[test]
fn flags_beat_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keeper.toml");
    std::fs::write(&path, "[chain]\nnetwork = \"sepolia\"\nrpc_url = \"https://node.example/rpc\"\n").unwrap();
    let from_file = Settings::resolve(&global(Some(path.clone())), &RunArgs::default()).unwrap();
    assert_eq!(from_file.network, Network::Sepolia);
    let flags = Global {
        network: Some(Network::Mainnet),
        rpc_url: vec!["https://other.example/rpc".parse().unwrap()],
        ..global(Some(path))
    };
    let run = RunArgs { max_batch: Some(7), ..RunArgs::default() };
    let settings = Settings::resolve(&flags, &run).unwrap();
    assert_eq!(settings.network, Network::Mainnet);
    assert_eq!(shown(&settings), ["https://other.example/rpc"]);
    assert_eq!(settings.policy.max_items, 7);
}

#[test]
fn what_is_wrong_is_named() {
    for (config, expected) in [
        ("[chain]\nnetwrok = \"devnet\"\n", "unknown field `netwrok`"),
        ("[chain]\nnetwork = \"goerli\"\n", "unknown variant `goerli`"),
        ("[chain]\nnetwork = \"sepolia\"\n", "no node is named for sepolia"),
        ("[chain]\nrpc_url = \"ftp://x\"\n", "must begin with http:// or https://"),
        ("[chain]\nrpc_url = \"https://node.example/rpc\"\n", "is not on this machine"),
        ("[chain]\nrpc_url = [\"http://[::1]/a\", \"nothing\"]\n", "rpc_url number 2 is no URL"),
        ("[chain]\nrpc_url = 7\n", "must be a URL or a list of URLs"),
        ("[chain]\nrpc_url = [\"http://[::1]/a\", \"http://[::1]/a\"]\n", "names http://[::1]/a twice"),
        ("[chain.rpc]\nagreement = 0\n", "chain.rpc.agreement is 0, but must be 1 to 8"),
        ("[chain.rpc]\ntimeout_ms = 5\n", "chain.rpc.timeout_ms is 5, but must be 100 to 300000"),
        ("[chain.rpc]\nrate = 0\n", "chain.rpc.rate is 0"),
        (
            "[chain]\nws_url = \"http://127.0.0.1:5050/ws\"\n",
            "chain.ws_url is http://127.0.0.1:5050/ws, but must begin with ws",
        ),
        (
            "[chain]\nws_url = \"wss://node.example/ws\"\n",
            "chain.network is devnet, but wss://node.example/ws is not on",
        ),
        ("[chain]\nws_url = \"node of mine\"\n", "ws_url is no URL"),
        ("[chain]\npoll_ms = 1\n", "chain.poll_ms is 1, but must be 50 to 3600000"),
        ("[keeper]\npublic_url = \"keeper.example:7070\"\n", "keeper.public_url"),
        ("[keeper]\ndatabase = \"mysql://h/k\"\n", "keeper.database: must be postgres://USER@HOST:PORT/DATABASE"),
        ("[keeper]\ndatabase = \"postgres://me:hunter2@h/k\"\n", "keeper.database holds a password, which is never"),
        ("[keeper]\nagent_silence_s = 2\n", "keeper.agent_silence_s is 2, but must be 3 to 3600"),
        ("[keeper]\nagent_silence_s = 3601\n", "keeper.agent_silence_s is 3601, but must be 3 to 3600"),
        ("[keeper]\nassignment_timeout_s = 2\n", "keeper.assignment_timeout_s is 2, but must be 3 to 3600"),
        ("[keeper]\nmax_batch = 501\n", "keeper.max_batch is 501, but must be 1 to 500"),
        ("[worker]\nrefuse_executors = [\"docker\"]\n", "unknown variant `docker`"),
        ("[worker]\nmodels = [\"\"]\n", "worker.models has ``, but a name has 1 to 31"),
        ("[policy]\nmax_items = \"many\"\n", "invalid type: string"),
    ] {
        let error = format!("{:#}", resolve(config).unwrap_err());
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn a_databases_password_comes_from_flag_or_variable_and_is_never_shown() {
    let given = |url: &str| Global { database: Some(url.into()), ..global(None) };
    let settings = Settings::resolve(&given("postgres://me:hunter2@db:5433/keeper"), &RunArgs::default()).unwrap();
    assert!(settings.database.as_ref().unwrap().holds_password());
    let shown = [
        settings.to_toml().unwrap(),
        serde_json::to_string(&settings).unwrap(),
        format!("{settings:?} {:?}", given("postgres://me:hunter2@db:5433/keeper")),
    ];
    for text in shown {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("postgres://me@db:5433/keeper"), "{text}");
    }
    let in_file = resolve("[keeper]\ndatabase = \"postgres://me@db:5433/keeper\"\n").unwrap();
    assert_eq!(in_file.database, settings.database);
    let wrong = Settings::resolve(&given("db:hunter2"), &RunArgs::default()).unwrap_err();
    let wrong = format!("{wrong:#}");
    assert!(wrong.contains("KEEPER_DATABASE") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn agents_know_the_keeper_by_where_it_listens_or_by_its_public_url() {
    let name = |public_url: Option<&str>, listen: &str| {
        let run = RunArgs { public_url: public_url.map(ToOwned::to_owned), ..RunArgs::default() };
        let settings = Settings::resolve(&global(None), &run).unwrap();
        settings.public_name(listen.parse().unwrap()).map(String::from).map_err(|error| error.to_string())
    };
    assert_eq!(name(None, "127.0.0.1:7070").unwrap(), "ws://127.0.0.1:7070/v1/session");
    assert_eq!(name(Some("wss://keeper.example"), "0.0.0.0:7070").unwrap(), "wss://keeper.example/v1/session");
    for everywhere in ["0.0.0.0:7070", "[::]:7070"] {
        let error = name(None, everywhere).unwrap_err();
        assert!(error.contains("hint: pass the URL") && error.contains("--public-url ws://HOST:7070"), "{error}");
    }
}

#[test]
fn what_is_not_acknowledged_is_given_up_before_another_keeper_takes_over() {
    let unacknowledged = |keeper: &str| resolve(&format!("[keeper]\n{keeper}\n")).unwrap().pool.unacknowledged;
    let shared = "database = \"postgres://keeper@db/keeper\"";
    assert_eq!(unacknowledged(shared), std::time::Duration::from_secs(2));
    assert_eq!(unacknowledged(&format!("{shared}\nlease_ms = 6000")), std::time::Duration::from_secs(4));
    assert_eq!(unacknowledged(""), std::time::Duration::from_secs(30), "nobody else is at work");
}

#[test]
fn the_market_is_dealt_out_where_keepers_share_a_database() {
    assert_eq!(resolve("").unwrap().shards, 1);
    let with_server =
        |shards: u8| resolve(&format!("[keeper]\nshards = {shards}\ndatabase = \"postgres://keeper@db/keeper\"\n"));
    assert_eq!(with_server(16).unwrap().shards, 16);
    for shards in [0, 17] {
        let error = with_server(shards).unwrap_err().to_string();
        assert_eq!(error, format!("keeper.shards is {shards}, but must be 1 to 16"));
    }
    let error = resolve("[keeper]\nshards = 3\n").unwrap_err().to_string();
    assert!(error.starts_with("keeper.shards is 3, but the database is one keeper's own file"), "{error}");
    assert!(error.contains("hint: name a PostgreSQL database (--database"), "{error}");
}

#[test]
fn how_long_agents_may_be_silent_is_15_seconds_unless_it_is_set() {
    let silence = |config: &str| resolve(config).unwrap().agent_silence().as_secs();
    assert_eq!((silence(""), silence("[keeper]\nagent_silence_s = 90\n")), (15, 90));
    let timeout = |config: &str| resolve(config).unwrap().assignment_timeout().as_secs();
    assert_eq!((timeout(""), timeout("[keeper]\nassignment_timeout_s = 90\n")), (30, 90));
    let shown = resolve("[keeper]\nagent_silence_s = 90\n").unwrap().to_toml().unwrap();
    assert!(shown.contains("agent_silence_s = 90"), "{shown}");
}

#[test]
fn a_lease_has_bounds_and_the_time_that_a_leader_may_not_see_the_chain_follows_it() {
    for lease in [999, 60_001] {
        let error = resolve(&format!("[keeper]\nlease_ms = {lease}\n")).unwrap_err().to_string();
        assert_eq!(error, format!("keeper.lease_ms is {lease}, but must be 1000 to 60000"));
    }
    let ms = |settings: &Settings| (settings.lease().as_millis(), settings.leaders_silence().as_millis());
    assert_eq!(ms(&resolve("").unwrap()), (3_000, 4_000));
    assert_eq!(ms(&resolve("[chain]\npoll_ms = 2000\n").unwrap()), (3_000, 8_000), "the node is left alone for 2 s");
    assert_eq!(ms(&resolve("[keeper]\nlease_ms = 9000\n").unwrap()), (9_000, 12_000));
}

#[test]
fn a_keeper_that_listens_everywhere_is_told_what_to_pass() {
    let settings = Settings::resolve(&global(None), &RunArgs::default()).unwrap();
    let error = settings.public_name("0.0.0.0:7171".parse().unwrap()).unwrap_err();
    let (_, hint) = crate::output::described(&error);
    assert_eq!(hint.unwrap(), "pass the URL that they connect to, as --public-url ws://HOST:7171");
}

#[test]
fn a_configuration_that_is_not_there_is_named_with_its_option() {
    let error = Settings::resolve(&global(Some("nope.toml".into())), &RunArgs::default()).unwrap_err().to_string();
    assert!(error.starts_with("--config (KEEPER_CONFIG) names nope.toml, which cannot be read: "), "{error}");
}
