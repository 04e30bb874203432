//! The few columns that a row looks at, in the two cache lines that say how many there are.

use super::instance::{Edge, NONE};

/// So many fit in two lines, beside what more there may be.
pub(super) const AT_HAND: usize = 12;

/// A short list of edges; a long one is kept elsewhere.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Candidates {
    count: u32,
    few: [Edge; AT_HAND],
    many: Vec<Edge>,
}

impl Candidates {
    pub(super) const NONE: Self = Self { count: 0, few: [Edge { column: NONE, score: 0 }; AT_HAND], many: Vec::new() };

    pub(super) fn as_slice(&self) -> &[Edge] {
        self.few.get(..self.count as usize).unwrap_or(&self.many)
    }

    /// Adds an edge where it can be at hand, and returns whether it can.
    pub(super) fn push(&mut self, edge: Edge) -> bool {
        let Some(place) = self.few.get_mut(self.count as usize) else { return false };
        *place = edge;
        self.count += 1;
        true
    }

    pub(super) fn set(&mut self, edges: &[Edge]) {
        self.count = u32::try_from(edges.len()).expect("a row has no more edges than there are columns");
        match self.few.get_mut(..edges.len()) {
            Some(few) => few.copy_from_slice(edges),
            None => {
                self.many.clear();
                self.many.extend_from_slice(edges);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_what_was_set_last_short_or_long() {
        let edges: Vec<Edge> = (0..40).map(|column| Edge { column, score: 7 }).collect();
        let mut candidates = Candidates::NONE;
        for count in [0, AT_HAND, AT_HAND + 1, 40, 1, AT_HAND + 2, 0] {
            candidates.set(&edges[..count]);
            assert_eq!(candidates.as_slice(), &edges[..count]);
            assert_eq!(candidates.push(edges[0]), count < AT_HAND);
            assert_eq!(candidates.as_slice().len(), count + usize::from(count < AT_HAND));
        }
        assert_eq!(std::mem::size_of::<Candidates>(), 128);
    }
}
