//! Which records are evaluated, and in which order. Edits none of them.

use std::fmt;
use std::str::FromStr;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::host::eval::dataset::{Dataset, Record};

/// One of several parts of an evaluation: every `of`-th record of the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Its number, counted from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn of(self) -> usize {
        self.of
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if number >= 1 && number <= of => Ok(Self { number, of }),
            _ => Err("a shard is written I/N, with I from 1 to N".to_owned()),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// The records of an evaluation, of all its shards together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// [`Record::number`]s in the order of evaluation.
    pub records: Vec<usize>,
    /// Malformed records of the file.
    pub malformed: usize,
    /// Records passed over since the model does not know their fact.
    pub unknown: usize,
    /// Records passed over since no patch was given for them.
    pub without_patch: usize,
}

impl Selection {
    /// Takes records in an order shuffled by `seed`, as many as `limit` allows, of those that `has_patch` and that
    /// `knows`; the second is only asked as long as more are wanted, and may stop the selection by `None`.
    ///
    /// # Errors
    /// Those of `knows`.
    pub fn draw<E>(
        dataset: &Dataset,
        seed: u64,
        limit: Option<usize>,
        has_patch: impl Fn(&Record) -> bool,
        mut knows: impl FnMut(&Record) -> Result<Option<bool>, E>,
    ) -> Result<Option<Self>, E> {
        let (mut order, without): (Vec<&Record>, Vec<&Record>) = dataset.records.iter().partition(|r| has_patch(r));
        shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed), &mut order);
        let malformed = dataset.malformed.len();
        let mut selection = Self { records: Vec::new(), malformed, unknown: 0, without_patch: without.len() };
        for record in order {
            if limit.is_some_and(|limit| selection.records.len() >= limit) {
                break;
            }
            match knows(record)? {
                Some(true) => selection.records.push(record.number),
                Some(false) => selection.unknown += 1,
                None => return Ok(None),
            }
        }
        Ok(Some(selection))
    }

    /// The record numbers of one shard, or all of them.
    pub fn of(&self, shard: Option<Shard>) -> Vec<usize> {
        let (skip, step) = shard.map_or((0, 1), |shard| (shard.number - 1, shard.of));
        self.records.iter().copied().skip(skip).step_by(step).collect()
    }
}

fn shuffle<T>(rng: &mut Xoshiro256PlusPlus, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_a_number_within_its_count() {
        for (text, good) in [("1/1", true), ("2/3", true), ("0/3", false), ("4/3", false), ("1", false), ("a/b", false)]
        {
            assert_eq!(text.parse::<Shard>().map(|shard| shard.to_string()).ok(), good.then(|| text.to_owned()));
        }
    }

    #[test]
    fn shards_share_the_selection_without_rest() {
        let selection = Selection { records: vec![7, 3, 9, 1, 4], malformed: 0, unknown: 0, without_patch: 0 };
        let shard = |text: &str| selection.of(Some(text.parse().unwrap()));
        assert_eq!([shard("1/3"), shard("2/3"), shard("3/3")], [vec![7, 1], vec![3, 4], vec![9]]);
        assert_eq!(selection.of(None), selection.records);
        assert!(shard("6/6").is_empty());
    }
}
