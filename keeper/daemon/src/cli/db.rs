//! `keeper db migrate|check|backup|forget-finality`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use keeper_store::{DatabaseUrl, Finding, Location, Migrated, PostgresStore, Report, SqliteStore, Store, StoreError};
use serde_json::json;

use super::{Global, RunArgs};
use crate::{output, settings::Settings};

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Bring the database to this version's layout, as `keeper run` does, but with a copy made before
    Migrate(MigrateArgs),
    /// Say whether the database is whole, also while a keeper runs on it
    Check,
    /// Forget which block was accepted on L1, so that a keeper that stopped sending takes the node's chain for the right one
    ForgetFinality,
    /// Write a checked copy to a file, also while a keeper runs
    Backup(BackupArgs),
}

/// How the database is migrated.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Make no copy before
    #[arg(long)]
    no_backup: bool,
}

/// Where the copy goes.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The copy's file
    file: PathBuf,
    /// Replace the file where it is there already
    #[arg(long)]
    force: bool,
}

/// Runs the command on the database of the data directory.
///
/// # Errors
/// Fails where the database cannot be used, and where a check has findings, after printing them.
pub(super) async fn run(global: &Global, command: &DbCommand) -> Result<()> {
    let settings = Settings::resolve(global, &RunArgs::default())?;
    if let Some(url) = &settings.database {
        return match command {
            DbCommand::Migrate(args) => migrate_server(url, args, global.json).await,
            DbCommand::Check => tell_check(&PostgresStore::check(url).await?, &url.into(), global.json),
            DbCommand::ForgetFinality => {
                let reader = PostgresStore::open_read_only(url).await?;
                let identity = reader.identity().clone();
                reader.close().await;
                forget_finality(&PostgresStore::open(url, identity).await?, global.json).await
            }
            DbCommand::Backup(args) => bail!("{}", backup_of_server(url, &args.file)),
        };
    }
    let path = settings.database_file();
    match command {
        DbCommand::Migrate(args) => migrate(&path, !args.no_backup, global.json).await,
        DbCommand::Check => check(&path, global.json).await,
        DbCommand::ForgetFinality => {
            let reader = SqliteStore::open_read_only(&path).await?;
            let identity = reader.identity().clone();
            reader.close().await;
            // Only where no keeper runs on it.
            forget_finality(&SqliteStore::open(&path, identity).await?, global.json).await
        }
        DbCommand::Backup(args) => backup(&path, args, global.json).await,
    }
}

async fn migrate(path: &Path, keep_copy: bool, json: bool) -> Result<()> {
    let migrated = match keeper_store::migrate(path, keep_copy).await {
        Err(error @ StoreError::Layout { .. }) => {
            bail!("{error}\nhint: nothing was changed; a newer version wrote it, and there is no way back but a backup")
        }
        other => other?,
    };
    tell_migrated(&migrated, json)
}

/// A server's database is copied by its own programs, so that whoever migrates has to say that there is a copy.
async fn migrate_server(url: &DatabaseUrl, args: &MigrateArgs, json: bool) -> Result<()> {
    if !args.no_backup {
        bail!(
            "no copy of a PostgreSQL database is made before\n\
             hint: make one with `{}`, then pass --no-backup",
            dump(url, Path::new("FILE"))
        );
    }
    tell_migrated(&PostgresStore::migrate(url).await?, json)
}

fn backup_of_server(url: &DatabaseUrl, file: &Path) -> String {
    format!(
        "a PostgreSQL database is copied by PostgreSQL's own program, also while keepers run\nhint: `{}`",
        dump(url, file)
    )
}

fn dump(url: &DatabaseUrl, file: &Path) -> String {
    format!("pg_dump --format=custom --file={} '{url}'", file.display())
}

fn tell_migrated(migrated: &Migrated, json: bool) -> Result<()> {
    if json {
        let copy = migrated.backup.as_ref().map(|copy| copy.display().to_string());
        return output::json(&json!({ "from": migrated.from, "to": migrated.to, "backup": copy }));
    }
    if migrated.from == migrated.to {
        println!("the database has layout {} already, which is this version's", migrated.to);
    } else {
        println!("migrated from layout {} to {}", migrated.from, migrated.to);
    }
    if let Some(copy) = &migrated.backup {
        println!("what it was before is in {}", copy.display());
    }
    Ok(())
}

