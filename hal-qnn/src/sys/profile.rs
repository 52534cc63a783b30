//! What a library measures of its own work, as a tree of events. It measures nothing itself.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr::null;

use super::interface::{Owned, required};
use super::session::Session;
use super::table::ProfileHandle;
use crate::error::{QnnError, Status};

/// `QnnProfile_Level_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct ProfileLevel(pub u32);

impl ProfileLevel {
    /// A call's times.
    pub const BASIC: Self = Self(1);
    /// Each node's too, which takes time itself.
    pub const DETAILED: Self = Self(2);
}

/// `QnnProfile_EventId_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct EventId(pub u64);

/// `QnnProfile_EventData_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EventData {
    /// What was measured.
    pub kind: u32,
    /// In what.
    pub unit: Unit,
    /// How much.
    pub value: u64,
    /// As of C; may be null.
    pub identifier: *const c_char,
}

/// `QnnProfile_EventUnit_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Unit(pub u32);

impl Unit {
    /// Millionths of a second.
    pub const MICROSECONDS: Self = Self(1);
    /// Cycles of the NPU.
    pub const CYCLES: Self = Self(3);
}

/// `QNN_PROFILE_EVENTTYPE_NODE`.
const NODE: u32 = 404;
/// `QNN_HTP_PROFILE_EVENTTYPE_GRAPH_EXECUTE_ACCEL_TIME_MICROSEC`.
const ACCELERATOR_US: u32 = 3004;

/// Something that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What: `QnnProfile_EventType_t`, or a number of the backend's own.
    pub kind: u32,
    /// In what.
    pub unit: Unit,
    /// How much.
    pub value: u64,
    /// The library's words for it: a node's name.
    pub name: String,
    /// What it consists of.
    pub parts: Vec<Self>,
}

impl Event {
    /// Microseconds that the NPU had a graph for.
    pub fn accelerator_us(&self) -> Option<u64> {
        (self.kind == ACCELERATOR_US && self.unit == Unit::MICROSECONDS).then_some(self.value)
    }

    /// The [group](super::Builder::group) of a node, and the cycles that it took.
    pub fn node_cycles(&self) -> Option<(usize, u64)> {
        let group = self.name.strip_prefix('g').and_then(|name| name.split('_').next()?.parse().ok());
        group.filter(|_| self.kind == NODE && self.unit == Unit::CYCLES).map(|group| (group, self.value))
    }

    /// The event, and all that it consists of.
    pub fn visit(&self, seen: &mut dyn FnMut(&Self)) {
        seen(self);
        self.parts.iter().for_each(|part| part.visit(seen));
    }
}

/// How deep events are nested at most: a library that gives an event as its own part is not followed for ever.
const DEPTH: usize = 8;

/// Where the calls that it is given to put their events.
#[derive(Debug)]
pub struct Profile {
    // Given back before the session.
    handle: Owned<ProfileHandle>,
    session: Rc<Session>,
}

type List = unsafe extern "C" fn(EventId, *mut *const EventId, *mut u32) -> Status;

impl Profile {
    /// Of what runs on this session.
    pub fn create(session: &Rc<Session>, level: ProfileLevel) -> Result<Self, QnnError> {
        let create = required(session.interface().table().profile_create, "profileCreate")?;
        let free = required(session.interface().table().profile_free, "profileFree")?;
        let backend = session.backend();
        // SAFETY: functions of a checked table; the backend is alive for as long as the session, which is given back later.
        let handle =
            unsafe { Owned::new("profileCreate", ProfileHandle::NULL, free, |handle| create(backend, level, handle))? };
        Ok(Self { handle, session: Rc::clone(session) })
    }

    pub(super) const fn handle(&self) -> ProfileHandle {
        self.handle.handle
    }

    /// The events of the last call.
    pub fn events(&self) -> Result<Vec<Event>, QnnError> {
        let get = required(self.session.interface().table().profile_get_events, "profileGetEvents")?;
        let (mut list, mut len) = (null(), 0);
        // SAFETY: a function of a checked table; the profile is alive, places for the results.
        unsafe { get(self.handle(), &raw mut list, &raw mut len) }.check("profileGetEvents")?;
        // SAFETY: the library's list is so long, until another call gets the profile.
        unsafe { self.read(list, len, DEPTH) }
    }

    /// # Safety
    /// The list is so long, or null.
    unsafe fn read(&self, list: *const EventId, len: u32, depth: usize) -> Result<Vec<Event>, QnnError> {
        let table = self.session.interface().table();
        let data = required(table.profile_get_event_data, "profileGetEventData")?;
        let get: List = required(table.profile_get_sub_events, "profileGetSubEvents")?;
        if list.is_null() || depth == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: the caller's promise.
        let ids = unsafe { core::slice::from_raw_parts(list, len as usize) };
        let event = |id: &EventId| {
            let mut of = EventData { kind: 0, unit: Unit(0), value: 0, identifier: null() };
            // SAFETY: the library's own event; a place for the result.
            unsafe { data(*id, &raw mut of) }.check("profileGetEventData")?;
            let name = if of.identifier.is_null() {
                String::new()
            } else {
                // SAFETY: the library's text, which ends with zero and is copied now.
                unsafe { CStr::from_ptr(of.identifier) }.to_string_lossy().into_owned()
            };
            let (mut list, mut len) = (null(), 0);
            // SAFETY: the library's own event; places for the results.
            unsafe { get(*id, &raw mut list, &raw mut len) }.check("profileGetSubEvents")?;
            // SAFETY: the library's list is so long.
            let parts = unsafe { self.read(list, len, depth - 1) }?;
            Ok(Event { kind: of.kind, unit: of.unit, value: of.value, name, parts })
        };
        ids.iter().map(event).collect()
    }
}
