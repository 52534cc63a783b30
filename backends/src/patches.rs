//! The rank-one patches that are applied to a model, in lent memory. Applies nothing: the linear layers read them.

use mobiedit_core::backend::PatchId;
use mobiedit_core::rank_one::RankOne;

use crate::editing::copy_prefix;

/// Most patches at a time.
pub const MAX_PATCHES: usize = 128;

/// Applied patches, oldest first.
#[derive(Debug)]
pub struct Patches<'a> {
    d_ff: usize,
    d_model: usize,
    numbers: &'a mut [f32],
    applied: heapless::Vec<(PatchId, usize), MAX_PATCHES>,
    next: u32,
}

impl<'a> Patches<'a> {
    /// Elements of memory that one patch takes.
    pub const fn len_of_one(d_ff: usize, d_model: usize) -> usize {
        d_ff.saturating_add(d_model)
    }

    /// No patches yet; `numbers` holds as many as fit, [`Patches::len_of_one`] each.
    pub fn new(d_ff: usize, d_model: usize, numbers: &'a mut [f32]) -> Self {
        Self { d_ff, d_model, numbers, applied: heapless::Vec::new(), next: 0 }
    }

    fn stride(&self) -> usize {
        Self::len_of_one(self.d_ff, self.d_model)
    }

    /// Number of applied patches.
    pub fn count(&self) -> usize {
        self.applied.len()
    }

    /// Copies a patch in; `None` where its shape is wrong or no room is left.
    pub fn push(&mut self, patch: RankOne<'_>) -> Option<PatchId> {
        if patch.u.len() != self.d_ff || patch.lambda.len() != self.d_model {
            return None;
        }
        let start = self.applied.len() * self.stride();
        let room = self.numbers.get_mut(start..start + self.d_ff + self.d_model)?;
        let id = PatchId(self.next);
        self.applied.push((id, patch.layer)).ok()?;
        let (u, lambda) = room.split_at_mut_checked(self.d_ff)?;
        copy_prefix(patch.u, u);
        copy_prefix(patch.lambda, lambda);
        self.next = self.next.wrapping_add(1);
        Some(id)
    }

    /// Takes a patch out; `false` where it is not applied. The order of the others stays.
    pub fn remove(&mut self, id: PatchId) -> bool {
        let Some(index) = self.applied.iter().position(|(other, _)| *other == id) else { return false };
        let stride = self.stride();
        // The later ones move up by one: their numbers, and their names.
        if let Some(numbers) = self.numbers.get_mut(index * stride..self.applied.len() * stride) {
            numbers.rotate_left(stride.min(numbers.len()));
        }
        if let Some(names) = self.applied.get_mut(index..) {
            names.rotate_left(1.min(names.len()));
        }
        self.applied.pop();
        true
    }

    /// The patch of one layer with this index among them, the oldest being 0.
    pub fn nth_of_layer(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        let places = self.applied.iter().enumerate().filter(|(_, (_, at))| *at == layer);
        let start = places.map(|(place, _)| place * self.stride()).nth(index)?;
        let (u, lambda) = self.numbers.get(start..start + self.stride())?.split_at_checked(self.d_ff)?;
        Some(RankOne { layer, u, lambda })
    }

    /// The patches of one layer, oldest first.
    pub fn of_layer(&self, layer: usize) -> heapless::Vec<RankOne<'_>, MAX_PATCHES> {
        let mut patches = heapless::Vec::new();
        for ((_, at), numbers) in self.applied.iter().zip(self.numbers.chunks_exact(self.stride().max(1))) {
            if let Some((u, lambda)) = numbers.split_at_checked(self.d_ff).filter(|_| *at == layer) {
                // There is room for every patch that is applied.
                let _ = patches.push(RankOne { layer, u, lambda });
            }
        }
        patches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_memory_holds_stay_too_large() {
        assert_eq!(Patches::len_of_one(3, 2), 5);
        assert_eq!(Patches::len_of_one(usize::MAX, 8), usize::MAX);
    }
}
