//! An edit on a Hexagon DSP without an operating system: no heap, all memory in one static. Runs under `qemu-hexagon`; on a DSP of a
//! phone, QuRT would start it instead of `hexagon-start`, which is all of this that is QEMU's.
//!
//! Run it in this folder: `RUSTC_BOOTSTRAP=1 cargo run --release -Zbuild-std=core --target hexagon-unknown-none-elf`. What the
//! editor does is in `../edit`, which a firmware of your own would have in its place.
#![no_std]
#![no_main]

use firmware_edit::{Memory, edit};
use hexagon_start::println;
use static_cell::ConstStaticCell;

hexagon_start::entry!(main);

/// All that the edit needs: the compiler knows how much that is, and the linker whether it fits.
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::NEW);

fn main() -> i32 {
    println!("an edit in {} bytes of static memory", size_of::<Memory>());
    let edited = edit(MEMORY.take(), |progress| {
        // One unit of work is done: give the DSP's other threads their turn here.
        println!("{:?}: step {}, P(target) {}", progress.phase, progress.step, progress.p_target);
    });
    match edited {
        Ok(edited) => {
            let [before, after, undone] = edited.answers;
            println!("before {before:?}, after {after:?}, undone {undone:?}");
            println!("{} steps, {} forward passes", edited.progress.step, edited.progress.forward_passes);
            println!("patch {:016x}", edited.patch);
            i32::from(!edited.is_good())
        }
        Err(failure) => {
            println!("no edit: {failure:?}");
            1
        }
    }
}
