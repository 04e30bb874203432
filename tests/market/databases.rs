//! A database that is another keeper's, or not there.

use e2e::{KeeperProcess, Workplace};
use keeper_store::conformance::Server;

use crate::whole_loop::{all_settled, market, submit};

/// Starts a second keeper with the same options, which has to refuse.
async fn is_refused(place: &Workplace, first: &KeeperProcess, more: &[&str], told: [&str; 2]) {
    let run = ["run", "--post-bond", "--account", "devnet-2", "--listen", "127.0.0.1:0", "--json"];
    let second = place.run(&[&run[..], more].concat()).await;
    assert_eq!(second.code, Some(13), "{}", second.stderr);
    for words in told {
        assert!(second.error().contains(words), "{}", second.error());
    }
    assert!(!second.stdout.contains("ready"), "{}", second.stdout);
    let (status, ready) = first.probe("ready").await;
    assert_eq!(status, 200, "the first is not disturbed: {ready}");
}

#[tokio::test]
async fn a_second_keeper_on_a_data_directory_is_refused() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper_with(&["--health-listen", "127.0.0.1:0"]).await;
    let told = ["another keeper is running on `data/keeper.sqlite`", "hint: stop it, or use another --data-dir"];
    is_refused(&place, &keeper, &[], told).await;
    // Where the first is gone there is nothing to be removed, however it went.
    keeper.kill().await;
    let again = place.start_keeper_with(&["--health-listen", "127.0.0.1:0"]).await;
    is_refused(&place, &again, &[], told).await;
    assert!(again.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_keeper_on_a_data_directory_is_refused_with_a_server_too() {
    let server = Server::start(&[]).unwrap();
    let url = server.create_database().await.to_string();
    let (_chain, place) = market().await;
    let database = ["--database", url.as_str()];
    let options = [&database[..], &["--health-listen", "127.0.0.1:0"]].concat();
    let keeper = place.start_keeper_with(&options).await;
    let told = ["another keeper runs with the data directory data", "hint: give each keeper a --data-dir of its own"];
    is_refused(&place, &keeper, &database, told).await;

    // Its name among those of the database is in the log and in what it tells probes.
    let name = std::fs::read_to_string(place.path("data/keeper.id")).unwrap().trim().to_owned();
    let (_, ready) = keeper.probe("ready").await;
    assert_eq!(ready["keeper"], name.as_str(), "{ready}");
    let log = place.log("keeper.log");
    let runs = log.lines().find(|line| line.contains("the keeper runs")).unwrap();
    assert!(runs.contains(&name), "{runs}");
    keeper.kill().await;

    let again = place.start_keeper_with(&options).await;
    let _agent = place.start_agent(4, &again, 1).await;
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    assert!(again.stop().await);
    let log = place.log("keeper.log");
    assert!(!log.contains("_sqlx_migrations") && !log.contains("already exists"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_is_named_with_the_remedy_and_without_the_password() {
    let server = Server::start(&[]).unwrap();
    let (_chain, place) = market().await;
    let missing = server.url("nowhere").to_string().replace("keeper@", "keeper:hunter2@");
    let down = "postgres://keeper:hunter2@127.0.0.1:9/keeper";
    for (url, code, told, hint) in [
        (
            missing.as_str(),
            13,
            "the PostgreSQL server has no database of that name",
            "hint: make it with PostgreSQL's `createdb nowhere`",
        ),
        (down, 1, "the PostgreSQL server cannot be reached", "hint: is the server running"),
    ] {
        let run = place.run(&["run", "--post-bond", "--account", "devnet-2", "--database", url]).await;
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        let checked = place.run(&["doctor", "--database", url]).await;
        assert!(checked.stdout.contains("FAILED  database"), "{}", checked.stdout);
        for text in [run.error(), &checked.stdout] {
            assert!(text.contains(told) && text.contains(hint), "{text}");
            assert!(text.contains("--database is `postgres://keeper@"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
