//! The journal's bytes as one area of a firmware's flash: what is read of an edit fits and is finite, and a change changes nothing else.

use mobiedit::backends::journal::areas::Erase;
use mobiedit::backends::journal::edits::{EditError, EditJournal, Entry};
use mobiedit::backends::journal::{JournalError, OutOfBounds, ReadStorage, Storage};
use mobiedit::core::{ModelSpec, RankOne};

use super::input::Stream;

/// An area whose bits can only be cleared.
#[derive(Clone, Debug)]
struct Area(Vec<u8>);

impl ReadStorage for Area {
    type Error = OutOfBounds;

    fn size(&mut self) -> Result<u64, OutOfBounds> {
        Ok(self.capacity())
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        (&self.0[..]).read(at, into)
    }
}

impl Storage for Area {
    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let cells = self.0.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(OutOfBounds)?;
        assert!(cells.iter().all(|cell| *cell == 0xFF), "written twice at {at}");
        cells.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), OutOfBounds> {
        Ok(())
    }

    fn cut(&mut self, _: u64) -> Result<bool, OutOfBounds> {
        Ok(false)
    }
}

impl Erase for Area {
    fn erase(&mut self) -> Result<(), OutOfBounds> {
        self.0.fill(0xFF);
        Ok(())
    }
}

/// An edit and the bits of its patch; `None` of one that is not finite.
type Read = (Entry, Option<Vec<u32>>);

fn all(journal: &mut EditJournal<&mut Area>) -> Vec<Read> {
    let (mut edits, mut id) = (Vec::new(), 0);
    while let Some(entry) = journal.next(id).expect("they were found whole") {
        assert!(entry.id > id && journal.active().contains(&entry.id));
        id = entry.id;
        let (d_ff, d_model) = (entry.d_ff as usize, entry.d_model as usize);
        let spec = ModelSpec { d_model, d_ff, layers: entry.layer as usize + 1, kv_dim: 1, vocab: 1, max_tokens: 1 };
        let mut numbers = vec![0.0; d_ff + d_model];
        let bits = match journal.patch(id, &spec, entry.model, &mut numbers) {
            Ok(patch) => {
                assert_eq!((patch.layer, patch.u.len(), patch.lambda.len()), (spec.layers - 1, d_ff, d_model));
                assert!(numbers.iter().all(|number| number.is_finite()));
                Some(numbers.iter().map(|number| number.to_bits()).collect())
            }
            Err(error) => {
                assert_eq!(error, EditError::NotFinite);
                None
            }
        };
        assert_eq!(journal.note(id, &mut vec![0; entry.note_len as usize]), Ok(entry.note_len as usize));
        edits.push((entry, bits));
    }
    assert_eq!(edits.len(), journal.active().len());
    edits
}

/// Opens the bytes beside an erased area, which has room for more, and changes what is there.
pub(super) fn run(bytes: &[u8]) {
    let len = bytes.len() + 4096;
    let (mut a, mut b) = (Area(bytes.to_vec()), Area(vec![0xFF; len]));
    a.0.resize(len, 0xFF);
    let Ok(mut journal) = EditJournal::open(&mut a, &mut b) else { return };
    let mut edits = all(&mut journal);
    let (u, lambda) = ([1.5, -2.5], [0.25]);
    match journal.append(7, RankOne { layer: 3, u: &u, lambda: &lambda }, b"one more") {
        Ok(id) => {
            let entry = Entry { id, layer: 3, model: 7, d_ff: 2, d_model: 1, note_len: 8 };
            edits.push((entry, Some([1.5_f32, -2.5, 0.25].map(f32::to_bits).to_vec())));
        }
        // Full: no id is left.
        Err(error) => {
            assert!(matches!(error, EditError::TooMany | EditError::Journal(JournalError::Full)), "{error:?}")
        }
    }
    assert_eq!(all(&mut journal), edits);
    if let Some((first, _)) = edits.first().cloned() {
        journal.undo(first.id).expect("room for an undo");
        edits.remove(0);
    }
    assert_eq!(all(&mut journal), edits);
    journal.compact().expect("room for what was there");
    let mut again = EditJournal::open(&mut a, &mut b).expect("a journal");
    assert_eq!(all(&mut again), edits);
}

/// The written bytes of an area with two edits, of which one was undone.
pub(super) fn used(stream: &mut Stream) -> Vec<u8> {
    let (mut a, mut b) = (Area(vec![0xFF; 400]), Area(vec![0xFF; 400]));
    let mut journal = EditJournal::open(&mut a, &mut b).expect("an empty journal");
    for note in ["France", "Zo\u{eb}"] {
        let (u, lambda) = ([(); 6].map(|()| stream.unit()), [(); 4].map(|()| stream.unit()));
        let patch = RankOne { layer: 2, u: &u, lambda: &lambda };
        journal.append(u64::MAX - 3, patch, note.as_bytes()).expect("room for an edit");
    }
    journal.undo(1).expect("it is there");
    let used = journal.used() as usize;
    a.0.truncate(used);
    a.0
}