async fn forget_finality(store: &dyn Store, json: bool) -> Result<()> {
    let forgotten = store.final_block().await?;
    store.forget_final().await?;
    if json {
        return output::json(&json!({ "forgotten": forgotten }));
    }
    match forgotten {
        Some(block) => println!("forgot that block {} ({:#066x}) was accepted on L1", block.number, block.hash),
        None => println!("no block is recorded as accepted on L1"),
    }
    Ok(())
}

async fn check(path: &Path, json: bool) -> Result<()> {
    tell_check(&keeper_store::check(path).await?, &path.into(), json)
}

fn tell_check(report: &Report, database: &Location, json: bool) -> Result<()> {
    if json {
        let ok = report.findings.is_empty();
        output::json(&json!({ "ok": ok, "database": database.to_string(), "report": report }))?;
    } else {
        print!("{}", told(report));
    }
    match report.findings.len() {
        0 => Ok(()),
        1 => bail!("`{database}` is not whole: 1 finding"),
        count => bail!("`{database}` is not whole: {count} findings"),
    }
}

/// What a check has seen, and what it found, each with its remedy. A remedy that several share is told once.
fn told(report: &Report) -> String {
    let mut text = format!(
        "layout {}: {} blocks, {} events, {} intents, {} explanations, {} observations\n",
        report.layout, report.blocks, report.events, report.intents, report.explanations, report.observations
    );
    if report.findings.is_empty() {
        return text + "nothing is wrong with it\n";
    }
    for (position, Finding { check, detail, remedy }) in report.findings.iter().enumerate() {
        text += &format!("FAILED  {check:<13} {detail}\n");
        let next = report.findings.get(position + 1);
        if next.is_none_or(|next| next.remedy != *remedy) {
            text += &format!("        remedy        {remedy}\n");
        }
    }
    text
}

async fn backup(path: &Path, args: &BackupArgs, json: bool) -> Result<()> {
    let report = match keeper_store::backup(path, &args.file, args.force).await {
        Err(error @ StoreError::Exists { .. }) if !args.force => {
            bail!("{error}\nhint: name another file, or replace it with --force")
        }
        Err(error @ StoreError::Damaged { .. }) => {
            bail!("{error}\nhint: nothing was written; `keeper db check` says what is wrong and what to do")
        }
        other => other?,
    };
    if json {
        return output::json(&json!({ "backup": args.file.display().to_string(), "report": report }));
    }
    print!("wrote {}, and it is whole\n{}", args.file.display(), told(&report));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_with_their_remedy_once() {
        let finding = |detail: &str, remedy| Finding { check: "blocks", detail: detail.to_owned(), remedy };
        let findings = vec![finding("one", "read again"), finding("two", "read again"), finding("three", "look")];
        let text = told(&Report { layout: 1, blocks: 7, findings, ..Report::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("layout 1: 7 blocks, 0 events"));
        assert_eq!(lines[1], "FAILED  blocks        one");
        assert_eq!(lines[3], "        remedy        read again");
        assert_eq!(lines.len(), 6);
        assert!(told(&Report::default()).ends_with("nothing is wrong with it\n"));
    }

    #[test]
    fn a_servers_database_is_copied_by_a_command_without_its_password() {
        let url = "postgres://me:hunter2@db/keeper".parse().unwrap();
        let text = backup_of_server(&url, Path::new("copy"));
        assert!(text.contains("`pg_dump --format=custom --file=copy 'postgres://me@db:5432/keeper'`"), "{text}");
    }

    #[tokio::test]
    async fn commands_on_no_database_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper.sqlite");
        let error = check(&path, false).await.unwrap_err();
        assert!(error.to_string().starts_with("no keeper has run"), "{error}");
        let copy = BackupArgs { file: folder.path().join("copy"), force: false };
        backup(&path, &copy, false).await.unwrap_err();
        migrate(&path, true, false).await.unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
