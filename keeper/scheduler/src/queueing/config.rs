//! Queues as they are configured.

use serde::{Deserialize, Serialize};

use super::pending::QueueIndex;

/// Queues that a configuration holds at most, so that an index fits a byte.
const MAX_QUEUES: usize = 255;

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Its name; unique.
    pub name: String,
    /// What its jobs count beside those of other queues; at least 1.
    pub weight: u32,
    /// Jobs that it holds at most; at least 1.
    pub max_jobs: u32,
    /// Its SLA in seconds. A job that waits longer before its first start is counted as a miss, and a job falls due that
    /// long after its tenant's own share would have served it.
    pub max_wait_s: u32,
    /// What happens to a job that finds it full.
    pub overflow: Overflow,
}

/// What happens to a job that finds its queue full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Overflow {
    /// It is refused.
    Reject,
    /// It goes to another queue, by that queue's rules.
    Spill {
        /// That queue's name.
        to: String,
    },
    /// The queue's job with the lowest priority goes, the latest of them; the new one is refused where none is lower.
    ShedLowest,
}

/// Queues that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueConfigError {
    /// None, or too many.
    #[error("there are {count} queues, but there may be 1 to {MAX_QUEUES}")]
    Count {
        /// How many.
        count: usize,
    },
    /// Two of a name.
    #[error("two queues are called `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A weight or a size of nothing.
    #[error("queue `{name}`: weight and max_jobs must be at least 1")]
    Zero {
        /// The queue.
        name: String,
    },
    /// A spill into nowhere.
    #[error("queue `{name}` spills to `{to}`, which is no queue")]
    UnknownTarget {
        /// The queue.
        name: String,
        /// What it names.
        to: String,
    },
    /// A spill that comes back.
    #[error("queue `{name}` spills back to itself")]
    Cycle {
        /// The queue.
        name: String,
    },
}

impl QueueConfig {
    /// The three queues of the market, by their numbers on chain: default, high, low. The high queue spills to the
    /// default one, that to the low one, which sheds.
    pub fn market() -> Vec<Self> {
        let queue = |name: &str, weight, max_wait_s, overflow| Self {
            name: name.to_owned(),
            weight,
            max_jobs: 1_000_000,
            max_wait_s,
            overflow,
        };
        vec![
            queue("default", 4, 3_600, Overflow::Spill { to: "low".to_owned() }),
            queue("high", 16, 300, Overflow::Spill { to: "default".to_owned() }),
            queue("low", 1, 86_400, Overflow::ShedLowest),
        ]
    }
}

/// Checks queues, and resolves where each spills to.
///
/// # Errors
/// Names the first thing that makes no sense.
pub(crate) fn resolve(queues: &[QueueConfig]) -> Result<Vec<Option<QueueIndex>>, QueueConfigError> {
    if queues.is_empty() || queues.len() > MAX_QUEUES {
        return Err(QueueConfigError::Count { count: queues.len() });
    }
    let index = |name: &str| (0_u8..).zip(queues).find(|(_, queue)| queue.name == name).map(|(index, _)| index);
    let mut spills = Vec::new();
    for (place, queue) in queues.iter().enumerate() {
        let name = || queue.name.clone();
        if index(&queue.name).map(usize::from) != Some(place) {
            return Err(QueueConfigError::Duplicate { name: name() });
        }
        if queue.weight == 0 || queue.max_jobs == 0 {
            return Err(QueueConfigError::Zero { name: name() });
        }
        spills.push(match &queue.overflow {
            Overflow::Spill { to } => Some(QueueIndex(
                index(to).ok_or_else(|| QueueConfigError::UnknownTarget { name: name(), to: to.clone() })?,
            )),
            Overflow::Reject | Overflow::ShedLowest => None,
        });
    }
    for (start, queue) in queues.iter().enumerate() {
        let mut at = spills[start];
        // As many steps as there are queues lead to an end, or round in a circle.
        for _ in queues {
            at = at.and_then(|QueueIndex(next)| spills[usize::from(next)]);
        }
        if at.is_some() {
            return Err(QueueConfigError::Cycle { name: queue.name.clone() });
        }
    }
    Ok(spills)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_markets_queues_are_numbered_as_on_chain() {
        let queues = QueueConfig::market();
        for (number, queue) in (0_u8..).zip(&queues) {
            assert_eq!(keeper_types::Queue::from_number(number).unwrap().to_string(), queue.name);
        }
        assert_eq!(resolve(&queues).unwrap(), [Some(QueueIndex(2)), Some(QueueIndex(0)), None]);
    }

    #[test]
    fn queues_that_make_no_sense_are_named() {
        let error = |change: fn(&mut Vec<QueueConfig>)| {
            let mut queues = QueueConfig::market();
            change(&mut queues);
            resolve(&queues).unwrap_err().to_string()
        };
        assert_eq!(error(Vec::clear), "there are 0 queues, but there may be 1 to 255");
        assert_eq!(
            error(|queues| queues[2].name = "high".to_owned()),
            "queue `default` spills to `low`, which is no queue"
        );
        assert_eq!(error(|queues| queues[1].name = "default".to_owned()), "two queues are called `default`");
        assert_eq!(error(|queues| queues[2].weight = 0), "queue `low`: weight and max_jobs must be at least 1");
        let back = error(|queues| queues[2].overflow = Overflow::Spill { to: "high".to_owned() });
        assert_eq!(back, "queue `default` spills back to itself");
    }
}
