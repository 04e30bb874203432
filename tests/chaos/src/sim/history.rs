//! What happened in a world: a digest of all of it, and the words where somebody reads them.

use std::collections::BTreeMap;

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Violation {
    /// Something that was acknowledged, or is on chain, is not known.
    Lost,
    /// Something happened twice, or could.
    Doubled,
    /// Something does not come to its end.
    Stuck,
}

/// The history of one world.
#[derive(Debug)]
pub(super) struct History {
    digest: u64,
    notes: u64,
    lines: Option<Vec<String>>,
    faults: BTreeMap<&'static str, u64>,
    violations: Vec<(Violation, String)>,
}

/// Violations that are told one by one; where there is one there are often many.
const MOST_TOLD: usize = 20;

impl History {
    /// A history; its words are kept only where they are to be read.
    pub(super) fn new(is_told: bool) -> Self {
        let lines = is_told.then(Vec::new);
        Self { digest: FNV_OFFSET, notes: 0, lines, faults: BTreeMap::new(), violations: Vec::new() }
    }

    pub(super) fn note(&mut self, now_ms: u64, kind: &'static str, words: [u64; 3], tell: impl FnOnce() -> String) {
        self.notes += 1;
        self.mix(kind.as_bytes());
        for word in [now_ms].into_iter().chain(words) {
            self.mix(&word.to_le_bytes());
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  {kind}  {}", seconds(now_ms), tell()));
        }
    }

    pub(super) fn fault(&mut self, now_ms: u64, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
        self.note(now_ms, "fault", [0; 3], || name.to_owned());
        self.mix(name.as_bytes());
    }

    pub(super) fn violate(&mut self, now_ms: u64, violation: Violation, text: String) {
        self.note(now_ms, "violation", [violation as u64, 0, 0], || text.clone());
        if self.violations.len() < MOST_TOLD {
            self.violations.push((violation, text));
        }
    }

    pub(super) fn violations(&self) -> &[(Violation, String)] {
        &self.violations
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.digest = bytes.iter().fold(self.digest, |digest, byte| fnv_step(digest, *byte));
    }

    /// Of everything that was noted, in its order and with its times.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn notes(&self) -> u64 {
        self.notes
    }

    pub(super) fn faults(&self) -> &BTreeMap<&'static str, u64> {
        &self.faults
    }

    pub(super) fn lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "simulated times are far below 2^52 milliseconds")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// One byte of FNV-1a (Fowler, Noll, Vo).
fn fnv_step(digest: u64, byte: u8) -> u64 {
    (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// FNV-1a of some bytes, begun with a number.
pub(super) fn fnv(begin: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET ^ begin, |digest, byte| fnv_step(digest, *byte))
}
