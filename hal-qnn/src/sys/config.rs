//! What is asked of a backend, a device, a context and a graph. It knows which bytes say it, not what is wise.

use core::ffi::c_void;

/// `QnnBackend_Config_t`. None is used: a list of them is null.
#[derive(Debug)]
#[repr(C)]
pub struct BackendConfig {
    pub(super) option: u32,
    pub(super) value: *const c_void,
}

/// `QnnContext_Config_t`. None is used: a list of them is null.
#[derive(Debug)]
#[repr(C)]
pub struct ContextConfig {
    pub(super) option: u32,
    pub(super) value: *const c_void,
}

/// `QnnDevice_Config_t` with the option `CUSTOM`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DeviceConfig {
    pub(super) option: u32,
    pub(super) custom: *const HtpDeviceConfig,
}

impl DeviceConfig {
    /// Points to the backend's own configuration, which has to outlive the call.
    pub const fn custom(custom: &HtpDeviceConfig) -> Self {
        Self { option: 0, custom }
    }
}

/// `QnnGraph_Config_t` with the option `CUSTOM`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GraphConfig {
    pub(super) option: u32,
    pub(super) custom: *const HtpGraphConfig,
}

impl GraphConfig {
    /// Points to the backend's own configuration, which has to outlive the call.
    pub const fn custom(custom: &HtpGraphConfig) -> Self {
        Self { option: 0, custom }
    }
}

/// `QnnHtpDevice_CustomConfig_t`, and more bytes than any version of it is known to have.
///
/// The value follows the option after 4 bytes in some versions of the library and after 8 in others, whatever their
/// numbers say. Both places hold it, and all those libraries accept that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct HtpDeviceConfig {
    words: [u32; 16],
}

impl HtpDeviceConfig {
    /// The chip to compile for, by its number in the SDK: 57 is SM8650, with a V75 NPU.
    pub const fn soc(model: u32) -> Self {
        let mut words = [0; 16];
        (words[1], words[2]) = (model, model);
        Self { words }
    }
}

/// `Qnn_Precision_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Precision(pub u32);

impl Precision {
    /// 32 bits.
    pub const FLOAT32: Self = Self(0);
    /// 16 bits: what the NPU computes float tensors in.
    pub const FLOAT16: Self = Self(1);
}

/// `QnnHtpGraph_CustomConfig_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct HtpGraphConfig {
    pub(super) option: u32,
    pub(super) value: HtpGraphValue,
}

/// The union of the options' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(super) struct HtpGraphValue {
    words: [u32; 12],
}

impl HtpGraphConfig {
    /// What float tensors are computed in.
    pub const fn precision(precision: Precision) -> Self {
        let mut words = [0; 12];
        words[0] = precision.0;
        Self { option: 2, value: HtpGraphValue { words } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chip_stands_at_both_offsets_and_nothing_else_is_set() {
        let words = HtpDeviceConfig::soc(57).words;
        assert_eq!(words[..3], [0, 57, 57]);
        assert_eq!(words[3..], [0; 13]);
    }

    #[test]
    fn the_precision_is_the_first_word_of_its_option() {
        let config = HtpGraphConfig::precision(Precision::FLOAT16);
        assert_eq!((config.option, config.value.words[0]), (2, 1));
        assert_eq!(config.value.words[1..], [0; 11]);
    }

    #[test]
    fn a_list_entry_points_to_its_configuration() {
        let (device, graph) = (HtpDeviceConfig::soc(57), HtpGraphConfig::precision(Precision::FLOAT32));
        assert_eq!(DeviceConfig::custom(&device).custom, &raw const device);
        assert_eq!(GraphConfig::custom(&graph).custom, &raw const graph);
        assert_eq!((DeviceConfig::custom(&device).option, GraphConfig::custom(&graph).option), (0, 0));
    }
}
