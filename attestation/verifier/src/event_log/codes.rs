//! The reason codes of event logs.

crate::codes::codes! {
    /// The log is at most 256 KiB.
    LENGTH = Eventlog "eventlog_length";
    /// The first record is a well-formed "Spec ID Event03".
    HEADER = Eventlog "eventlog_header";
    /// The header names the bank's algorithm (SHA-384 for a TD, SHA-256 for a TPM) with its length, and each algorithm once with a length that a digest can have.
    ALGORITHMS = Eventlog "eventlog_algorithms";
    /// Every record lies wholly inside the log.
    TRUNCATED = Eventlog "eventlog_truncated";
    /// There are at most 2048 records.
    EVENT_COUNT = Eventlog "eventlog_event_count";
    /// The data of each event is at most 64 KiB.
    EVENT_LENGTH = Eventlog "eventlog_event_length";
    /// Each event that is extended names register 1 to 4 (RTMR0 to RTMR3), in a TPM's log PCR 0 to 23.
    REGISTER = Eventlog "eventlog_register";
    /// Each record has a digest of the bank's algorithm, and no algorithm twice or outside the header's list.
    DIGESTS = Eventlog "eventlog_digests";
    /// No second header follows.
    SECOND_HEADER = Eventlog "eventlog_second_header";
    /// What follows the last record is all 0xff or all zero.
    PADDING = Eventlog "eventlog_padding";

    /// The JSON is a list of events in dstack's form, within its limits.
    DSTACK_JSON = Eventlog "eventlog_dstack_json";
    /// The digest of each runtime event is that of its type, name and payload.
    DSTACK_DIGEST = Eventlog "eventlog_dstack_digest";

    /// The policy asks for an event log and one came.
    MISSING = Eventlog "eventlog_missing";
    /// The policy names at least one register that must match.
    REGISTERS_EMPTY = Eventlog "eventlog_registers_empty";
    /// The replayed register is the quote's.
    REPLAY = Eventlog "eventlog_replay";
    /// Every event is of a type that has a name.
    UNKNOWN_EVENT = Eventlog "eventlog_unknown_event";
    /// An event that the policy names is in the log, in a register that matches.
    REQUIRED_EVENT = Eventlog "eventlog_required_event";
    /// The firmware measured that Secure Boot is on, once, before it let go of control.
    SECURE_BOOT = Eventlog "eventlog_secure_boot";
}
