//! A running edit as plain bytes: their format. Does no I/O; what an edit is known by is `fingerprint`'s affair.
//!
//! Little-endian, one length for a given d_model: magic, version, fingerprint, seed, the state's numbers, then δ, the best δ
//! and the gradient, `(d_model)` each, and a CRC-32 over all that. Neither the cache nor v0 nor the key is kept: a
//! resumed edit gets them from a prefill, to the same bits.

use core::fmt;

use crate::checksum::crc32;
use crate::plateau::Plateau;
use crate::prefix_cache::Validity;
use crate::progress::{Outcome, Phase, Seen, State};

const MAGIC: [u8; 4] = *b"MEck";
/// Version of the bytes, counted up whenever they or what follows from them change.
pub const CHECKPOINT_VERSION: u32 = 3;
/// Magic, version, fingerprint, seed, and the state: 4 tags, 7 u32, 8 f32, 2 u64.
const HEADER: usize = 4 + 4 + 8 + 8 + 4 + 7 * 4 + 8 * 4 + 2 * 8;

/// Bytes of a checkpoint on a model of this width.
pub const fn checkpoint_len(d_model: usize) -> usize {
    d_model.saturating_mul(3 * size_of::<f32>()).saturating_add(HEADER + size_of::<u32>())
}

/// Why a checkpoint cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CheckpointError {
    /// The buffer to write into is too short.
    TooSmall {
        /// Bytes needed.
        need: usize,
        /// Bytes lent.
        have: usize,
    },
    /// The bytes end too early, or go on too long.
    Length,
    /// These bytes are no checkpoint.
    Magic,
    /// Written by another version of this library.
    Version(u32),
    /// The bytes were damaged.
    Checksum,
    /// It belongs to an edit with another problem, other settings, other statistics or a model of other sizes.
    OtherEdit,
    /// The checksum is right, but a number is not one that this edit can have written.
    Content,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { need, have } => write!(f, "the checkpoint needs {need} bytes, {have} were lent"),
            Self::Length => f.write_str("the checkpoint has the wrong length"),
            Self::Magic => f.write_str("these bytes are not a checkpoint"),
            Self::Version(version) => {
                write!(f, "the checkpoint has version {version}, this library reads {CHECKPOINT_VERSION}")
            }
            Self::Checksum => f.write_str("the checkpoint is damaged"),
            Self::OtherEdit => f.write_str("the checkpoint belongs to another edit"),
            Self::Content => f.write_str("the checkpoint holds a number that no editor writes"),
        }
    }
}

impl core::error::Error for CheckpointError {}

/// What is written: the state, and the vectors δ, best δ, gradient.
#[derive(Debug)]
pub(crate) struct Snapshot<V> {
    pub(crate) fingerprint: u64,
    pub(crate) seed: u64,
    pub(crate) state: State,
    pub(crate) vectors: [V; 3],
}

impl Snapshot<&[f32]> {
    /// Writes it to the front of `out`; returns the number of bytes.
    pub(crate) fn write(&self, out: &mut [u8]) -> Result<usize, CheckpointError> {
        let need = checkpoint_len(self.vectors.first().map_or(0, |v| v.len()));
        let have = out.len();
        let out = out.get_mut(..need).ok_or(CheckpointError::TooSmall { need, have })?;
        let mut writer = Writer { out: &mut *out, at: 0 };
        writer.bytes(&MAGIC);
        writer.u32(CHECKPOINT_VERSION);
        writer.u64(self.fingerprint);
        writer.u64(self.seed);
        writer.state(&self.state);
        for x in self.vectors.iter().copied().flatten() {
            writer.f32(*x);
        }
        let end = writer.at;
        let checksum = crc32(out.get(..end).unwrap_or(&[]));
        Writer { out, at: end }.u32(checksum);
        Ok(need)
    }
}

