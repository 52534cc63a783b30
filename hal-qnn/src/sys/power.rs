//! Votes for the NPU's clocks. A vote holds until it is dropped; it computes nothing, and changes no result.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

use super::interface::required;
use super::session::Session;
use crate::error::{QnnError, Status};

/// `QnnHtpDevice_Infrastructure_t` of the type that has clocks.
#[derive(Debug)]
#[repr(C)]
pub struct Infrastructure {
    /// `QnnHtpDevice_InfrastructureType_t`: 0 has clocks.
    pub kind: u32,
    /// The functions.
    pub clocks: Clocks,
}

/// `QnnHtpDevice_PerfInfrastructure_t`.
#[derive(Debug)]
#[repr(C)]
pub struct Clocks {
    /// `createPowerConfigId`: of a device and a core.
    pub create: Option<unsafe extern "C" fn(u32, u32, *mut u32) -> Status>,
    /// `destroyPowerConfigId`.
    pub destroy: Option<unsafe extern "C" fn(u32) -> Status>,
    /// `setPowerConfig`: a list that ends with null.
    pub set: Option<unsafe extern "C" fn(u32, *const *const PowerConfig) -> Status>,
    /// `setMemoryConfig`.
    pub unused: Option<unsafe extern "C" fn()>,
}

/// `QnnHtpPerfInfrastructure_PowerConfig_t` with the option `DCVS_V3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PowerConfig {
    /// 1.
    pub option: u32,
    /// The vote.
    pub vote: [u32; 16],
}

/// `QNN_HTP_PERF_INFRASTRUCTURE_POWER_CONFIGOPTION_DCVS_V3`.
const DCVS_V3: u32 = 1;
/// `QNN_HTP_PERF_INFRASTRUCTURE_POWERMODE_PERFORMANCE_MODE`.
const PERFORMANCE: u32 = 16;
/// `DCVS_VOLTAGE_VCORNER_MAX_VOLTAGE_CORNER`.
const MOST: u32 = 160;
/// Microseconds in which the NPU has to be awake again.
const LATENCY_US: u32 = 40;

impl PowerConfig {
    /// The highest clocks of bus and core, and short sleep.
    pub const fn burst(id: u32) -> Self {
        Self {
            option: DCVS_V3,
            vote: [
                id, // contextId
                1,
                0,           // setDcvsEnable, dcvsEnable
                PERFORMANCE, // powerMode
                1,
                LATENCY_US, // setSleepLatency, sleepLatency
                0,
                0, // setSleepDisable, sleepDisable
                1,
                MOST,
                MOST,
                MOST, // setBusParams, busVoltageCornerMin, -Target, -Max
                1,
                MOST,
                MOST,
                MOST, // setCoreParams, coreVoltageCornerMin, -Target, -Max
            ],
        }
    }
}

/// A vote for the highest clocks, taken back when this is dropped.
#[derive(Debug)]
pub struct Burst {
    id: u32,
    destroy: unsafe extern "C" fn(u32) -> Status,
}

impl Burst {
    /// Votes on the session's device.
    pub fn vote(session: &Session) -> Result<Self, QnnError> {
        let get = required(session.interface().table().device_get_infrastructure, "deviceGetInfrastructure")?;
        let mut infrastructure: *const Infrastructure = null_mut();
        // SAFETY: a function of a checked table; a place for the result.
        unsafe { get((&raw mut infrastructure).cast::<*const c_void>()) }.check("deviceGetInfrastructure")?;
        // SAFETY: on success it is the library's own, for as long as that is loaded; null is asked for.
        let infrastructure = unsafe { infrastructure.as_ref() }.ok_or(QnnError::Nothing("deviceGetInfrastructure"))?;
        if infrastructure.kind != 0 {
            return Err(QnnError::Nothing("deviceGetInfrastructure"));
        }
        let create = required(infrastructure.clocks.create, "createPowerConfigId")?;
        let destroy = required(infrastructure.clocks.destroy, "destroyPowerConfigId")?;
        let set = required(infrastructure.clocks.set, "setPowerConfig")?;
        let mut id = 0;
        // SAFETY: a function of the library's own table; a place for the result.
        unsafe { create(0, 0, &raw mut id) }.check("createPowerConfigId")?;
        let burst = Self { id, destroy };
        let config = PowerConfig::burst(id);
        let list = [&raw const config, null()];
        // SAFETY: the same; the list ends with null, and what it points to outlives the call.
        unsafe { set(id, list.as_ptr()) }.check("setPowerConfig")?;
        Ok(burst)
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        // SAFETY: the id is the library's, and given back once. Nothing can be done about a refusal.
        let _refused = unsafe { (self.destroy)(self.id) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_asks_for_the_most_by_every_flag() {
        let PowerConfig { option, vote } = PowerConfig::burst(7);
        assert_eq!((option, vote[0], vote[3], vote[5]), (1, 7, 16, 40));
        assert_eq!([vote[1], vote[4], vote[8], vote[12]], [1; 4], "what is set is said to be");
        assert_eq!([vote[9], vote[10], vote[11], vote[13], vote[14], vote[15]], [160; 6]);
    }
}
