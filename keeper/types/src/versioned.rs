//! A sorted map of which a copy costs nothing, so that earlier versions can be kept and handed out.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Index, RangeBounds},
    sync::Arc,
};

use imbl::OrdMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map in the order of its keys. Copies share what they have in common: copying takes the same short time however
/// large the map is, and what is changed afterwards is copied then, once. So whoever reads a copy is not disturbed by
/// whoever goes on writing, and going back to a version means taking it. Only the [`Market`](crate::Market) changes its own, by
/// what the chain says.
pub struct Versioned<K, V>(OrdMap<K, Arc<V>>);

impl<K: Ord + Clone, V: Clone> Versioned<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// Whether there is an entry with the key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// The value of a key, to change it here and in no other version.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key).map(Arc::make_mut)
    }

    /// The value of a key, to change it here and in no other version; `V`'s default is put there where there is none.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        Arc::make_mut(self.0.entry(key).or_default())
    }

    /// Puts an entry in the place of that with the same key, if there is one, which is returned.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, Arc::new(value)).map(Arc::unwrap_or_clone)
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key).map(Arc::unwrap_or_clone)
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// The entries whose keys lie in a range, in their order.
    pub fn range(&self, keys: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.range(keys).map(|(key, value)| (key, value.as_ref()))
    }

    /// The keys in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.0.iter().map(|(_, value)| value.as_ref())
    }
}

impl<K: Ord + Clone, V: Clone> Index<&K> for Versioned<K, V> {
    type Output = V;

    /// # Panics
    /// Panics where there is no such entry.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("whoever indexes a map has seen the entry")
    }
}

impl<K, V> Clone for Versioned<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Versioned<K, V> {
    fn default() -> Self {
        Self(OrdMap::default())
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Versioned<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord, V: Eq> Eq for Versioned<K, V> {}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Versioned<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for Versioned<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key, Arc::new(value))).collect())
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for Versioned<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value.as_ref())))
    }
}

impl<'de, K: Ord + Clone + Deserialize<'de>, V: Clone + Deserialize<'de>> Deserialize<'de> for Versioned<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_seen_in_the_version_that_it_was_made_in() {
        let mut map: Versioned<u8, String> = [(1, "one".to_owned()), (2, "two".to_owned())].into_iter().collect();
        let before = map.clone();
        map.get_mut(&1).unwrap().push('!');
        map.get_or_default(3).push_str("three");
        assert_eq!(map.remove(&2).as_deref(), Some("two"));
        assert_eq!(
            map.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>(),
            [(1, "one!"), (3, "three")]
        );
        assert_eq!(before.values().map(String::as_str).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn it_is_written_and_read_as_a_map() {
        let map: Versioned<u8, u64> = [(2, 20), (1, 10)].into_iter().collect();
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(text, r#"{"1":10,"2":20}"#);
        assert_eq!(serde_json::from_str::<Versioned<u8, u64>>(&text).unwrap(), map);
    }

    proptest! {
        /// The standard library's map is the oracle, for every version there was.
        #[test]
        fn every_version_stays_what_it_was(steps in prop::collection::vec((0..4_u8, 0..40_u16, any::<u32>()), 0..200)) {
            let (mut map, mut oracle) = (Versioned::<u16, u32>::default(), BTreeMap::new());
            let mut versions = Vec::new();
            for (what, key, value) in steps {
                match what {
                    0 => assert_eq!(map.insert(key, value), oracle.insert(key, value)),
                    1 => assert_eq!(map.remove(&key), oracle.remove(&key)),
                    2 => {
                        *map.get_or_default(key) ^= value;
                        *oracle.entry(key).or_default() ^= value;
                    }
                    _ => versions.push((map.clone(), oracle.clone())),
                }
            }
            versions.push((map, oracle));
            for (map, oracle) in &versions {
                prop_assert!(map.iter().eq(oracle.iter()));
                prop_assert!(map.keys().eq(oracle.keys()));
                prop_assert!(map.range(10..30).eq(oracle.range(10..30)));
                prop_assert_eq!((map.len(), map.is_empty()), (oracle.len(), oracle.is_empty()));
            }
        }
    }
}
