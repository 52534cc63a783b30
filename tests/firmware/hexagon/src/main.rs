//! An edit on a Hexagon DSP without an operating system: no heap, all memory in one static. Runs under `qemu-hexagon`; on a DSP of a
//! phone, QuRT would start it instead of `hexagon-start`, which is all of this that is QEMU's.
//!
//! Run it in this folder: `RUSTC_BOOTSTRAP=1 cargo run --release -Zbuild-std=core --target hexagon-unknown-none-elf`, with
//! `--features hvx` for the vector unit: the patch is the same. What the editor does is in `../edit`, which a firmware of your own
//! would have in its place.
#![no_std]
#![no_main]

use firmware_edit::{Flash, Memory, edit};
use hexagon_start::{Counts, println};
use static_cell::ConstStaticCell;

hexagon_start::entry!(main);

/// All that the edit needs: the compiler knows how much that is, and the linker whether it fits.
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::NEW);
/// Where the edit outlasts a power-off, in place of a file or a flash.
static FLASH: ConstStaticCell<Flash> = ConstStaticCell::new(Flash::NEW);

fn main() -> i32 {
    println!("an edit in {} bytes of static memory", size_of::<Memory>());
    let (mut instructions, mut last) = (0, Counts::now());
    let edited = edit(MEMORY.take(), FLASH.take(), |progress| {
        // One unit of work is done: give the DSP's other threads their turn here. QEMU counts in 32 bits: add up unit by unit.
        instructions += u64::from(last.elapsed().instructions);
        last = Counts::now();
        println!("{:?}: step {}, P(target) {}", progress.phase, progress.step, progress.p_target);
    });
    match edited {
        Ok(edited) => {
            let [before, after, undone] = edited.answers;
            println!("before {before:?}, after {after:?}, undone {undone:?}");
            println!("at the next start {:?}, without a search", edited.next.answer);
            println!("{} steps, {} forward passes", edited.progress.step, edited.progress.forward_passes);
            println!("{instructions} instructions of the search, by QEMU's count");
            println!("patch {:016x}", edited.patch);
            i32::from(!edited.is_good())
        }
        Err(failure) => {
            println!("no edit: {failure:?}");
            1
        }
    }
}
