//! Frames on the lines between the processes: any bytes are a message of the list or end the line, and a message that
//! was read can be sent again and comes out the same.
#![no_main]

use anchorhold_ipc::{
    Event, FromCollector, FromFetcher, FromGateway, FromWorker, Line, ToFetcher, ToGateway, ToWorker, Work,
    pair,
};
use libfuzzer_sys::fuzz_target;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

/// Below what a socket takes without a reader.
const MAX_BYTES: usize = 64 * 1024;

macro_rules! check {
    ($message:ty, $bytes:expr) => {
        let (left, right) = pair().expect("a socket pair");
        UnixStream::from(left).write_all($bytes).expect("the socket takes the bytes");
        let mut line: Line<$message, $message> = Line::new(right);
        while let Ok((message, descriptors)) = line.receive() {
            assert!(descriptors.is_empty());
            let (left, right) = pair().expect("a socket pair");
            let (mut sender, mut receiver) =
                (Line::<$message, $message>::new(left), Line::<$message, $message>::new(right));
            sender.send(&message, &[]).expect("what was read can be sent");
            let (again, _) = receiver.receive().expect("what was sent can be read");
            // By their text, because a vector may hold NaN.
            assert_eq!(format!("{message:?}"), format!("{again:?}"));
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    // As it is, with a length of the fuzzer's choice, and as the body of one honest frame.
    let length = u32::try_from(bytes.len()).expect("short");
    let framed = [&length.to_be_bytes(), bytes].concat();
    for stream in [bytes, &framed] {
        check!(Work, stream);
        check!(Event, stream);
        check!(ToGateway, stream);
        check!(FromGateway, stream);
        check!(ToWorker, stream);
        check!(FromWorker, stream);
        check!(ToFetcher, stream);
        check!(FromFetcher, stream);
        check!(FromCollector, stream);
    }
});