impl Snapshot<&mut [f32]> {
    /// Reads seed, state and vectors from `bytes`, if they belong to `self.fingerprint`. On an error the vectors are
    /// untouched.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let mut reader = Reader { rest: bytes };
        if reader.bytes()? != MAGIC {
            return Err(CheckpointError::Magic);
        }
        let version = reader.u32()?;
        if version != CHECKPOINT_VERSION {
            return Err(CheckpointError::Version(version));
        }
        let (body, checksum) = bytes.split_last_chunk().ok_or(CheckpointError::Length)?;
        if crc32(body) != u32::from_le_bytes(*checksum) {
            return Err(CheckpointError::Checksum);
        }
        if reader.u64()? != self.fingerprint {
            return Err(CheckpointError::OtherEdit);
        }
        if bytes.len() != checkpoint_len(self.vectors.first().map_or(0, |v| v.len())) {
            return Err(CheckpointError::Length);
        }
        let (seed, state) = (reader.u64()?, reader.state()?);
        let mut ahead = Reader { rest: reader.rest };
        for _ in self.vectors.iter().flat_map(|v| v.iter()) {
            if !ahead.f32()?.is_finite() {
                return Err(CheckpointError::Content);
            }
        }
        for x in self.vectors.iter_mut().flat_map(|v| v.iter_mut()) {
            *x = reader.f32()?;
        }
        (self.seed, self.state) = (seed, state);
        Ok(())
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        for (to, from) in self.out.iter_mut().skip(self.at).zip(bytes) {
            *to = *from;
        }
        self.at += bytes.len();
    }

    fn u32(&mut self, x: u32) {
        self.bytes(&x.to_le_bytes());
    }

    fn u64(&mut self, x: u64) {
        self.bytes(&x.to_le_bytes());
    }

    fn f32(&mut self, x: f32) {
        self.u32(x.to_bits());
    }

    fn state(&mut self, state: &State) {
        let phase = match state.phase {
            Phase::Prefill => 0,
            Phase::Bank => 1,
            Phase::Search => 2,
            Phase::Verify => 3,
            Phase::Done => 4,
        };
        let outcome = match state.outcome {
            None => 0,
            Some(Outcome::Success) => 1,
            Some(Outcome::Exhausted) => 2,
        };
        let cache = match state.cache {
            Validity::Empty => 0,
            Validity::Fresh | Validity::Lost => 1,
            Validity::Stale => 2,
        };
        self.bytes(&[phase, outcome, cache, 0]);
        let (plateau, staleness) = (state.memory.plateau, state.staleness);
        for x in [state.step, state.starts, state.best_start, state.first_verified, state.cache_refreshes] {
            self.u32(x);
        }
        for x in [plateau.since, staleness.since] {
            self.u32(x);
        }
        let Seen { loss, nll, kl } = state.seen;
        let Plateau { mark, .. } = plateau;
        for x in [state.best_loss, state.best_written, state.memory.shrunk, mark, staleness.mark] {
            self.f32(x);
        }
        for x in [loss, nll, kl] {
            self.f32(x);
        }
        self.u64(state.evaluations);
        self.u64(state.rows);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(CheckpointError::Length)?;
        self.rest = rest;
        Ok(*first)
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, CheckpointError> {
        self.u32().map(f32::from_bits)
    }

    fn state(&mut self) -> Result<State, CheckpointError> {
        let [phase, outcome, cache, zero] = self.bytes()?;
        let phase = match phase {
            1 => Phase::Bank,
            2 => Phase::Search,
            3 => Phase::Verify,
            4 => Phase::Done,
            _ => return Err(CheckpointError::Content),
        };
        let outcome = match (outcome, phase) {
            (1, Phase::Done) => Some(Outcome::Success),
            (2, Phase::Done) => Some(Outcome::Exhausted),
            (0, Phase::Bank | Phase::Search | Phase::Verify) => None,
            _ => return Err(CheckpointError::Content),
        };
        let cache = match cache {
            0 => Validity::Empty,
            1 => Validity::Lost,
            2 => Validity::Stale,
            _ => return Err(CheckpointError::Content),
        };
        if zero != 0 {
            return Err(CheckpointError::Content);
        }
        let mut state = State { outcome, cache, ..State::new(phase) };
        let (plateau, staleness) = (&mut state.memory.plateau, &mut state.staleness);
        let counters = [&mut state.step, &mut state.starts, &mut state.best_start, &mut state.first_verified];
        let others = [&mut state.cache_refreshes, &mut plateau.since, &mut staleness.since];
        for x in counters.into_iter().chain(others) {
            *x = self.u32()?;
        }
        let seen = &mut state.seen;
        for x in [&mut state.best_loss, &mut state.best_written, &mut state.memory.shrunk] {
            *x = self.f32()?;
        }
        for x in [&mut plateau.mark, &mut staleness.mark] {
            *x = self.f32()?;
        }
        for x in [&mut seen.loss, &mut seen.nll, &mut seen.kl] {
            *x = self.f32()?;
        }
        // Infinite are those that nothing was seen for.
        let State { best_loss, best_written, memory, staleness, seen: Seen { loss, nll, kl }, .. } = state;
        let reals = [best_loss, best_written, memory.shrunk, memory.plateau.mark, staleness.mark, loss, nll, kl];
        if reals.into_iter().any(f32::is_nan) {
            return Err(CheckpointError::Content);
        }
        (state.evaluations, state.rows) = (self.u64()?, self.u64()?);
        Ok(state)
    }
}

#[cfg(test)]
mod tests;
