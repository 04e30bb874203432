//! How long it takes to bring a large database to this version's layout, from the layout before it.
//!
//!     cargo run --release -p keeper-store --features conformance --example upgrade FOLDER EVENTS ITEMS

use std::{error::Error, io::Write as _, path::Path, time::Instant};

use keeper_store::{
    DatabaseUrl, PostgresStore, Store as _,
    conformance::{Server, block, identity, submitted},
};
use sqlx::{Connection as _, PgConnection, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};

static OF_SQLITE: Migrator = sqlx::migrate!("./migrations");
static OF_POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// Events of a block.
const EVENTS_IN_BLOCK: u64 = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, events, items] = &arguments[..] else {
        return Err("usage: upgrade FOLDER EVENTS ITEMS".into());
    };
    let (events, items): (u64, u64) = (events.parse()?, items.parse()?);
    let folder = tempfile::tempdir_in(folder)?;
    of_sqlite(&folder.path().join("keeper.sqlite"), events, items).await?;
    of_postgres(events).await
}

async fn of_sqlite(path: &Path, events: u64, items: u64) -> Result<(), Box<dyn Error>> {
    let newest = OF_SQLITE.iter().map(|migration| migration.version).max().unwrap_or(0);
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    OF_SQLITE.run_direct(Some(newest - 1), &mut connection, false).await?;
    sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
    let deployment = identity();
    sqlx::query("INSERT INTO identity VALUES (1, ?, ?, ?, ?, ?)")
        .bind(deployment.chain_id.to_string())
        .bind(deployment.job_mgr.to_string())
        .bind(deployment.cdc_pool.to_string())
        .bind(deployment.task_allocator.to_string())
        .bind(i64::try_from(deployment.deployment_block.0)?)
        .execute(&mut connection)
        .await?;
    for number in 11..11 + events / EVENTS_IN_BLOCK {
        let header = block(number, 0, 0, Vec::new()).header;
        sqlx::query("INSERT INTO blocks VALUES (?, ?, ?, ?)")
            .bind(i64::try_from(number)?)
            .bind(format!("{:#066x}", header.hash))
            .bind(format!("{:#066x}", header.parent_hash))
            .bind(i64::try_from(header.timestamp)?)
            .execute(&mut connection)
            .await?;
        for index in 0..EVENTS_IN_BLOCK {
            let job = (number - 11) * EVENTS_IN_BLOCK + index;
            sqlx::query("INSERT INTO events VALUES (?, ?, ?, ?)")
                .bind(i64::try_from(number)?)
                .bind(i64::try_from(index)?)
                .bind(format!("{:#066x}", header.hash))
                .bind(serde_json::to_string(&submitted(job))?)
                .execute(&mut connection)
                .await?;
        }
    }
    for item in 0..items {
        sqlx::query("INSERT INTO queue_items VALUES (NULL, 'intake', ?, ?, ?, 7, 'keeper', 5)")
            .bind(format!("partition-3/{item:012}"))
            .bind(vec![0x5a_u8; 128])
            .bind(i64::try_from(item % 3)?)
            .execute(&mut connection)
            .await?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
    connection.close().await?;
    let size = std::fs::metadata(path)?.len() >> 20;
    let began = Instant::now();
    let copied = keeper_store::backup(path, &path.with_extension("copy"), false).await?;
    let copying = began.elapsed();
    let began = Instant::now();
    let migrated = keeper_store::migrate(path, false).await?;
    writeln!(
        std::io::stdout(),
        "SQLite, {size} MiB, layout {} to {}: {:.2} s; the copy before it {:.2} s (layout {})",
        migrated.from,
        migrated.to,
        began.elapsed().as_secs_f64(),
        copying.as_secs_f64(),
        copied.layout
    )?;
    Ok(())
}

async fn of_postgres(events: u64) -> Result<(), Box<dyn Error>> {
    let newest = OF_POSTGRES.iter().map(|migration| migration.version).max().unwrap_or(0);
    let server = Server::start(&[])?;
    let url: DatabaseUrl = server.create_database().await;
    // Filled by this version, whose tables of blocks are those of the layout before, then without what came since.
    let filled = PostgresStore::open(&url, identity()).await?;
    let blocks: Vec<u64> = (11..11 + events / EVENTS_IN_BLOCK).collect();
    for numbers in blocks.chunks(100) {
        let of = |number: &u64| {
            let jobs = (0..EVENTS_IN_BLOCK).map(|index| submitted((number - 11) * EVENTS_IN_BLOCK + index));
            block(*number, 0, 0, jobs.collect())
        };
        filled.append_blocks(&numbers.iter().map(of).collect::<Vec<_>>()).await?;
    }
    filled.close().await;
    let database = url.to_string();
    let mut connection = PgConnection::connect(&database).await?;
    for statement in [
        "DROP TABLE leases, queue_items, dead_letters",
        "DROP FUNCTION clock_ms",
        "DELETE FROM _sqlx_migrations WHERE version > 1",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    connection.close().await?;
    let began = Instant::now();
    let migrated = PostgresStore::migrate(&url).await?;
    let took = began.elapsed().as_secs_f64();
    assert_eq!(migrated.to, newest, "this version's");
    writeln!(std::io::stdout(), "PostgreSQL, layout {} to {}: {took:.2} s", migrated.from, migrated.to)?;
    Ok(())
}
