//! How much of the heap a target may take, so that it can state that.

use super::heap::counted;

/// What `work` gives, if this thread at no time holds more than `bytes` more than before: else it panics. Asking for memory counts,
/// whether it was there or not.
pub fn within<R>(bytes: usize, what: &str, work: impl FnOnce() -> R) -> R {
    let (result, heap) = counted(work);
    assert!(heap.most <= bytes, "{what} took {} bytes of the heap, {bytes} are allowed", heap.most);
    result
}
