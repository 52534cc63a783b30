//! The fake's events.

use core::ptr::{null, without_provenance_mut};

use super::FAKE;
use crate::error::Status;
use crate::sys::profile::{EventData, EventId, ProfileLevel, Unit};
use crate::sys::table::{BackendHandle, ProfileHandle};

/// # Safety
/// The last argument can be written to.
pub(super) unsafe extern "C" fn profile_create(
    backend: BackendHandle,
    _: ProfileLevel,
    profile: *mut ProfileHandle,
) -> Status {
    assert_eq!(backend.0.addr(), 2);
    FAKE.with_borrow_mut(|fake| {
        let (handle, status) = fake.make("profileCreate", 6);
        // SAFETY: the caller's promise.
        unsafe { *profile = ProfileHandle(without_provenance_mut(handle)) };
        status
    })
}

/// Events by their numbers: 1 consists of 2 and 3, and 3 of itself.
const EVENTS: [EventId; 3] = [EventId(1), EventId(2), EventId(3)];

/// # Safety
/// Both places can be written to.
pub(super) unsafe extern "C" fn profile_get_events(
    profile: ProfileHandle,
    list: *mut *const EventId,
    len: *mut u32,
) -> Status {
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        unsafe { (*list, *len) = (EVENTS.as_ptr(), 1) };
        fake.note("profileGetEvents", profile.0)
    })
}

/// # Safety
/// Both places can be written to.
pub(super) unsafe extern "C" fn profile_get_sub_events(
    event: EventId,
    list: *mut *const EventId,
    len: *mut u32,
) -> Status {
    let parts = match event.0 {
        1 => &EVENTS[1..],
        2 => &[],
        _ => &EVENTS[2..],
    };
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        unsafe { (*list, *len) = (parts.as_ptr(), parts.len() as u32) };
        fake.note("profileGetSubEvents", without_provenance_mut(event.0 as usize))
    })
}

/// # Safety
/// The place can be written to.
pub(super) unsafe extern "C" fn profile_get_event_data(event: EventId, data: *mut EventData) -> Status {
    let node = EventData { kind: 404, unit: Unit::CYCLES, value: 300, identifier: c"g1_n0:OpId_7 (cycles)".as_ptr() };
    let whole = EventData { kind: 3004, unit: Unit::MICROSECONDS, value: 50, identifier: null() };
    FAKE.with_borrow_mut(|fake| {
        // SAFETY: the caller's promise.
        unsafe { *data = if event.0 == 1 { whole } else { node } };
        fake.note("profileGetEventData", without_provenance_mut(event.0 as usize))
    })
}

/// # Safety
/// None is needed: the handle is noted only.
pub(super) unsafe extern "C" fn profile_free(profile: ProfileHandle) -> Status {
    FAKE.with_borrow_mut(|fake| fake.free("profileFree", profile.0))
}
