use std::sync::mpsc;

use rand::SeedableRng as _;

use super::*;

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn content(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    let stat = disk.lookup(ROOT, OsStr::new(name)).ok()?;
    Some(disk.read(stat.ino, 0, usize::MAX / 2).unwrap().to_vec())
}

/// A disk with a file of four synced bytes.
fn with_file() -> (Disk, Ino) {
    let mut disk = Disk::new();
    let ino = disk.create(ROOT, OsStr::new("a"), false).unwrap().ino;
    disk.write(ino, 0, b"abcd").unwrap();
    disk.sync(ino).unwrap();
    disk.sync(ROOT).unwrap();
    (disk, ino)
}

#[test]
fn what_was_synced_lasts_and_the_rest_goes() {
    let (mut disk, ino) = with_file();
    disk.write(ino, 2, b"xxxx").unwrap();
    disk.create(ROOT, OsStr::new("b"), false).unwrap();
    assert_eq!(content(&disk, "a").unwrap(), b"abxxxx");
    assert_eq!(disk.restart(Survivors::None, &mut rng()), 1);
    assert_eq!(content(&disk, "a").unwrap(), b"abcd");
    assert_eq!(content(&disk, "b"), None);
}

#[test]
fn a_synced_file_without_a_synced_name_is_lost() {
    let mut disk = Disk::new();
    let ino = disk.create(ROOT, OsStr::new("a"), false).unwrap().ino;
    disk.write(ino, 0, b"abcd").unwrap();
    disk.sync(ino).unwrap();
    disk.restart(Survivors::None, &mut rng());
    assert_eq!(content(&disk, "a"), None);
}

#[test]
fn a_name_that_was_removed_without_a_sync_comes_back() {
    let (mut disk, ino) = with_file();
    disk.resize(ino, 0).unwrap();
    disk.unlink(ROOT, OsStr::new("a")).unwrap();
    assert_eq!(content(&disk, "a"), None);
    disk.restart(Survivors::None, &mut rng());
    assert_eq!(content(&disk, "a").unwrap(), b"abcd");
}

#[test]
fn survivors_are_torn_at_sectors_only() {
    let mut torn = 0;
    for seed in 0..50 {
        let (mut disk, ino) = with_file();
        disk.write(ino, 0, &[7; 4 * SECTOR]).unwrap();
        disk.restart(Survivors::Sectors, &mut StdRng::seed_from_u64(seed));
        let mut found = content(&disk, "a").unwrap();
        found.resize(4 * SECTOR, 0);
        let written: Vec<bool> = found.chunks(SECTOR).map(|sector| sector.iter().all(|byte| *byte == 7)).collect();
        let untouched = |sector: &[u8]| sector.iter().skip(4).all(|byte| *byte == 0);
        assert!(found.chunks(SECTOR).zip(&written).all(|(sector, written)| *written || untouched(sector)));
        torn += u32::from(written.contains(&true) && written.contains(&false));
    }
    assert!(torn > 20, "{torn} of 50 were torn");
}

#[test]
fn the_power_goes_in_the_middle_of_a_change_and_nothing_changes_after() {
    let (mut disk, ino) = with_file();
    let (tell, told) = mpsc::channel();
    disk.cut_after(2, tell);
    disk.write(ino, 0, b"x").unwrap();
    told.try_recv().unwrap_err();
    assert_eq!(disk.sync(ino), Err(Refusal::Off), "a sync that the power cuts is not acknowledged");
    told.try_recv().unwrap();
    assert!(disk.is_off());
    assert_eq!(disk.write(ino, 0, b"y"), Err(Refusal::Off));
    assert_eq!(disk.create(ROOT, OsStr::new("b"), true), Err(Refusal::Off));
    disk.restart(Survivors::None, &mut rng());
    assert_eq!(content(&disk, "a").unwrap(), b"abcd");
    assert!(!disk.is_off());
}
