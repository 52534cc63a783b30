//! A flash in RAM, as firmwares for an emulator have it in place of their driver: two areas, each erased as a whole, whose bits can
//! only be cleared, a word at a time. Knows nothing of what is kept there.

use mobiedit_backends::journal::areas::{AREA_HEADER_LEN, Erase};
use mobiedit_backends::journal::edits::{EditError, EditJournal, edit_len};
use mobiedit_backends::journal::{ReadStorage, Storage};

use crate::NOTE;
use crate::model::CONFIG;

/// Bytes that are erased at once.
const SECTOR: usize = 4096;
/// Room for an edit, in whole sectors.
const AREA: usize =
    (AREA_HEADER_LEN as usize + edit_len(CONFIG.spec.d_ff, CONFIG.spec.d_model, NOTE.len())).next_multiple_of(SECTOR);

/// The flash. All zero bits, so a `static` of it takes no flash of the program's own.
pub struct Flash([Area; 2]);

struct Area([u8; AREA]);

/// Why the flash refuses.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashError {
    /// An address outside the area.
    Outside,
    /// A part of a word, or bits that would have to be set.
    NotErased,
}

impl Flash {
    /// For a `static`. It has to be erased.
    pub const NEW: Self = Self([const { Area([0; AREA]) }; 2]);

    /// As it comes from the factory.
    pub fn erase(&mut self) {
        self.0.iter_mut().for_each(|area| area.0.fill(0xFF));
    }

    /// The edits in it.
    pub(crate) fn open(&mut self) -> Result<EditJournal<&mut impl Erase<Error = FlashError>>, EditError<FlashError>> {
        let [a, b] = &mut self.0;
        EditJournal::open(a, b)
    }
}

impl ReadStorage for Area {
    type Error = FlashError;

    fn size(&mut self) -> Result<u64, FlashError> {
        Ok(AREA as u64)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), FlashError> {
        let from = self.0.get(at as usize..).and_then(|rest| rest.get(..into.len())).ok_or(FlashError::Outside)?;
        into.copy_from_slice(from);
        Ok(())
    }
}

impl Storage for Area {
    fn capacity(&self) -> u64 {
        AREA as u64
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), FlashError> {
        let cells = self.0.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len()));
        let cells = cells.ok_or(FlashError::Outside)?;
        let whole = at.is_multiple_of(4) && bytes.len().is_multiple_of(4);
        if !whole || cells.iter().any(|cell| *cell != 0xFF) {
            return Err(FlashError::NotErased);
        }
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), FlashError> {
        Ok(())
    }

    fn cut(&mut self, _at: u64) -> Result<bool, FlashError> {
        Ok(false)
    }
}

impl Erase for Area {
    fn erase(&mut self) -> Result<(), FlashError> {
        self.0.fill(0xFF);
        Ok(())
    }
}
