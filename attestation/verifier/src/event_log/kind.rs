//! The types of events.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal;)*) => {
        /// The type that the log gives an event. No digest covers it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
            /// A type without a name here.
            Unknown(u32),
        }

        impl EventKind {
            /// The kind with this number.
            #[must_use]
            pub const fn from_code(code: u32) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }

            /// Its number.
            #[must_use]
            pub const fn code(self) -> u32 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code,
                }
            }
        }

        impl fmt::Display for EventKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Unknown(code) => write!(f, "{code:#010x}"),
                }
            }
        }
    };
}

kinds! {
    /// EV_POST_CODE.
    PostCode = 0x1 "EV_POST_CODE";
    /// EV_NO_ACTION; never extended.
    NoAction = 0x3 "EV_NO_ACTION";
    /// EV_SEPARATOR.
    Separator = 0x4 "EV_SEPARATOR";
    /// EV_ACTION.
    Action = 0x5 "EV_ACTION";
    /// EV_EVENT_TAG.
    EventTag = 0x6 "EV_EVENT_TAG";
    /// EV_S_CRTM_CONTENTS.
    CrtmContents = 0x7 "EV_S_CRTM_CONTENTS";
    /// EV_S_CRTM_VERSION.
    CrtmVersion = 0x8 "EV_S_CRTM_VERSION";
    /// EV_CPU_MICROCODE.
    CpuMicrocode = 0x9 "EV_CPU_MICROCODE";
    /// EV_PLATFORM_CONFIG_FLAGS.
    PlatformConfigFlags = 0xa "EV_PLATFORM_CONFIG_FLAGS";
    /// EV_TABLE_OF_DEVICES.
    TableOfDevices = 0xb "EV_TABLE_OF_DEVICES";
    /// EV_COMPACT_HASH.
    CompactHash = 0xc "EV_COMPACT_HASH";
    /// EV_IPL; boot loaders use it for what they do.
    Ipl = 0xd "EV_IPL";
    /// EV_IPL_PARTITION_DATA.
    IplPartitionData = 0xe "EV_IPL_PARTITION_DATA";
    /// EV_NONHOST_CODE.
    NonhostCode = 0xf "EV_NONHOST_CODE";
    /// EV_NONHOST_CONFIG.
    NonhostConfig = 0x10 "EV_NONHOST_CONFIG";
    /// EV_NONHOST_INFO.
    NonhostInfo = 0x11 "EV_NONHOST_INFO";
    /// EV_OMIT_BOOT_DEVICE_EVENTS.
    OmitBootDeviceEvents = 0x12 "EV_OMIT_BOOT_DEVICE_EVENTS";
    /// EV_POST_CODE2.
    PostCode2 = 0x13 "EV_POST_CODE2";
    /// A runtime event of dstack.
    DstackRuntime = 0x0800_0001 "DSTACK_RUNTIME";
    /// EV_EFI_VARIABLE_DRIVER_CONFIG.
    VariableDriverConfig = 0x8000_0001 "EV_EFI_VARIABLE_DRIVER_CONFIG";
    /// EV_EFI_VARIABLE_BOOT.
    VariableBoot = 0x8000_0002 "EV_EFI_VARIABLE_BOOT";
    /// EV_EFI_BOOT_SERVICES_APPLICATION.
    BootServicesApplication = 0x8000_0003 "EV_EFI_BOOT_SERVICES_APPLICATION";
    /// EV_EFI_BOOT_SERVICES_DRIVER.
    BootServicesDriver = 0x8000_0004 "EV_EFI_BOOT_SERVICES_DRIVER";
    /// EV_EFI_RUNTIME_SERVICES_DRIVER.
    RuntimeServicesDriver = 0x8000_0005 "EV_EFI_RUNTIME_SERVICES_DRIVER";
    /// EV_EFI_GPT_EVENT.
    Gpt = 0x8000_0006 "EV_EFI_GPT_EVENT";
    /// EV_EFI_ACTION.
    EfiAction = 0x8000_0007 "EV_EFI_ACTION";
    /// EV_EFI_PLATFORM_FIRMWARE_BLOB.
    PlatformFirmwareBlob = 0x8000_0008 "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    /// EV_EFI_HANDOFF_TABLES.
    HandoffTables = 0x8000_0009 "EV_EFI_HANDOFF_TABLES";
    /// EV_EFI_PLATFORM_FIRMWARE_BLOB2.
    PlatformFirmwareBlob2 = 0x8000_000a "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    /// EV_EFI_HANDOFF_TABLES2.
    HandoffTables2 = 0x8000_000b "EV_EFI_HANDOFF_TABLES2";
    /// EV_EFI_VARIABLE_BOOT2.
    VariableBoot2 = 0x8000_000c "EV_EFI_VARIABLE_BOOT2";
    /// EV_EFI_GPT_EVENT2.
    Gpt2 = 0x8000_000d "EV_EFI_GPT_EVENT2";
    /// EV_EFI_HCRTM_EVENT.
    Hcrtm = 0x8000_0010 "EV_EFI_HCRTM_EVENT";
    /// EV_EFI_VARIABLE_AUTHORITY.
    VariableAuthority = 0x8000_00e0 "EV_EFI_VARIABLE_AUTHORITY";
    /// EV_EFI_SPDM_FIRMWARE_BLOB.
    SpdmFirmwareBlob = 0x8000_00e1 "EV_EFI_SPDM_FIRMWARE_BLOB";
    /// EV_EFI_SPDM_FIRMWARE_CONFIG.
    SpdmFirmwareConfig = 0x8000_00e2 "EV_EFI_SPDM_FIRMWARE_CONFIG";
}
